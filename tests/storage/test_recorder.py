from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import closing

import pytest
from storage_kit import (
    NOW,
    ask,
    ask_one,
    assert_account,
    broken,
    held_by_another_process,
    let_go,
    names_in,
    point_row,
    resource_row,
    span_row,
    unstorable_row,
    wait_until,
)

from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.registry import recorder_for, release_recorder
from otel_perfmon.storage.sqlite.writer import SqliteWriter

COUNT = "SELECT count(*) FROM _spans"


# --- in time, in order, whole


def test_a_span_is_in_the_file_within_200_ms_and_always_within_a_second_or_two(recorder, door, db_path):
    recorder.record(door, span_row())
    assert wait_until(lambda: os.path.exists(db_path) and recorder.queued_count == 0)
    waits = []
    for i in range(5):
        start = time.monotonic()
        recorder.record(door, span_row(f"op{i}"))
        assert wait_until(lambda count=i + 2: ask_one(db_path, COUNT) == count)
        waits.append(time.monotonic() - start)
    assert min(waits) <= 0.2
    assert max(waits) <= 2


def test_after_a_flush_everything_recorded_before_it_is_in_the_file_in_its_order(recorder, door, db_path):
    for i in range(1000):
        recorder.record(door, span_row(f"op{i}"))
    assert recorder.flush()
    assert names_in(db_path) == [f"op{i}" for i in range(1000)]
    assert recorder.queued_count == 0


def test_a_question_in_the_process_that_records_sees_what_ended_before_it(recorder, door, store):
    recorder.record(door, span_row("first"))
    assert [span.name for span in store.find_spans(SpanQuery())] == ["first"]
    recorder.record(door, span_row("second"))
    assert store.summarize_operations(operation="second")[0].count == 1
    recorder.record(door, broken)
    assert store.get_health().ended == 3


