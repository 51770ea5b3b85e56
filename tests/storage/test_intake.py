"""What waits is read as it can be: what cannot is counted, interrupted or not, and what comes twice is kept once."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import closing

import pytest
from storage_kit import (
    RowDoor,
    ask_one,
    assert_account,
    broken,
    names_in,
    span_row,
    wait_until,
)

COUNT = "SELECT count(*) FROM _spans"


# --- what cannot be read


def test_an_unreadable_payload_is_counted_and_the_others_are_kept(recorder, door, db_path, caplog):
    for payload in (span_row("a"), broken, lambda: None, span_row("b"), lambda: 1 / 0):
        recorder.record(door, payload)
    assert recorder.flush()
    assert names_in(db_path) == ["a", "b"]
    assert wait_until(lambda: ask_one(db_path, "SELECT sum(ended) FROM _health") == 5)
    assert_account(db_path, ended=5, unreadable=3)
    assert len([record for record in caplog.records if "could not be read" in record.message]) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_in_mid_flush_reaches_the_program_and_loses_no_span(recorder, door, db_path, error):
    interruptions = [error()]

    def interrupted():
        if interruptions:
            raise interruptions.pop()
        return span_row("interrupted")

    with recorder.turn.lock:  # keep the writer thread away
        for payload in (span_row("a"), interrupted, span_row("b")):
            recorder.record(door, payload)
        with closing(_without_lock(recorder)), pytest.raises(error):
            recorder.flush()
    assert recorder.flush()
    assert sorted(names_in(db_path)) == ["a", "b", "interrupted"]


def test_an_interruption_just_after_spans_went_back_into_the_queue_stores_none_of_them_twice(recorder, door, db_path):
    class Interrupted(deque):
        def extendleft(self, entries):
            super().extendleft(entries)
            if interruptions:
                raise interruptions.pop()

    interruptions = [KeyboardInterrupt()]
    with recorder.turn.lock:
        recorder._intake.queue = Interrupted()
        for number in range(10):
            recorder.record(door, span_row(f"s{number}", attributes=f'{{"text":"{"x" * 40_000}"}}'))
        with pytest.raises(KeyboardInterrupt):
            recorder._intake.take_batch(10, 100_000)
    assert interruptions == []
    assert (recorder._intake.unfinished.span_count, recorder._intake.waiting_count) == (3, 7)


class _without_lock:  # noqa: N801
    """Lend the write lock that this thread holds."""

    def __init__(self, recorder):
        self.recorder, self.lock = recorder, recorder.turn.lock
        recorder.turn.lock = threading.RLock()

    def close(self):
        self.recorder.turn.lock = self.lock


def test_the_writer_thread_outlives_a_payload_that_exits(recorder, door, db_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    recorder.record(door, lambda: (_ for _ in ()).throw(SystemExit))
    assert wait_until(lambda: not recorder.queued_count, 5)
    time.sleep(0.3)
    recorder.record(door, span_row("after"))
    assert recorder.flush()
    assert names_in(db_path) == ["after"]


# --- two doors


def test_a_span_that_two_doors_bring_in_is_kept_once(recorder, db_path):
    doors = [RowDoor(), RowDoor()]
    for door in doors:
        recorder.open_door(door)
    rows = [span_row(f"op{i}") for i in range(50)]
    for row in rows:
        for door in doors:
            recorder.record(door, row)
    assert recorder.flush()
    assert_account(db_path, ended=50)


def test_a_span_that_two_doors_bring_in_at_different_times_is_kept_once(recorder, db_path):
    doors = [RowDoor(), RowDoor()]
    for door in doors:
        recorder.open_door(door)
    row = span_row()
    for door in doors:
        recorder.record(door, row)
        recorder.flush()
    assert_account(db_path, ended=1)


def test_a_span_that_the_same_door_brings_twice_is_two_spans(recorder, db_path):
    door, other = RowDoor(), RowDoor()
    recorder.open_door(door)
    recorder.open_door(other)
    row = span_row()
    recorder.record(door, row)
    recorder.record(door, row)
    assert recorder.flush()
    assert_account(db_path, ended=2)
