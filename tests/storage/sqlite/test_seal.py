"""The seal tells what nobody but us has changed, and who else is to be suspected of a change."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import storage_kit
from storage_kit import ask_one, edge_row, span_row, write

from otel_perfmon import SpanQuery, open_store
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import damage
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.seal import (
    Seal,
    alteration_of,
    altered_unix_s,
    is_sealed,
    read_seal,
    state_of,
    was_ours,
)
from otel_perfmon.storage.sqlite.writer import SqliteWriter


@pytest.fixture
def whole(db_path):
    """A file that was closed."""
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, *[span_row(f"op {number}") for number in range(50)], edges=[edge_row()])
    return db_path


def test_a_file_that_was_closed_is_as_its_seal_says(whole):
    assert is_sealed(read_seal(whole), state_of(whole))
    assert was_ours(whole)


def test_every_checkpoint_seals_the_file_again(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        for _ in range(3):
            write(writer, *[span_row() for _ in range(500)])
            with writer._held():
                writer._checkpoint()
            assert is_sealed(read_seal(db_path), state_of(db_path))


def test_a_file_that_only_we_write_is_never_gone_through(db_path, monkeypatch, store):
    calls = []
    for module in (connections, damage):
        monkeypatch.setattr(module, "find_damage", lambda *_: calls.append(1))
    with closing(SqliteWriter(db_path)) as one, closing(SqliteWriter(db_path)) as other:
        for writer in (one, other, one, other):
            write(writer, span_row())
            with writer._held():
                writer._checkpoint()
            assert len(store.find_spans()) >= 1
    assert calls == []


def test_a_file_that_another_program_changed_is_gone_through_once_and_trusted_again(whole, monkeypatch, store):
    calls = []
    real = connections.find_damage
    monkeypatch.setattr(connections, "find_damage", lambda *args: calls.append(1) or real(*args))
    with closing(sqlite3.connect(whole)) as connection, connection:
        connection.execute("CREATE TABLE mine (a)")
    assert not is_sealed(read_seal(whole), state_of(whole))
    for _ in range(3):
        assert len(store.find_spans()) == 50
    assert len(calls) == 1
    assert is_sealed(read_seal(whole), state_of(whole))


def test_who_asks_makes_no_lock_file(whole, store):
    os.unlink(whole + ".lock")
    assert len(store.find_spans()) == 50
    assert not os.path.exists(whole + ".lock")


def test_a_note_that_is_none_seals_nothing(whole):
    for note in (b"", b"nonsense", b"1 2 3 4", b"1 2 3 4 ajar", b"1 2 3 closed", b"1 2 x 4 open", b"\xff\xfe 1 2"):
        Path(whole + ".lock").write_bytes(b"\0" + note)
        assert read_seal(whole) is None
    lock = FileLock(whole + ".lock")
    with lock.held(1):
        assert not Seal(whole, lock).is_whole(state_of(whole))
    lock.close()


def altered(path: str) -> int:
    return altered_unix_s(path, read_seal(path), state_of(path))


def change_a_figure(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _rollups SET count = count + 1")


def test_a_sound_file_that_another_program_changed_is_told_of_by_all_who_meet_it_once_in_each_process(whole, caplog):
    change_a_figure(whole)
    for _ in range(2):
        with closing(open_store(whole)) as store:
            store.summarize_operations()
    assert [record.getMessage() for record in caplog.records] == [alteration_of(whole, altered(whole))]
    assert "was changed by another program" in caplog.text
    program = "import sys, otel_perfmon; otel_perfmon.open_store(sys.argv[1]).summarize_operations()"
    other = subprocess.run([sys.executable, "-c", program, whole], capture_output=True, text=True, check=True)
    assert alteration_of(whole, altered(whole)) in other.stderr  # sealed again by now, and not forgotten


def test_who_records_tells_of_a_change_by_another_program_and_keeps_it_in_mind(whole, caplog):
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row())
        with writer._held():
            writer._checkpoint()
        change_a_figure(whole)
        with writer._held():
            writer._checkpoint()  # what the other one wrote into our log is ours to carry over
        assert altered(whole) == 0
        os.utime(whole, ns=(state_of(whole).changed_nano + 5,) * 2)
        write(writer, span_row())
        since = altered(whole)
        assert since == state_of(whole).changed_nano // 10**9
    assert is_sealed(read_seal(whole), state_of(whole))
    assert altered(whole) == since
    assert caplog.text.count("was changed by another program") == 1


def test_who_comes_after_the_change_was_met_is_told_too(whole, caplog):
    change_a_figure(whole)
    with closing(open_store(whole)) as store:
        store.summarize_operations()
        assert is_sealed(read_seal(whole), state_of(whole))
        if os.name == "posix":
            read, write_end = os.pipe()
            if os.fork() == 0:
                caplog.clear()
                store.summarize_operations()
                os.write(write_end, caplog.text.encode())
                os._exit(0)
            os.wait()
            assert b"was changed by another program" in os.read(read, 4096)
            os.close(read)
            os.close(write_end)
    program = (
        "import sys, otel_perfmon; s = otel_perfmon.MetricsStorage(sys.argv[1]); s.insert_metric('op', 1); s.close()"
    )
    other = subprocess.run([sys.executable, "-c", program, whole], capture_output=True, text=True, check=True)
    assert alteration_of(whole, altered(whole)) in other.stderr


def test_a_seal_that_could_not_be_opened_accuses_nobody(whole, monkeypatch):
    lock = FileLock(whole + ".lock")
    real, failures = FileLock.write_note, [OSError("no room")]

    def write_note(self, *arguments):
        if failures:
            raise failures.pop()
        real(self, *arguments)

    monkeypatch.setattr(FileLock, "write_note", write_note)
    with lock.held(1), Seal(whole, lock).opened():
        os.utime(whole)
    lock.close()
    assert is_sealed(read_seal(whole), state_of(whole))
    assert altered(whole) == 0


def test_nobody_else_is_suspected_of_what_we_did_not_end(whole, caplog, store):
    """Killed while it carried a log over; a power cut, before this boot; a copy in another's place."""

    def die() -> None:
        with lock.held(1), Seal(whole, lock).opened():
            os.utime(whole, (1e9, 1.7e9))
            raise KeyboardInterrupt

    lock = FileLock(whole + ".lock")
    with pytest.raises(KeyboardInterrupt):
        die()
    assert not is_sealed(read_seal(whole), state_of(whole))
    assert altered(whole) == 0
    with lock.held(1):
        Seal(whole, lock).set()
    os.utime(whole, (1e9, 1.6e9))
    assert altered(whole) == 0
    Path(whole + ".copy").write_bytes(Path(whole).read_bytes())
    os.replace(whole + ".copy", whole)
    assert altered(whole) == 0
    lock.close()
    assert len(store.find_spans()) == 50
    assert caplog.records == []


