"""Two histograms of one making, ours and the SDK's, and what their readers have of them."""

from __future__ import annotations

import random

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon.monitor import BUCKET_BOUNDARIES_S
from otel_perfmon.sdk.histogram import DurationHistogram

NAME, UNIT, DESCRIPTION = "perfmon.operation.duration", "s", "Duration of monitored operations."
SHARED = {"perfmon.operation": "shared"}
EMPTY = Resource({})


def context_of(span_id, *, is_sampled=True):
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else 0)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(7, span_id, False, flags)), otel_context.Context())


def reader_of(temporality=AggregationTemporality.CUMULATIVE, aggregation=None):
    return InMemoryMetricReader({Histogram: temporality}, {Histogram: aggregation} if aggregation else None)


def provider_of(*readers, views=(), exemplar_filter=None):
    return MeterProvider(readers, EMPTY, exemplar_filter, shutdown_on_exit=False, views=views)


def ours_on(provider):
    return DurationHistogram(NAME, UNIT, DESCRIPTION, BUCKET_BOUNDARIES_S, provider)


class Stock:
    """The SDK's own instrument, recorded to as the monitor would."""

    def __init__(self, provider):
        self.instrument = metrics.get_meter("otel_perfmon", meter_provider=provider).create_histogram(
            NAME, UNIT, DESCRIPTION, explicit_bucket_boundaries_advisory=BUCKET_BOUNDARIES_S
        )

    def record(self, elapsed_nano, attributes, context, end_unix_nano):
        self.instrument.record(elapsed_nano / 1e9, attributes, context)


def figures_of(data):
    """Everything in the data but the times, as values that can be compared."""
    if data is None:
        return None
    return [
        (metric.name, metric.unit, metric.description, type(metric.data), kind_of(metric.data), points_of(metric.data))
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def kind_of(data):
    return {name: value for name, value in vars(data).items() if name != "data_points"}


def points_of(data):
    return [
        {name: exemplars_of(value) if name == "exemplars" else value for name, value in vars(point).items()}
        | {"time_unix_nano": 0, "start_time_unix_nano": 0}
        for point in data.data_points
    ]


def exemplars_of(exemplars):
    return [(dict(e.filtered_attributes or {}), e.value, e.span_id, e.trace_id) for e in exemplars]


def count_in(data):
    return sum(point["count"] for figures in figures_of(data) or () for point in figures[5])


def measurements(count, seed=1):
    source = random.Random(seed)
    contexts = [context_of(i + 1, is_sampled=i % 3 > 0) for i in range(50)] + [otel_context.Context()] * 3
    attributes = [SHARED, {"perfmon.operation": "b"}, {"perfmon.operation": "c"}]
    for _ in range(count):
        nano = source.choice([0, 100_000, 1_000_000, int(source.lognormvariate(14, 3))])
        chosen = source.choice(attributes)
        if source.random() < 0.1:
            chosen = {**chosen, "error.type": source.choice(["KeyError", "OSError"])}
        yield nano, chosen, source.choice(contexts), 1_700_000_000 * 10**9
