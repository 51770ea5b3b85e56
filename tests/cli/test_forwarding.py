"""``otel-perfmon forward`` sends what is stored, says what became of it, and how it ended."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_kit import record, span_row

sys.path.insert(1, str(Path(__file__).parent.parent / "otlp"))

from destination_kit import free_port, scripted_destination, status

from otel_perfmon.cli import forwarding
from otel_perfmon.storage.sqlite.outbox import SqliteOutbox


@pytest.fixture
def filled(db_path) -> str:
    record(db_path, *(span_row(f"op{number}") for number in range(5)))
    return db_path


def test_once_sends_what_is_there_and_says_so(cli, filled) -> None:
    with scripted_destination() as destination:
        printed = cli("forward", "--to", destination.url, "--once")
        assert (printed.status, printed.err) == (0, "")
        assert printed.out == f"5 spans sent to {destination.url}/v1/traces.\n"
        assert cli("forward", "--to", destination.url, "--once").out.startswith("0 spans sent")
    assert destination.names() == [f"op{number}" for number in range(5)]


def test_tenants_at_one_address_are_told_apart_by_a_label(cli, filled) -> None:
    with scripted_destination() as destination:
        for tenant in ("a", "b"):
            printed = cli(
                "forward", "--to", destination.url, "--header", f"tenant={tenant}", "--label", tenant, "--once"
            )
            assert printed.out == f"5 spans sent to {destination.url}/v1/traces ({tenant}).\n"
    assert destination.names() == [f"op{number}" for number in range(5)] * 2


def test_what_is_told_as_json_has_the_counts(cli, filled) -> None:
    with scripted_destination() as destination:
        (item,) = json.loads(cli("forward", "--to", destination.url, "--once", "--json").out)["items"]
    assert item["sent_count"] == 5
    assert item["destination"]["waiting_count"] == 0


def test_spans_that_are_refused_are_told_with_status_1(cli, filled) -> None:
    body = b"\x0a\x02\x08\x02"
    with scripted_destination(status(200, body)) as destination:
        printed = cli("forward", "--to", destination.url, "--once")
    assert (printed.status, printed.out) == (1, f"3 spans sent to {destination.url}/v1/traces, 2 refused.\n")


def test_a_destination_that_is_away_is_told_with_status_3(cli, filled) -> None:
    port = free_port()
    printed = cli("forward", "--to", f"http://ada:s3cr3t@127.0.0.1:{port}", "--once", "--max-elapsed-time", "1ms")
    assert printed.status == 3
    assert f"http://127.0.0.1:{port}/v1/traces could not be reached" in printed.err
    assert "s3cr3t" not in printed.err


def test_another_process_that_sends_is_told_with_status_3(cli, filled) -> None:
    with scripted_destination() as destination:
        outbox = SqliteOutbox(filled, f"{destination.url}/v1/traces")
        assert outbox.acquire()
        printed = cli("forward", "--to", destination.url, "--once")
        outbox.release()
    assert printed.status == 3
    assert "Another process sends to" in printed.err


@pytest.fixture
def held(filled):
    """Another process holds the file for longer than is waited."""
    with open(f"{filled}.lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def test_a_file_that_others_hold_for_long_is_waited_for(cli, filled, held, monkeypatch) -> None:
    monkeypatch.setattr(forwarding, "STORE_PAUSE_SECONDS", 0.05)
    timer = threading.Timer(2.0, held)
    with scripted_destination() as destination:
        timer.start()
        printed = cli("forward", "--to", destination.url, "--once")
    timer.join()
    assert (printed.status, printed.out) == (0, f"5 spans sent to {destination.url}/v1/traces.\n")
    assert "stayed locked" in printed.err


def test_a_file_that_others_do_not_give_back_is_told_with_status_3(cli, filled, held) -> None:
    with scripted_destination() as destination:
        printed = cli("forward", "--to", destination.url, "--once", "--max-elapsed-time", "1ms")
    assert printed.status == 3
    assert destination.requests == []


def test_without_once_it_outlives_a_file_that_others_hold(filled, held) -> None:
    program = (
        "import sys; from otel_perfmon.cli import forwarding; from otel_perfmon.cli.main import main;"
        "forwarding.STORE_PAUSE_SECONDS = 0.05; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "forward", "--db", filled]
    with scripted_destination() as destination:
        process = subprocess.Popen([*command, "--to", destination.url], stderr=subprocess.PIPE, text=True)
        try:
            assert "stayed locked" in process.stderr.readline()
            held()
            deadline = time.monotonic() + 15
            while len(destination.names()) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
    assert destination.names() == [f"op{number}" for number in range(5)]


def test_headers_protocol_and_compression_are_as_they_are_given(cli, filled, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-env=1")
    options = ("--header", "X-Key=a b", "--header", "x-b=2", "--protocol", "http/json", "--compression", "gzip")
    with scripted_destination() as destination:
        cli("forward", "--to", destination.url, "--once", *options)
        record(filled, span_row("late"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", destination.url)
        assert cli("forward", "--to", "env", "--once").status == 0
    first, second = destination.requests
    assert (first.headers["x-key"], first.headers["x-b"], "x-env" in first.headers) == ("a b", "2", False)
    assert (first.headers["content-type"], first.headers["content-encoding"]) == ("application/json", "gzip")
    assert (second.headers["x-env"], second.names) == ("1", ["late"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--to URL"),
        (("--to", "http://a,http://b"), "--to URL"),
        (("--to", "collector"), "forward_to must be URLs"),
        (("--to", "http://c", "--header", "nonsense"), "name=value"),
        (("--to", "http://c", "--sample-rate", "2"), "between 0 and 1"),
        (("--to", "grpc://c", "--protocol", "http/json"), "cannot be spoken to"),
    ],
)
def test_wrong_usage_is_told_with_status_2(cli, filled, arguments, told) -> None:
    printed = cli("forward", *arguments, "--once")
    assert printed.status == 2
    assert told in printed.err


def test_info_and_doctor_tell_how_far_each_destination_is(cli, filled) -> None:
    port = free_port()
    cli("forward", "--to", f"http://127.0.0.1:{port}", "--once", "--max-elapsed-time", "1ms")
    with scripted_destination(status(413)) as destination:
        cli("forward", "--to", destination.url, "--once")
    out = " ".join(cli("info").out.split())
    assert f"5 to {destination.url}/v1/traces" in out
    assert f"0 to http://127.0.0.1:{port}/v1/traces, 5 waiting" in out
    assert "could not be reached" in out
