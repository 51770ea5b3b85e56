from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import (
    NOW,
    SECOND,
    details_of,
    edge_row,
    point_row,
    resource_row,
    sampled_out,
    scope_row,
    span_bytes,
    span_row,
    trace_bytes,
    write,
)

from otel_perfmon.errors import NotFoundError, QueryError, SchemaError, StoreClosedError, StoreError
from otel_perfmon.query import INT64_MAX, SpanQuery, Window
from otel_perfmon.records import EventRecord, LinkRecord
from otel_perfmon.storage.attributes import encode_attributes, encode_items
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import names as names_module
from otel_perfmon.storage.sqlite import search
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

OPERATIONS = ("GET /", "GET /cart", "job")
SERVICES = ("shop", "stock")
ATTRIBUTES = ({}, {"tier": 1}, {"tier": "1"}, {"tier": True}, {"tier": 1.0}, {"tags": ("a", "b")}, {"@odd": b"\0"})


@pytest.fixture
def reader(db_path):
    with closing(SqliteReader(db_path)) as reader:
        yield reader


def names_found(reader, **query):
    return [span.name for span in reader.find_spans(SpanQuery(**query))]


# --- every filter, every order, against a brute-force answer


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """600 spans with few distinct values of everything, so that every filter meets its limits, and ties."""
    path = str(tmp_path_factory.mktemp("sample") / "metrics.db")
    rng = random.Random(7)
    rows = []
    with closing(SqliteWriter(path)) as writer:
        for _ in range(6):
            part = []
            for _ in range(100):
                error = rng.choice((None, None, None, "no"))
                kind = {} if error is None else {"error_type": rng.choice(("KeyError", "OSError"))}
                row = span_row(
                    rng.choice(OPERATIONS),
                    service=rng.choice(SERVICES),
                    error=error,
                    slow=rng.random() < 0.2,
                    end=NOW + rng.randrange(40) * SECOND,
                    ms=rng.choice((0, 1, 2.5, 100, 3_000)),
                    trace_id=trace_bytes(rng.randrange(1, 60)),
                    attributes=encode_attributes(rng.choice(ATTRIBUTES)).text,
                    **kind,
                )
                part.append(row)
            rows += part
            write(writer, *part)
    with closing(SqliteReader(path)) as reader:
        yield Sample(reader, list(enumerate(rows, 1)))


class Sample:
    """Its short repr is what Hypothesis prints."""

    def __init__(self, reader, rows):
        self.reader, self.rows = reader, rows


def expected(rows, query):
    def passes(row):
        ms = row.duration_nano / 1e6
        attributes = {} if not row.attributes else dict(_decoded(row.attributes))
        return (
            (query.operation is None or row.name == query.operation)
            and (query.service is None or row.resource.service_name == query.service)
            and (query.window is None or _is_in(row.end_unix_nano, query.window))
            and (query.min_duration_ms is None or ms >= query.min_duration_ms)
            and (query.max_duration_ms is None or ms <= query.max_duration_ms)
            and (query.is_slow is None or row.is_slow == query.is_slow)
            and (query.is_error is None or row.is_error == query.is_error)
            and (query.error_type is None or details_of(row).error_type == query.error_type)
            and (query.trace_id is None or row.trace_id.hex() == query.trace_id.lower())
            and all(
                key in attributes and (type(attributes[key]), attributes[key]) == (type(value), value)
                for key, value in query.attributes.items()
            )
        )

    keys = {
        "newest": lambda each: (-each[1].end_unix_nano, -each[0]),
        "oldest": lambda each: (each[1].end_unix_nano, each[0]),
        "slowest": lambda each: (-each[1].duration_nano, -each[0]),
    }
    found = sorted((each for each in rows if passes(each[1])), key=keys[query.order])
    return [row.span_id.hex() for _, row in found[: query.limit]]


def _is_in(moment, window):
    return window.start_unix_nano <= moment < window.end_unix_nano


def _decoded(text):
    for attributes in ATTRIBUTES:
        if encode_attributes(attributes).text == text:
            return attributes
    raise AssertionError(text)


