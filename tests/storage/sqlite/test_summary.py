from __future__ import annotations

import os
import sqlite3

from storage_kit import NOW, NOW_S, SECOND, RowDoor, ask_one, point_row, span_row, write

from otel_perfmon import MetricsStorage, PerformanceMonitor
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.cells import KEEP_SECONDS
from otel_perfmon.storage.sqlite.schema import SCHEMA_VERSION
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR = 3_600


def test_a_store_says_what_it_is_and_holds(writer, store, db_path):
    rows = [span_row(f"op {i % 3}", service=("shop", "stock")[i % 2], end=NOW + i * SECOND) for i in range(12)]
    write(writer, *rows, span_row(error="no", end=NOW - SECOND), points=[point_row()])
    found = store.summarize_store()
    assert (found.span_count, found.operation_count, found.service_count) == (13, 7, 2)
    assert (found.error_group_count, found.point_count) == (1, 1)
    assert (found.first_end, found.last_end) == (NOW_S - 1, NOW_S + 11)
    assert (found.path, found.schema_version, found.sqlite_version) == (db_path, SCHEMA_VERSION, sqlite3.sqlite_version)
    assert found.file_bytes == os.stat(db_path).st_size
    assert found.wal_bytes == os.stat(db_path + "-wal").st_size
    assert found.rollup_keep_seconds == KEEP_SECONDS


def test_a_store_without_spans_has_no_first_and_last(writer, store):
    write(writer)
    found = store.summarize_store()
    assert (found.span_count, found.first_end, found.last_end) == (0, None, None)


def test_a_store_says_how_long_its_recorder_keeps_what(db_path, store):
    writer = SqliteWriter(db_path, RetentionPolicy(1.5, 20.0, 2**30))
    write(writer, span_row())
    told = store.summarize_store()
    assert (told.retention_seconds, told.keep_seconds, told.size_max_bytes) == (1.5, 20.0, 2**30)
    writer.set_retention(RetentionPolicy(float("1e30"), float("1e30"), 2**62))
    write(writer, span_row())
    assert store.summarize_store().size_max_bytes == 2**62
    writer.close()


def test_pruning_goes_by_what_the_file_says_unless_it_is_told_otherwise(db_path, store, clock):
    writer = SqliteWriter(db_path, RetentionPolicy(retention_seconds=2 * HOUR, keep_seconds=9 * HOUR))
    write(writer, *[span_row("old") for _ in range(5)], span_row("slow", slow=True))
    clock.now += HOUR
    write(writer, span_row("new"))
    writer.close()
    clock.now += HOUR + 60
    assert store.prune() == 5
    assert {span.name for span in store.find_spans()} == {"slow", "new"}
    assert store.prune() == 0
    assert store.prune(RetentionPolicy(retention_seconds=1, keep_seconds=9 * HOUR)) == 1
    assert store.prune(RetentionPolicy(retention_seconds=1, keep_seconds=1)) == 1
    assert store.summarize_store().span_count == 0
    assert store.summarize_store().retention_seconds == 2 * HOUR
    assert ask_one(db_path, "SELECT sum(count) FROM operations") == 7


def test_pruning_in_the_process_that_records_goes_through_its_recorder(recorder, store, clock):
    door = RowDoor()
    for _ in range(3):
        recorder.record(door, span_row())
    recorder.flush()
    clock.now += 10 * 86_400
    recorder.record(door, span_row("queued"))
    assert store.prune() == 3
    assert [span.name for span in store.find_spans()] == ["queued"]


def test_the_slow_threshold_is_that_of_who_wrote_last(db_path):
    with MetricsStorage(db_path) as storage:
        monitor = PerformanceMonitor(storage=storage, slow_threshold_ms=250)
        with monitor.monitor("op"):
            pass
        assert storage.store.summarize_store().slow_threshold_ms == 250.0
        monitor.slow_threshold_ms = 1.5
        with monitor.monitor("op"):
            pass
        assert storage.store.summarize_store().slow_threshold_ms == 1.5
        monitor.shutdown()


def test_where_nobody_has_said_from_when_on_spans_are_slow_there_is_no_threshold(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("op", 1.0)
        assert storage.store.summarize_store().slow_threshold_ms is None
