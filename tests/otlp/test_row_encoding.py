"""Rows become the same bytes that the records of their spans become, without any record."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from message_kit import items_of, traces
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from otlp_kit import Station
from storage_kit import span_row

from otel_perfmon.errors import StoreCorruptError
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.row_encoding import EncodedSpans
from otel_perfmon.storage.sqlite.outbox_rows import read_outbox_spans

SPANS = ("resource_spans", "scope_spans", "spans")


def encoded(path: str, count: int) -> EncodedSpans:
    """The spans that arrived last."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id FROM _spans ORDER BY id DESC LIMIT ?", (count,)).fetchall()
        return EncodedSpans(read_outbox_spans(connection, [row_id for (row_id,) in rows][::-1]))


def test_what_came_as_otlp_goes_out_from_its_rows_as_it_came(station: Station, db_path: str) -> None:
    def through(sent: TracesData) -> None:
        rows = list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString()))
        if rows:
            records = station.through_rows(rows)
            expected = TracesData.FromString(SpanEncoder().encode_request(records))
            found = TracesData.FromString(encoded(db_path, len(records)).encode_request(0, len(records)))
            assert items_of(found, SPANS) == items_of(expected, SPANS) == items_of(sent, SPANS)

    settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))(given(traces())(through))()


def test_any_run_of_them_is_a_request_of_its_own(station: Station, db_path: str) -> None:
    records = station.through_rows([span_row(f"op{number}", error="x" if number % 3 else None) for number in range(9)])
    spans = encoded(db_path, 9)
    for start, end in ((0, 9), (0, 4), (4, 9), (8, 9)):
        assert spans.encode_request(start, end) == SpanEncoder().encode_request(records[start:end])
    assert sum(map(spans.size_bytes, range(9))) < len(spans.encode_request(0, 9)) < 2_000


def test_texts_may_hold_what_separates_columns(station: Station, db_path: str) -> None:
    attributes = '{"query":"SELECT 1,\\n 2","":",","nul":"\\u0000"}'
    (record,) = station.through_rows([span_row(attributes=attributes)])
    assert record.attributes["query"] == "SELECT 1,\n 2"
    assert encoded(db_path, 1).encode_request(0, 1) == SpanEncoder().encode_request([record])


def test_times_before_1970_go_out_as_0_as_those_of_records_do(station: Station, db_path: str) -> None:
    events = '[{"name":"e","time_unix_nano":-1,"attributes":{}}]'
    plain = [span_row(start_unix_nano=start, end_unix_nano=end) for start, end in ((-5, -1), (-(2**63) + 1, 7))]
    records = station.through_rows([*plain, span_row(start_unix_nano=-5, end_unix_nano=9, events=events)])
    request = encoded(db_path, 3).encode_request(0, 3)
    assert request == SpanEncoder().encode_request(records)
    spans = TracesData.FromString(request).resource_spans[0].scope_spans[0].spans
    assert [(each.start_time_unix_nano, each.end_time_unix_nano) for each in spans] == [(0, 0), (0, 7), (0, 9)]
    assert spans[2].events[0].time_unix_nano == 0


def test_truths_numbers_and_texts_that_are_equal_in_python_stay_what_they_are(station: Station, db_path: str) -> None:
    texts = ['{"a":1}', '{"a":true}', '{"a":1.0}', '{"a":"1"}', '{"a":0}', '{"a":false}', '{"a":-1}']
    records = station.through_rows([span_row(attributes=text) for text in texts])
    for _ in range(2):  # the second time, what was encoded is remembered
        assert encoded(db_path, 7).encode_request(0, 7) == SpanEncoder().encode_request(records)


def test_a_row_that_is_gone_by_now_is_left_out(station: Station, db_path: str) -> None:
    station.through_rows([span_row("stays"), span_row("goes"), span_row("stays")])
    with closing(sqlite3.connect(db_path)) as connection:
        ids = [row_id for (row_id,) in connection.execute("SELECT id FROM _spans ORDER BY id")][1:]
        connection.execute("DELETE FROM _spans WHERE id = ?", (ids[1],))
        assert list(read_outbox_spans(connection, ids).row_ids) == [ids[0], ids[2]]
        assert list(read_outbox_spans(connection, [ids[1]]).row_ids) == []


def test_a_row_that_no_writer_of_ours_wrote_is_damage(station: Station, db_path: str) -> None:
    station.through_rows([span_row()])
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute("UPDATE _spans SET attributes = '{\n}'")
        with pytest.raises(StoreCorruptError, match="damaged"):
            read_outbox_spans(connection, [1, 2])


def test_what_came_as_bytes_that_no_row_can_hold_goes_out_as_it_came(station: Station, db_path: str) -> None:
    station.through_rows([span_row("a"), span_row("b")])
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS _raw_spans (span_row_id INTEGER PRIMARY KEY, otlp BLOB NOT NULL)"
        )
        connection.execute("INSERT INTO _raw_spans VALUES (3, x'0a02726177')")
        spans = EncodedSpans(read_outbox_spans(connection, [2, 3]))
    assert spans.encode_request(1, 2).endswith(b"\x12\x05\x0a\x02raw")
    assert b"raw" not in spans.encode_request(0, 1)
