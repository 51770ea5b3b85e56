from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing, suppress

import pytest
from storage_kit import ask_one, edge_row, point_row, span_row, write

from otel_perfmon.errors import QueryError, StoreError
from otel_perfmon.storage.sqlite.schema import SCHEMA_VERSION
from otel_perfmon.storage.sqlite.store import SqliteStore

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
VIEWS = (
    *("metrics", "spans", "events", "links", "traces", "operations", "rollups", "calls", "error_groups", "points"),
    *("health", "span_keys"),
)


@pytest.fixture
def filled(writer, store) -> SqliteStore:
    write(writer, *[span_row(f"op {i}", error="x") for i in range(5)], edges=[edge_row()], points=[point_row()])
    return store


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_asked(filled, view):
    assert filled.query_sql(f"SELECT * FROM {view} LIMIT 3").columns


@pytest.mark.parametrize("function", ["json_each", "json_tree"])
def test_json_can_be_taken_apart(filled, function):
    rows = filled.query_sql(f"SELECT s.name, a.value FROM spans s, {function}('[1, 2]') a WHERE a.atom = 2").rows
    assert [value for _, value in rows] == [2] * 5


def test_views_are_listed_with_their_columns_and_broken_ones_left_out(filled, db_path):
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute('CREATE VIEW "my ""own""" AS SELECT 1 AS one, name FROM spans')
        connection.execute("CREATE VIEW broken AS SELECT missing FROM nowhere")
    views = filled.list_views()
    assert set(views) >= {*VIEWS, "logs", "open_spans"}
    assert "broken" not in views
    assert views['my "own"'] == ("one", "name")
    for view, columns in views.items():
        quoted = view.replace('"', '""')
        assert filled.query_sql(f'SELECT * FROM "{quoted}" LIMIT 1').columns == columns


def test_a_question_has_its_columns_and_rows_and_says_when_there_were_more(filled):
    answer = filled.query_sql("SELECT name, is_error FROM spans ORDER BY name", rows_max=5)
    assert (answer.columns, answer.is_complete) == (("name", "is_error"), True)
    assert answer.rows[0] == ("op 0", 1)
    assert len(answer.rows) == 5
    fewer = filled.query_sql("SELECT name FROM spans", rows_max=4)
    assert (len(fewer.rows), fewer.is_complete) == (4, False)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM _spans",
        "INSERT INTO _facts VALUES ('x', 1)",
        "UPDATE _spans SET kind = 9",
        "DROP VIEW spans",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA user_version = 5",
        "PRAGMA journal_mode = DELETE",
        "ATTACH DATABASE '/tmp/other.db' AS other",
        "COMMIT",
        "SELECT load_extension('x')",
        "WITH d AS (SELECT 1) DELETE FROM _spans",
    ],
)
def test_what_wants_more_than_to_read_is_refused_and_changes_nothing(filled, db_path, sql):
    with pytest.raises(QueryError, match="Only questions are answered here"):
        filled.query_sql(sql)
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 5
    assert ask_one(db_path, "PRAGMA user_version") == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("", "no statement"),
        ("-- nothing", "no statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT nonsense FROM spans", "no such column"),
        ("SELECT 1; SELECT 2", "One statement"),
        ("VACUUM INTO '/tmp/copy.db'", "cannot VACUUM from within a transaction"),
        ("SELECT ?", "does not understand"),
        ("SELECT 1\0", "does not understand"),
        ("SELECT '\ud800'", "does not understand"),
    ],
)
def test_what_is_no_question_is_told_in_a_sentence(filled, sql, says):
    with pytest.raises(QueryError, match=says):
        filled.query_sql(sql)


@pytest.mark.parametrize("sql", [ENDLESS, f"SELECT (SELECT max(x) FROM ({ENDLESS.replace('count(*)', 'i AS x')}))"])
def test_a_question_without_end_is_ended(filled, sql):
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"took longer than 0.2 s"):
        filled.query_sql(sql, seconds_max=0.2)
    assert time.monotonic() - began < 10


LIMITED = pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 knows no limits before Python 3.11")


@LIMITED
@pytest.mark.parametrize(
    "sql", ["SELECT zeroblob(900000000)", "SELECT replace(hex(zeroblob(60000000)), '0', 'xxxxxxxxx')"]
)
def test_a_question_cannot_fill_the_memory_with_one_value(filled, sql):
    with pytest.raises(QueryError, match="too big"):
        filled.query_sql(sql)


def test_what_a_question_was_denied_the_next_one_of_ours_may(filled):
    with pytest.raises(QueryError):
        filled.query_sql("DROP VIEW spans")
    assert len(filled.find_spans()) == 5
    assert filled.query_sql("SELECT count(*) FROM spans").rows == ((5,),)


A_LONG = "replace(hex(zeroblob(4000000)), '0', 'a')"


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(f"SELECT {A_LONG} LIKE '%' || substr({A_LONG}, 1, 40000) || 'b%'", marks=LIMITED),
        f"SELECT instr({A_LONG}, substr({A_LONG}, 4000000) || 'b')",
        f"SELECT length(replace({A_LONG}, substr({A_LONG}, 4000000) || 'b', ''))",
        f"SELECT replace({A_LONG}, 'a', '{'b' * 100}')",
        f"SELECT trim({A_LONG}, replace(hex(zeroblob(125000)), '0', 'b') || 'a')",
        f"SELECT length(json_patch({A_LONG}, {A_LONG}))",
    ],
)
def test_no_step_of_a_question_takes_for_ever(filled, sql):
    began = time.monotonic()
    with suppress(QueryError):
        filled.query_sql(sql, seconds_max=1.0)
    assert time.monotonic() - began < 4.0


def test_what_is_bounded_answers_as_before(filled):
    sql = "SELECT instr('é€x', 'x'), instr(x'0102', x'02'), instr(12345, 34), instr(NULL, 'a'), instr('a', '')"
    assert filled.query_sql(sql).rows == ((3, 2, 3, None, 1),)
    sql = "SELECT replace(1.50, '.', ','), replace('abc', '', 1), replace('aa', 'a', 'bc'), replace('a', 'a', NULL)"
    assert filled.query_sql(sql).rows == (("1,5", "abc", "bcbc", None),)
    sql = "SELECT trim('xxaxx', 'x'), ltrim('xa', 'x'), rtrim('ax', 'x'), trim(' a '), trim('a', NULL)"
    assert filled.query_sql(sql).rows == (("a", "a", "a", "a", None),)


@LIMITED
@pytest.mark.parametrize("columns", [200, 201])
def test_an_answer_is_of_no_more_values_than_fit_the_memory(filled, columns):
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT "
    with pytest.raises(QueryError, match="larger than" if columns == 200 else "too many columns"):
        filled.query_sql(many + ", ".join(["i * 1.5"] * columns) + " FROM n", rows_max=100_000)


def test_bytes_that_a_question_makes_a_text_of_are_no_damage_of_the_file(filled):
    assert filled.query_sql("SELECT CAST(x'c328' AS TEXT), char(55357)").rows == ((r"\xc3(", r"\xed\xa0\xbd"),)
