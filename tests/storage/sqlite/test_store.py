from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import pytest
from storage_kit import NOW, NOW_S, SECOND, RowDoor, ask_one, child_process, held_by_another_process, span_row, write

from otel_perfmon.errors import SchemaError, StoreBusyError, StoreClosedError, StoreError
from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def test_making_a_store_touches_no_disk(store, db_path):
    assert os.listdir(os.path.dirname(db_path)) == []


def test_a_question_writes_first_what_this_process_recorded(recorder, store):
    for i in range(3):
        recorder.record(RowDoor(), span_row())
        assert store.summarize_operations()[0].count == i + 1


def test_a_question_says_why_what_was_recorded_can_not_be_seen(recorder, store, db_path, monkeypatch):
    recorder.record(RowDoor(), span_row())
    recorder.flush()
    monkeypatch.setattr(recorder, "flush", lambda *_: type(recorder).flush(recorder, 0.1))
    with held_by_another_process(db_path):
        recorder.record(RowDoor(), span_row())
        with pytest.raises(StoreBusyError):
            store.find_spans(SpanQuery())
    assert len(store.find_spans(SpanQuery())) == 2


def test_what_another_process_committed_is_seen(store, db_path):
    program = """
        import sys
        from storage_kit import span_row, write
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        writer = SqliteWriter(sys.argv[1])
        for i in range(3):
            write(writer, span_row())
            print(i, flush=True)
            sys.stdin.readline()
    """
    with child_process(program, db_path) as child:
        for i in range(3):
            assert child.stdout.readline() == f"{i}\n"
            assert len(store.find_spans(SpanQuery())) == i + 1
            child.stdin.write("\n")
            child.stdin.flush()


def test_a_store_is_closed_at_the_end_of_its_block(writer, db_path):
    write(writer, span_row())
    with SqliteStore(db_path) as store:
        assert store.list_services() == ["shop"]
    with pytest.raises(StoreClosedError):
        store.list_services()


def test_deleting_works_with_and_without_a_recorder_of_this_process(recorder, store, db_path):
    for i in range(4):
        recorder.record(RowDoor(), span_row(end=NOW + i * SECOND))
    assert store.delete_spans_before(NOW_S + 1) == 1
    recorder.finish()
    with SqliteStore(db_path) as other:
        assert other.delete_spans_before(NOW_S + 2.5) == 2
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 1
    assert ask_one(db_path, "SELECT sum(pruned) FROM _health") == 3


def test_deleting_from_a_foreign_file_is_refused_and_makes_nothing_beside_it(store, db_path):
    with open(db_path, "w", encoding="utf-8") as file:
        file.write("no database" * 1000)
    with pytest.raises(SchemaError):
        store.delete_spans_before(NOW_S)
    assert os.listdir(os.path.dirname(db_path)) == ["metrics.db"]


def test_a_file_that_this_user_may_not_read_is_a_store_error_that_says_so(writer, db_path):
    write(writer, span_row())
    writer.close()
    program = (
        "import sys; from otel_perfmon.storage.sqlite.store import SqliteStore\n"
        "from otel_perfmon.errors import StoreError\n"
        "try: SqliteStore(sys.argv[1]).list_services()\n"
        "except StoreError as error: print(error)\n"
    )
    if os.geteuid() != 0:
        pytest.skip("another user is needed: only root can become one")
    folder = os.path.dirname(db_path)
    while folder != "/":
        os.chmod(folder, os.stat(folder).st_mode | 0o005)
        folder = os.path.dirname(folder)
        if folder == "/tmp":
            break
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program, db_path],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if "can't open" in result.stderr or "Permission denied" in result.stderr or result.returncode:
        pytest.skip("the other user can not start this Python")
    assert "is not readable for this user" in result.stdout


def test_a_store_can_be_read_while_another_program_holds_a_write_transaction(writer, store, db_path):
    write(writer, span_row())
    with closing(SqliteWriter(db_path)) as other:
        other._open_if_needed()
        other._connection.execute("BEGIN IMMEDIATE")
        assert len(store.find_spans(SpanQuery())) == 1
        other._connection.execute("ROLLBACK")


def test_an_empty_file_is_a_store_error_until_something_is_recorded(writer, store, db_path):
    open(db_path, "w").close()
    with pytest.raises(StoreError, match="nothing has been recorded"):
        store.find_spans(SpanQuery())
    write(writer, span_row())
    assert len(store.find_spans(SpanQuery())) == 1
