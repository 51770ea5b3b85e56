"""Points of every instrument come back as the SDK had them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from exporter_kit import SUCCESS
from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    InMemoryMetricReader,
    MetricExportResult,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import SpanQuery, SQLiteMetricExporter, SQLiteSpanExporter, open_store
from otel_perfmon.sdk.exporter import PREFERRED_TEMPORALITY


def points_of(data: Any) -> list[dict[str, Any]]:
    """The points of an SDK reader, in the words of a `PointRecord`."""
    kinds = {Sum: "sum", Gauge: "gauge", Histogram: "histogram", ExponentialHistogram: "exponential_histogram"}
    points = []
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points += [
                    {
                        "instrument": metric.name,
                        "kind": kinds[type(metric.data)],
                        "unit": metric.unit or "",
                        "description": metric.description or "",
                        "temporality": int(getattr(metric.data, "aggregation_temporality", 0)),
                        "is_monotonic": getattr(metric.data, "is_monotonic", False),
                        "attributes": dict(point.attributes),
                        "start_unix_nano": point.start_time_unix_nano or 0,
                        "time_unix_nano": point.time_unix_nano,
                        "data": figures_of(point),
                        "resource": (dict(resource.resource.attributes), resource.resource.schema_url),
                        "scope": (scope.scope.name, scope.scope.version or ""),
                    }
                    for point in metric.data.data_points
                ]
    return points


def figures_of(point: Any) -> dict[str, Any]:
    figures = {
        name: getattr(point, name)
        for name in ("value", "count", "sum", "min", "max", "scale", "zero_count")
        if hasattr(point, name)
    }
    for name in ("bucket_counts", "explicit_bounds"):
        if hasattr(point, name):
            figures[name] = tuple(getattr(point, name))
    for name in ("positive", "negative"):
        if hasattr(point, name):
            buckets = getattr(point, name)
            figures[name] = {"offset": buckets.offset, "bucket_counts": tuple(buckets.bucket_counts)}
    if point.exemplars:
        figures["exemplars"] = tuple(exemplar_of(each) for each in point.exemplars)
    return figures


def exemplar_of(exemplar: Any) -> dict[str, Any]:
    figures = {"time_unix_nano": exemplar.time_unix_nano, "value": exemplar.value}
    if exemplar.trace_id is not None:
        figures["trace_id"] = trace.format_trace_id(exemplar.trace_id)
        figures["span_id"] = trace.format_span_id(exemplar.span_id)
    if exemplar.filtered_attributes:
        figures["filtered_attributes"] = dict(exemplar.filtered_attributes)
    return figures


def stored_points(path: str, *, has_times: bool = True) -> list[dict[str, Any]]:
    with open_store(path) as store:
        points = store.find_points()
    result = []
    for point in reversed(points):
        fields = {name: getattr(point, name) for name in point.__dataclass_fields__}
        fields["resource"] = (point.resource.attributes, point.resource.schema_url)
        fields["scope"] = (point.scope.name, point.scope.version)
        result.append(fields)
    return result if has_times else [without_times(each) for each in result]


def without_times(point: dict[str, Any]) -> dict[str, Any]:
    """And without exemplars, which each reader picks at random."""
    point = {name: value for name, value in point.items() if not name.endswith("_unix_nano")}
    return {**point, "data": {name: value for name, value in point["data"].items() if name != "exemplars"}}


def by_key(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(points, key=lambda each: (each["instrument"], str(each["attributes"])))


VIEWS = [
    View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation()),
    View(instrument_name="narrow", attribute_keys={"kept"}),
]


def use_every_instrument(provider: MeterProvider, tracer: trace.Tracer) -> None:
    meter = provider.get_meter("m", "1.0")
    meter.create_observable_gauge("o-gauge", [lambda _: [Observation(1.5, {"a": 1}), Observation(-2)]], unit="Cel")
    meter.create_observable_counter("o-counter", [lambda _: [Observation(5)]])
    meter.create_observable_up_down_counter("o-updown", [lambda _: [Observation(-7)]])
    with tracer.start_as_current_span("op"):
        counter = meter.create_counter("counter", "1", "It counts.")
        counter.add(2, {"a": "x"})
        counter.add(3, {"a": "x"})
        counter.add(2**62, {"a": "y", "flags": (True, False)})
        meter.create_counter("float-counter").add(0.1)
        meter.create_up_down_counter("updown").add(-4)
        meter.create_gauge("gauge").set(1e300)
        histogram = meter.create_histogram("histogram", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        for value in (0.05, 0.5, 5):
            histogram.record(value, {"k": "v"})
        exponential = meter.create_histogram("exponential")
        for value in (0, 0.25, 3, 3, 1000):
            exponential.record(value)
        meter.create_counter("narrow").add(1, {"kept": 1, "left out": "seen in the exemplar"})


def test_points_of_every_instrument_come_back_equal_to_the_sdks_own(db_path):
    reader = InMemoryMetricReader(preferred_temporality=PREFERRED_TEMPORALITY)
    provider = MeterProvider([reader], Resource({"service.name": "s"}), shutdown_on_exit=False, views=VIEWS)
    exporter = SQLiteMetricExporter(db_path)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    use_every_instrument(provider, tracer)
    first = reader.get_metrics_data()
    assert exporter.export(first) is MetricExportResult.SUCCESS
    provider.get_meter("m", "1.0").create_counter("counter", "1", "It counts.").add(10, {"a": "x"})
    second = reader.get_metrics_data()
    assert exporter.export(second) is MetricExportResult.SUCCESS
    expected = points_of(first) + points_of(second)
    stored = stored_points(db_path)
    key = lambda each: (each["time_unix_nano"], each["instrument"], str(each["attributes"]))  # noqa: E731
    assert sorted(stored, key=key) == sorted(expected, key=key)
    assert {each["kind"] for each in stored} == {"sum", "gauge", "histogram", "exponential_histogram"}
    assert any(each["data"].get("exemplars") for each in stored)
    exporter.shutdown()
    provider.shutdown()


def test_a_periodic_reader_stores_what_an_in_memory_reader_with_the_same_preferences_holds(db_path):
    oracle = InMemoryMetricReader(preferred_temporality=PREFERRED_TEMPORALITY)
    periodic = PeriodicExportingMetricReader(SQLiteMetricExporter(db_path), export_interval_millis=3_600_000)
    provider = MeterProvider([periodic, oracle], Resource({"service.name": "s"}), shutdown_on_exit=False, views=VIEWS)
    use_every_instrument(provider, TracerProvider(shutdown_on_exit=False).get_tracer("t"))
    assert periodic.force_flush()
    expected = [without_times(each) for each in points_of(oracle.get_metrics_data())]
    assert by_key(stored_points(db_path, has_times=False)) == by_key(expected)
    provider.shutdown()


@pytest.mark.parametrize(
    ("kind", "temporality"),
    [
        (Counter, AggregationTemporality.DELTA),
        (HistogramInstrument, AggregationTemporality.DELTA),
        (UpDownCounter, AggregationTemporality.CUMULATIVE),
    ],
)
def test_counters_and_histograms_are_asked_for_as_deltas(kind, temporality):
    exporter = SQLiteMetricExporter()
    assert exporter._preferred_temporality[kind] is temporality
    exporter.shutdown()


def test_the_deltas_of_a_counter_add_up_over_any_number_of_exports(db_path):
    reader = PeriodicExportingMetricReader(SQLiteMetricExporter(db_path), export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("m").create_counter("clicks")
    for n in range(1, 6):
        counter.add(n)
        provider.force_flush()
    provider.shutdown()
    with open_store(db_path) as store:
        assert [each.data["value"] for each in store.find_points("clicks")] == [5, 4, 3, 2, 1]
        assert store.find_points("nothing") == []
        assert [each.data["value"] for each in store.find_points("clicks", limit=2)] == [5, 4]


def test_points_that_cannot_be_written_are_a_failure_without_an_exception(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("c").add(1)
    exporter = SQLiteMetricExporter(tmp_path / "file" / "metrics.db")
    with caplog.at_level(logging.WARNING, "otel_perfmon"):
        assert exporter.export(reader.get_metrics_data()) is MetricExportResult.FAILURE
    assert "metrics.db" in caplog.text
    exporter.shutdown()
    assert exporter.export(None) is MetricExportResult.FAILURE
    provider.shutdown()


def test_metric_points_and_spans_share_one_file_without_a_word(db_path, span):
    metric_exporter, span_exporter = SQLiteMetricExporter(db_path), SQLiteSpanExporter(db_path)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(metric_exporter, export_interval_millis=3_600_000)], shutdown_on_exit=False
    )
    provider.get_meter("m").create_counter("c").add(1)
    assert span_exporter.export([span]) is SUCCESS
    provider.shutdown()
    assert span_exporter.export([span]) is SUCCESS
    span_exporter.shutdown()
    with open_store(db_path) as store:
        assert (len(store.find_spans(SpanQuery())), len(store.find_points())) == (2, 1)
