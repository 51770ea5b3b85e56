from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.storage.sqlite import statements
from otel_perfmon.storage.sqlite.statements import padded_values, run_multirow


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE x (id INTEGER PRIMARY KEY, a, b)")
        yield connection


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 1000, 1023, 1025, 20_000])
def test_every_row_is_inserted_in_its_order_whatever_their_number(connection, count):
    rows = [(i, str(i)) for i in range(count)]
    run_multirow(connection, "INSERT INTO x (a, b)", 2, [value for row in rows for value in row])
    assert connection.execute("SELECT a, b FROM x ORDER BY id").fetchall() == rows


def test_a_tail_is_part_of_each_statement(connection):
    connection.execute("CREATE UNIQUE INDEX y ON x (a)")
    for _ in range(2):
        run_multirow(
            connection,
            "INSERT INTO x (a, b)",
            2,
            [1, 1, 2, 5, 3, 7],
            "ON CONFLICT (a) DO UPDATE SET b = b + excluded.b",
        )
    assert connection.execute("SELECT a, b FROM x ORDER BY a").fetchall() == [(1, 2), (2, 10), (3, 14)]


@given(st.integers(0, 5000), st.integers(1, 3000))
def test_statements_have_few_lengths_and_none_has_too_many_parameters(count, limit):
    sizes = list(statements._sizes(count, limit))
    assert sum(sizes) == count
    assert all(size <= limit and size & (size - 1) == 0 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)


def test_the_number_of_statements_is_small(connection):
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    run_multirow(connection, "INSERT INTO x (a, b)", 2, [0] * 2 * 4095)
    assert len([each for each in seen if each.startswith("INSERT")]) == 12


@given(st.lists(st.tuples(st.integers(), st.text("ab")), min_size=1, max_size=70))
def test_padded_values_hold_every_row_and_nothing_else(rows):
    text, flat = padded_values(rows)
    assert len(flat) == 2 * text.count("(?,?)")
    assert text.count("(?,?)") < 2 * len(rows)
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    assert pairs[: len(rows)] == rows
    assert set(pairs) == set(rows)


def test_no_statement_is_longer_than_sqlite_allows():
    assert statements.PARAMETERS_MAX == 32_766
    with closing(sqlite3.connect(":memory:")) as connection:
        if hasattr(connection, "getlimit"):  # new in Python 3.11
            limit = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
            assert limit >= statements.PARAMETERS_MAX
