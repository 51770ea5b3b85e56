"""SQL on a page: what it answers, what it refuses, how values stand there, and the same as CSV."""

from __future__ import annotations

import csv
import html as html_module
import io
import re
import time
from contextlib import closing
from urllib.parse import quote

import pytest
from serve_kit import showing
from storage_kit import batch, edge_row, log_row, point_row, span_row, trace_bytes

from otel_perfmon import open_store
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages.sql import meant
from otel_perfmon.web.pages.sql_examples import EXAMPLES

ODD = "<script>alert(1)</script>\u202e"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shown") / "metrics.db")
    now = time.time_ns()
    with closing(SqliteWriter(path)) as writer:
        rows = [
            span_row(ODD, end=now, attributes='{"http.response.status_code":200}'),
            span_row("slow", end=now, ms=1234.5, slow=True, error="no", trace_id=trace_bytes(77)),
        ]
        writer.write(batch(*rows, edges=[edge_row()], points=[point_row()], logs=[log_row()]), timeout_seconds=1)
    with showing(path, "--no-token") as served:
        yield served


def page(served, sql: str = "", more: str = "") -> str:
    answer = served.get(f"/sql?sql={quote(sql)}{more}")
    assert answer.status == 200, answer.body
    return answer.body.decode().partition("<main")[2].partition("</main>")[0]


def cells_in(html: str) -> list[list[str]]:
    """The cells of the answer, without their markup."""
    body = html.partition('class="card scroll answer"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [
        [html_module.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<td.*?</td>", r)] for r in rows
    ]


def test_it_begins_with_examples_and_what_can_be_asked_of(served):
    html = page(served)
    assert html.count('<li class="card">') == len(EXAMPLES)
    with open_store(served.path) as store:
        for view, columns in store.list_views().items():
            assert f"<bdi>{view}</bdi></a></h3>" in html
            for column in columns:
                assert f'data-insert="{column}"' in html


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_each_example_runs(served, example):
    html = page(served, example.sql)
    assert 'id="error"' not in html
    assert re.search(r'<h2 id="told">(No rows|\d+ rows?)</h2>', html)
    assert html_module.escape(example.sql, quote=False).replace("'", "&#39;").replace('"', "&#34;") in html


def test_each_view_can_be_asked_by_its_link(served):
    for link in re.findall(r'<h3><a class="link" href="([^"]*)"', page(served)):
        assert b'id="error"' not in served.get(html_module.unescape(link)).body


def test_an_answer_is_a_table_with_the_time_it_took(served):
    html = page(served, "SELECT name, is_slow FROM spans ORDER BY is_slow DESC")
    assert "2 rows" in html
    assert re.search(r"in [\d.]+<span class=\"u\">(ms|µs)</span>", html)
    assert cells_in(html) == [["slow", "1"], ["<script>alert(1)</script>\\u202e", "0"]]
    assert '<th scope="col" class="text" title="name"><bdi>name</bdi></th>' in html
    assert '<th scope="col" class="n" title="is_slow">' in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("NULL AS x", "NULL"),
        ("'' AS x", ""),
        ("x'00ff' AS x", "x'00ff'"),
        ("zeroblob(99) AS x", f"x'{'00' * 24}…'"),
        ("1234567 AS x", "1,234,567"),
        ("1234567 AS id", "1234567"),
        ("0.1 + 0.2 AS x", "0.3"),
        ("2.5 AS x", "2.5"),
        ("9e999 AS x_ms", None),
        ("1234.5 AS avg_ms", "1.23s"),
        ("-1234.5 AS late_ms", "-1.23s"),
        ("1500000 AS open_nano", "1.50ms"),
        ("'text' AS avg_ms", "text"),
        (f"'{'y' * 500}' AS x", "y" * 160 + "…"),
    ],
)
def test_values_stand_as_what_they_are(served, value, shown):
    ((cell,),) = cells_in(page(served, f"SELECT {value}"))
    assert shown is None or cell == shown


def test_a_long_text_is_there_for_who_points_at_it(served):
    assert f'title="{"y" * 500}"' in page(served, f"SELECT '{'y' * 500}'")


def test_moments_are_in_the_readers_zone(served):
    html = page(served, "SELECT 1764000000000000001 AS end_unix_nano, 1764000000 AS start_unix_s")
    assert 'data-unix-nano="1764000000000000001"' in html
    assert 'data-unix-nano="1764000000000000000"' in html


