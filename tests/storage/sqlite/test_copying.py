"""A copy holds what the store holds, its log too, and the store is left byte for byte as it was."""

from __future__ import annotations

import lzma
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from storage_kit import child_process, span_row, write

from otel_perfmon.errors import SchemaError, StoreError
from otel_perfmon.storage.url import open_copy

FIXTURES = Path(__file__).parent / "fixtures"


def files_beside(path: str) -> dict[str, bytes]:
    folder = os.path.dirname(path)
    return {name: Path(folder, name).read_bytes() for name in sorted(os.listdir(folder)) if not name.endswith("-shm")}


def names_of(path: str) -> list[str]:
    with open_copy(path) as store:
        return [span.name for span in store.find_spans()]


def test_a_store_of_the_first_format_is_read_and_stays_what_it_was(db_path):
    Path(db_path).write_bytes(lzma.decompress((FIXTURES / "schema_1.db.xz").read_bytes()))
    before = files_beside(db_path)
    assert len(names_of(db_path)) > 10
    assert files_beside(db_path) == before


def test_what_is_only_in_the_log_is_copied_whether_its_writer_lives_or_not(db_path, tmp_path):
    program = """
        import os, sys
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        from storage_kit import span_row, write
        write(SqliteWriter(sys.argv[1]), span_row("in the log"))
        print("written", flush=True)
        sys.stdin.read()
    """
    with child_process(program, db_path) as child:
        assert child.stdout.readline() == "written\n"
        before = files_beside(db_path)
        assert names_of(db_path) == ["in the log"]
        assert files_beside(db_path) == before
        child.kill()
        child.wait()
    assert os.path.getsize(db_path + "-wal")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for ending in ("", "-wal"):  # as somebody copies it who leaves the index of the log
        shutil.copy(db_path + ending, elsewhere)
    path = str(elsewhere / os.path.basename(db_path))
    before = files_beside(path)
    assert names_of(path) == ["in the log"]
    assert files_beside(path) == before
    assert sorted(os.listdir(elsewhere)) == [os.path.basename(path), os.path.basename(path) + "-wal"]


def test_a_store_that_was_closed_is_copied_without_a_file_made_beside_it(writer, db_path):
    write(writer, span_row("one"), span_row("two"))
    writer.close()
    for ending in ("-wal", "-shm"):
        if os.path.exists(db_path + ending):
            os.unlink(db_path + ending)
    before = sorted(os.listdir(os.path.dirname(db_path)))
    assert sorted(names_of(db_path)) == ["one", "two"]
    assert sorted(os.listdir(os.path.dirname(db_path))) == before


def test_what_is_no_store_is_refused_and_left_alone(tmp_path):
    other = str(tmp_path / "other.db")
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE letters (text)")
    before = files_beside(other)
    with pytest.raises(SchemaError, match="another program"), open_copy(other):
        pass
    assert files_beside(other) == before
    with pytest.raises(StoreError, match="There is no store"), open_copy(str(tmp_path / "none.db")):
        pass


def test_a_copy_goes_when_it_is_no_longer_asked(writer, db_path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    os.mkdir(tmp_path / "scratch")
    write(writer, span_row("one"))
    with open_copy(db_path) as store:
        assert len(store.find_spans()) == 1
        assert os.listdir(tmp_path / "scratch") != []
    assert os.listdir(tmp_path / "scratch") == []
