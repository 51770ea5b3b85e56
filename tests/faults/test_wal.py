"""The write-ahead log: no checkpoint but TRUNCATE, and that only by the holder of our lock file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from otel_perfmon import MetricsStorage
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import writer as writers

fcntl = pytest.importorskip("fcntl")


def is_held(path: str) -> bool:
    """Whether the lock file is locked, seen from a descriptor of our own."""
    descriptor = os.open(path + ".lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@pytest.fixture
def statements(monkeypatch, db_path):
    """Every statement that any connection of ours runs, and whether our lock was held then."""
    seen: list[tuple[str, bool]] = []

    class Watched(connections.SteppedConnection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.set_trace_callback(self._note)

        def _note(self, statement):
            seen.append((statement, is_held(db_path) if os.path.exists(db_path + ".lock") else False))

        def close(self):
            self.set_trace_callback(None)
            super().close()

    monkeypatch.setattr(connections, "SteppedConnection", Watched)
    monkeypatch.setattr(writers, "WAL_MAX_BYTES", 100_000)
    with MetricsStorage(db_path) as storage:
        for _ in range(20):
            for _ in range(100):
                storage.insert_metric("work", 1.0)
            storage.recorder.flush()
            storage.get_stats("work")
        storage.cleanup(0)
        with storage.recorder.turn.held(1):
            while storage.recorder._writer.maintain():
                pass
    return seen


def test_the_only_checkpoint_ever_asked_for_is_truncate_under_our_lock(statements):
    checkpoints = [each for each in statements if "checkpoint" in each[0] and "autocheckpoint" not in each[0]]
    assert len(checkpoints) > 2
    assert {statement for statement, _ in checkpoints} == {"PRAGMA wal_checkpoint(TRUNCATE)"}
    assert all(was_held for _, was_held in checkpoints)


def test_every_write_transaction_is_immediate_and_holds_our_lock(statements):
    begins = [each for each in statements if each[0].startswith("BEGIN IMMEDIATE")]
    commits = [each for each in statements if each[0].startswith("COMMIT")]
    assert len(begins) >= 20
    assert all(was_held for _, was_held in begins + commits)


def test_no_connection_that_writes_checkpoints_by_itself(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        connection = storage.recorder._writer._connection
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1


def test_no_connection_that_reads_can_write_or_checkpoint(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        with closing(connections.open_reader(db_path)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("DELETE FROM _spans")
            log_bytes = os.stat(db_path + "-wal").st_size
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert os.stat(db_path + "-wal").st_size == log_bytes > 0


def test_a_lock_file_that_was_deleted_excludes_newcomers_again_with_the_next_write(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        os.unlink(db_path + ".lock")
        writer = storage.recorder._writer
        storage.insert_metric("work", 1.0)
        assert storage.recorder.flush()
        with writer._lock.held(1):
            assert is_held(db_path)


def test_the_suppressed_instrumentation_of_sqlite3_sees_nothing_of_the_store(tmp_path):
    pytest.importorskip("opentelemetry.instrumentation.sqlite3")
    program = """
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from otel_perfmon import configure
SQLite3Instrumentor().instrument()
monitor = configure("metrics.db")
with monitor.monitor("work"):
    pass
assert [each.operation for each in monitor.storage.get_stats()] == ["work"]
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