maybe = st.none
queries = st.builds(
    SpanQuery,
    operation=maybe() | st.sampled_from((*OPERATIONS, "never", "")),
    service=maybe() | st.sampled_from((*SERVICES, "none")),
    window=maybe()
    | st.tuples(st.integers(-1, 41), st.integers(0, 41)).map(
        lambda pair: Window(NOW + pair[0] * SECOND, NOW + (pair[0] + pair[1]) * SECOND)
    ),
    min_duration_ms=maybe() | st.sampled_from((0, 1, 2.5, 2.6, 5000)),
    max_duration_ms=maybe() | st.sampled_from((0, 1, 2.4, 5000, float("inf"))),
    is_slow=maybe() | st.booleans(),
    is_error=maybe() | st.booleans(),
    error_type=maybe() | st.sampled_from(("KeyError", "OSError", "None")),
    attributes=st.sampled_from((*({} for _ in range(6)), *ATTRIBUTES, {"tier": 2})),
    trace_id=maybe() | st.integers(1, 70).map(lambda number: trace_bytes(number).hex()),
    order=st.sampled_from(("newest", "oldest", "slowest")),
    limit=st.sampled_from((1, 2, 7, 100, 1000, INT64_MAX)),
)


@given(queries)
@settings(max_examples=100)
def test_every_question_is_answered_as_by_going_through_all_spans(sample, query):
    page = sample.reader.find_spans(query)
    assert [span.span_id for span in page] == expected(sample.rows, query)
    assert page.is_complete


@pytest.mark.parametrize("order", ["newest", "oldest", "slowest"])
@pytest.mark.parametrize("operation", [None, "GET /"])
def test_ties_come_in_reverse_order_of_arrival_and_in_order_of_arrival_when_oldest_first(sample, order, operation):
    query = SpanQuery(operation=operation, order=order, limit=600)
    assert [span.span_id for span in sample.reader.find_spans(query)] == expected(sample.rows, query)


# --- whole spans


def test_a_span_comes_back_with_everything_it_had(writer, reader):
    attributes = {"a": 1, "b": b"\xff", "c": (1.5, None), "@d": {"e": True}}
    event = {"name": "exception", "time_unix_nano": NOW - 1, "attributes": encode_attributes({"x": "y"})}
    link = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "trace_state": "k=v", "flags": 0x301}
    row = span_row(
        "op",
        error="went wrong",
        ms=2,
        parent=b"p" * 8,
        kind=3,
        trace_state="a=b",
        flags=2**32 - 1,
        attributes=encode_attributes(attributes).text,
        events=encode_items([{**event, "dropped_attributes_count": 4}]).text,
        links=encode_items([{**link, "attributes": encode_attributes({})}]).text,
        dropped_attributes_count=1,
        dropped_events_count=2,
        dropped_links_count=3,
        altered="name,events",
    )
    write(writer, row)
    span = reader.find_spans(SpanQuery())[0]
    assert (span.trace_id, span.span_id, span.parent_span_id) == (
        row.trace_id.hex(),
        row.span_id.hex(),
        b"pppppppp".hex(),
    )
    assert (span.start_unix_nano, span.end_unix_nano, span.duration_ms) == (NOW - 2_000_000, NOW, 2.0)
    assert (span.status_code, span.status_message, span.error_type) == (2, "went wrong", "ValueError")
    assert (span.kind_name, span.status_name, span.trace_state, span.flags) == ("client", "error", "a=b", 2**32 - 1)
    assert span.attributes == attributes
    assert span.events == (EventRecord("exception", NOW - 1, {"x": "y"}, 4),)
    assert span.links == (LinkRecord("ab" * 16, "cd" * 8, "k=v", 0x301, {}, 0),)
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (1, 2, 3)
    assert (span.is_error, span.is_slow, span.altered) == (True, False, ("name", "events"))
    assert span.resource.attributes == json.loads(resource_row().attributes)
    assert (span.scope.name, span.service) == (scope_row().name, "shop")


