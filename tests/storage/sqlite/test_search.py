from __future__ import annotations

import itertools
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, SECOND, details_of, resource_row, span_bytes, span_row, trace_bytes, write

from otel_perfmon.errors import QueryError
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.attributes import encode_attributes
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import names, search
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.span_filter import stored_name
from otel_perfmon.storage.sqlite.writer import SqliteWriter

SHOP, STOCK = "shop", "stock"


@pytest.fixture
def reader(db_path):
    with closing(SqliteReader(db_path)) as reader:
        yield reader


def pages(reader, query, *, pages_max=200):
    """The spans of all pages, one after another, and how many rows were read for each page."""
    spans, read = [], []
    for _ in range(pages_max):
        page = reader.find_spans(query)
        spans += page.spans
        read.append(page.rows_read)
        if page.next_page_token is None or (query.order == "arrival" and not page.spans and page.is_complete):
            return spans, read
        query = SpanQuery(
            **{name: getattr(query, name) for name in query.__dataclass_fields__ if name != "page_token"},
            page_token=page.next_page_token,
        )
    raise AssertionError("there is no end")


ROWS = st.lists(
    st.builds(
        lambda name, service, error, slow, end, ms, attribute: span_row(
            name,
            service=service,
            error=error,
            slow=slow,
            end=NOW + end * SECOND,
            ms=ms,
            attributes=encode_attributes({"k": attribute}).text,
            trace_id=trace_bytes(1 + end % 3),
        ),
        st.sampled_from(("a", "b", "c")),
        st.sampled_from((SHOP, STOCK)),
        st.sampled_from((None, None, "x")),
        st.booleans(),
        st.integers(0, 6),
        st.sampled_from((0, 1, 2, 5)),
        st.sampled_from((1, True, "1")),
    ),
    max_size=30,
)
QUERIES = st.builds(
    SpanQuery,
    operation=st.sampled_from((None, "a", "none")),
    service=st.sampled_from((None, SHOP)),
    window=st.sampled_from((None, Window(NOW + SECOND, NOW + 5 * SECOND))),
    min_duration_ms=st.sampled_from((None, 2)),
    max_duration_ms=st.sampled_from((None, 2)),
    is_slow=st.sampled_from((None, True, False)),
    is_error=st.sampled_from((None, True, False)),
    error_type=st.sampled_from((None, "ValueError", "KeyError")),
    attributes=st.sampled_from(({}, {"k": 1})),
    trace_id=st.sampled_from((None, trace_bytes(2).hex())),
    order=st.sampled_from(("newest", "oldest", "slowest", "arrival")),
    limit=st.integers(1, 7),
)


def is_wanted(row, query):
    """What a query means, said once more and plainly."""
    ms = row.duration_nano / 1e6
    return (
        query.operation in (None, row.name)
        and query.service in (None, row.resource.service_name)
        and (query.window is None or query.window.start_unix_nano <= row.end_unix_nano < query.window.end_unix_nano)
        and (query.min_duration_ms is None or ms >= query.min_duration_ms)
        and (query.max_duration_ms is None or ms <= query.max_duration_ms)
        and query.is_slow in (None, bool(row.is_slow))
        and query.is_error in (None, bool(row.is_error))
        and query.error_type in (None, details_of(row).error_type)
        and (not query.attributes or row.attributes == '{"k":1}')
        and query.trace_id in (None, row.trace_id.hex())
    )


@given(rows=ROWS, query=QUERIES, is_scan_short=st.booleans())
def test_all_pages_together_hold_each_wanted_span_once_in_order(tmp_path, monkeypatch, rows, query, is_scan_short):
    with monkeypatch.context() as patch:
        if is_scan_short and query.order != "slowest" and query.trace_id is None:
            patch.setattr(search, "SCAN_ROWS_MAX", 4)  # a search that stops goes on with the next page
        path = str(tmp_path / f"{next(_numbers)}.db")
        with closing(SqliteWriter(path)) as writer, closing(SqliteReader(path)) as reader:
            write(writer, *rows)
            spans, _ = pages(reader, query)
    wanted = [(number, row) for number, row in enumerate(rows) if is_wanted(row, query)]
    key = {
        "newest": lambda each: (-each[1].end_unix_nano, -each[0]),
        "oldest": lambda each: (each[1].end_unix_nano, each[0]),
        "slowest": lambda each: (-each[1].duration_nano, -each[0]),
        "arrival": lambda each: each[0],
    }[query.order]
    assert [span.span_id for span in spans] == [row.span_id.hex() for _, row in sorted(wanted, key=key)]


_numbers = itertools.count()


