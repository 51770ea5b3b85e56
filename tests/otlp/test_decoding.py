"""Spans that came in as OTLP go out as the same OTLP."""

from __future__ import annotations

import json

import pytest

from otel_perfmon.errors import DecodeError
from otel_perfmon.otlp.decoding import SpanDecoder


@pytest.mark.parametrize("data", [b"nonsense", b"\x0a\xff", b"{}"])
def test_bytes_that_are_no_otlp_are_a_decode_error(data):
    with pytest.raises(DecodeError, match="no TracesData of OTLP"):
        list(SpanDecoder(0).decode_protobuf(data))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"resourceSpans": 5}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
        "[" * 100_000,
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": Infinity}]}]}]}',
        '{"\\ud800": 1}',
        '{"resourceSpans": "' + "x" * 100_000 + '"}',
    ],
)
def test_text_that_is_no_otlp_is_a_decode_error_of_one_sentence(text):
    with pytest.raises(DecodeError) as caught:
        list(SpanDecoder(0).decode_json(text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_unknown_names_are_passed_over_and_ids_may_be_in_any_case():
    span = {"traceId": "AB" * 16, "spanId": "cD" * 8, "name": "op", "novelty": {"a": 1}, "kind": 2}
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span], "more": []}]}], "v": 2})
    (row,) = SpanDecoder(0).decode_json(text)
    assert (row.trace_id, row.span_id, row.name, row.kind) == (b"\xab" * 16, b"\xcd" * 8, "op", 2)


IDS = {"traceId": "ab" * 16, "spanId": "cd" * 8}


def decode(decoder: SpanDecoder, *spans: dict) -> list:
    return list(decoder.decode_json(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})))


@pytest.mark.parametrize(
    "ids",
    [
        {},
        {"traceId": "", "spanId": "cd" * 8},
        {"traceId": None, "spanId": "cd" * 8},
        {**IDS, "traceId": "ab" * 100},
        {**IDS, "spanId": "cd"},
        {**IDS, "traceId": "00" * 16},
        {**IDS, "parentSpanId": "ef" * 3},
    ],
    ids=str,
)
def test_a_span_without_ids_of_the_right_length_is_left_out_and_counted(ids):
    decoder = SpanDecoder(0)
    assert [row.name for row in decode(decoder, {**ids, "name": "bad"}, {**IDS, "name": "good"})] == ["good"]
    assert decoder.refused_count == 1


def test_a_link_without_ids_is_counted_as_dropped():
    link = {"traceId": "12" * 16, "spanId": "34" * 8}
    (row,) = decode(SpanDecoder(0), {**IDS, "links": [link, {}], "droppedLinksCount": 2**32 - 1})
    assert len(json.loads(row.details.links)) == 1
    assert row.details.dropped_links_count == 2**32 - 1


def test_protobufs_own_names_are_understood_too():
    span = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "parent_span_id": "ef" * 8, "start_time_unix_nano": 5}
    text = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [span]}]}]})
    (row,) = SpanDecoder(0).decode_json(text)
    assert (row.trace_id, row.parent_span_id, row.start_unix_nano) == (b"\xab" * 16, b"\xef" * 8, 5)


def test_of_two_attributes_with_one_key_the_last_is_kept_and_that_is_told():
    pair = {"key": "a", "value": {"intValue": "1"}}
    span = {**IDS, "attributes": [pair, {"key": "a", "value": {"intValue": 2}}]}
    (row,) = SpanDecoder(0).decode_json(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    assert row.attributes == '{"a":2}'
    assert row.details.altered == "attributes"