def test_what_is_absent_comes_back_as_absent(writer, reader):
    write(writer, span_row())
    span = reader.find_spans(SpanQuery())[0]
    assert (span.parent_span_id, span.error_type, span.altered) == (None, None, ())
    assert (span.attributes, span.events, span.links) == ({}, (), ())


def test_deeply_nested_attributes_can_be_read_back(writer, reader):
    value = "deep"
    for _ in range(900):
        value = [value]
    write(writer, span_row(attributes=encode_attributes({"nested": value}).text), span_row("after"))
    assert names_found(reader) == ["after", "op"]


@pytest.mark.parametrize("trace_id", ["0x" + "0" * 30 + "2a", "0" * 30 + "2A"])
def test_a_trace_is_found_by_its_id_however_it_is_written(writer, reader, trace_id):
    write(writer, span_row("a", trace_id=trace_bytes(42)), span_row("b"))
    assert names_found(reader, trace_id=trace_id) == ["a"]
    assert reader.get_trace(trace_id).trace_id == trace_bytes(42).hex()


def test_a_trace_has_its_spans_ordered_by_start_and_knows_roots_and_children(writer, reader):
    def of(name, number, parent, end, ms):
        ids = {"trace_id": trace_bytes(7), "span_id": span_bytes(number)}
        return span_row(name, parent=span_bytes(parent) if parent else b"", end=NOW + end, ms=ms, **ids)

    write(writer, of("late child", 3, 1, 5_000_000, 1), of("child", 2, 1, 2_000_000, 1), of("root", 1, 0, 9_000_000, 9))
    write(writer, of("orphan", 9, 8, 20_000_000, 1))
    trace = reader.get_trace(trace_bytes(7).hex())
    assert [span.name for span in trace.spans] == ["root", "child", "late child", "orphan"]
    assert [(node.depth, node.span.name) for node in trace.tree().nodes] == [
        (0, "root"), (1, "child"), (1, "late child"), (0, "orphan"),
    ]  # fmt: skip


# --- what cannot be asked


def test_an_unknown_trace_is_not_found_and_a_malformed_id_is_a_query_error(writer, reader):
    write(writer, span_row())
    with pytest.raises(NotFoundError, match="There is no trace"):
        reader.get_trace("f" * 32)
    for wrong in ("", "zz", "f" * 31, "f" * 34, "f f" * 11, None, 12):
        with pytest.raises(QueryError):
            reader.get_trace(wrong)


@pytest.mark.parametrize(
    "question",
    [
        lambda reader: reader.find_spans(SpanQuery(operation="\ud800")),
        lambda reader: reader.find_spans(SpanQuery(service="\ud800", operation="op")),
        lambda reader: reader.find_spans(SpanQuery(limit=2**64)),
        lambda reader: reader.find_spans(SpanQuery(window=Window(2**70, 2**71))),
        lambda reader: reader.find_spans(SpanQuery(window=Window(-(2**71), -(2**70)))),
        lambda reader: reader.find_spans(SpanQuery(attributes={"x": 2**80})),
        lambda reader: reader.list_operations(service="\udfff"),
        lambda reader: reader.summarize_operations(operation="\ud800"),
        lambda reader: reader.summarize_operations(window=Window(2**100, 2**101)),
        lambda reader: reader.summarize_operations(window=Window(-(2**101), 2**101)),
        lambda reader: reader.summarize_errors(operation="\ud800"),
        lambda reader: reader.summarize_calls(window=Window(2**100, 2**101)),
        lambda reader: reader.find_points("\ud800"),
        lambda reader: reader.find_points(window=Window(2**100, 2**101)),
        lambda reader: reader.find_points(limit=2**64),
    ],
)
def test_an_odd_question_has_an_answer_or_is_a_query_error_and_nothing_else(writer, reader, question):
    write(writer, span_row(), edges=[edge_row()], points=[point_row()])
    with suppress(QueryError):
        assert len(question(reader)) <= 1


