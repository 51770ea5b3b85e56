"""Spans that were stored go out as the bytes that the SDK's own exporter would have sent."""

from __future__ import annotations

import base64
import json

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from otlp_kit import EXAMPLES, Station, check_batches
from records_kit import span_record
from storage_kit import log_row, point_row

from otel_perfmon.otlp import log_encoding, metric_encoding
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_encoding import encode_traces
from otel_perfmon.otlp.log_decoding import LogDecoder
from otel_perfmon.records import EventRecord


@EXAMPLES
def test_in_compatible_mode_the_bytes_are_those_of_the_sdks_encoder(station: Station, examples: int) -> None:
    def check(spans: list[ReadableSpan]) -> None:
        expected = encode_spans(spans).SerializeToString()
        found = SpanEncoder(is_compat=True).encode_request(station.through(spans))
        assert found == expected

    check_batches(examples, check)


def flags_of(context: SpanContext, other_end: SpanContext | None) -> int:
    return int(context.trace_flags) | 0x100 | (0x200 if other_end is not None and other_end.is_remote else 0)


@EXAMPLES
def test_by_default_nothing_is_left_out_that_the_protocol_has_room_for(station: Station, examples: int) -> None:
    def check(spans: list[ReadableSpan]) -> None:
        request = ExportTraceServiceRequest.FromString(SpanEncoder().encode_request(station.through(spans)))
        found = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        expected = []
        for span in spans:
            context = span.get_span_context()
            links = [
                (flags_of(each.context, each.context), each.context.trace_state.to_header()) for each in span.links
            ]
            expected.append((context.span_id.to_bytes(8, "big"), flags_of(context, span.parent), links))
        sent = [(span.span_id, span.flags, [(each.flags, each.trace_state) for each in span.links]) for span in found]
        assert sorted(sent) == sorted(expected)

    check_batches(examples, check)


@EXAMPLES
def test_the_json_is_protobufs_own_with_ids_in_hex(station: Station, examples: int) -> None:
    def check(spans: list[ReadableSpan]) -> None:
        stored = station.through(spans)
        expected = MessageToDict(ExportTraceServiceRequest.FromString(SpanEncoder().encode_request(stored)), **AS_OTLP)
        assert json.loads(json.dumps(encode_traces(stored))) == in_hex(expected)

    check_batches(examples, check)


AS_OTLP = {"use_integers_for_enums": True}


def in_hex(message):
    """Ids as OTLP's JSON has them, not as protobuf's."""
    if isinstance(message, list):
        return [in_hex(each) for each in message]
    if not isinstance(message, dict):
        return message
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64decode(value).hex() if key in ids else value if key == "bytesValue" else in_hex(value)
        for key, value in message.items()
    }


def test_times_before_1970_for_which_otlp_has_no_room_are_0_and_come_in_again() -> None:
    span = span_record(start_unix_nano=-5_000, end_unix_nano=7, events=(EventRecord("e", -1),))
    for row in (
        *SpanDecoder(10**9).decode_protobuf(SpanEncoder().encode_request([span])),
        *SpanDecoder(10**9).decode_json(json.dumps(encode_traces([span]))),
    ):
        assert (row.start_unix_nano, row.end_unix_nano) == (0, 7)
        assert json.loads(row.details.events)[0]["time_unix_nano"] == 0


def test_so_are_those_of_log_records_and_points(station: Station) -> None:
    logs = station.logs_through([log_row(at=-5)])
    for row in (
        *LogDecoder().decode_protobuf(log_encoding.encode_request(logs)),
        *LogDecoder().decode_json(json.dumps(log_encoding.encode_logs_json(logs))),
    ):
        assert (row.time_unix_nano, row.observed_unix_nano) == (0, 0)
    exemplar = {"time_unix_nano": -5, "value": 1}
    points = station.points_through([point_row(at=-5, data=json.dumps({"value": 1, "exemplars": [exemplar]}))])
    (metric,) = metric_encoding.encode_metrics_json(points)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert "timeUnixNano" not in json.dumps(metric)
