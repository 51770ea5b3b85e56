from __future__ import annotations

import csv
import io
import os
import subprocess

import pytest
from storage_kit import (
    NOW,
    SECOND,
    ask,
    ask_one,
    edge_row,
    log_row,
    point_row,
    sampled_out,
    span_bytes,
    span_row,
    trace_bytes,
    write,
)

from otel_perfmon.storage.attributes import encode_attributes, encode_items
from otel_perfmon.storage.base import OpenSpans
from otel_perfmon.storage.rows import OpenSpanRow
from otel_perfmon.storage.sqlite.outbox import SqliteOutbox

SHELL = "/usr/bin/sqlite3"

COLUMNS = {
    "metrics": "operation timestamp duration error is_slow error_type operation_id end_unix_nano",
    "spans": "id name service duration_ms status start_time end_time kind trace_id span_id parent_span_id is_error"
    " is_slow error_type status_message attributes event_count link_count scope altered operation_id start_unix_nano"
    " end_unix_nano duration_nano",
    "span_keys": "id trace_id_bytes span_id_bytes",
    "events": "name time span_name trace_id span_id attributes time_unix_nano span_row_id",
    "links": "trace_id span_id span_name linked_trace_id linked_span_id attributes span_row_id",
    "traces": "trace_id root span_count error_count slow_count duration_ms start_time start_unix_nano",
    "rollups": "operation service service_version environment resolution_s start_time count error_count slow_count"
    " avg_ms min_ms max_ms total_ms self_ms operation_id start_unix_s min_nano max_nano histogram",
    "operations": "operation service count error_count error_rate slow_count avg_ms min_ms max_ms total_ms self_ms"
    " first_seen last_seen",
    "calls": "caller callee hour count total_ms hour_unix_s",
    "error_groups": "operation service error_type message count first_seen last_seen last_message last_trace_id"
    " operation_id last_unix_nano",
    "health": "process ended counted stored sampled_out dropped dropped_why pruned forwarded altered interrupted pid"
    " updated queued oldest_queued held not_kept failure_count last_failure",
    "open_spans": "name service start_time seen_time pid thread_name trace_id span_id parent_span_id attributes"
    " start_unix_nano seen_unix_nano",
    "logs": "id time severity service body event_name trace_id span_id attributes scope altered severity_number"
    " moment_unix_nano",
    "destinations": "name sent_count refused_count parked_count left_out_count pruned_count waiting_count last_sent"
    " failing_since last_failure span_cursor",
    "points": "instrument kind unit time attributes data instrument_id time_unix_nano",
}


@pytest.fixture
def filled(writer, db_path):
    event = {"name": "exception", "time_unix_nano": NOW - SECOND // 4, "attributes": encode_attributes({"a": 1})}
    link = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "attributes": encode_attributes({})}
    ids = {"trace_id": trace_bytes(10**30), "span_id": span_bytes(7)}
    root = span_row(
        "GET /",
        error="no user 5",
        ms=2,
        kind=2,
        attributes=encode_attributes({"route": "/", "n": 5}).text,
        events=encode_items([event]).text,
        links=encode_items([link]).text,
        **ids,
    )
    child = span_row(
        "SELECT", slow=True, ms=0.5, parent=span_bytes(7), trace_id=trace_bytes(10**30), end=NOW - SECOND // 2
    )
    beside = {"edges": [edge_row()], "points": [point_row()], "logs": [log_row(trace_id=b"t" * 16, span_id=b"s" * 8)]}
    write(writer, child, root, dropped={"full": 2, "odd": 1}, **beside, **sampled_out(1))
    write(writer, open_spans=OpenSpans([OpenSpanRow(span_row("open"), SECOND, 7, "worker-1")]))
    outbox = SqliteOutbox(db_path, "http://collector:4318/v1/traces")
    outbox.acquire()
    outbox.release()
    return db_path


@pytest.fixture
def shell(filled):
    if not os.path.exists(SHELL):
        pytest.skip(f"{SHELL} is not installed (apt-get install sqlite3)")

    def run(sql, *options):
        command = [SHELL, "-readonly", *options, filled, sql]
        return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout.decode(errors="replace")

    return run


def test_there_is_no_view_but_these_and_their_columns_are_pinned(filled):
    views = [name for (name,) in ask(filled, "SELECT name FROM sqlite_master WHERE type = 'view'")]
    assert sorted(views) == sorted(COLUMNS)
    for view, columns in COLUMNS.items():
        assert [name for (name,) in ask(filled, "SELECT name FROM pragma_table_info(?)", view)] == columns.split()


@pytest.mark.parametrize("view", COLUMNS)
def test_sqlites_own_shell_reads_every_view(shell, view):
    header, *rows = csv.reader(io.StringIO(shell(f"SELECT * FROM {view}", "-csv", "-header")))
    assert header == COLUMNS[view].split()
    assert rows
    assert all(len(row) == len(header) for row in rows)


def test_the_plainest_view_reads_as_the_documentation_says(filled):
    columns = "operation, timestamp, duration, error, is_slow"
    assert ask(filled, f"SELECT {columns} FROM metrics ORDER BY end_unix_nano") == [
        ("SELECT", "2027-01-15T07:59:59.500Z", 0.5, 0, 1),
        ("GET /", "2027-01-15T08:00:00.000Z", 2.0, 1, 0),
    ]


