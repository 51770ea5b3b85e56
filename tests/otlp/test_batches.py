"""Any batch of spans goes into a store and out of it as OTLP without a loss, by every way there is.

To draw a batch takes longer than to try everything on it: so each is drawn once for all.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from json_kit import by_protobuf, by_us
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from otlp_kit import Station, batches

from otel_perfmon import SpanRecord
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_encoding import encode_traces
from otel_perfmon.otlp.row_encoding import EncodedSpans
from otel_perfmon.storage.sqlite.outbox_rows import read_outbox_spans

AS_OTLP = {"use_integers_for_enums": True}
IDS = ("traceId", "spanId", "parentSpanId")


@pytest.mark.parametrize("examples", [25, pytest.param(10_000, marks=pytest.mark.long)])
def test_whatever_the_sdk_hands_over_goes_in_and_out_without_a_loss(station: Station, db_path: str, examples: int):
    read_by_hand: Counter[bool] = Counter()

    def check(spans: list[ReadableSpan]) -> None:
        sent = encode_spans(spans).SerializeToString()
        stored = station.through(spans)
        ours = SpanEncoder().encode_request(stored)
        in_compatible_mode_the_bytes_are_those_of_the_sdks_encoder(stored, sent)
        by_default_nothing_is_left_out_that_the_protocol_has_room_for(spans, ours)
        straight_from_their_rows_the_bytes_are_the_same(db_path, len(spans), ours)
        the_json_is_protobufs_own_with_ids_in_hex(stored, ours)
        read_by_hand[our_json_is_read_as_protobuf_reads_it(stored)] += 1
        received_and_stored_they_are_those_that_the_sdk_handed_over(station, stored, ours)
        what_was_received_goes_out_as_it_came(station, sent)

    settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])(
        given(batches())(check)
    )()
    assert read_by_hand[True] > 0


def in_compatible_mode_the_bytes_are_those_of_the_sdks_encoder(stored: list[SpanRecord], sent: bytes) -> None:
    assert SpanEncoder(is_compat=True).encode_request(stored) == sent


def by_default_nothing_is_left_out_that_the_protocol_has_room_for(spans: list[ReadableSpan], ours: bytes) -> None:
    request = ExportTraceServiceRequest.FromString(ours)
    found = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    expected = []
    for span in spans:
        context = span.get_span_context()
        links = [(flags_of(each.context, each.context), each.context.trace_state.to_header()) for each in span.links]
        expected.append((context.span_id.to_bytes(8, "big"), flags_of(context, span.parent), links))
    told = [(span.span_id, span.flags, [(each.flags, each.trace_state) for each in span.links]) for span in found]
    assert sorted(told) == sorted(expected)


def flags_of(context: SpanContext, other_end: SpanContext | None) -> int:
    return int(context.trace_flags) | 0x100 | (0x200 if other_end is not None and other_end.is_remote else 0)


def straight_from_their_rows_the_bytes_are_the_same(path: str, count: int, ours: bytes) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id FROM _spans ORDER BY id DESC LIMIT ?", (count,)).fetchall()
        spans = EncodedSpans(read_outbox_spans(connection, [row_id for (row_id,) in rows][::-1]))
    assert spans.encode_request(0, count) == ours


def the_json_is_protobufs_own_with_ids_in_hex(stored: list[SpanRecord], ours: bytes) -> None:
    expected = MessageToDict(ExportTraceServiceRequest.FromString(ours), **AS_OTLP)
    assert json.loads(json.dumps(encode_traces(stored))) == in_hex(expected)


def in_hex(message):
    """Ids as OTLP's JSON has them, not as protobuf's."""
    if isinstance(message, list):
        return [in_hex(each) for each in message]
    if not isinstance(message, dict):
        return message
    return {
        key: base64.b64decode(value).hex() if key in IDS else value if key == "bytesValue" else in_hex(value)
        for key, value in message.items()
    }


def our_json_is_read_as_protobuf_reads_it(stored: list[SpanRecord]) -> bool:
    """Whether it was read by hand at all, without protobuf's library."""
    document = json.loads(json.dumps(encode_traces(stored)))
    found = by_us(document)
    assert found is None or found.SerializeToString() == by_protobuf(document).SerializeToString()
    return found is not None


def received_and_stored_they_are_those_that_the_sdk_handed_over(
    station: Station, stored: list[SpanRecord], ours: bytes
) -> None:
    rows = list(SpanDecoder(station.slow_threshold_nano).decode_protobuf(ours))
    assert sorted(map(repr, station.through_rows(rows))) == sorted(map(repr, stored))


def what_was_received_goes_out_as_it_came(station: Station, sent: bytes) -> None:
    stored = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent)))
    assert SpanEncoder().encode_request(stored) == sent
    again = list(SpanDecoder(10**9).decode_json(json.dumps(encode_traces(stored))))
    assert SpanEncoder().encode_request(station.through_rows(again)) == sent
