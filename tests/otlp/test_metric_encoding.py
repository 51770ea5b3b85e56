"""Points that a MetricExporter stored go out as upstream's own exporter would have sent them."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from otlp_kit import Station

from otel_perfmon.otlp.metric_encoding import encode_request
from otel_perfmon.sdk.points import PointEncoder


def measured(temporality=None) -> MetricsData:
    reader = InMemoryMetricReader(preferred_temporality=temporality)
    views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
    resource = Resource({"service.name": "shop", "n": 5}, "https://opentelemetry.io/schemas/1.30.0")
    provider = MeterProvider([reader], resource, exemplar_filter=AlwaysOnExemplarFilter(), views=views)
    meter = provider.get_meter("shop.cart", "1.2", "https://example.org/schema", {"kind": "test"})
    other = provider.get_meter("shop.other")
    tracer = TracerProvider().get_tracer("t")

    def watch(_: CallbackOptions):
        yield Observation(-0.5, {"core": 1})
        yield Observation(7, {"core": 2})

    with tracer.start_as_current_span("op"):
        for number in range(5):
            meter.create_counter("orders", "1", "How many").add(number, {"route": "/", "n": number % 2})
            other.create_up_down_counter("open", "{order}").add(-1.5)
            meter.create_histogram("took", "s", "How long").record(number * 1.5, {"route": "/"})
            meter.create_histogram("size", "By").record(number, {"a": ("x", "y")})
            meter.create_gauge("level").set(number)
    meter.create_observable_gauge("load", [watch])
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


@pytest.mark.parametrize("temporality", [None, "delta"])
def test_each_kind_of_instrument_goes_out_as_upstream_sends_it(station: Station, temporality) -> None:
    delta = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA} if temporality else None
    data = measured(delta)
    stored = station.points_through(PointEncoder().encode(data))
    assert encode_request(stored) == encode_metrics(data).SerializeToString()