def test_a_missing_an_empty_and_a_foreign_file_are_store_errors_that_say_so(reader, db_path):
    with pytest.raises(StoreError, match="There is no store"):
        reader.list_services()
    assert not os.path.exists(db_path)
    open(db_path, "w").close()
    with pytest.raises(StoreError, match="is empty"):
        reader.list_services()
    with open(db_path, "w", encoding="utf-8") as file:
        file.write("no database" * 1000)
    with pytest.raises(SchemaError, match="not an SQLite database"):
        reader.list_services()


def test_a_closed_reader_says_so(writer, reader):
    write(writer, span_row())
    reader.list_services()
    reader.close()
    for question in (reader.list_services, reader.get_health, lambda: reader.find_spans(SpanQuery())):
        with pytest.raises(StoreClosedError):
            question()


# --- indexes


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_no_question_reads_spans_without_an_index(writer, reader, db_path, is_analyzed, monkeypatch):
    write(writer, *[span_row(f"op{i % 9}", error="x" if i % 50 == 0 else None, slow=i % 70 == 0) for i in range(2000)])
    if is_analyzed:
        with closing(sqlite3.connect(db_path)) as connection:
            connection.execute("ANALYZE")
    asked: list[str] = []
    connect = connections.open_reader

    def tracing(path):
        connection = connect(path)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(connections, "open_reader", tracing)
    window, trace_id = Window(NOW - SECOND, NOW + SECOND), trace_bytes(3).hex()
    filters = (
        {"operation": "op1"},
        {"operation": "op1", "service": "shop"},
        {"window": window},
        {"operation": "op1", "window": window},
        {"is_error": True},
        {"is_slow": True},
        {"is_error": True, "window": window},
        {"operation": "op1", "is_error": True, "window": window},
        {"operation": "op1", "is_slow": True},
        {"trace_id": trace_id},
        {"trace_id": trace_id, "operation": "op1"},
        {"trace_id": trace_id, "is_error": True},
        {"trace_id": trace_id, "window": window},
    )
    for each in filters:
        for order in ("newest", "oldest"):
            reader.find_spans(SpanQuery(**each, order=order))
    reader.find_spans(SpanQuery())
    reader.get_trace(trace_bytes(writer_first_trace(db_path)).hex())
    plans = {sql: plan_of(db_path, sql) for sql in asked if "FROM _spans s" in sql}
    assert len(plans) > len(filters)
    for sql, plan in plans.items():
        assert not any(step == "SCAN s" for step in plan), (sql, plan)
        if "s.trace_id =" in sql:
            assert any("trace_id=?" in step for step in plan), (sql, plan)
        elif not is_analyzed:
            assert not any("TEMP B-TREE" in step for step in plan), (sql, plan)


def writer_first_trace(path):
    with closing(sqlite3.connect(path)) as connection:
        return int.from_bytes(connection.execute("SELECT trace_id FROM _spans LIMIT 1").fetchone()[0], "big")


def plan_of(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]


def test_a_question_that_an_index_serves_reads_no_more_rows_than_it_gives(writer, reader):
    write(writer, *[span_row(f"op{i % 4}", error="x" if i % 9 == 0 else None) for i in range(400)])
    for query in ({"operation": "op1"}, {"is_error": True}, {"window": Window(NOW, NOW + 1)}):
        page = reader.find_spans(SpanQuery(**query, limit=10))
        assert (len(page), page.rows_read, page.is_complete) == (10, 10, True)


# --- a question that no index serves


@pytest.mark.parametrize(
    "query",
    [
        {"attributes": {"x": 1}},
        {"min_duration_ms": 0.5, "attributes": {"x": 1}},
        {"is_slow": False, "is_error": False, "attributes": {"x": 1}},
        {"order": "slowest"},
    ],
    ids=lambda query: next(iter(query)),
)
def test_a_search_that_stops_at_its_limit_of_rows_says_that_it_is_not_complete(writer, reader, monkeypatch, query):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 50)
    write(writer, *[span_row() for _ in range(60)])
    page = reader.find_spans(SpanQuery(**query))
    assert not page.is_complete
    assert page.rows_read == 50
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 61)
    page = reader.find_spans(SpanQuery(**query))
    assert page.is_complete
    assert page.rows_read == 60


