"""A disk in trouble is a failure of the export, never an exception."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

import pytest
from exporter_kit import FAILURE, SUCCESS, count_of, ended, rows_of

from otel_perfmon import SQLiteSpanExporter
from otel_perfmon.storage.sqlite.file_lock import FileLock


def test_disk_trouble_is_a_failure_and_no_exception_and_what_was_queued_is_stored_later(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.write_text("a file where a folder should be")
    path = str(folder / "metrics.db")
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([ended("first")]) is FAILURE
    assert exporter.export([ended("second")]) is FAILURE
    assert exporter.force_flush(100) is False
    folder.unlink()
    folder.mkdir()
    assert exporter.export([ended("third")]) is SUCCESS
    assert exporter.force_flush(100) is True
    exporter.shutdown()
    assert sorted(row["operation"] for row in rows_of(path)) == ["first", "second", "third"]


@pytest.mark.parametrize(
    "content", [b"just some text\n", b"SQLite format 3\0" + b"\xff" * 4000], ids=["text", "damaged"]
)
def test_a_file_that_is_no_store_is_a_failure_and_stays_byte_for_byte(tmp_path, span, content):
    path = tmp_path / "metrics.db"
    path.write_bytes(content)
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([span]) is FAILURE
    exporter.shutdown()
    assert path.read_bytes() == content


def test_a_store_deleted_under_the_exporter_is_made_anew(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    for name in (db_path, db_path + "-wal", db_path + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    assert exporter.export([span]) is SUCCESS
    assert count_of(db_path) == 1


def test_a_flush_while_another_process_holds_the_write_lock_is_false_and_in_time(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    lock = FileLock(db_path + ".lock")
    with lock.held(1):
        exporter._door.take(span)
        began = time.monotonic()
        assert exporter.force_flush(100) is False
        assert time.monotonic() - began < 0.6
    lock.close()
    assert exporter.force_flush(5000) is True
    assert count_of(db_path) == 2


def test_a_flush_while_another_program_writes_into_the_file_is_false_and_in_time(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        exporter._door.take(span)
        began = time.monotonic()
        assert exporter.force_flush(100) is False
        assert time.monotonic() - began < 0.6
        other.execute("ROLLBACK")
    assert exporter.force_flush(5000) is True
    assert count_of(db_path) == 2
