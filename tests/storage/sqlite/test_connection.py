from __future__ import annotations

import os
import signal
import sqlite3
import stat
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from storage_kit import ask, ask_one, child_process, names_in, span_row, write

from otel_perfmon.errors import SchemaError, StoreBusyError, StoreCorruptError, StoreError, StoreFullError
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.connection import (
    check_ours,
    check_readable,
    is_row_error,
    open_reader,
    open_writer,
    translated,
)
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

pytestmark = pytest.mark.usefixtures("by_migrations")


@pytest.fixture
def made(db_path):
    open_writer(db_path).close()
    return db_path


def try_to_write(path):
    with closing(SqliteWriter(path)) as writer:
        write(writer, span_row())


def check(path):
    with translated(path):
        check_ours(path)


def try_to_read(path):
    with closing(SqliteReader(path)) as reader:
        reader.list_services()


# --- a new file


def test_a_new_file_is_for_its_owner_only_whatever_the_umask(db_path):
    before = os.umask(0)
    try:
        with closing(SqliteWriter(db_path)) as writer:
            write(writer, span_row())
            for ending in ("", "-wal", "-shm", ".lock"):
                assert stat.S_IMODE(os.stat(db_path + ending).st_mode) == 0o600, ending
    finally:
        os.umask(before)


def test_a_new_file_has_the_settings_that_last(made):
    assert ask_one(made, "PRAGMA auto_vacuum") == 2
    assert ask_one(made, "PRAGMA journal_mode") == "wal"
    assert ask_one(made, "PRAGMA application_id") == connections.APPLICATION_ID == 0x50464D4E
    assert ask_one(made, "PRAGMA user_version") == connections.SCHEMA_VERSION
    assert ask_one(made, "PRAGMA integrity_check") == "ok"


def test_a_connection_that_writes_has_the_settings_that_do_not_last(made):
    for _ in range(2):
        with closing(open_writer(made)) as connection:
            settings = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "wal_autocheckpoint", "trusted_schema", "busy_timeout", "cell_size_check")
            }
            assert settings == {
                "synchronous": 1,
                "wal_autocheckpoint": 0,
                "trusted_schema": 0,
                "busy_timeout": connections.BUSY_TIMEOUT_MS,
                "cell_size_check": 1,
            }


def test_a_connection_that_reads_can_not_write_and_trusts_no_schema(made):
    with closing(open_reader(made)) as connection:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("CREATE TABLE x (a)")