def test_a_search_for_what_did_not_fail_where_nearly_all_did_is_bounded_too(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 50)
    write(writer, *[span_row(error="x", slow=True) for _ in range(60)])
    assert not reader.find_spans(SpanQuery(is_error=False)).is_complete
    assert not reader.find_spans(SpanQuery(is_slow=False, operation="op")).is_complete


def test_a_search_that_stops_at_its_limit_of_time_says_that_it_is_not_complete(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "SCAN_SECONDS_MAX", 0.0)
    write(writer, *[span_row() for _ in range(60)])
    page = reader.find_spans(SpanQuery(attributes={"x": 1}))
    assert not page.is_complete
    assert page.rows_read < 60


def test_a_search_that_found_all_it_was_asked_for_is_complete_although_it_stopped(writer, reader, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 50)
    write(writer, *[span_row(attributes='{"x":1}') for _ in range(100)])
    page = reader.find_spans(SpanQuery(attributes={"x": 1}, limit=5))
    assert (len(page), page.is_complete) == (5, True)


def test_equality_of_an_attribute_is_one_of_value_and_type_all_the_way_down(writer, reader):
    values = [1, 1.0, True, "1", (1,), (True,), (1.0,), {"a": 1}, {"a": True}, None, b"1"]
    write(writer, *[span_row(repr(value), attributes=encode_attributes({"x": value}).text) for value in values])
    for value in values:
        assert names_found(reader, attributes={"x": value}) == [repr(value)]
    assert names_found(reader, attributes={"x": [1]}) == ["(1,)"]
    assert names_found(reader, attributes={"y": None}) == []


# --- operations past their limit


def test_spans_of_an_overflow_operation_are_found_by_their_own_name_and_by_its(writer, reader, monkeypatch):
    monkeypatch.setattr(names_module, "OPERATIONS_PER_SERVICE_MAX", 2)
    write(writer, *[span_row(f"op{i % 5}", end=NOW + i) for i in range(50)])
    assert names_found(reader, operation="op4", limit=3) == ["op4"] * 3
    assert names_found(reader, operation="op1", limit=3) == ["op1"] * 3
    assert reader.list_operations() == [names_module.OVERFLOW_OPERATION, "op0", "op1"]
    stats = {each.operation: each.count for each in reader.summarize_operations()}
    assert stats == {"op0": 10, "op1": 10, names_module.OVERFLOW_OPERATION: 30}
    assert len(names_found(reader, operation=names_module.OVERFLOW_OPERATION)) == 30


# --- beside others


def test_a_question_never_blocks_a_writer(writer, reader):
    write(writer, *[span_row() for _ in range(100)])
    with reader._transaction() as connection:
        rows = connection.execute("SELECT id FROM _spans")
        assert rows.fetchone() == (1,)
        write(writer, span_row("meanwhile"), timeout=0.05)
        assert len(rows.fetchall()) == 99
    assert names_found(reader, limit=1) == ["meanwhile"]


def test_a_reader_can_not_write(writer, reader):
    write(writer, span_row())
    with reader._transaction() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM _spans")