def test_a_span_reads_in_words_with_hex_ids_and_iso_times(filled):
    columns = "name, service, duration_ms, status, start_time, kind, trace_id, span_id, parent_span_id, event_count"
    child, root = ask(filled, f"SELECT {columns}, link_count, scope FROM spans ORDER BY id")
    trace_id = trace_bytes(10**30).hex()
    assert root == (
        *("GET /", "shop", 2.0, "error", "2027-01-15T07:59:59.998Z", "server"),
        *(trace_id, "0000000000000007", None, 1, 1, "scope"),
    )
    assert child[6:9] == (trace_id, child[7], "0000000000000007")
    query = "SELECT json_extract(attributes, '$.n') FROM spans WHERE name = 'GET /'"
    assert ask_one(filled, query) == 5


def test_a_trace_an_event_and_a_link_read_as_they_were(filled):
    assert ask(filled, "SELECT root, span_count, error_count, slow_count, duration_ms FROM traces") == [
        ("GET /", 2, 1, 1, 500.5)
    ]
    assert ask(filled, "SELECT name, time, span_name, attributes FROM events") == [
        ("exception", "2027-01-15T07:59:59.750Z", "GET /", '{"a":1}')
    ]
    assert ask(filled, "SELECT linked_trace_id, linked_span_id FROM links") == [("ab" * 16, "cd" * 8)]


def test_health_says_what_was_lost_and_why(filled):
    columns = "ended, stored, sampled_out, dropped, dropped_why, pid"
    assert ask(filled, f"SELECT {columns} FROM health") == [(6, 2, 1, 3, "full 2, odd 1", os.getpid())]


def test_figures_read_in_milliseconds(filled):
    columns = "operation, service, count, error_rate, avg_ms, min_ms, max_ms, total_ms, first_seen"
    assert ask(filled, f"SELECT {columns} FROM operations ORDER BY 1") == [
        ("GET /", "shop", 1, 1.0, 2.0, 2.0, 2.0, 2.0, "2027-01-15T08:00:00Z"),
        ("SELECT", "shop", 1, 0.0, 0.5, 0.5, 0.5, 0.5, "2027-01-15T07:59:59Z"),
        ("sampled out", "shop", 1, 0.0, 1.0, 1.0, 1.0, 1.0, "2027-01-15T08:00:00Z"),
    ]
    assert ask_one(filled, "SELECT count(*) FROM rollups") == 3 * 4


def test_no_view_breaks_on_sums_past_64_bits_nor_on_odd_times(writer, db_path):
    largest = 2**63 - 1
    write(writer, *[span_row(duration_nano=largest, start_unix_nano=-largest, end=largest) for _ in range(4)])
    write(writer, span_row(end=-largest, start_unix_nano=-largest, duration_nano=0), span_row(end=-1, ms=0))
    write(writer, span_row(), edges=[edge_row(nano=2**64)], points=[point_row(at=-largest + SECOND)])
    for view in COLUMNS:
        ask(db_path, f"SELECT * FROM {view}")
    assert ask_one(db_path, "SELECT total_ms FROM operations") == pytest.approx(4 * largest / 1e6, rel=1e-6)


def test_a_moment_before_1970_reads_as_what_it_was(writer, db_path):
    write(writer, span_row(end=-1_500_000_000, ms=0))
    assert ask_one(db_path, "SELECT end_time FROM spans") == "1969-12-31T23:59:58.500Z"


def test_deeply_nested_attributes_break_no_view(writer, db_path):
    value = 1
    for _ in range(900):
        value = [value]
    event = {"name": "e", "time_unix_nano": NOW, "attributes": encode_attributes({"deep": value})}
    write(writer, span_row(attributes=encode_attributes({"deep": value}).text, events=encode_items([event]).text))
    for view in COLUMNS:
        ask(db_path, f"SELECT * FROM {view}")


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT * FROM metrics WHERE end_unix_nano > 5 ORDER BY end_unix_nano DESC", "_spans_by_end"),
        ("SELECT * FROM metrics WHERE operation_id = 1 AND end_unix_nano > 5", "_spans_by_operation"),
        ("SELECT * FROM spans WHERE is_error = 1 AND end_unix_nano > 5", "_spans_by_error"),
        ("SELECT * FROM spans WHERE is_slow = 1 ORDER BY end_unix_nano DESC", "_spans_by_slow"),
        ("SELECT * FROM span_keys WHERE trace_id_bytes = x'00'", "_spans_by_trace"),
    ],
)
def test_a_filter_on_a_raw_column_goes_through_its_index(filled, sql, index):
    plan = [row[3] for row in ask(filled, f"EXPLAIN QUERY PLAN {sql}")]
    assert any(f"INDEX {index} " in step or step.endswith(index) for step in plan), plan


@pytest.mark.parametrize(
    ("severity", "word"),
    [(0, ""), (1, "TRACE"), (8, "DEBUG"), (9, "INFO"), (16, "WARN"), (17, "ERROR"), (24, "FATAL"), (25, "")],
)
def test_a_log_record_reads_in_words(writer, db_path, severity, word):
    write(
        writer,
        logs=[
            log_row(severity_number=severity, trace_id=b"\xab" * 16, span_id=b"\xcd" * 8, event_name="e", at=0),
            log_row("", severity_text="Warnung", body_json='{"a":1}', attributes='{"b":2}'),
        ],
    )
    columns = "time, severity, service, body, event_name, trace_id, span_id, attributes"
    assert ask(db_path, f"SELECT {columns} FROM logs ORDER BY id") == [
        ("1970-01-01T00:00:00.000Z", word, "shop", "it happened", "e", "ab" * 16, "cd" * 8, "{}"),
        ("2027-01-15T08:00:00.000Z", "Warnung", "shop", '{"a":1}', None, None, None, '{"b":2}'),
    ]
