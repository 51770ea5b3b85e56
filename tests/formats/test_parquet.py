"""Parquet is read by whoever reads Parquet, with the types that the values have."""

from __future__ import annotations

import io
import json

import duckdb
import pyarrow as pa
import pytest
from formats_kit import records
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq
from records_kit import span_record

from otel_perfmon.formats import parquet
from otel_perfmon.formats.parquet import encode_parquet
from otel_perfmon.records import EventRecord, LinkRecord

START = 1_516_781_775_726_000_123


def table(*pages) -> pa.Table:
    return pq.read_table(io.BytesIO(b"".join(encode_parquet(pages))))


def test_ids_are_text_times_are_utc_and_what_is_missing_is_null():
    event, link = EventRecord("e", START, {"n": 1}), LinkRecord("c" * 32, "d" * 16)
    span = span_record(
        start_unix_nano=START, end_unix_nano=START + 1_500_000, attributes={"a": (1, "x"), "raw": b"hi"},
        events=(event,), links=(link,), parent_span_id="e" * 16,
    )  # fmt: skip
    found = table([span, span_record()])
    assert found.schema.field("start").type == pa.timestamp("ns", "UTC")
    assert found.schema.field("name").type == pa.dictionary(pa.int32(), pa.string())
    assert found["start"].cast(pa.int64()).to_pylist() == [START, 10]
    row = found.drop_columns(["start", "end", "events"]).to_pylist()[0]
    assert (row["trace_id"], row["parent_span_id"], row["service"]) == ("a" * 32, "e" * 16, "shop")
    assert (row["duration_nano"], row["duration_ms"], row["kind"], row["status"]) == (
        1_500_000,
        1.5,
        "internal",
        "unset",
    )
    assert json.loads(row["attributes"]) == {"a": [1, "x"], "raw": {"@bytes": "aGk="}}
    assert row["links"] == [{"trace_id": "c" * 32, "span_id": "d" * 16, "attributes": "{}"}]
    assert found["parent_span_id"].to_pylist() == ["e" * 16, None]
    times = found["events"].combine_chunks().flatten().field("time").cast(pa.int64())
    assert times.to_pylist() == [START]


def test_duckdb_asks_it(tmp_path):
    path = tmp_path / "spans.parquet"
    spans = [span_record(name=f"op {number % 2}", end_unix_nano=10 + number * 10**6) for number in range(10)]
    path.write_bytes(b"".join(encode_parquet([spans])))
    question = "SELECT name, count(*), max(duration_ms), epoch(min(start)) FROM read_parquet(?) GROUP BY 1 ORDER BY 1"
    with duckdb.connect() as connection:
        first, second = connection.execute(question, [str(path)]).fetchall()
    assert first == ("op 0", 5, 8.0, 0)
    assert second[:3] == ("op 1", 5, 9.0)


def test_an_export_without_spans_is_a_table_without_rows():
    assert table().num_rows == 0
    assert table().schema.names == list(parquet.COLUMNS)


def test_row_groups_are_written_as_they_are_full(monkeypatch):
    monkeypatch.setattr(parquet, "_GROUP_ROWS_MAX", 10)
    pieces = list(encode_parquet([span_record()] * 4 for _ in range(10)))
    assert [bool(piece) for piece in pieces] == [True] * 5
    file = pq.ParquetFile(io.BytesIO(b"".join(pieces)))
    assert sum(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)) == 40
    monkeypatch.setattr(parquet, "_GROUP_ROWS_MAX", 10**6)
    monkeypatch.setattr(parquet, "_GROUP_BYTES_MAX", 100)
    large = span_record(attributes={"text": "x" * 200})
    assert len(list(encode_parquet([large] for _ in range(3)))) == 4


@settings(max_examples=30)
@given(st.lists(records(), max_size=4))
def test_any_span_can_be_written_and_half_a_surrogate_pair_too(spans):
    odd = span_record(name="a\ud800", status_message="\udfff", attributes={"k\ud800": "\ud800"}, error_type="\ud800")
    assert table([*spans, odd]).num_rows == len(spans) + 1


def test_without_pyarrow_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(parquet.ConfigError, match=r"pip install 'otel-perfmon\[parquet\]'"):
        list(encode_parquet([]))