def test_a_block_that_fails_and_changes_nothing_leaves_the_file_sealed(whole):
    def fail() -> None:
        with lock.held(1), Seal(whole, lock).opened():
            assert not is_sealed(read_seal(whole), state_of(whole))
            raise OSError("full")

    lock = FileLock(whole + ".lock")
    with pytest.raises(OSError, match="full"):
        fail()
    lock.close()
    assert is_sealed(read_seal(whole), state_of(whole))


def test_a_file_that_takes_the_place_of_one_that_we_change_is_not_sealed(whole):
    Path(whole + ".other").write_bytes(Path(whole).read_bytes())
    lock = FileLock(whole + ".lock")
    with lock.held(1), Seal(whole, lock).opened():
        os.replace(whole + ".other", whole)
    lock.close()
    assert not is_sealed(read_seal(whole), state_of(whole))


def test_a_log_that_a_killed_process_left_is_nobody_elses_change(db_path, caplog):
    program = """
import os, sys
sys.path.insert(0, sys.argv[2])
from storage_kit import span_row, write
from otel_perfmon.storage.sqlite.writer import SqliteWriter
writer = SqliteWriter(sys.argv[1])
write(writer, *[span_row() for _ in range(50)])
os._exit(0)
"""
    for count in range(50, 200, 50):
        subprocess.run([sys.executable, "-c", program, db_path, os.path.dirname(storage_kit.__file__)], check=True)
        assert os.path.getsize(db_path + "-wal")
        if count == 100:  # a tool that was the last to close the file has carried the log over
            assert ask_one(db_path, "SELECT count(*) FROM spans") == 100
            assert not os.path.exists(db_path + "-wal")
        with closing(open_store(db_path)) as store:
            assert len(store.find_spans(SpanQuery(limit=1000))) == count
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, span_row())
    assert altered(db_path) == 0
    assert caplog.records == []


def test_a_change_beside_a_log_that_a_killed_process_left_is_anothers(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, span_row())
        with writer._held():
            writer._checkpoint()
        assert read_seal(db_path).phase == "closed"
        write(writer, span_row())
        assert read_seal(db_path).phase == "logged"
        os.utime(db_path)
        assert altered(db_path)
        os.rename(db_path + "-wal", db_path + "-gone")
        assert altered(db_path) == 0
        os.rename(db_path + "-gone", db_path + "-wal")


def test_a_change_is_forgotten_after_a_month_and_with_the_lock_file(whole):
    change_a_figure(whole)
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row())
    note = read_seal(whole)
    assert note.altered_unix_s
    old = note._replace(altered_unix_s=int(time.time()) - 31 * 86_400)
    assert altered_unix_s(whole, old, state_of(whole)) == 0
    os.unlink(whole + ".lock")
    with closing(SqliteWriter(whole)) as writer:
        write(writer, span_row())
    assert altered(whole) == 0


def test_a_new_file_is_not_taken_for_the_old_one_whose_inode_it_got(whole):
    lock = FileLock(whole + ".lock")
    with lock.held(1):
        Seal(whole, lock).forget()
    lock.close()
    assert read_seal(whole) is None
    assert altered(whole) == 0