def test_many_threads_may_ask_at_once(writer, reader):
    write(writer, *[span_row() for _ in range(50)])
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: [answers.append(len(reader.find_spans(SpanQuery()))) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [50] * 160


def test_a_file_that_was_deleted_is_an_error_and_the_one_made_after_it_is_read(writer, reader, db_path):
    write(writer, span_row("old"))
    assert names_found(reader) == ["old"]
    for ending in ("", "-wal", "-shm"):
        os.unlink(db_path + ending)
    with pytest.raises(StoreError, match="There is no store"):
        names_found(reader)
    write(writer, span_row("new"))
    assert names_found(reader) == ["new"]


def test_no_descriptor_stays_open_after_close(writer, db_path):
    write(writer, span_row())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with closing(SqliteReader(db_path)) as reader:
            reader.list_services()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # SQLite keeps one back while the writer holds locks


# --- calls, errors, points, health


def test_calls_come_most_time_first_and_only_those_of_the_windows_hours(writer, reader):
    hour = 3600
    start = NOW // SECOND
    write(
        writer, span_row(), edges=[edge_row("a", "b", hour=start - hour, count=2, nano=3_000_000), edge_row("a", "c")]
    )
    write(writer, span_row(), edges=[edge_row("a", "b", hour=start - hour, count=1, nano=2**62)])
    found = reader.summarize_calls()
    assert [(each.caller, each.callee, each.count, each.window) for each in found] == [
        ("a", "b", 3, None),
        ("a", "c", 1, None),
    ]
    assert found[0].total_ms == pytest.approx((2**62 + 3_000_000) / 1e6)
    now = reader.summarize_calls(window=Window(NOW, NOW + SECOND))
    assert [(each.callee, each.window) for each in now] == [("c", Window(NOW, NOW + hour * SECOND))]
    assert [each.callee for each in reader.summarize_calls(window=Window(NOW - 2 * SECOND, NOW - SECOND))] == ["b"]


def test_calls_of_one_operation_are_those_to_it_and_from_it_each_once(writer, reader):
    edges = [edge_row("a", "b"), edge_row("b", "c"), edge_row("b", "b"), edge_row("a", "c"), edge_row("c", "a")]
    write(writer, span_row(), edges=edges)
    found = {(each.caller, each.callee, each.count) for each in reader.summarize_calls(operation="b")}
    assert found == {("a", "b", 1), ("b", "c", 1), ("b", "b", 1)}
    assert len(reader.summarize_calls(service="shop")) == 5
    assert reader.summarize_calls(operation="b", service="none") == []
    assert reader.summarize_calls(operation="none") == []


def test_error_groups_come_most_recent_first(writer, reader):
    write(writer, span_row("a", error="old 1", end=NOW), span_row("b", error="new", end=NOW + SECOND))
    write(writer, span_row("a", error="old 2", end=NOW + 1), span_row("a", error="old 3", service="stock", end=NOW + 2))
    groups = reader.summarize_errors()
    assert [(each.operation, each.message, each.count) for each in groups] == [("b", "new", 1), ("a", "old <n>", 3)]
    assert (groups[1].first_seen, groups[1].last_seen) == (NOW / 1e9, (NOW + 2) / 1e9)
    assert [each.operation for each in reader.summarize_errors(operation="a")] == ["a"]
    assert reader.summarize_errors(operation="c") == []


def test_points_come_newest_first_with_all_they_had(writer, reader):
    write(writer, points=[point_row(at=NOW), point_row("other", at=NOW + 2), point_row(at=NOW + 1)])
    assert [point.time_unix_nano for point in reader.find_points()] == [NOW + 2, NOW + 1, NOW]
    assert [point.time_unix_nano for point in reader.find_points("requests", limit=1)] == [NOW + 1]
    assert len(reader.find_points(window=Window(NOW, NOW + 1))) == 1
    point = reader.find_points("requests")[0]
    assert (point.kind, point.unit, point.temporality, point.is_monotonic) == ("sum", "1", 1, True)
    assert (point.attributes, point.data, point.scope.name) == ({"route": "/"}, {"value": 3}, "scope")


def test_health_adds_up_all_processes(db_path, reader):
    with closing(SqliteWriter(db_path)) as first, closing(SqliteWriter(db_path)) as second:
        write(first, span_row(altered="name"), dropped={"queue_full": 2}, **sampled_out(5))
        write(second, span_row(), dropped={"queue_full": 1, "unreadable": 4})
    health = reader.get_health()
    assert (health.ended, health.stored, health.sampled_out, health.altered) == (14, 2, 5, 1)
    assert health.dropped == {"queue_full": 3, "unreadable": 4}
    assert health.ended == health.counted + sum(health.dropped.values())
    assert health.counted == health.stored + health.sampled_out