def test_every_table_of_ours_is_strict_and_begins_with_an_underscore(made):
    tables = ask(made, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    assert len(tables) > 10
    assert all(name.startswith("_") and strict for name, strict in tables)


def test_a_file_of_no_length_is_taken(db_path):
    open(db_path, "w").close()
    try_to_write(db_path)
    assert names_in(db_path) == ["op"]
    assert ask_one(db_path, "PRAGMA auto_vacuum") == 2


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_an_emptied_database_in_utf_16_is_refused_and_left_as_it_is(db_path, encoding):
    """Its encoding stays for good, and in it SQLite changes bytes that are put together as text."""
    with closing(sqlite3.connect(db_path)) as connection:
        connection.executescript(f"PRAGMA encoding = '{encoding}'; CREATE TABLE x (a); DROP TABLE x;")
    before = Path(db_path).read_bytes()
    with pytest.raises(SchemaError, match=f"an emptied SQLite database in {encoding}"):
        connections.open_writer(db_path)
    assert Path(db_path).read_bytes() == before


def test_a_database_without_any_table_is_taken_and_gives_its_space_back_as_any_other(db_path):
    with closing(sqlite3.connect(db_path)) as connection:
        connection.executescript("CREATE TABLE x (a); DROP TABLE x;")
    try_to_write(db_path)
    assert names_in(db_path) == ["op"]
    assert ask_one(db_path, "PRAGMA auto_vacuum") == 2


@pytest.mark.parametrize(
    "name", ["a b.db", "ü.db", "50%.db", "what?.db", "a#b.db", "file:x.db", "'.db", "a&mode=ro.db"]
)
def test_any_name_of_a_file_is_taken_as_it_is(tmp_path, name):
    path = str(tmp_path / name)
    try_to_write(path)
    try_to_read(path)
    assert set(os.listdir(tmp_path)) <= {name, name + ".lock", name + "-wal", name + "-shm"}
    assert os.path.getsize(path) > 0


def test_opening_a_store_again_changes_no_byte_of_its_schema(made):
    before = ask(made, "SELECT * FROM sqlite_master")
    for _ in range(3):
        open_writer(made).close()
    assert ask(made, "SELECT * FROM sqlite_master") == before


# --- files that are not ours


def text_file(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("shopping list\n" * 1000)


def text_file_of_one_letter(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")


def short_text_file(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("shopping list")


def foreign_database(path, mode="delete"):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA journal_mode = {mode}; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)"
        )


def foreign_database_in_wal_mode(path):
    foreign_database(path, "wal")


def foreign_application_id(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA application_id = 12345; VACUUM")


def foreign_user_version(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA user_version = 7; VACUUM")


def newer_schema(path):
    open_writer(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {connections.SCHEMA_VERSION + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def looks_like_sqlite(path):
    with open(path, "wb") as file:
        file.write(b"SQLite format 3\0" + bytes(range(256)) * 40)


NOT_OURS = [
    text_file,
    text_file_of_one_letter,
    short_text_file,
    foreign_database,
    foreign_database_in_wal_mode,
    foreign_application_id,
    foreign_user_version,
    newer_schema,
    looks_like_sqlite,
]


def folder_of(path):
    """Names and hashes, taken by another process: in ours, closing the file would drop SQLite's locks."""
    program = """
        import hashlib, os, sys
        folder = os.path.dirname(sys.argv[1])
        print({n: hashlib.sha256(open(os.path.join(folder, n), "rb").read()).hexdigest() for n in os.listdir(folder)})
    """
    with child_process(program, path) as child:
        return eval(child.stdout.read())


@pytest.mark.parametrize("attempt", [try_to_write, try_to_read, check])
@pytest.mark.parametrize("make", NOT_OURS)
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(db_path, make, attempt):
    make(db_path)
    before = folder_of(db_path)
    with pytest.raises(StoreError) as caught:
        attempt(db_path)
    assert isinstance(caught.value, SchemaError) or make is looks_like_sqlite
    assert db_path in str(caught.value)
    after = folder_of(db_path)
    assert after["metrics.db"] == before["metrics.db"]
    if make not in (foreign_database_in_wal_mode, newer_schema):  # SQLite reads those with a -wal and -shm beside them
        assert after == before


def test_a_newer_file_is_told_apart_from_a_foreign_one(db_path):
    newer_schema(db_path)
    with pytest.raises(SchemaError, match="written by a newer otel-perfmon"):
        open_reader(db_path)
    os.unlink(db_path)
    foreign_database(db_path)
    with pytest.raises(SchemaError, match="of another program"):
        open_reader(db_path)


def test_a_directory_is_refused_for_writing_and_reading(tmp_path):
    for attempt in (try_to_write, try_to_read):
        with pytest.raises(StoreError, match="is a directory"):
            attempt(str(tmp_path))


def test_a_missing_file_can_not_be_read_and_is_not_made(db_path):
    with pytest.raises(StoreError, match="There is no store"):
        check_readable(db_path)
    assert os.listdir(os.path.dirname(db_path)) == []


# --- others at the same time


def test_processes_that_create_one_file_at_once_all_write_into_it(db_path):
    program = """
        import sys
        from storage_kit import span_row, write
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        writer = SqliteWriter(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        for i in range(10):
            write(writer, span_row(f"op{i}"), timeout=10)
        writer.close()
    """
    with ExitStack() as stack:
        children = [stack.enter_context(child_process(program, db_path)) for _ in range(4)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    assert len(names_in(db_path)) == 40
    assert ask_one(db_path, "SELECT sum(ended) FROM _health") == 40
    assert ask_one(db_path, "PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("statement", [0, 1, 2, 3, 6, 10, 20, 30, 40])
def test_a_process_killed_while_it_makes_the_file_leaves_one_that_the_next_can_use(db_path, statement):
    program = """
        import os, signal, sqlite3, sys
        from otel_perfmon.storage.sqlite.connection import open_writer
        left = int(sys.argv[2])
        def count(statement):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        class Traced(sqlite3.Connection):
            def __init__(self, *arguments, **more):
                super().__init__(*arguments, **more)
                self.set_trace_callback(count)
        sys.modules["sqlite3"].Connection = Traced
        from otel_perfmon.storage.sqlite import connection
        if hasattr(connection, "SteppedConnection"):
            step = connection.SteppedConnection
            original = step.__init__
            def init(self, *arguments, **more):
                original(self, *arguments, **more)
                self.set_trace_callback(count)
            step.__init__ = init
        open_writer(sys.argv[1])
    """
    with child_process(program, db_path, str(statement)) as child:
        assert child.wait(20) == -signal.SIGKILL
    assert os.path.exists(db_path)
    try_to_write(db_path)
    assert names_in(db_path) == ["op"]
    assert ask_one(db_path, "PRAGMA auto_vacuum") == 2
    assert ask_one(db_path, "PRAGMA journal_mode") == "wal"


def test_opening_and_refusing_files_beside_a_write_transaction_leaves_its_locks_alone(made):
    """Closing any descriptor of a file drops the locks of its process: sqlite.org/howtocorrupt.html, 2.2."""
    program = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            print(error)
    """
    with closing(open_writer(made)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        check(made)
        try_to_read(made)
        open_writer(made).close()
        with child_process(program, made) as child:
            assert child.stdout.read() == "database is locked\n"
        connection.execute("ROLLBACK")


# --- what SQLite and the system say


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database is locked"), StoreBusyError),
        (sqlite3.OperationalError("database or disk is full"), StoreFullError),
        (sqlite3.DatabaseError("database disk image is malformed"), StoreCorruptError),
        (sqlite3.DatabaseError("file is not a database"), connections.NotADatabaseError),
        (sqlite3.OperationalError("disk I/O error"), StoreError),
        (OSError(28, "No space left on device"), StoreFullError),
        (PermissionError(13, "Permission denied"), StoreError),
        (StoreBusyError("as it was"), StoreBusyError),
    ],
)
def test_what_sqlite_and_the_system_raise_becomes_an_error_of_ours(error, kind):
    with pytest.raises(StoreError) as caught, translated("/some/metrics.db"):
        raise error
    assert type(caught.value) is kind
    assert kind is StoreBusyError or "/some/metrics.db" in str(caught.value)


def test_an_error_that_is_no_trouble_of_the_stores_passes():
    with pytest.raises(KeyError), translated("x"):
        raise KeyError


@pytest.mark.parametrize("value", [2**63, "\ud800", object(), [1], {1: 2}, 1.5, None])
def test_an_error_that_a_value_makes_is_told_from_one_of_the_disk(value):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE x (a INTEGER NOT NULL) STRICT")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of whatever kind
            connection.execute("INSERT INTO x VALUES (?)", (value,))
    assert is_row_error(caught.value)
    assert not is_row_error(sqlite3.OperationalError("disk I/O error"))
    assert not is_row_error(sqlite3.ProgrammingError("Cannot operate on a closed database."))


def test_a_damaged_file_is_a_store_error_to_who_asks_and_moved_aside_by_who_records(db_path):
    try_to_write(db_path)
    size = os.stat(db_path).st_size
    program = """
        import sys
        with open(sys.argv[1], "r+b") as file:
            for offset in range(4096, int(sys.argv[2]), 512):
                file.seek(offset)
                file.write(bytes(range(128)))
    """
    with child_process(program, db_path, str(size)) as child:
        assert child.wait(10) == 0
    with pytest.raises(StoreCorruptError, match="The next process that records moves it aside"):
        try_to_read(db_path)
    try_to_write(db_path)
    assert names_in(db_path) == ["op"]
    assert [name for name in os.listdir(os.path.dirname(db_path)) if ".db.corrupt-2" in name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once_and_not_waited_for(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    with pytest.raises(StoreError, match="no regular file"):
        connections.open_reader(path)
    with pytest.raises(StoreError, match="no regular file"):
        connections.check_ours(path)
