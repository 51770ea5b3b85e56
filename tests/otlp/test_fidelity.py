"""Whatever came as OTLP goes out again: every field of every message, known or not."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from message_kit import items_of, traces
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from otlp_kit import Station

from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_encoding import encode_traces

EXAMPLES = pytest.mark.parametrize("examples", [40, pytest.param(10_000, marks=pytest.mark.long)])
SPANS = ("resource_spans", "scope_spans", "spans")


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
