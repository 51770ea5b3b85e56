from __future__ import annotations

import sqlite3
from contextlib import closing

from bench_kit import NAMES, TINY, by_name, check, ignore

from otel_perfmon.bench.insertion import ExecuteMany, MultiRow, measure_insertion, stored_values
from otel_perfmon.bench.prepared import batch_of, encoded_spans
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def test_all_ways_of_inserting_are_measured_alone_and_beside_busy_threads(tmp_path) -> None:
    figures = by_name(measure_insertion(str(tmp_path), TINY, ignore))
    assert set(figures) == NAMES["insertion"]
    for name, figure in figures.items():
        check(figure)
        assert figure.value.median > 0
        assert (figure.ratio is None) == name.endswith("executemany")


def test_the_bare_ways_insert_the_rows_that_the_writer_wrote(tmp_path) -> None:
    path = str(tmp_path / "writer.db")
    with closing(SqliteWriter(path)) as writer:
        writer.write(batch_of(encoded_spans(130)), timeout_seconds=5)
    columns, values = stored_values(path, 130)
    for way in (ExecuteMany, MultiRow):
        other = str(tmp_path / f"{way.__name__}.db")
        with closing(way(other, columns, values)) as insert:
            insert(130)
        assert _spans(other) == _spans(path)
        assert len(_spans(other)) == 130


def _spans(path: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM _spans ORDER BY id").fetchall()
