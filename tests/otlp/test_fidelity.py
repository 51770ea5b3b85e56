"""Whatever came as OTLP goes out again: every field of every message, known or not."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from message_kit import items_of, messages, metrics_alone, traces
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData
from otlp_kit import Station

from otel_perfmon.otlp import log_encoding, metric_encoding
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_encoding import encode_traces
from otel_perfmon.otlp.log_decoding import LogDecoder
from otel_perfmon.otlp.metric_decoding import MetricDecoder
from otel_perfmon.otlp.origins import RAW_BYTES_MAX
from otel_perfmon.storage.row_maker import RowMaker

EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(2_000, marks=pytest.mark.long)])
SPANS = ("resource_spans", "scope_spans", "spans")
METRICS = ("resource_metrics", "scope_metrics", "metrics")
LOGS = ("resource_logs", "scope_logs", "log_records")


def check(examples, strategy, function) -> None:
    calm = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    settings(max_examples=examples, deadline=None, suppress_health_check=calm)(given(strategy)(function))()


@EXAMPLES
def test_no_field_of_a_span_is_lost_on_its_way_through_a_store(station: Station, examples: int) -> None:
    def through(sent: TracesData) -> None:
        stored = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString())))
        found = TracesData.FromString(SpanEncoder().encode_request(stored))
        assert items_of(found, SPANS) == items_of(sent, SPANS)

    check(examples, traces(), through)


@EXAMPLES
def test_nor_is_one_that_has_a_name_on_its_way_through_json(station: Station, examples: int) -> None:
    def through(sent: TracesData) -> None:
        sent.DiscardUnknownFields()
        stored = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString())))
        again = list(SpanDecoder(10**9).decode_json(json.dumps(encode_traces(stored))))
        found = TracesData.FromString(SpanEncoder().encode_request(station.through_rows(again)))
        assert items_of(found, SPANS) == items_of(sent, SPANS)

    check(examples, traces(), through)


@EXAMPLES
def test_nor_is_one_on_its_way_from_a_store_into_another(station: Station, examples: int) -> None:
    def through(sent: TracesData) -> None:
        stored = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString())))
        again = station.through_rows(list(map(RowMaker().row_of, stored)))
        found = TracesData.FromString(SpanEncoder().encode_request(again))
        assert items_of(found, SPANS) == items_of(sent, SPANS)

    check(examples, traces(), through)


@EXAMPLES
def test_no_field_of_a_log_record_is_lost(station: Station, examples: int) -> None:
    def through(sent: LogsData) -> None:
        stored = station.logs_through(list(LogDecoder().decode_protobuf(sent.SerializeToString())))
        found = LogsData.FromString(log_encoding.encode_request(stored))
        assert items_of(found, LOGS) == items_of(sent, LOGS)
        sent.DiscardUnknownFields()
        again = LogDecoder().decode_json(json.dumps(log_encoding.encode_logs_json(stored)))
        found = LogsData.FromString(log_encoding.encode_request(station.logs_through(list(again))))
        assert items_of(found, LOGS) == items_of(sent, LOGS)

    check(examples, messages(LogsData), through)


@EXAMPLES
def test_no_field_of_a_data_point_is_lost(station: Station, examples: int) -> None:
    def through(sent: MetricsData) -> None:
        stored = station.points_through(list(MetricDecoder().decode_protobuf(sent.SerializeToString())))
        metrics_alone(sent)
        found = MetricsData.FromString(metric_encoding.encode_request(stored))
        metrics_alone(found)
        assert items_of(found, METRICS) == items_of(sent, METRICS)
        sent.DiscardUnknownFields()
        again = MetricDecoder().decode_json(json.dumps(metric_encoding.encode_metrics_json(stored)))
        found = MetricsData.FromString(metric_encoding.encode_request(station.points_through(list(again))))
        metrics_alone(found)
        assert items_of(found, METRICS) == items_of(sent, METRICS)

    check(examples, messages(MetricsData), through)


def test_a_nan_that_is_not_the_usual_one_stays_what_it_is(station: Station) -> None:
    odd = struct.unpack("<d", b"\x05\0\0\0\0\0\xf8\xff")[0]
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="odd")
    span.attributes.add(key="a").value.double_value = odd
    sent = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
    stored = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString())))
    found = TracesData.FromString(SpanEncoder().encode_request(stored))
    assert items_of(found, SPANS) == items_of(sent, SPANS)


def test_of_a_span_too_large_to_keep_as_it_came_that_is_told(station: Station) -> None:
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="large")
    span.attributes.add(key="a").value.string_value = "x" * RAW_BYTES_MAX
    sent = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
    (stored,) = station.through_rows(list(SpanDecoder(10**9).decode_protobuf(sent.SerializeToString())))
    assert (stored.otlp, stored.altered) == (b"", ("attributes", "otlp"))


def test_only_a_span_that_needs_it_keeps_the_form_in_which_it_came() -> None:
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="plain", trace_state="a=b", flags=0x301)
    span.events.add(name="e", time_unix_nano=5).attributes.add(key="k").value.array_value.values.add().int_value = 5
    span.links.add(trace_id=b"u" * 16, span_id=b"v" * 8, trace_state="c=d", flags=1)
    resource = ResourceSpans(
        schema_url="https://opentelemetry.io/schemas/1.30.0", scope_spans=[ScopeSpans(spans=[span])]
    )
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    row, *_ = SpanDecoder(10**9).decode_protobuf(TracesData(resource_spans=[resource]).SerializeToString())
    assert (row.details.otlp, row.resource.otlp, row.scope.otlp) == (b"", b"", b"")
