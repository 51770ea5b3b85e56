"""What a file is, is told from what it holds; whatever it holds, it is read or told what is wrong."""

from __future__ import annotations

import builtins
import io
import json
import tracemalloc
from functools import partial

import pytest
from formats_kit import errors_in, pieces_in, read, rows_in
from records_kit import span_record

from otel_perfmon.formats import jaeger_decoding
from otel_perfmon.formats.jaeger_encoding import encode_jaeger_json
from otel_perfmon.formats.json_stream import JsonStream
from otel_perfmon.formats.reading import _read_json
from otel_perfmon.otlp.files import encode_json_lines, encode_protobuf_messages

OTLP = b"".join(encode_json_lines([[span_record(attributes={"traceID": "x", "traceId": "y", "processes": 1})]]))
PROTO = b"".join(encode_protobuf_messages([[span_record(name='"traceID": "traceId":')]]))
JAEGER = b"".join(encode_jaeger_json([[span_record(attributes={"resourceSpans": 1, "traceId": "y"})]]))
ZIPKIN = json.dumps([{"traceId": "1", "id": "2", "tags": {"traceID": "x", "data": "y"}}]).encode()


@pytest.mark.parametrize("data", [OTLP, PROTO, JAEGER, ZIPKIN], ids=["otlp-json", "otlp-proto", "jaeger", "zipkin"])
def test_the_format_is_told_from_the_bytes_whatever_stands_in_the_spans(data):
    assert len(rows_in(data)) == 1


def test_lines_of_other_signals_before_the_first_span_are_no_other_format():
    profiles = b'{"resourceProfiles":[],"dictionary":{"linkTable":[{"traceId":"1","spanId":"2"}]}}\n'
    assert len(rows_in(profiles + OTLP)) == 1


def test_what_is_none_of_them_is_told():
    for data in (b"nonsense", b"<xml/>", b"[1, 2]", b"\xff\xfe" * 100, b"{" * 1000, b"[" * 100_000, b'{"traceID":'):
        assert errors_in(data) != []
    assert read(b"") == read(b"\n\n") == []


def test_empty_lines_and_those_of_windows_change_nothing():
    for data in (OTLP, ZIPKIN, JAEGER):
        assert len(rows_in(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") + b"\r\n\r\n")) == 1
        assert len(rows_in(b"\n\r\n" + data)) == 1


def test_a_trace_of_a_great_many_spans_is_read_in_bounded_memory(monkeypatch):
    count = 6_000
    span = {"traceID": "1", "operationName": "op", "startTime": 1, "duration": 2, "processID": "p1", "tags": []}
    spans = ",".join(json.dumps({**span, "spanID": f"{number:x}"}) for number in range(1, count + 1))
    data = f'{{"data":[{{"traceID":"1","spans":[{spans}],"processes":{{"p1":{{"serviceName":"s"}}}}}}]}}'.encode()
    monkeypatch.setattr(jaeger_decoding, "_HELD_BYTES_MAX", 300_000)
    try:
        tracemalloc.start()
        names = {row.resource.service_name for piece in pieces_in(data) for row in piece.rows}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert names == {"s"}
    assert peak < 400 * count


class OddSpans:
    """A format of whose spans all but the last fail in a way that its decoder does not foresee."""

    def read(self, stream):
        for error in stream.value()[0]:
            yield partial(self.decode, error)

    def decode(self, error):
        if error:
            raise getattr(builtins, error)("odd")
        return span_record()


def test_a_span_that_nobody_foresaw_is_told_and_the_rest_goes_on():
    odd = ["AttributeError", "TypeError", "ValueError", "KeyError", "OverflowError"]
    pieces = list(_read_json(JsonStream(io.BytesIO(json.dumps([*odd, ""]).encode())), OddSpans()))
    assert [piece.place for piece in pieces if piece.error] == [f"line 1, span {number}" for number in range(1, 6)]
    assert str(pieces[1].error) == "It cannot be read: TypeError: odd."
    assert [len(piece.rows) for piece in pieces if not piece.error] == [1]


def test_a_document_within_a_document_ends_the_reading():
    assert errors_in(b'{"data":[' * 500 + b'{"traceID":"1"}' + b"]}" * 500) != []
    assert errors_in(b'[{"traceId":"1","id":"2"},' + b"[" * 500 + b"]" * 500 + b"]") != []
