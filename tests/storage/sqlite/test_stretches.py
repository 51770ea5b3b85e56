"""Searches by duration find what looking at every span would, whatever became of the cells and of the spans."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, SECOND, ask, span_row, write

from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.sqlite import search, stretches
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
UNUSUAL = (0, -1, -DAY, -(2**63) + 1, 2**63 - 1, SECOND - 1)
"""Ends of spans that no clock tells; before the cells of days are sure to be there, and long after now."""
ENDS = st.one_of(
    st.builds(
        lambda day, hour, minute, nano: NOW - day * DAY - hour * HOUR - minute * MINUTE + nano,
        st.integers(0, 2),
        st.sampled_from((0, 1, 5)),
        st.sampled_from((0, 1, 30)),
        st.sampled_from((0, -1, 5 * SECOND)),
    ),
    st.sampled_from(UNUSUAL),
)
DURATIONS = st.sampled_from((0, 1, 2, 999, 10**6, 10**6 + 1, 1_022_000, 5 * 10**6, 7 * 10**9, 2**62, 2**63 - 1))
ROWS = st.lists(
    st.builds(
        lambda name, service, end, duration, error: span_row(
            name, service=service, end=end, duration_nano=duration, start_unix_nano=0, error=error
        ),
        st.sampled_from(("a", "b")),
        st.sampled_from(("shop", "stock")),
        ENDS,
        DURATIONS,
        st.sampled_from((None, None, "x")),
    ),
    max_size=40,
)
WINDOWS = st.sampled_from(
    (
        None,
        Window(NOW - DAY, NOW + SECOND),
        Window(NOW - HOUR - MINUTE - 1, NOW - 3 * SECOND),
        Window(NOW - 5 * HOUR, NOW - 5 * HOUR + 1),
        Window(-(2**70), NOW - DAY),
        Window(NOW, NOW),
    )
)
MILLISECONDS = st.sampled_from((None, 0, 1e-6, 0.5, 1, 1.0000005, 1.022, 5.0, 7_000, 1e13))
QUERIES = st.builds(
    SpanQuery,
    operation=st.sampled_from((None, "a")),
    service=st.sampled_from((None, "shop")),
    window=WINDOWS,
    min_duration_ms=MILLISECONDS,
    max_duration_ms=MILLISECONDS,
    is_error=st.sampled_from((None, None, True, False)),
    order=st.sampled_from(("slowest", "slowest", "newest", "oldest")),
    limit=st.integers(1, 9),
)
LOSSES = st.sampled_from(
    (
        "",
        "DELETE FROM _spans WHERE id % 3 = 1",
        "DELETE FROM _rollups WHERE resolution_s = 10",
        "DELETE FROM _rollups WHERE resolution_s <= 60 AND start_unix_s % 120 = 0",
        "DELETE FROM _rollups WHERE resolution_s = 3600 AND start_unix_s % 7200 = 0",
        "DELETE FROM _rollups WHERE start_unix_s <= 0",
    )
)
_numbers = itertools.count()


def is_wanted(row, query):
    ms = row.duration_nano / 1e6
    return (
        query.operation in (None, row.name)
        and query.service in (None, row.resource.service_name)
        and (query.window is None or query.window.start_unix_nano <= row.end_unix_nano < query.window.end_unix_nano)
        and (query.min_duration_ms is None or ms >= query.min_duration_ms)
        and (query.max_duration_ms is None or ms <= query.max_duration_ms)
        and query.is_error in (None, row.status_code == 2)
    )


def wanted(rows, query):
    """The span ids of all that a query wants, in its order, as looking at every row finds them."""
    key = {
        "slowest": lambda each: (-each[1].duration_nano, -each[0]),
        "newest": lambda each: (-each[1].end_unix_nano, -each[0]),
        "oldest": lambda each: (each[1].end_unix_nano, each[0]),
    }[query.order]
    return [row.span_id.hex() for _, row in sorted(filter(lambda each: is_wanted(each[1], query), rows), key=key)]


def all_pages(reader, query):
    found = []
    while True:
        page = reader.find_spans(query)
        assert page.is_complete
        found += [span.span_id for span in page]
        if page.next_page_token is None:
            return found
        query = replace(query, page_token=page.next_page_token)


@given(rows=ROWS, more=ROWS, query=QUERIES, loss=LOSSES, split_above=st.sampled_from((0, 2, 1_000)))
def test_a_search_by_duration_finds_what_looking_at_every_span_does(tmp_path, monkeypatch, **given):
    rows, more, query = given["rows"], given["more"], given["query"]
    path = str(tmp_path / f"{next(_numbers)}.db")
    with monkeypatch.context() as patch, closing(SqliteWriter(path)) as writer, closing(SqliteReader(path)) as reader:
        patch.setattr(stretches, "_SPLIT_ABOVE", given["split_above"])
        write(writer, *rows)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(given["loss"])
        write(writer, *more)  # into cells of which some are gone
        kept = {bytes(span_id): row_id for row_id, span_id in ask(path, "SELECT id, span_id FROM _spans")}
        there = [(kept[row.span_id], row) for row in (*rows, *more) if row.span_id in kept]
        assert all_pages(reader, query) == wanted(there, query)


def test_a_slow_minute_of_a_day_is_found_without_a_look_at_the_others(writer, db_path):
    rows = [span_row(end=NOW - number * 20 * SECOND, ms=1 + number % 7) for number in range(3_000)]
    write(writer, *rows, *[span_row(end=NOW - 9 * HOUR, ms=500 + number) for number in range(20)])
    day = Window(NOW - DAY, NOW + SECOND)
    with closing(SqliteReader(db_path)) as reader:
        for query in (
            SpanQuery(operation="op", order="slowest", window=day, limit=10),
            SpanQuery(order="slowest", limit=10),
            SpanQuery(operation="op", order="slowest", window=day, min_duration_ms=500, limit=30),
            SpanQuery(operation="op", window=day, min_duration_ms=500, max_duration_ms=510, limit=30),
            SpanQuery(order="oldest", min_duration_ms=505, limit=30),
        ):
            page = reader.find_spans(query)
            assert page.spans
            assert all(span.duration_ms >= 500 for span in page)
            assert page.is_complete
            assert page.rows_read < 250


def test_spans_of_which_no_cell_is_kept_are_found(writer, db_path):
    """A year after they ended their cells go; what is kept for longer is found all the same."""
    old = [span_row(end=SECOND * number, ms=10 + number) for number in range(20)]
    write(writer, *old, span_row(end=NOW, ms=1))
    with closing(sqlite3.connect(db_path)) as connection, connection:
        connection.execute("DELETE FROM _rollups WHERE start_unix_s < 1000000")
    with closing(SqliteReader(db_path)) as reader:
        assert [span.duration_ms for span in reader.find_spans(SpanQuery(order="slowest", limit=2))] == [29, 28]
        page = reader.find_spans(SpanQuery(operation="op", min_duration_ms=28.5))
        assert [span.duration_ms for span in page] == [29]


def test_days_that_were_given_up_for_want_of_room_are_not_missed(writer, db_path):
    write(writer, *[span_row(end=NOW - number * DAY, ms=10 + number) for number in range(6)])
    with closing(sqlite3.connect(db_path)) as connection, connection:
        cut = (NOW // DAY - 2) * 86_400
        connection.execute("DELETE FROM _rollups WHERE start_unix_s < ?", (cut,))
        connection.execute("INSERT INTO _facts VALUES ('rollups_86400_since', ?)", (cut,))
    with closing(SqliteReader(db_path)) as reader:
        found = reader.find_spans(SpanQuery(operation="op", order="slowest"))
        assert [span.duration_ms for span in found] == [15, 14, 13, 12, 11, 10]


def test_days_that_went_by_a_clock_ahead_of_ours_are_not_missed(writer, db_path):
    write(writer, *[span_row(end=NOW - number * DAY, ms=10 + number) for number in range(3)])
    with closing(sqlite3.connect(db_path)) as connection, connection:
        connection.execute("UPDATE _arrivals SET unix_s = ?", (NOW // SECOND + 200 * 86_400,))
        connection.execute("DELETE FROM _rollups")
    with closing(SqliteReader(db_path)) as reader:
        assert [span.duration_ms for span in reader.find_spans(SpanQuery(order="slowest"))] == [12, 11, 10]


def test_a_search_that_stops_tells_the_slowest_of_what_it_read(writer, db_path, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 70)
    slow = [span_row(end=NOW - 5 * HOUR, ms=900 + number) for number in range(5)]
    write(writer, *slow, *[span_row(end=NOW - number * MINUTE, ms=2) for number in range(400)])
    with closing(SqliteReader(db_path)) as reader:
        page = reader.find_spans(SpanQuery(order="slowest", limit=100))
        assert not page.is_complete
        assert page.rows_read == 70
        assert [span.duration_ms for span in page][:5] == [904, 903, 902, 901, 900]


@pytest.mark.parametrize("order", ["slowest", "newest"])
def test_more_operations_than_are_searched_each_for_itself_are_searched_together(writer, db_path, monkeypatch, order):
    monkeypatch.setattr(search, "_BRANCHES_MAX", 3)
    monkeypatch.setattr(search, "_SLOWEST_BRANCHES_MAX", 3)
    services = ("shop", "stock")
    write(writer, *[span_row(f"op {n}", service=services[n % 2], end=NOW + n, ms=n) for n in range(20)])
    with closing(SqliteReader(db_path)) as reader:
        found = reader.find_spans(SpanQuery(order=order, min_duration_ms=3, limit=4))
        assert [span.duration_ms for span in found] == [19, 18, 17, 16]
        found = reader.find_spans(SpanQuery(order=order, service="stock", min_duration_ms=3))
        assert [span.duration_ms for span in found] == list(range(19, 2, -2))
