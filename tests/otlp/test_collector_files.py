"""What the Collector's file exporter writes is read, all signals in one file, with and without its compression."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
import zstandard
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import decode_file

LINES = (Path(__file__).parent / "fixtures" / "collector.jsonl").read_bytes()


def behind_sizes(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(message)) + message for message in messages)


def packed(message: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(message)


def in_protobuf() -> list[bytes]:
    """The traces as the exporter writes them with ``format: proto``."""
    import json  # noqa: PLC0415

    from otel_perfmon.otlp.messages import TRACES, _in_base64  # noqa: PLC0415

    read = [json.loads(line) for line in LINES.splitlines() if line.startswith(b'{"resourceSpans"')]
    return [ParseDict(_in_base64(each, TRACES.paths_to_ids), TracesData()).SerializeToString() for each in read]


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        LINES.replace(b"\n", b"\r\n"),
        behind_sizes(list(map(packed, LINES.splitlines()))),
        behind_sizes(in_protobuf()),
        behind_sizes(list(map(packed, in_protobuf()))),
    ],
    ids=["json", "json with lines of Windows", "json, zstd", "proto", "proto, zstd"],
)
def test_every_span_is_read_with_every_field(data):
    pieces = list(decode_file(io.BufferedReader(io.BytesIO(data)), SpanDecoder(10**9)))
    assert [piece.error for piece in pieces if piece.error] == []
    server, client = [row for piece in pieces for row in piece.rows]
    assert (server.trace_id, client.trace_id) == (bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"),) * 2
    assert client.parent_span_id == server.span_id
    assert (server.name, server.kind, server.flags, server.status_code) == ("POST /checkout", 2, 257, 2)
    assert (server.start_unix_nano, server.duration_nano) == (1_700_000_000_000_000_123, 2_000_000_333)
    assert server.attributes == (
        '{"http.response.status_code":500,"share":0.25,"empty":null,"nested":{"raw":{"@bytes":"aGk="}}}'
    )
    details = server.details
    assert (details.status_message, details.error_type, details.error_message) == ("failed", "Timeout", "no answer")
    assert (details.dropped_attributes_count, details.dropped_events_count) == (1, 2)
    assert '"trace_state":"a=b","flags":768' in details.links
    assert client.details.trace_state == "vendor=1"
    assert server.scope is client.scope
    assert (server.scope.name, server.scope.attributes) == ("io.otel.http", '{"short":true}')
    assert server.scope.schema_url == "https://opentelemetry.io/schemas/1.30.0"
    assert server.resource.schema_url == "https://opentelemetry.io/schemas/1.31.0"
    assert '"process.command_args":["app","--port=80"]' in server.resource.attributes


def test_a_frame_that_is_broken_or_too_large_is_told_and_the_next_is_read(monkeypatch):
    frames = list(map(packed, LINES.splitlines()))
    data = behind_sizes([frames[1][:-3], frames[0][:4] + b"nonsense", frames[1]])
    pieces = list(decode_file(io.BufferedReader(io.BytesIO(data)), SpanDecoder(10**9)))
    assert [(piece.place, len(piece.rows), piece.error is not None) for piece in pieces] == [
        ("message 1", 0, True),
        ("message 2", 0, True),
        ("message 3", 2, False),
    ]
    monkeypatch.setattr("otel_perfmon.otlp.files.MESSAGE_BYTES_MAX", 1_000)
    (piece,) = decode_file(io.BufferedReader(io.BytesIO(behind_sizes([packed(b"x" * 10**6)]))), SpanDecoder(0))
    assert "more than 1,000 bytes" in str(piece.error)