def test_trace_ids_and_operations_are_links(served):
    html = page(served, "SELECT trace_id, span_id, name AS operation FROM spans WHERE is_slow", "&window=6h")
    trace_id = trace_bytes(77).hex()
    assert re.search(rf'<a class="link" href="/trace/{trace_id}\?span=[0-9a-f]{{16}}"><code>{trace_id}</code>', html)
    assert '<a href="/operation?window=6h&amp;operation=slow" title="slow">' in html
    assert "/trace/" not in page(served, "SELECT 'javascript:alert(1)' AS trace_id")


def test_the_limit_of_rows_is_said(served):
    html = page(served, ENDLESS.format("i"))
    assert "The first 1,000 rows" in html
    assert "no more than 1,000 are shown here, and 100,000 saved" in html
    assert len(cells_in(html)) == 1_000


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT nam FROM spans", "no such column: nam"),
        ("SELEC 1", "syntax error"),
        ("DELETE FROM _spans", "Only questions are answered here"),
        ("SELECT 1; SELECT 2", "One statement at a time"),
        ("-- nothing", "There is no statement"),
        (ODD, "does not understand"),
    ],
)
def test_an_error_stands_at_the_field_and_the_statement_stays(served, sql, told):
    html = page(served, sql)
    error = re.search(r'<p class="err" id="error" role="alert">(.*?)</p>', html, re.DOTALL)
    assert told in error[1]
    assert 'aria-invalid="true" aria-describedby="error"' in html
    field = html.partition("<textarea")[2].partition("</textarea>")[0]
    assert html_module.unescape(field).endswith(sql)
    assert "<script" not in html


def test_what_was_meant_is_told():
    views = {"spans": ("name", "duration_ms"), "operations": ("operation",)}
    assert meant("no such column: s.duraton_ms", views) == ["duration_ms"]
    assert meant("no such table: span", views) == ["spans"]
    assert meant("syntax error", views) == []


def test_a_question_that_takes_too_long_is_ended_and_holds_up_no_other(served):
    began = time.monotonic()
    assert "took longer than 5 s" in page(served, ENDLESS.format("count(*)"))
    assert time.monotonic() - began < 9


def test_it_is_not_asked_again_by_itself(served):
    body = served.get("/sql?sql=SELECT%201").body.decode()
    assert "data-live" not in body


def test_csv_has_every_row_and_no_formula(served):
    sql = "SELECT '=1+1' AS \"=x\", -1.5 AS n, NULL AS none, x'00ff' AS raw, 'two\nlines, \"q\"' AS t, name FROM spans"
    answer = served.get(f"/sql/export.csv?sql={quote(sql)}")
    assert answer.status == 200, answer.body
    assert answer.media_type == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="result.csv"'
    heading, first, second = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert heading == ["'=x", "n", "none", "raw", "t", "name"]
    assert first[:5] == ["'=1+1", "-1.5", "", "x'00ff'", 'two\nlines, "q"']
    assert {first[5], second[5]} == {ODD, "slow"}


def test_csv_that_is_cut_says_so_in_its_name(served):
    answer = served.get(f"/sql/export.csv?sql={quote(ENDLESS.format('i'))}")
    assert answer.headers["content-disposition"] == 'attachment; filename="result-first-100000-rows.csv"'
    assert answer.body.count(b"\r\n") == 100_001


@pytest.mark.parametrize(("query", "status"), [("", 400), ("?sql=SELEC", 400), ("?sql=SELECT+1&nothing=1", 400)])
def test_csv_of_no_question_is_refused(served, query, status):
    answer = served.get(f"/sql/export.csv{query}")
    assert answer.status == status
    assert "content-disposition" not in answer.headers


def test_the_address_has_the_statement_for_the_csv(served):
    link = re.search(r'href="(/sql/export.csv[^"]*)"', page(served, "SELECT 1 + 1 AS two"))[1]
    assert served.get(html_module.unescape(link)).body == b"two\r\n2\r\n"


def test_of_very_many_columns_fewer_rows_are_shown(served):
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 150) SELECT "
    html = page(served, many + ", ".join(["i"] * 200) + " FROM n")
    assert len(cells_in(html)) == 100
    assert "The first 100 rows" in html
    assert "no more than 100 are shown here" in html
