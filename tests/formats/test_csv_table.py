"""The table has a row for each span, which any reader of CSV reads."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from otel_perfmon.formats.csv_table import COLUMNS, encode_csv, encode_csv_rows
from otel_perfmon.records import EventRecord, LinkRecord, ResourceRecord, ScopeRecord, SpanRecord

SPAN = SpanRecord(
    trace_id="ab" * 16, span_id="cd" * 8, parent_span_id="ef" * 8, name='a "quoted",\r\nname', kind=2,
    start_unix_nano=1_700_000_000_000_000_001, end_unix_nano=1_700_000_000_001_500_001, status_code=2,
    status_message="boom", trace_state="", flags=1, attributes={"n": 1, "b": b"hi", "t": ("x", None)},
    events=(EventRecord("exception", 5, {"exception.type": "E"}),), links=(LinkRecord("12" * 16, "34" * 8),),
    dropped_attributes_count=3, dropped_events_count=0, dropped_links_count=0,
    resource=ResourceRecord({"service.name": "shop"}), scope=ScopeRecord("cart", "1.0"),
    is_error=True, is_slow=True, error_type="E",
)  # fmt: skip


def rows(pages) -> list[dict[str, str]]:
    text = b"".join(encode_csv(pages)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_column_tells_what_it_is_called():
    (row,) = rows([[SPAN]])
    assert list(row) == list(COLUMNS)
    assert row["name"] == SPAN.name
    assert (row["kind"], row["service"], row["duration_ms"]) == ("server", "shop", "1.5")
    assert (row["otel.status_code"], row["otel.status_description"], row["is_slow"]) == ("ERROR", "boom", "true")
    assert row["start_unix_nano"] == "1700000000000000001"
    assert json.loads(row["attributes"]) == {"n": 1, "b": {"@bytes": "aGk="}, "t": ["x", None]}
    assert json.loads(row["events"])[0]["name"] == "exception"
    assert json.loads(row["links"])[0]["traceId"] == "12" * 16
    assert (row["otel.dropped_attributes_count"], row["otel.dropped_events_count"]) == ("3", "")


def test_no_spans_are_a_heading_and_pages_follow_one_another():
    assert rows([]) == []
    assert len(rows([[SPAN, SPAN], [SPAN]])) == 3


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\N{FULLWIDTH EQUALS SIGN}"])
def test_no_spreadsheet_takes_a_text_for_a_formula(start):
    hostile = f"{start}cmd|'/c calc'!A1"
    resource, scope = ResourceRecord({"service.name": hostile}), ScopeRecord(hostile, hostile)
    span = replace(SPAN, name=hostile, status_message=hostile, error_type=hostile, resource=resource, scope=scope)
    (row,) = rows([[span]])
    assert [name for name, cell in row.items() if cell.startswith(start)] == []
    assert row["name"] == f"'{hostile}"


def test_what_readers_of_csv_stumble_over_is_quoted_or_escaped():
    hostile = 'a"b,c\r\nd\u2028e\x00f\x1b[31m'
    (row,) = rows([[replace(SPAN, name=hostile, attributes={"k": hostile})]])
    assert row["name"] == hostile.replace("\0", "\\x00")
    assert json.loads(row["attributes"]) == {"k": hostile}


def test_any_table_is_written_by_the_same_rules():
    table = encode_csv_rows(("=a", "b"), [("@x", None), (b"\x00\xff", -1.5), ("two\nlines", 3)])
    assert table == b"'=a,b\r\n'@x,\r\nx'00ff',-1.5\r\n\"two\nlines\",3\r\n"
