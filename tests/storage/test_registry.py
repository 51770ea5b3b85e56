"""One recorder for each file, whatever it is called, until its last user leaves."""

from __future__ import annotations

import os

from storage_kit import RowDoor, names_in, span_row

from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.registry import find_recorder, recorder_for, release_recorder
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def test_every_name_of_one_file_leads_to_the_same_recorder(db_path, tmp_path):
    os.mkdir(tmp_path / "sub")
    os.symlink(db_path, tmp_path / "link.db")
    os.symlink(tmp_path, tmp_path / "folder")
    names = [db_path, "metrics.db", "./sub/../metrics.db", str(tmp_path / "link.db"), "folder/metrics.db"]
    found = [recorder_for(name, SqliteWriter) for name in names]
    try:
        assert len({id(each) for each in found}) == 1
        assert find_recorder("metrics.db") is found[0]
        assert isinstance(found[0], Recorder)
    finally:
        for each in found:
            release_recorder(each)
    assert find_recorder("metrics.db") is None


def test_the_last_user_leaving_writes_everything_and_closes_the_file(db_path):
    first, second = recorder_for(db_path, SqliteWriter), recorder_for(db_path, SqliteWriter)
    first.record(RowDoor(), span_row("a"))
    release_recorder(first)
    assert find_recorder(db_path) is second
    second.record(RowDoor(), span_row("b"))
    release_recorder(second)
    assert names_in(db_path) == ["a", "b"]
    assert not os.path.exists(db_path + "-wal")
    release_recorder(second)
    third = recorder_for(db_path, SqliteWriter)
    assert third is not first
    release_recorder(third)


def test_a_recorder_of_its_own_file_knows_nothing_of_another(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.db", "b.db")]
    found = [recorder_for(path, SqliteWriter) for path in paths]
    for each, path in zip(found, paths, strict=True):
        each.record(RowDoor(), span_row(os.path.basename(path)))
    for each in found:
        release_recorder(each)
    assert [names_in(path) for path in paths] == [["a.db"], ["b.db"]]
