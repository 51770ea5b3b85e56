"""What is stored reaches its destination, whatever the destination answers."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from destination_kit import Answering, Request, free_port, ok, scripted_destination, status
from forwarding_kit import ask, counts, drive, record
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_kit import RowDoor
from storage_kit import span_row

from otel_perfmon import MetricsStorage
from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.destination import parse_destination
from otel_perfmon.otlp.forwarder import PARKED_AT_ONCE_MAX, State
from otel_perfmon.otlp.senders import open_sender
from otel_perfmon.storage.outbox import LEASE_SECONDS, ForwardPolicy
from otel_perfmon.storage.sqlite import destinations, outbox
from otel_perfmon.storage.sqlite.arrivals import boot_seconds

COUNT = 8


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("filled") / "metrics.db")
    record(path, [span_row(f"op{number}") for number in range(COUNT)])
    return path


@pytest.fixture
def filled(db_path: str, filled_once: str) -> str:
    return shutil.copyfile(filled_once, db_path)


NAMES = [f"op{number}" for number in range(COUNT)]


def silent(answering: Answering, request: Request) -> None:
    """A black hole."""
    answering.server.destination.ended.wait(10)


def drip(answering: Answering, request: Request) -> None:
    """A byte each tenth of a second, of headers that do not end."""
    answering.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not answering.server.destination.ended.wait(0.1):
        answering.wfile.write(b"x")
        answering.wfile.flush()


def drip_body(answering: Answering, request: Request) -> None:
    """The same in a body."""
    answering.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\n")
    while not answering.server.destination.ended.wait(0.1):
        answering.wfile.write(b"x")
        answering.wfile.flush()


def cut(answering: Answering, request: Request) -> None:
    """The answer breaks off in its body."""
    answering.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 99\r\n\r\nabc")
    answering.wfile.flush()
    answering.connection.shutdown(socket.SHUT_RDWR)


def hang_up(answering: Answering, request: Request) -> None:
    """No answer at all."""
    answering.connection.shutdown(socket.SHUT_RDWR)


def nonsense(answering: Answering, request: Request) -> None:
    answering.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    answering.connection.shutdown(socket.SHUT_RDWR)


def huge(answering: Answering, request: Request) -> None:
    """512 MiB, as fast as they are read."""
    size = 512 << 20
    answering.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n".encode())
    piece = b"x" * 65_536
    for sent in range(0, size, len(piece)):
        answering.server.destination.followed_count = sent
        answering.wfile.write(piece)


BOMB = gzip.compress(b"\0" * (16 << 20))


def bomb(answering: Answering, request: Request) -> None:
    answering.reply(200, BOMB, Content_Encoding="gzip")


def partial(rejected: int, message: str) -> bytes:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans, response.partial_success.error_message = rejected, message
    return response.SerializeToString()


def http_date(answering: Answering, request: Request) -> None:
    answering.reply(429, Retry_After=formatdate(time.time() + 20, usegmt=True))


FIRST = 5.0
"""The first pause, without chance."""
RETRIED = {"sent": COUNT}

# What it answers first; the pauses; how many requests; the account. Whatever it answers, every span arrives once the
# destination takes spans, or stands in the account.
TABLE = {
    "301": (status(301, Location="/elsewhere"), [FIRST], 2, RETRIED),
    "307": (status(307, Location="/elsewhere"), [FIRST], 2, RETRIED),
    "401": (status(401), [FIRST], 2, RETRIED),
    "404": (status(404), [FIRST], 2, RETRIED),
    "408": (status(408), [FIRST], 3, RETRIED),
    "413": (status(413), [], 3, RETRIED),
    "415": (status(415), [FIRST], 2, RETRIED),
    "429": (status(429), [FIRST], 2, RETRIED),
    "429 Retry-After: 7": (status(429, Retry_After="7"), [7.35], 2, RETRIED),
    "429 Retry-After: a date": (http_date, [pytest.approx(21, abs=1.2)], 2, RETRIED),
    "429 Retry-After: 0": (status(429, Retry_After="0"), [FIRST], 2, RETRIED),
    "429 Retry-After: a date that is over": (
        status(429, Retry_After="Sat, 01 Jan 2022 00:00:00 GMT"),
        [FIRST],
        2,
        RETRIED,
    ),
    "429 Retry-After: nonsense": (status(429, Retry_After="soon"), [FIRST], 2, RETRIED),
    "500": (status(500), [FIRST], 3, RETRIED),
    "502": (status(502), [FIRST], 2, RETRIED),
    "503 Retry-After: 1": (status(503, Retry_After="1"), [FIRST], 2, RETRIED),
    "504": (status(504), [FIRST], 2, RETRIED),
    "599": (status(599), [FIRST], 3, RETRIED),
    "partial success": (status(200, partial(3, "no quota")), [], 1, {"sent": 5, "refused": 3}),
    "partial success of nothing": (status(200, partial(0, "deprecated")), [], 1, RETRIED),
    "200 and nothing": (status(200), [], 1, RETRIED),
    "202": (status(202), [], 1, RETRIED),
    "204": (status(204), [], 1, RETRIED),
    "wrong content type": (status(200, b"<html>", Content_Type="text/html"), [], 1, RETRIED),
    "200 and nonsense": (status(200, b"\xff\xff"), [], 1, RETRIED),
    "black hole": (silent, [FIRST], 2, RETRIED),
    "slow drip of headers": (drip, [FIRST], 2, RETRIED),
    "slow drip of a body": (drip_body, [FIRST], 2, RETRIED),
    "cut mid-body": (cut, [FIRST], 2, RETRIED),
    "hangs up": (hang_up, [FIRST], 2, RETRIED),
    "no HTTP": (nonsense, [FIRST], 2, RETRIED),
    "512 MiB reply": (huge, [], 1, RETRIED),
    "gzip bomb": (bomb, [], 1, RETRIED),
}


@pytest.mark.parametrize(("answer", "pauses", "requests", "account"), TABLE.values(), ids=TABLE.keys())
def test_a_destination_that_first_answers_so_gets_every_span(filled, answer, pauses, requests, account) -> None:
    with scripted_destination(answer) as destination:
        timeout = 0.4 if answer in {silent, drip, drip_body} else 10.0
        driven = drive(filled, destination, timeout_seconds=timeout).until_idle()
    assert driven.pauses == [pytest.approx(each) if isinstance(each, float) else each for each in pauses]
    assert len(destination.requests) == requests
    assert counts(filled) == account
    assert {*destination.names()} == {*NAMES}
    # Of 512 MiB what was read, and what is in the sockets' buffers; a redirect is never followed.
    assert destination.followed_count < (64 << 20 if answer is huge else 1)


def test_who_is_not_there_is_waited_for_longer_each_time_and_at_most_half_a_minute(filled) -> None:
    port = free_port()
    driven = drive(filled, f"http://127.0.0.1:{port}")
    for _ in range(8):
        assert driven.step().state is State.FAILING
    assert driven.pauses == [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0, 30.0, 30.0]
    name, failing_since, failure = ask(filled, "SELECT name, failing_since, last_failure FROM destinations")
    assert name == f"http://127.0.0.1:{port}/v1/traces"
    assert failing_since is not None
    assert "could not be reached" in failure


def test_after_ten_minutes_without_a_destination_everything_arrives_once_and_in_order(db_path) -> None:
    with scripted_destination(rule=status(503)) as destination:
        driven = drive(db_path, destination)
        began, recorded = driven.clock.now, 0
        while driven.clock.now < began + 600:
            if len(driven.pauses) % 5 == 0:
                record(db_path, [span_row(f"op{recorded + number}") for number in range(1_000)])
                recorded += 1_000
            assert driven.step().state is State.FAILING
        destination.rule = None
        asked = len(destination.requests)
        driven.until_idle()
    assert 20 <= asked <= 30
    assert sum(driven.pauses) == driven.clock.now - began - 1
    names = [name for request in destination.requests[asked:] for name in request.names]
    assert names == [f"op{number}" for number in range(recorded)]
    assert counts(db_path) == {"sent": recorded}


@pytest.mark.parametrize("rng", [0.0, 1.0])
def test_pauses_differ_by_half(filled, rng) -> None:
    driven = drive(filled, f"http://127.0.0.1:{free_port()}", rng=rng)
    driven.step()
    assert driven.pauses == [5.0 * (0.5 + rng)]


def test_who_comes_before_the_pause_is_over_keeps_the_lease_and_asks_for_nothing(filled) -> None:
    with scripted_destination(status(429, Retry_After="600")) as destination:
        driven = drive(filled, destination)
        assert driven.forwarder.step() == (State.FAILING, pytest.approx(630))
        driven.clock.now += 600
        assert driven.forwarder.step() == (State.FAILING, pytest.approx(30))
        assert drive(filled, destination).step().state is State.ELSEWHERE
        assert len(destination.requests) == 1
        driven.clock.now += 30
        driven.until_idle()
    assert counts(filled) == {"sent": COUNT}


def test_after_a_success_the_next_failure_waits_for_as_long_as_the_first(filled) -> None:
    with scripted_destination(status(503), status(503), ok, status(503)) as destination:
        driven = drive(filled, destination, spans_max=4).until_idle()
    assert driven.pauses == [5.0, 7.5, 5.0]
    assert destination.names() == NAMES[:4] * 3 + NAMES[4:] * 2


def test_an_acceptance_that_always_breaks_off_is_believed_the_third_time(filled) -> None:
    with scripted_destination(rule=cut) as destination:
        drive(filled, destination).until_idle()
    assert len(destination.requests) == 3
    assert counts(filled) == {"sent": COUNT}


def refusing(*names: str, code: int = 400):
    """Refuses every request that has one of those spans in it."""

    def rule(answering: Answering, request: Request) -> None:
        if not {*names}.isdisjoint(request.names):
            answering.reply(code, b"\x12\x0dno such field", Content_Type="application/x-protobuf")
        else:
            answering.server.destination.take(request)
            ok(answering, request)

    return rule


@pytest.mark.parametrize("code", [400, 413, 422, 500])
def test_a_span_that_is_refused_is_parked_and_holds_up_no_other(filled, code) -> None:
    with scripted_destination(rule=refusing("op2", "op7", code=code)) as destination:
        drive(filled, destination).until_idle()
        assert destination.taken.total() == len(destination.taken) == COUNT - 2
    assert counts(filled) == {"sent": COUNT - 2, "parked": 2}
    parked = ask(filled, "SELECT group_concat(span_row_id), max(reply) FROM _parked_spans")
    assert parked == ("3,8", f"answered {code}: no such field")


def refusing_spans(answering: Answering, request: Request) -> None:
    """Takes nothing but a request without spans."""
    answering.reply(400 if request.names else 200)


def test_of_a_destination_that_takes_no_span_few_are_parked_before_it_is_waited_for(db_path) -> None:
    record(db_path, [span_row() for _ in range(100)])
    at_once = PARKED_AT_ONCE_MAX
    with scripted_destination(rule=refusing_spans) as destination:
        driven = drive(db_path, destination)
        while not driven.pauses:
            driven.step()
        assert counts(db_path) == {"parked": at_once + 1}
        while len(driven.pauses) < 4:
            driven.step()
        assert driven.clock.now - 1e9 > 40
        destination.rule = ok
        driven.until_idle()
    assert counts(db_path) == {"sent": 100 - at_once - 4, "parked": at_once + 4}


@pytest.mark.parametrize("code", [400, 413, 500, *(pytest.param(code, marks=pytest.mark.long) for code in (422, 520))])
def test_a_destination_that_refuses_everything_is_waited_for_and_gets_every_span(db_path, code) -> None:
    record(db_path, [span_row() for _ in range(100)])
    with scripted_destination(ok, rule=status(code)) as destination:
        driven = drive(db_path, destination, spans_max=40)
        while driven.clock.now - 1e9 < 1_200:
            driven.step()
        assert counts(db_path) == {"sent": 40}
        assert len(destination.requests) < 1_200
        destination.rule = ok
        driven.until_idle()
    assert counts(db_path) == {"sent": 100}


@pytest.mark.parametrize("code", [400, 500])
def test_a_span_is_parked_where_others_are_taken_but_no_request_without_spans(filled, code) -> None:
    refusing_both = refusing("op2", "op3", code=code)

    def rule(answering: Answering, request: Request) -> None:
        if request.names:
            refusing_both(answering, request)
        else:
            answering.reply(400)

    with scripted_destination(rule=rule) as destination:
        drive(filled, destination).until_idle()
        assert destination.taken.total() == len(destination.taken) == COUNT - 2
    assert counts(filled) == {"sent": COUNT - 2, "parked": 2}
    assert ask(filled, "SELECT group_concat(span_row_id) FROM _parked_spans") == ("3,4",)


def test_a_request_is_no_larger_than_a_receiver_takes(db_path) -> None:
    text = "x" * 60_000
    attributes = json.dumps(dict.fromkeys("abc", text))
    record(db_path, [span_row(attributes=attributes) for _ in range(60)])
    with scripted_destination() as destination:
        drive(db_path, destination).until_idle()
    sizes = [request.message.ByteSize() for request in destination.requests]
    assert max(sizes) < 4 << 20
    assert len(sizes) >= 4
    assert counts(db_path) == {"sent": 60}


@pytest.mark.parametrize("rate", [1.0, 0.999])
def test_of_large_spans_few_are_in_memory_at_a_time(db_path, rate) -> None:
    attributes = json.dumps({"a": "x" * 1_000_000})
    record(db_path, [span_row(f"op{number}", attributes=attributes, slow=True) for number in range(12)])
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ForwardPolicy(rate, -60.0), now=time.time())
        assert driven.forwarder._outbox.acquire()
        stretch = driven.forwarder._outbox.next_stretch(512)
        assert (len(stretch.row_ids), stretch.last_id) == (8, 8)
        driven.until_idle()
    assert destination.names() == [f"op{number}" for number in range(12)]
    assert counts(db_path) == {"sent": 12}


@pytest.mark.parametrize("text", ['{"a"', '{"a":\n1}', "[1]", "{},{}"])
def test_a_row_that_cannot_be_encoded_is_parked_and_holds_up_no_other(filled, text) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE _spans SET attributes = ? WHERE id = 3", (text,))
    connection.close()
    with scripted_destination() as destination:
        drive(filled, destination).until_idle()
    assert [each for each in NAMES if each != "op2"] == destination.names()
    assert counts(filled) == {"sent": COUNT - 1, "parked": 1}


def test_what_retention_took_before_its_turn_is_counted(filled) -> None:
    with scripted_destination(ok, status(503)) as destination:
        driven = drive(filled, destination, spans_max=2)
        driven.until(State.FAILING)
        with sqlite3.connect(filled) as connection:
            connection.execute("DELETE FROM _spans WHERE id IN (1, 5, 6)")
        connection.close()
        driven.until_idle()
    assert counts(filled) == {"sent": 6, "pruned": 2}
    assert {*destination.names()} == {*NAMES} - {"op4", "op5"}


def test_what_was_gone_before_a_destination_was_named_is_nobodys_loss(filled) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("DELETE FROM _spans WHERE id IN (1, 5, 6)")
    connection.close()
    with scripted_destination() as destination:
        drive(filled, destination).until_idle()
    assert counts(filled) == {"sent": 5}


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_every_protocol_and_compression_brings_every_span(filled, protocol, compression) -> None:
    with scripted_destination() as destination:
        drive(filled, destination, protocol=protocol, compression=compression).until_idle()
    assert destination.names() == NAMES
    assert [request.path for request in destination.requests] == ["/v1/traces"]


def test_each_destination_has_a_cursor_of_its_own(filled) -> None:
    with scripted_destination() as first, scripted_destination(status(503)) as second:
        drives = [drive(filled, each) for each in (first, second)]
        drives[0].until_idle()
        record(filled, [span_row("late")])
        for each in drives:
            each.until_idle()
        assert first.names() == [*NAMES, "late"]
        assert {*second.names()} == {*NAMES, "late"}
    assert ask(filled, "SELECT count(*), min(span_cursor), sum(waiting_count) FROM destinations") == (2, COUNT + 1, 0)


def test_one_sends_and_who_comes_after_goes_on_where_it_stopped(filled) -> None:
    with scripted_destination() as destination:
        first, second = (drive(filled, destination, spans_max=3) for _ in range(2))
        assert first.step().state is State.SENT
        assert second.step().state is State.ELSEWHERE
        first.forwarder.release()
        second.until_idle()
        assert first.step().state is State.ELSEWHERE
    assert destination.names() == NAMES


def test_who_stood_still_for_longer_than_the_lease_sends_no_more(filled, monkeypatch) -> None:
    with scripted_destination() as destination:
        first, second = (drive(filled, destination, spans_max=3) for _ in range(2))
        first.step()
        later = boot_seconds() + LEASE_SECONDS
        for module in (outbox, destinations):
            monkeypatch.setattr(module, "boot_seconds", lambda: later)
        assert second.step().state is State.SENT
        assert first.step().state is State.ELSEWHERE
        second.until_idle()
    assert destination.names() == NAMES


def moved(path: str) -> None:
    os.rename(path, f"{path}.1")


def removed(path: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        os.remove(path + suffix)


def without_log(path: str) -> None:
    for suffix in ("-wal", "-shm"):
        os.remove(path + suffix)


def replaced(path: str) -> None:
    """By a file that another process has begun."""
    for suffix in ("", "-wal", "-shm"):
        os.rename(path + suffix, f"{path}.1{suffix}")
    program = "import sys, otel_perfmon\nwith otel_perfmon.configure(sys.argv[1]).monitor('other'): pass\n"
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=20)


def damaged(path: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


@pytest.mark.parametrize("happen", [moved, removed, without_log, replaced, damaged])
def test_whatever_becomes_of_the_file_recording_goes_on_beside_a_forwarder_and_so_does_that(db_path, happen) -> None:
    door = RowDoor()
    with scripted_destination() as destination, MetricsStorage(db_path) as storage:
        recorder = storage.recorder
        for name in NAMES:
            recorder.record(door, span_row(name))
        assert recorder.flush(5)
        driven = drive(db_path, destination).until_idle()
        happen(db_path)
        for name in ("late", "later"):
            recorder.record(door, span_row(name))
        assert recorder.flush(8)
        assert ask(db_path, "SELECT count(*) FROM _spans WHERE id <= 2")[0] == 2
        driven.until(State.ELSEWHERE, State.IDLE)
        driven.until_idle()
        driven.forwarder.release()
    assert {*destination.names()} == {*NAMES, "late", "later"} | ({"other"} if happen is replaced else set())


def test_credentials_reach_the_destination_and_neither_the_file_nor_the_log(filled, caplog) -> None:
    quoted = b"wrong password=s3cr3t-word"
    with scripted_destination(status(401, quoted, Content_Type="text/plain"), status(400)) as destination:
        url = destination.url.replace("//", "//ada:s3cr3t-word@") + "?key=s3cr3t-word"
        drive(filled, url, headers=[("x-api-key", "s3cr3t-word")]).until_idle()
    request = destination.requests[-1]
    assert request.headers["authorization"] == "Basic YWRhOnMzY3IzdC13b3Jk"
    assert request.headers["x-api-key"] == "s3cr3t-word"
    assert request.path == "/v1/traces?key=s3cr3t-word"
    assert "s3cr3t" not in caplog.text
    assert caplog.records
    for suffix in ("", "-wal"):
        with open(filled + suffix, "rb") as file:
            assert b"s3cr3t" not in file.read()


@pytest.mark.parametrize(
    "quoted", ["8f14e45fceea167a", "Bearer 8f14e45fceea167a", "YWRhOmxvdmVsYWNl", "lovelace", "abcd5"]
)
def test_what_a_destination_quotes_of_a_request_is_not_shown(filled, caplog, quoted) -> None:
    reply = status(401, f"no such key: {quoted}.".encode(), Content_Type="text/plain")
    with scripted_destination(reply) as destination:
        url = destination.url.replace("//", "//ada:lovelace@") + "?key=abcd5"
        drive(filled, url, headers=[("x-api-key", "Bearer 8f14e45fceea167a")]).until(State.FAILING)
    failure = ask(filled, "SELECT last_failure FROM destinations")[0]
    assert "no such key: " in failure
    assert quoted not in failure + caplog.text


def test_a_certificate_is_asked_for(filled, tmp_path) -> None:
    """A server without TLS, and one whose certificate nobody vouches for, get nothing."""
    with scripted_destination() as destination:
        driven = drive(filled, destination.url.replace("http:", "https:"))
        assert driven.step().state is State.FAILING
        assert "could not be reached" in driven.forwarder.trouble
    assert destination.requests == []


def test_a_certificate_that_cannot_be_read_is_told(filled) -> None:
    sender = open_sender(replace(parse_destination("https://127.0.0.1:1"), certificate="/nowhere/ca.pem"))
    with pytest.raises(ConfigError, match=r"certificates for https://127\.0\.0\.1:1/v1/traces cannot be read"):
        sender.send(b"")
