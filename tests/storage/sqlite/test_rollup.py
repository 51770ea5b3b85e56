from __future__ import annotations

import random
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, NOW_S, SECOND, ask, span_row, write

from otel_perfmon.storage import histogram
from otel_perfmon.storage.sqlite import rollup as module
from otel_perfmon.storage.sqlite.connection import open_writer
from otel_perfmon.storage.sqlite.rollup import RESOLUTIONS_S, Cell, Rollup
from otel_perfmon.storage.sqlite.writer import SqliteWriter

spans = st.lists(
    st.tuples(
        st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)
    ),
    min_size=1,
    max_size=20,
)


def cell_of(spans):
    cell = Cell()
    durations, own, ends, flags = zip(*spans, strict=True)
    cell.add_spans(durations, own, ends, [2 * (each & 1) for each in flags], [each >> 1 for each in flags])
    return cell


def add_span(rollup, end):
    rollup.add_spans([1], [end], [5], [5], [end], [0], [0])


def figures(cell):
    return {name: getattr(cell, name) for name in Cell.__slots__}


@given(spans)
def test_a_cell_is_the_exact_sum_of_its_spans(spans):
    cell = cell_of(spans)
    durations = [each[0] for each in spans]
    assert (cell.count, cell.total, cell.own) == (len(spans), sum(durations), sum(each[1] for each in spans))
    assert (cell.minimum, cell.maximum) == (min(durations), max(durations))
    assert (cell.first, cell.last) == (min(each[2] for each in spans), max(each[2] for each in spans))
    assert (cell.errors, cell.slow) == (sum(each[3] & 1 for each in spans), sum(each[3] >> 1 for each in spans))
    assert cell.buckets == Counter(histogram.bucket_of(each) for each in durations)


@given(spans, spans)
def test_cells_add_up(one, other):
    cell = cell_of(one)
    cell.add_cell(cell_of(other))
    assert figures(cell) == figures(cell_of(one + other))


@given(spans)
def test_a_stored_cell_comes_back_whatever_its_sums(spans):
    stored = cell_of(spans).row((10, 1, 0))[3:]
    assert all(not isinstance(each, int) or -(2**63) <= each < 2**63 for each in stored)
    for packed in (stored[-1], stored[-1].hex()):
        cell = Cell()
        cell.add_stored((*stored[:-1], packed))
        assert figures(cell) == figures(cell_of(spans))


def test_a_span_counts_in_the_cell_of_its_end_at_each_resolution(writer, db_path):
    for offset in (0, 9, 10, 59, 60, 3599, 3600, -1):
        write(writer, span_row(end=NOW + offset * SECOND))
    for resolution in RESOLUTIONS_S:
        query = f"SELECT start_unix_s - {NOW_S}, count FROM _rollups WHERE resolution_s = {resolution} ORDER BY 1"
        offsets = (0, 9, 10, 59, 60, 3599, 3600, -1)
        expected = Counter((NOW_S + offset) // resolution * resolution - NOW_S for offset in offsets)
        assert dict(ask(db_path, query)) == expected


def test_a_nanosecond_before_the_hour_belongs_to_the_hour_before(writer, db_path):
    write(writer, span_row(end=NOW - 1), span_row(end=NOW))
    query = f"SELECT start_unix_s - {NOW_S}, count FROM _rollups WHERE resolution_s = 3600 ORDER BY 1"
    assert ask(db_path, query) == [(-3600, 1), (0, 1)]


def test_the_stored_cells_are_the_same_however_the_spans_were_cut_into_batches(tmp_path):
    rng = random.Random(2)
    rows = [
        span_row(
            f"op{rng.randrange(4)}", end=NOW + rng.randrange(7200) * SECOND, ms=rng.random() * 100, slow=i % 7 == 0
        )
        for i in range(600)
    ]

    def stored(name, size):
        path = str(tmp_path / name)
        with closing(SqliteWriter(path)) as writer:
            for start in range(0, len(rows), size):
                write(writer, *rows[start : start + size])
        columns = ", ".join(f"r.{each.strip()}" for each in module.COLUMNS.split(",") if "operation_id" not in each)
        query = f"SELECT o.name, {columns} FROM _rollups r JOIN _operations o ON o.id = r.operation_id ORDER BY 1, 2, 3"
        return ask(path, query)

    whole = stored("whole.db", 600)
    assert stored("parts.db", 7) == whole
    assert len(whole) > 500


def test_sums_past_64_bits_stay_exact_in_the_file(writer, db_path):
    largest = 2**63 - 1
    for _ in range(3):
        write(writer, *[span_row(duration_nano=largest, start_unix_nano=0) for _ in range(3)])
    for sum_s, sum_nano, self_s, self_nano, low, high in ask(
        db_path, "SELECT sum_s, sum_nano, self_s, self_nano, min_nano, max_nano FROM _rollups"
    ):
        assert sum_s * SECOND + sum_nano == self_s * SECOND + self_nano == 9 * largest
        assert low == high == largest


def test_more_cells_than_fit_into_one_statement_are_all_merged(db_path, monkeypatch):
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 8)
    with closing(open_writer(db_path)) as connection:
        connection.execute("INSERT INTO _services VALUES (1, '', '', '')")
        connection.execute("INSERT INTO _operations VALUES (1, 1, 'op', 0)")
        for _ in range(2):
            rollup = Rollup()
            for i in range(100):
                add_span(rollup, NOW + i * 10 * SECOND)
            rollup.save(connection)
        counts = connection.execute("SELECT resolution_s, count(*), sum(count) FROM _rollups GROUP BY 1").fetchall()
        assert counts == [(10, 100, 200), (60, 17, 200), (3600, 1, 200), (86400, 1, 200)]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_save_is_no_trouble(db_path, count):
    with closing(open_writer(db_path)) as connection:
        Rollup().save(connection)
        assert connection.execute("SELECT count(*) FROM _rollups").fetchone() == (0,)


def test_cells_are_looked_up_through_the_primary_key(db_path):
    seen: list[str] = []
    with closing(open_writer(db_path)) as connection:
        connection.execute("INSERT INTO _services VALUES (1, '', '', '')")
        connection.execute("INSERT INTO _operations VALUES (1, 1, 'op', 0)")
        connection.set_trace_callback(seen.append)
        rollup = Rollup()
        add_span(rollup, NOW)
        rollup.save(connection)
        connection.set_trace_callback(None)
        query = next(each for each in seen if "json_group_array" in each)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert any(
            "SEARCH r USING PRIMARY KEY (resolution_s=? AND operation_id=? AND start_unix_s=?)" in p for p in plan
        )
