"""The log and its index: which are in force, and who is waited for when others are there."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from storage_kit import ask_one, batch, span_row

from otel_perfmon.query import SpanQuery
from otel_perfmon.storage import process
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def write(writer: SqliteWriter) -> None:
    writer.write(batch(span_row("op")), timeout_seconds=1)


def somewhere_else() -> str:
    """A holder of the log in another container: nobody can tell from here whether it still runs."""
    own = process.current()
    return f"7|{own.started}|{own.boot_id}|another|0"


def test_a_holder_that_is_none_is_nobody_to_wait_for(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer)
        note = writer._companions._read()
        writer._companions._write(note._replace(holders=("word", "1", "|", "7||", "x|a|b|c|d")))
    with closing(SqliteWriter(db_path)) as writer:
        write(writer)
    assert ask_one(db_path, "SELECT count(*) FROM spans") == 2


def test_who_closed_the_file_last_leaves_nobody_to_wait_for(db_path):
    writer = SqliteWriter(db_path)
    write(writer)
    companions = writer._companions
    note = companions._read()
    companions._write(note._replace(holders=(*note.holders, somewhere_else())))
    writer.close()
    for number in range(8):  # the next log is another file, by its number too
        Path(f"other {number}").touch()
    with closing(SqliteReader(db_path)) as reader:
        assert len(reader.find_spans(SpanQuery())) == 1  # with a log of its own making
        assert os.path.exists(db_path + "-wal")
        began = time.monotonic()
        write(writer)
        assert time.monotonic() - began < 5
    writer.close()
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 2


def test_a_log_that_is_gone_is_carried_over_by_who_has_it_open(db_path):
    writer = SqliteWriter(db_path)
    write(writer)
    os.unlink(db_path + "-wal")
    write(writer)
    assert writer._companions.are_there()
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 2
    writer.close()


def test_a_file_that_another_program_has_taken_its_log_from_for_good_is_written_without_one(db_path):
    writer = SqliteWriter(db_path)
    write(writer)
    writer.close()
    with closing(sqlite3.connect(db_path)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    for count in (2, 3):
        write(writer)
        assert ask_one(db_path, "SELECT count(*) FROM _spans") == count
    writer.close()