def test_what_an_index_serves_reads_no_more_than_the_answer_holds(writer, reader):
    """Two services and a version share the name; a flag is rare; ends are alike: nothing is read for nothing."""
    rows = [span_row("a", service=(SHOP, STOCK)[i % 2], end=NOW + i // 100) for i in range(2_000)]
    rare = [span_row("a", error="x", slow=True, end=NOW, ms=i) for i in range(40)]
    write(writer, *rows[:1_000], *rare, *rows[1_000:])
    window = Window(NOW, NOW + 15)
    for first_page in (
        SpanQuery(limit=10),
        SpanQuery(limit=10, order="oldest"),
        SpanQuery(limit=10, order="arrival"),
        SpanQuery(limit=10, operation="a"),
        SpanQuery(limit=10, operation="a", service=STOCK, window=window),
        SpanQuery(limit=10, service=STOCK, order="oldest"),
        SpanQuery(limit=10, is_error=True),
        SpanQuery(limit=10, is_slow=True, operation="a"),
        SpanQuery(limit=10, is_slow=True, order="slowest"),
        SpanQuery(limit=10, is_slow=True, order="slowest", operation="a"),
        SpanQuery(limit=10, error_type="ValueError", operation="a"),
    ):
        query, read = first_page, []
        for _ in range(3):
            page = reader.find_spans(query)
            assert len(page) == 10
            read.append(page.rows_read)
            kept = {name: getattr(query, name) for name in query.__dataclass_fields__ if name != "page_token"}
            query = SpanQuery(**kept, page_token=page.next_page_token)
        assert max(read) <= 10, query


SEARCHES = {
    "newest": ({}, "_spans_by_end"),
    "window": ({"window": Window(0, NOW)}, "_spans_by_end"),
    "operation": ({"operation": "a"}, "_spans_by_operation"),
    "error": ({"is_error": True}, "_spans_by_error"),
    "error type": ({"error_type": "x"}, "_spans_by_error"),
    "slow": ({"is_slow": True}, "_spans_by_slow"),
    "slowest slow": ({"is_slow": True, "order": "slowest"}, "_spans_by_slow_duration"),
    "operation error": ({"operation": "a", "is_error": True}, "_spans_by_operation_error"),
    "operation slow": ({"operation": "a", "is_slow": True, "window": Window(0, NOW)}, "_spans_by_operation_slow"),
    "operation slowest": (
        {"operation": "a", "is_slow": True, "order": "slowest"},
        "_spans_by_operation_slow_duration",
    ),
    "trace": ({"trace_id": "ab" * 16}, "_spans_by_trace"),
    "arrival": ({"order": "arrival"}, "INTEGER PRIMARY KEY"),
}


@pytest.mark.parametrize("is_next_page", [False, True])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_through_its_index_and_sorts_nothing(writer, db_path, name, is_next_page):
    write(writer, span_row("a"))
    more, index = SEARCHES[name]
    order = more.get("order", "newest")
    token = search.make_token(order, (NOW, 1)) if is_next_page else None
    with closing(connections.open_reader(db_path)) as connection:
        asked = []
        connection.set_trace_callback(asked.append)
        search.find_spans(connection, SpanQuery(**more, page_token=token))
        connection.set_trace_callback(None)
        for sql in (each for each in asked if "FROM _spans s WHERE" in each):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert len(plan) == 1, plan
            assert index in plan[0].replace(" (", " ").split() or index in plan[0], plan
            assert f"{index} " in plan[0] + " ", plan


def test_a_page_token_of_another_question_or_of_none_is_malformed(writer, reader):
    write(writer, *[span_row() for _ in range(5)])
    token = reader.find_spans(SpanQuery(limit=2)).next_page_token
    for query in (
        SpanQuery(order="oldest", page_token=token),
        SpanQuery(page_token="nonsense"),
        SpanQuery(page_token="n1.2; DROP TABLE _spans"),
        SpanQuery(page_token=""),
        SpanQuery(page_token="n1.٣"),
    ):
        with pytest.raises(QueryError, match="page_token must be that of a page"):
            reader.find_spans(query)


def test_the_last_page_has_no_token_unless_it_is_full(writer, reader):
    write(writer, *[span_row() for _ in range(5)])
    assert reader.find_spans(SpanQuery(limit=6)).next_page_token is None
    full = reader.find_spans(SpanQuery(limit=5))
    assert len(reader.find_spans(SpanQuery(limit=5, page_token=full.next_page_token))) == 0


def test_who_follows_the_arrivals_gets_each_span_once_and_only_what_comes(writer, reader):
    write(writer, *[span_row("old") for _ in range(5)])
    token = reader.get_end_token()
    seen = []
    for number in range(4):
        page = reader.find_spans(SpanQuery(order="arrival", page_token=token))
        seen += [span.name for span in page]
        token = page.next_page_token
        if number < 3:
            write(writer, span_row(f"new {number}", end=NOW - number * SECOND), span_row(f"also {number}"))
    assert seen == [f"{word} {number}" for number in range(3) for word in ("new", "also")]


def test_who_follows_the_arrivals_goes_on_past_what_the_filters_leave_out(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 10)
    write(writer, *[span_row() for _ in range(35)], span_row(error="x"))
    query, rounds = SpanQuery(order="arrival", is_error=True), 0
    while not (page := reader.find_spans(query)):
        query = SpanQuery(order="arrival", is_error=True, page_token=page.next_page_token)
        rounds += 1
    assert rounds == 3
    assert page[0].is_error


def test_who_follows_a_file_that_is_replaced_gets_all_of_the_new_one(tmp_path, writer, reader, db_path):
    write(writer, *[span_row() for _ in range(5)])
    token = reader.get_end_token()
    writer.close()
    other = str(tmp_path / "other.db")
    with closing(SqliteWriter(other)) as another:
        write(another, span_row("new"))
    (tmp_path / "other.db").replace(db_path)
    assert [span.name for span in reader.find_spans(SpanQuery(order="arrival", page_token=token))] == ["new"]


def test_an_operation_beyond_the_limit_of_a_service_is_found_by_its_name(writer, reader, monkeypatch):
    monkeypatch.setattr(names, "OPERATIONS_PER_SERVICE_MAX", 1)
    write(writer, *[span_row(f"op {i % 3}", end=NOW + i) for i in range(30)], span_row("op 1", service=STOCK))
    spans, _ = pages(reader, SpanQuery(operation="op 1", limit=4))
    assert [span.name for span in spans] == ["op 1"] * 11


def test_a_service_with_more_operations_than_branches_is_searched_all_the_same(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "_BRANCHES_MAX", 4)
    write(writer, *[span_row(f"op {i}", service=(SHOP, STOCK)[i % 2], end=NOW + i) for i in range(30)])
    spans, _ = pages(reader, SpanQuery(service=STOCK, limit=4))
    assert [span.name for span in spans] == [f"op {i}" for i in range(29, 0, -2)]


def test_the_ids_of_traces_are_found_by_how_they_begin(writer, reader):
    ids = [bytes.fromhex(each * 16) for each in ("ab", "ac", "00", "ff")]
    write(writer, *[span_row(trace_id=each, span_id=span_bytes(i)) for each in ids for i in range(3)])
    assert reader.find_trace_ids("a") == ["ab" * 16, "ac" * 16]
    assert reader.find_trace_ids("A", limit=1) == ["ab" * 16]
    assert reader.find_trace_ids("ab") == ["ab" * 16]
    assert reader.find_trace_ids("f" * 32) == ["ff" * 16]
    assert reader.find_trace_ids("0" * 31) == ["00" * 16]
    assert reader.find_trace_ids("b") == []
    for wrong in ("", "xyz", "a" * 33, "٣"):
        with pytest.raises(QueryError, match="hex digits"):
            reader.find_trace_ids(wrong)


def test_of_a_giant_trace_the_last_spans_come_with_its_root(writer, reader, monkeypatch):
    monkeypatch.setattr("otel_perfmon.storage.sqlite.traces.TRACE_SPANS_MAX", 20)
    trace = {"trace_id": trace_bytes(7)}
    children = [span_row(f"child {i}", parent=span_bytes(1), end=NOW + i, **trace) for i in range(50)]
    write(writer, *children, span_row("root", span_id=span_bytes(1), end=NOW + 99, ms=1000, **trace))
    found = reader.get_trace(trace_bytes(7).hex())
    assert (len(found.spans), found.is_complete) == (20, False)
    assert [span.name for span in found.spans][:2] == ["root", "child 31"]


def test_an_operation_of_many_versions_is_found_however_much_came_since(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "_BRANCHES_MAX", 4)
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 50)
    rare = [span_row("rare", resource=resource_row(version=f"1.{i}"), end=NOW + i) for i in range(9)]
    write(writer, *rare, *[span_row("common", end=NOW + 100) for _ in range(200)])
    spans, read = pages(reader, SpanQuery(operation="rare", limit=5))
    assert [span.span_id for span in spans] == [row.span_id.hex() for row in rare[::-1]]
    assert max(read) <= 5


def test_pages_go_past_spans_that_end_when_64_bits_do(writer, reader):
    rows = [span_row(end=end, duration_nano=0) for end in (NOW, 2**63 - 1, 2**63 - 1, 2**63 - 1, -(2**63) + 1)]
    write(writer, *rows)
    for order in ("oldest", "newest"):
        spans, _ = pages(reader, SpanQuery(order=order, limit=1))
        assert len(spans) == 5
    assert len(reader.find_spans(SpanQuery(order="oldest", page_token=f"o{10**19 - 1}.{10**19 - 1}"))) == 0


def test_an_error_type_too_long_to_be_stored_whole_is_found_by_its_own_name(writer, reader):
    kind = "E" * 1_500
    write(writer, span_row(error="x", error_type=stored_name(kind)))
    assert len(reader.find_spans(SpanQuery(error_type=kind))) == 1