def test_many_threads_with_asmall_queue_lose_nothing(recorder, door, db_path, small_queue):
    def record_many():
        for _ in range(1000):
            recorder.record(door, span_row())

    threads = [threading.Thread(target=record_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert recorder.flush()
    assert_account(db_path, ended=8000)
    assert ask_one(db_path, "SELECT count(DISTINCT span_id) FROM _spans") == 8000


def test_a_tight_loop_loses_nothing(recorder, door, db_path):
    rows = [span_row(f"op{i % 10}") for i in range(20_000)]
    for row in rows:
        assert recorder.record(door, row)
    assert recorder.flush()
    assert_account(db_path, ended=20_000)


def test_self_time_and_call_edges_are_found_across_batches(recorder, door, db_path):
    child = span_row("child", parent=b"p" * 8, trace_id=b"t" * 16, ms=3)
    recorder.record(door, child)
    recorder.flush()
    recorder.record(door, span_row("parent", trace_id=b"t" * 16, span_id=b"p" * 8, ms=10))
    recorder.flush()
    assert ask(db_path, "SELECT operation, self_ms FROM operations ORDER BY 1") == [("child", 3.0), ("parent", 7.0)]
    assert ask(db_path, "SELECT caller, callee, count, total_ms FROM calls") == [("parent", "child", 1, 3.0)]


# --- when the file cannot be written


def test_a_full_queue_holds_the_program_up_for_a_second_in_all_and_what_does_not_fit_is_counted(
    recorder, door, db_path, small_queue, caplog
):
    recorder.record(door, span_row("before"))
    recorder.flush()
    with held_by_another_process(db_path) as child:
        start = time.monotonic()
        accepted = sum(recorder.record(door, span_row()) for _ in range(600))
        elapsed = time.monotonic() - start
        assert 0.5 < elapsed < 2
        assert 200 <= accepted <= 250
        start = time.monotonic()
        assert not any(recorder.record(door, span_row()) for _ in range(200))
        assert time.monotonic() - start < 0.5
        let_go(child)
    assert wait_until(lambda: recorder.queued_count == 0)
    assert recorder.record(door, span_row("after"))
    assert recorder.flush()
    assert wait_until(lambda: ask_one(db_path, "SELECT sum(ended) FROM _health") == 802)
    assert_account(db_path, ended=802, queue_full=800 - accepted)
    assert names_in(db_path)[-1] == "after"
    assert len([record for record in caplog.records if "were not kept" in record.message]) == 1


def test_a_transaction_of_another_program_holds_the_program_up_for_a_second_in_all(
    recorder, door, db_path, small_queue
):
    recorder.record(door, span_row("before"))
    recorder.flush()
    with closing(SqliteWriter(db_path)) as other:
        other._open_if_needed()
        other._connection.execute("BEGIN IMMEDIATE")
        longest = total = 0.0
        for _ in range(400):
            start = time.monotonic()
            recorder.record(door, span_row())
            longest, total = max(longest, time.monotonic() - start), total + time.monotonic() - start
        other._connection.execute("ROLLBACK")
    assert longest < 1.5
    assert total < 1.6


def test_every_thread_waits_at_the_same_time_and_not_one_after_the_other(recorder, door, db_path, small_queue):
    recorder.record(door, span_row("before"))
    recorder.flush()
    with held_by_another_process(db_path):
        start = time.monotonic()
        threads = [
            threading.Thread(target=lambda: [recorder.record(door, span_row()) for _ in range(100)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert time.monotonic() - start < 2.5


def test_a_short_lock_loses_nothing(recorder, door, db_path, small_queue):
    recorder.record(door, span_row("before"))
    recorder.flush()
    with held_by_another_process(db_path) as child:
        timer = threading.Timer(0.3, let_go, [child])
        timer.start()
        assert all(recorder.record(door, span_row()) for _ in range(600))
        timer.join()
    assert recorder.flush()
    assert_account(db_path, ended=601)


def test_a_flush_beside_a_held_lock_gives_up_in_time_and_keeps_what_it_could_not_write(recorder, door, db_path):
    recorder.record(door, span_row("a"))
    recorder.flush()
    with held_by_another_process(db_path) as child:
        recorder.record(door, span_row("b"))
        start = time.monotonic()
        assert recorder.flush(0.2) is False
        assert time.monotonic() - start < 1.6
        assert recorder.queued_count == 1
        let_go(child)
    assert recorder.flush()
    assert names_in(db_path) == ["a", "b"]


def test_a_missing_folder_costs_a_warning_and_nothing_is_lost_once_it_is_there(tmp_path, door, caplog):
    path = str(tmp_path / "later" / "metrics.db")
    recorder = recorder_for(path, SqliteWriter)
    try:
        for i in range(10):
            assert recorder.record(door, span_row(f"op{i}"))
        with pytest.raises(StoreError, match=r"later.metrics\.db"):
            recorder.flush_or_raise()
        os.mkdir(tmp_path / "later")
        assert recorder.flush()
        assert len(names_in(path)) == 10
    finally:
        release_recorder(recorder)


def test_an_unstorable_row_is_counted_and_the_others_are_kept(recorder, door, db_path, caplog):
    for row in (span_row("a"), unstorable_row(), span_row("b")):
        recorder.record(door, row)
    assert recorder.flush()
    assert_account(db_path, ended=3, unstorable=1)
    assert "cannot hold" in caplog.text


def test_a_row_that_no_code_of_the_store_can_handle_does_not_hold_up_the_others_for_ever(recorder, door, db_path):
    for row in (span_row("a"), span_row("b")._replace(duration_nano=None), span_row("c")):
        recorder.record(door, row)
    try:
        recorder.flush()
    finally:
        recorder.record(door, span_row("d"))
        assert wait_until(lambda: names_in(db_path) == ["a", "c", "d"], 2)


def test_what_a_flush_that_failed_leaves_behind_is_written_though_the_writer_had_seen_nothing_to_do(
    recorder, door, monkeypatch
):
    failures, write = [StoreError("no")], recorder._writer.write

    def failing_once(batch, **options):
        if failures:
            raise failures.pop()
        return write(batch, **options)

    monkeypatch.setattr(recorder._writer, "write", failing_once)

    def slow():
        time.sleep(0.5)  # in the hands of who flushes, when the writer looks
        return span_row("op")

    recorder.record(door, slow)
    assert not recorder.flush()
    assert wait_until(lambda: not recorder.queued_count)


# --- re-entrance


def test_a_log_handler_may_record_while_its_own_thread_is_writing(recorder, door, db_path):
    class Recording(logging.Handler):
        def emit(self, record):
            recorder.record(door, span_row("logged"))
            assert recorder.flush() is False

    logger, handler = logging.getLogger("otel_perfmon"), Recording()
    logger.addHandler(handler)
    try:
        recorder.record(door, broken)
        recorder.record(door, span_row("a"))
        assert recorder.flush()
        assert recorder.flush()
    finally:
        logger.removeHandler(handler)
    assert names_in(db_path) == ["a", "logged"]
    assert_account(db_path, ended=3, unreadable=1)


def test_a_payload_may_record_while_it_is_encoded_even_with_a_full_queue(recorder, door, db_path, small_queue):
    def recording():
        assert recorder.record(door, span_row("inner"))
        return span_row("outer")

    for _ in range(300):
        recorder.record(door, recording)
    while recorder.queued_count:
        assert recorder.flush()
    assert ask(db_path, "SELECT name, count(*) FROM spans GROUP BY 1") == [("inner", 300), ("outer", 300)]


def test_a_signal_handler_may_record_at_any_moment(recorder, door, db_path):
    recorded = []
    before = signal.signal(signal.SIGALRM, lambda *_: recorded.append(recorder.record(door, span_row("signal"))))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        deadline = time.monotonic() + 1
        own = 0
        while time.monotonic() < deadline:
            own += recorder.record(door, span_row("own"))
            if own % 100 == 0:
                recorder.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert recorder.flush()
    counts = dict(ask(db_path, "SELECT name, count(*) FROM spans GROUP BY 1"))
    assert counts == {"own": own, "signal": len(recorded)}
    assert len(recorded) > 100


def test_logging_that_fails_costs_no_span_and_never_reaches_the_program(recorder, door, db_path):
    class Failing(logging.Filter):
        def filter(self, record):
            raise RuntimeError("logging is broken")

    logger, failing = logging.getLogger("otel_perfmon"), Failing()
    logger.addFilter(failing)
    try:
        for payload in (span_row("a"), broken, span_row("b")):
            recorder.record(door, payload)
        recorder.lose("invalid", 1, "it is not valid")
        recorder.flush()
        assert wait_until(lambda: os.path.exists(db_path) and names_in(db_path) == ["a", "b"], 2)
        recorder.record(door, span_row("c"))
        assert wait_until(lambda: names_in(db_path) == ["a", "b", "c"], 2)
    finally:
        logger.removeFilter(failing)


def test_storing_a_span_makes_no_spans(recorder, db_path):
    from opentelemetry import context  # noqa: PLC0415

    seen = []

    class Looking:
        def encode(self, payload, slow_threshold_nano):
            seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
            return payload

    recorder.record(Looking(), span_row())
    assert recorder.flush()
    recorder.record(Looking(), span_row())
    assert wait_until(lambda: len(seen) == 2)
    assert seen == [True, True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


# --- losses, points, deleting


def test_what_a_door_could_not_hand_over_is_counted_without_any_span(recorder, db_path):
    recorder.lose("invalid", 3, "they were not valid")
    assert wait_until(lambda: os.path.exists(db_path) and ask_one(db_path, "SELECT count(*) FROM sqlite_master") > 0)
    assert wait_until(lambda: ask_one(db_path, "SELECT sum(ended) FROM _health") == 3)
    assert_account(db_path, ended=3, invalid=3)


def test_points_are_in_the_file_when_the_call_returns_or_it_raises(recorder, db_path):
    recorder.write_points([point_row(), point_row("other")])
    assert ask_one(db_path, "SELECT count(*) FROM points") == 2
    with held_by_another_process(db_path), pytest.raises(StoreBusyError):
        recorder.write_points([point_row()])


def test_deleting_counts_what_waits_in_the_queue_too(recorder, door, db_path):
    recorder.record(door, span_row(end=NOW))
    recorder.record(door, span_row(end=NOW + 1))
    assert recorder.delete_spans_before(NOW + 1) == 1
    assert ask_one(db_path, COUNT) == 1


@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.long)])
def test_the_file_is_never_a_tenth_over_its_limit_while_several_times_as_much_comes_in(db_path, door, times):
    limit = 64 << 20
    count = times * limit // 20_000
    recorder = recorder_for(db_path, lambda path: SqliteWriter(path, RetentionPolicy(size_max_bytes=limit)))
    text = '{"x":"' + "y" * 20_000 + '"}'
    peak = 0
    try:
        for i in range(count):
            assert recorder.record(door, span_row(f"op{i % 5}", attributes=text))
            if i % 100 == 0 and os.path.exists(db_path + "-wal"):
                peak = max(peak, os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size)
            while recorder.queued_count > 4000:
                time.sleep(0.001)
        assert recorder.flush(60)
        assert os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size <= limit
    finally:
        release_recorder(recorder)
    assert limit / 2 < peak <= limit * 1.1
    assert os.stat(db_path).st_size <= limit
    assert ask_one(db_path, "SELECT sum(stored) - sum(pruned) FROM _health") == ask_one(db_path, COUNT)
    assert ask_one(db_path, "SELECT sum(count) FROM operations") == count


# --- the end


def test_finish_writes_what_there_is_and_closes_the_file(recorder, door, db_path):
    before = set(threading.enumerate())  # those of other recorders, whose programs have not ended yet
    for i in range(100):
        recorder.record(door, span_row(f"op{i}"))
    recorder.finish()
    assert len(names_in(db_path)) == 100
    assert not os.path.exists(db_path + "-wal")
    assert not any(thread.name == "otel-perfmon-writer" for thread in set(threading.enumerate()) - before)


def test_what_is_recorded_after_the_end_is_written_at_once_on_the_same_thread(recorder, door, db_path):
    recorder.finish()
    recorder.record(door, span_row("late"))
    assert names_in(db_path) == ["late"]
    recorder.record(door, broken)
    recorder.record(door, span_row("later"))
    assert_account(db_path, ended=3, unreadable=1)


def test_finish_beside_a_held_lock_ends_in_bounded_time(recorder, door, db_path, caplog):
    recorder.record(door, span_row("a"))
    recorder.flush()
    with held_by_another_process(db_path):
        recorder.record(door, span_row("b"))
        start = time.monotonic()
        recorder.finish()
        assert time.monotonic() - start < 8
    assert "1 spans were not kept" in caplog.text
    assert recorder._writer._connection is None, "closed all the same"


def test_finish_twice_is_finish_once(recorder, door, db_path):
    recorder.record(door, span_row())
    recorder.finish()
    recorder.finish()
    assert ask_one(db_path, COUNT) == 1


def test_a_program_that_just_ends_has_all_its_spans_in_the_file(run_python, db_path):
    run_python(
        f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from storage_kit import RowDoor, span_row
        from otel_perfmon.storage.registry import recorder_for
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        recorder = recorder_for({db_path!r}, SqliteWriter)
        door = RowDoor()
        for i in range(5000):
            recorder.record(door, span_row())
        """
    )
    assert_account(db_path, ended=5000)


def test_making_a_recorder_touches_no_disk(recorder, db_path):
    assert not os.listdir(os.path.dirname(db_path))
    assert recorder.flush()
    assert not os.listdir(os.path.dirname(db_path))
    assert resource_row() is resource_row()
