from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from storage_kit import NOW, ask_one, edge_row, names_in, span_row, write

from otel_perfmon.errors import SchemaError, StoreBusyError, StoreCorruptError, StoreError
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import soundness
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.schema import SCHEMA_VERSION
from otel_perfmon.storage.sqlite.seal import (
    Seal,
    is_sealed,
    read_seal,
    state_of,
)
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def moved_aside(path: str) -> list[str]:
    name = re.escape(os.path.basename(path)) + r"\.corrupt-\d{8}T\d{6}Z(-\d+)?"
    return [each for each in os.listdir(os.path.dirname(path)) if re.fullmatch(name, each)]


def change_bytes(path: str, offset: int, size: int, count: int = 1) -> None:
    """By another process: in ours, closing the file would drop SQLite's locks."""
    program = """
import os, sys
path, offset, size, count = sys.argv[1], *map(int, sys.argv[2:])
with open(path, "r+b") as file:
    for number in range(count):
        file.seek(offset + number * 1024)
        file.write(bytes(range(1, size + 1)))
"""
    command = [sys.executable, "-c", program, path, *map(str, (offset, size, count))]
    subprocess.run(command, check=True)


def spoil(path: str) -> None:
    change_bytes(path, 4096, 200, (os.stat(path).st_size - 4096) // 1024)


@pytest.fixture
def whole(db_path):
    """A file that was closed."""
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, *[span_row(f"op {number}") for number in range(50)], edges=[edge_row()])
    return db_path


def test_who_records_moves_a_damaged_file_aside_with_one_warning_and_keeps_what_was_to_be_written(whole, caplog):
    spoil(whole)
    with caplog.at_level(logging.WARNING), closing(SqliteWriter(whole)) as writer:
        assert write(writer, span_row("after")) == 0
        write(writer, span_row("after"))
    assert names_in(whole) == ["after", "after"]
    [moved] = moved_aside(whole)
    assert ask_one(whole, "PRAGMA integrity_check") == "ok"
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert moved in warnings[0]
    assert "recording goes on in a new file" in warnings[0]
    assert oct(os.stat(whole).st_mode & 0o777) == "0o600"


def test_who_asks_gets_a_sentence_and_moves_nothing(whole, store):
    assert len(store.find_spans()) == 50
    spoil(whole)
    for ask in (store.find_spans, store.summarize_operations, store.get_health, store.list_services):
        with pytest.raises(StoreCorruptError, match="moves it aside and begins a new one"):
            ask()
    assert moved_aside(whole) == []


def test_a_writer_that_has_the_file_open_meets_the_damage_with_its_next_batch(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, *[span_row(f"op {number}") for number in range(200)])
        with writer._held():
            writer._checkpoint()
        spoil(db_path)
        write(writer, span_row("after"))
        assert names_in(db_path) == ["after"]
    assert len(moved_aside(db_path)) == 1


def test_a_log_goes_with_its_file(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, *[span_row(f"op {number}") for number in range(200)])
        with writer._held():
            writer._checkpoint()
        write(writer, span_row("in the log"))
        spoil(db_path)
        write(writer, span_row("after"))
    [moved] = moved_aside(db_path)
    assert os.path.exists(os.path.join(os.path.dirname(db_path), moved + "-wal"))
    assert names_in(db_path) == ["after"]


def test_two_files_that_are_moved_aside_in_one_second_have_names_of_their_own(whole):
    for number in (1, 2, 3):
        spoil(whole)
        with closing(SqliteWriter(whole)) as writer:
            write(writer, *[span_row() for _ in range(50)])
        assert len(moved_aside(whole)) == number


def test_a_header_that_is_gone_is_damage_where_the_file_was_ours(whole, store):
    change_bytes(whole, 0, 100)
    with pytest.raises(StoreCorruptError, match="its header is gone"):
        store.find_spans()
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row("after"))
    assert names_in(whole) == ["after"]
    assert len(moved_aside(whole)) == 1


def test_a_text_that_was_written_over_the_store_is_somebodys_and_left_as_it_is(whole):
    text = b"This is a letter to my aunt.\n" * 500
    Path(whole).write_bytes(text)
    with closing(SqliteWriter(whole)) as writer, pytest.raises(SchemaError, match="not an SQLite database"):
        write(writer, span_row())
    assert Path(whole).read_bytes() == text
    assert moved_aside(whole) == []


def test_a_definition_that_changed_is_damage(whole, store):
    data = Path(whole).read_bytes()
    Path(whole).write_bytes(
        data.replace(b"CREATE VIEW calls AS\nSELECT caller.name", b"CREATE VIEW calls AS\nSELECT callee.name")
    )
    with pytest.raises(StoreCorruptError, match="its tables are not as they were made"):
        store.summarize_calls()
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row("after"))
    assert names_in(whole) == ["after"]


def test_names_that_are_no_text_any_more_are_damage_and_no_other_error(whole, store):
    data = Path(whole).read_bytes()
    Path(whole).write_bytes(data.replace(b"stored INTEGER NOT NULL", b"stored \xffNTEGER NOT NULL"))
    with pytest.raises(StoreCorruptError):
        store.get_health()
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row("after"))
    assert names_in(whole) == ["after"]


def test_who_helps_to_write_leaves_going_through_the_file_to_the_writer(whole):
    spoil(whole)
    with closing(SqliteWriter(whole)) as writer, pytest.raises(StoreError):
        write(writer, span_row(), timeout=0.02)
    assert moved_aside(whole) == []


def test_a_check_that_takes_too_long_says_so_and_seals_nothing(whole, store, monkeypatch, caplog):
    with closing(SqliteWriter(whole)) as writer:
        write(writer, *[span_row(end=NOW + number) for number in range(3_000)])
    with closing(sqlite3.connect(whole)) as connection, connection:
        connection.execute("CREATE TABLE mine (a)")
    monkeypatch.setattr(connections, "_READERS_CHECK_SECONDS_MAX", -1)
    monkeypatch.setattr(soundness, "_CHECK_SECONDS_MAX", -1)
    assert len(store.find_spans()) == 100
    assert not is_sealed(read_seal(whole), state_of(whole))
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row("after"))
    assert "too large to be gone through" in caplog.text
    assert moved_aside(whole) == []


def test_a_file_of_a_newer_version_with_other_tables_is_never_moved_aside(whole, store):
    """One that the newer version has sealed, too."""
    with closing(sqlite3.connect(whole)) as connection:
        connection.executescript(f"ALTER TABLE _facts RENAME TO _notes; PRAGMA user_version = {SCHEMA_VERSION + 1};")
    for is_ours in (False, True):
        if is_ours:
            lock = FileLock(whole + ".lock")
            with lock.held(1):
                Seal(whole, lock).set()
            lock.close()
        with closing(SqliteWriter(whole)) as writer, pytest.raises(SchemaError, match="newer otel-perfmon"):
            write(writer, span_row())
        with pytest.raises(SchemaError, match="newer otel-perfmon"):
            store.find_spans()
    assert moved_aside(whole) == []


def test_a_file_that_is_only_locked_is_never_moved_aside(whole):
    with closing(sqlite3.connect(whole, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (a)")  # so that it has to be gone through
        other.execute("BEGIN EXCLUSIVE")
        with closing(SqliteWriter(whole)) as writer, pytest.raises(StoreBusyError):
            write(writer, span_row(), timeout=0.6)
        other.execute("ROLLBACK")
    assert moved_aside(whole) == []
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row("after"))
    assert len(names_in(whole)) == 51
