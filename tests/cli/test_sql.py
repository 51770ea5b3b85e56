from __future__ import annotations

import csv
import io
import sqlite3
from contextlib import closing

import pytest


def test_without_a_statement_the_views_are_told_with_their_columns(shop, db_path) -> None:
    with closing(sqlite3.connect(db_path)) as connection:
        views = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY 1")
        ]
    items = shop("sql", "--json").items
    assert [item["view"] for item in items] == views
    assert {item["view"]: item["columns"] for item in items}["span_keys"] == "id, trace_id_bytes, span_id_bytes"
    printed = shop("sql", width=120)
    assert [line.split()[0] for line in printed.lines if line[:3].strip()] == views


@pytest.mark.parametrize(
    "view",
    ["calls", "error_groups", "events", "health", "links", "metrics", "operations", "rollups", "spans", "traces"],
)
def test_every_view_can_be_asked(shop, view) -> None:
    printed = shop("sql", f"SELECT * FROM {view} LIMIT 3")
    assert (printed.status, printed.err) == (0, "")


def test_an_answer_is_a_table_with_numbers_to_the_right(shop) -> None:
    printed = shop("sql", "SELECT 'abc' AS text, 5 AS number UNION ALL SELECT 'd', 1000")
    assert printed.lines == ["text  number", "────────────", "abc        5", "d       1000"]


def test_what_has_no_text_of_its_own_is_written_as_sql_does(shop) -> None:
    printed = shop("sql", "SELECT NULL, x'00ff', zeroblob(40), 1.5, -3, ''", width=160)
    values = printed.lines[2].split()
    assert values[:2] == ["NULL", "x'00ff'"]
    assert "…' (40" in printed.lines[2]
    assert values[-2:] == ["1.5", "-3"]


def test_rows_that_are_too_wide_are_told_column_by_column(shop) -> None:
    printed = shop("sql", "SELECT * FROM spans LIMIT 2")
    assert [line for line in printed.lines if line.startswith("row ")] == ["row 1", "row 2"]
    assert any(line.split()[:2] == ["name", "charge"] for line in printed.lines)


def test_items_are_objects_by_column_and_equal_names_are_numbered(shop) -> None:
    assert shop("sql", "SELECT 1 AS a, 2 AS a, x'00' AS b, NULL AS c", "--json").items == [
        {"a": 1, "a_2": 2, "b": {"@bytes": "AA=="}, "c": None}
    ]


def test_csv_is_what_a_reader_of_csv_reads(shop) -> None:
    statement = "SELECT 'a,b' AS x, 'two' || char(10) || 'lines' AS y, NULL AS z, x'ff' AS b, 'say \"hi\"' AS q"
    rows = list(csv.reader(io.StringIO(shop("sql", statement, "--csv").out)))
    assert rows == [["x", "y", "z", "b", "q"], ["a,b", "two\nlines", "", "x'ff'", 'say "hi"']]


def test_csv_on_a_terminal_is_escaped(shop, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shop("sql", "SELECT char(27) || '[31m' AS x", "--csv").out == "x\n\\x1b[31m\n"


def test_more_rows_than_asked_for_are_told(shop) -> None:
    statement = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 50) SELECT x FROM n"
    assert shop("sql", statement, "--limit", "10").lines[-1] == "and more (--limit 100)"
    assert shop("sql", statement, "--limit", "10", "--json").json["is_complete"] is False
    assert shop("sql", statement, "--limit", "50", "--json").json["is_complete"] is True


def test_no_row_is_said_to_be_none(shop) -> None:
    assert shop("sql", "SELECT 1 WHERE 0").out == "No rows.\n"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE _spans",
        "DELETE FROM _spans",
        "SELECT * FROM nothing",
        "SELEKT 1",
        "",
        "SELECT 1; SELECT 2",
        "PRAGMA user_version = 7",
        "ATTACH 'other.db' AS other",
        "SELECT load_extension('x')",
        "SELECT ?",
        "\x00",
        "\ud800",
    ],
)
def test_what_is_no_question_is_wrong_usage_and_changes_nothing(shop, db_path, statement) -> None:
    printed = shop("sql", statement)
    assert (printed.status, printed.out) == (2, "")
    assert printed.err.startswith("otel-perfmon: ")
    assert "fault of otel-perfmon" not in printed.err
    assert len(shop("spans", "--limit", "100", "--json").items) == 80


def test_a_question_without_end_is_stopped(shop) -> None:
    statement = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    printed = shop("sql", statement, "--timeout", "100ms")
    assert printed.status == 3
    assert printed.err == "otel-perfmon: The question took longer than 0.1 s; ask for less, or give it more time.\n"
