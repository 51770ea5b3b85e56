"""Of whole traces those are sent that are slow or failed, and a share of the rest; decided when they are sent."""

from __future__ import annotations

import sqlite3
import time

import pytest
from destination_kit import scripted_destination, status
from forwarding_kit import ask, counts, drive, record
from storage_kit import span_row

from otel_perfmon.otlp.forwarder import State
from otel_perfmon.storage.outbox import ForwardPolicy

ONLY_WORTHY = ForwardPolicy(sample_rate=0.0)


def trace(number: int) -> bytes:
    return number.to_bytes(16, "big")


def later() -> float:
    """When everything that was recorded by now has waited for long enough."""
    return time.time() + 60


def test_a_trace_is_sent_whole_if_any_of_it_is_slow_or_failed(db_path) -> None:
    rows = [span_row(f"op{number}", trace_id=trace(number % 5)) for number in range(20)]
    rows[7] = rows[7]._replace(is_slow=1)  # of trace 2
    rows[18] = rows[18]._replace(status_code=2)  # of trace 3
    record(db_path, rows)
    with scripted_destination() as destination:
        drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle()
    assert destination.names() == [f"op{number}" for number in range(20) if number % 5 in {2, 3}]
    assert counts(db_path) == {"sent": 8, "left_out": 12}


def test_of_the_others_a_share_is_sent_the_same_in_every_process_and_whole(db_path) -> None:
    ids = [
        number.to_bytes(9, "big") + (number * 0x9E3779B97F4A7C15 % 2**56).to_bytes(7, "big") for number in range(1000)
    ]
    record(db_path, [span_row(f"{place}", trace_id=ids[place % 1000]) for place in range(2000)])
    sent = []
    for rate in (0.1, 0.1, 0.3):
        with scripted_destination() as destination:
            drive(db_path, destination, policy=ForwardPolicy(rate), now=later()).until_idle()
            sent.append({int(name) for name in destination.names()})
    assert sent[0] == sent[1] < sent[2]
    assert 120 < len(sent[0]) < 280
    assert {number % 1000 for number in sent[0] if number < 1000} == {
        number % 1000 for number in sent[0] if number >= 1000
    }


def test_after_a_stretch_of_which_nothing_is_sent_requests_are_no_smaller(db_path) -> None:
    record(db_path, [span_row(trace_id=trace(1)) for _ in range(5_000)])
    record(db_path, [span_row(trace_id=trace(2), slow=True) for _ in range(100)])
    with scripted_destination() as destination:
        drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle()
    assert [len(request.names) for request in destination.requests] == [100]


def test_nothing_is_decided_before_its_time(db_path) -> None:
    record(db_path, [span_row(slow=True)])
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ONLY_WORTHY, now=time.time())
        assert driven.step().state is State.IDLE
        driven.clock.now += 60
        assert driven.step().state is State.SENT
    assert len(destination.names()) == 1


def test_spans_that_come_later_follow_their_trace_though_its_slow_span_is_gone_by_then(db_path) -> None:
    record(db_path, [span_row("slow", trace_id=trace(1), slow=True), span_row("other", trace_id=trace(2))])
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle()
        with sqlite3.connect(db_path) as connection:
            connection.execute("DELETE FROM _spans")
        connection.close()
        record(db_path, [span_row("late", trace_id=trace(1)), span_row("other", trace_id=trace(2))])
        driven.until_idle()
    assert destination.names() == ["slow", "late"]
    assert counts(db_path) == {"sent": 2, "left_out": 2}


def test_a_trace_that_fails_after_it_was_left_out_is_sent_with_what_was_left_out_of_it(db_path) -> None:
    record(db_path, [span_row(f"early{number}", trace_id=trace(number % 2)) for number in range(8)])
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ONLY_WORTHY, now=later(), spans_max=3).until_idle()
        assert counts(db_path) == {"left_out": 8}
        record(db_path, [span_row("fails", trace_id=trace(1), error="x"), span_row("last", trace_id=trace(1))])
        driven.until_idle()
    assert destination.names() == ["early1", "early3", "early5", "early7", "fails", "last"]
    assert counts(db_path) == {"sent": 6, "left_out": 4}


def test_what_is_left_out_first_is_sent_once_though_the_sender_dies_in_between(db_path) -> None:
    record(db_path, [span_row(f"early{number}", trace_id=trace(1)) for number in range(7)])
    with scripted_destination() as destination:
        drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle().forwarder.release()
        record(db_path, [span_row("fails", trace_id=trace(1), error="x")])
        for _ in range(8):
            driven = drive(db_path, destination, policy=ONLY_WORTHY, now=later(), spans_max=1)
            driven.step()
            driven.forwarder.release()
    assert destination.names() == [*(f"early{number}" for number in range(7)), "fails"]
    assert counts(db_path) == {"sent": 8}


def test_what_was_sent_before_anything_was_chosen_is_not_sent_again(db_path) -> None:
    record(db_path, [span_row("early", trace_id=trace(1))])
    with scripted_destination() as destination:
        drive(db_path, destination, now=later()).until_idle().forwarder.release()
        record(db_path, [span_row("fails", trace_id=trace(1), error="x")])
        drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle()
    assert destination.names() == ["early", "fails"]


def test_what_a_destination_refuses_of_a_chosen_trace_is_parked(db_path) -> None:
    record(db_path, [span_row("early", trace_id=trace(1))])
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ONLY_WORTHY, now=later()).until_idle()
        record(db_path, [span_row("fails", trace_id=trace(1), error="x")])
        destination.script = [status(400)]
        driven.until_idle()
    assert counts(db_path) == {"sent": 1, "parked": 1}


def test_verdicts_do_not_grow_without_end(db_path, monkeypatch) -> None:
    monkeypatch.setattr("otel_perfmon.storage.sqlite.sent_traces.REMEMBERED_MAX", 10)
    with scripted_destination() as destination:
        driven = drive(db_path, destination, policy=ONLY_WORTHY, now=later())
        for start in range(0, 60, 10):
            record(db_path, [span_row(trace_id=trace(start + number), slow=True) for number in range(10)])
            driven.until_idle()
    assert counts(db_path) == {"sent": 60}
    assert ask(db_path, "SELECT count(*) FROM _sent_traces")[0] <= 20


@pytest.mark.parametrize("policy", [ForwardPolicy(), ONLY_WORTHY])
def test_what_arrived_before_since_is_left_out(db_path, policy) -> None:
    record(db_path, [span_row("old", slow=True)])
    with sqlite3.connect(db_path) as connection:
        connection.execute("UPDATE _arrivals SET unix_s = unix_s - 86400")
    connection.close()
    record(db_path, [span_row("new", slow=True)])
    since = time.time() - 3600
    with scripted_destination() as destination:
        drive(db_path, destination, policy=policy, now=later(), since_unix_s=since).until_idle()
    assert destination.names() == ["new"]


def test_since_moves_a_destination_on_that_is_behind_and_never_back(db_path) -> None:
    record(db_path, [span_row("old")])
    with sqlite3.connect(db_path) as connection:
        connection.execute("UPDATE _arrivals SET unix_s = unix_s - 86400")
    connection.close()
    with scripted_destination(status(503)) as destination:
        driven = drive(db_path, destination)
        assert driven.step().state is State.FAILING
        driven.forwarder.release()
        record(db_path, [span_row("new")])
        for _ in range(2):
            drive(db_path, destination, since_unix_s=time.time() - 3600).until_idle().forwarder.release()
    assert destination.names() == ["old", "new"]
    assert counts(db_path) == {"sent": 1, "left_out": 1}
