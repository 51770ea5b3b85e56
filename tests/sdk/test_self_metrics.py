"""The account as OpenTelemetry SDK metrics: the SDK's names, our component, and the figures of the file."""

from __future__ import annotations

import gc

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv._incubating.metrics import otel_metrics

import otel_perfmon
from otel_perfmon import SQLiteSpanExporter, open_store
from otel_perfmon.sdk import self_metrics

PROCESSOR = "otel_perfmon.sdk.processor.StoreSpanProcessor"
EXPORTER = "otel_perfmon.sdk.exporter.SQLiteSpanExporter"


@pytest.fixture(autouse=True)
def _is_asked_for(fresh_process, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")


@pytest.fixture
def reader():
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


def points(reader, kind) -> dict[str, dict[str | None, int]]:
    """For each instrument of a component type its values by ``error.type``."""
    gc.collect()
    found: dict[str, dict[str | None, int]] = {}
    data = reader.get_metrics_data()
    for scope in [each for resource in data.resource_metrics for each in resource.scope_metrics] if data else []:
        if scope.scope.name != "opentelemetry-sdk":
            continue
        for metric in scope.metrics:
            for point in metric.data.data_points:
                if point.attributes.get("otel.component.type") == kind:
                    assert point.attributes["otel.component.name"].startswith(f"{kind}/")
                    values = found.setdefault(metric.name, {})
                    assert point.attributes.get("error.type") not in values
                    values[point.attributes.get("error.type")] = point.value
    return found


def test_the_processors_figures_are_those_of_the_file(db_path, reader):
    monitor = otel_perfmon.configure(db_path)
    for _ in range(5):
        with monitor.monitor("op"):
            pass
    monitor.storage.insert_metric("op", float("nan"))
    monitor.storage.recorder.lose("queue_full", 3, "it is full")
    health = monitor.storage.store.get_health()
    told = points(reader, PROCESSOR)
    assert told["otel.sdk.processor.span.processed"] == {None: health.counted, **health.dropped}
    assert sum(told["otel.sdk.processor.span.processed"].values()) == health.ended
    assert told["otel.sdk.processor.span.queue.size"] == {None: 0}
    assert told["otel.sdk.processor.span.queue.capacity"] == {None: 16_384}
    assert points(reader, EXPORTER) == {}


def test_what_waits_is_told_as_the_queue(db_path, reader):
    monitor = otel_perfmon.configure(db_path)
    recorder = monitor.storage.recorder
    recorder._is_awake = True  # so that no thread writes
    for _ in range(7):
        with monitor.monitor("op"):
            pass
    told = points(reader, PROCESSOR)
    assert told["otel.sdk.processor.span.queue.size"] == {None: 7}
    assert told["otel.sdk.processor.span.processed"] == {None: 0}
    recorder.flush()
    assert points(reader, PROCESSOR)["otel.sdk.processor.span.processed"] == {None: 7}


def test_the_exporter_tells_its_own_beside_the_sdks_processor(db_path, reader):
    exporter = SQLiteSpanExporter(db_path)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    for _ in range(4):
        with provider.get_tracer("shop").start_as_current_span("op"):
            pass
    provider.force_flush()
    told = points(reader, EXPORTER)
    assert told == {"otel.sdk.exporter.span.exported": {None: 4}, "otel.sdk.exporter.span.inflight": {None: 0}}
    assert points(reader, "batching_span_processor")["otel.sdk.processor.span.processed"] == {None: 4}
    provider.shutdown()
    with open_store(db_path) as store:
        assert store.get_health().ended == 4


def test_a_meter_provider_that_is_set_later_sees_them_too(db_path):
    monitor = otel_perfmon.configure(db_path)
    with monitor.monitor("op"):
        pass
    monitor.storage.store.get_health()
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    assert points(reader, PROCESSOR)["otel.sdk.processor.span.processed"] == {None: 1}


def test_two_doors_to_one_file_are_not_counted_twice(db_path, reader):
    exporters = [SQLiteSpanExporter(db_path) for _ in range(2)]
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporters[0]))
    with provider.get_tracer("shop").start_as_current_span("op"):
        pass
    provider.shutdown()
    assert points(reader, EXPORTER)["otel.sdk.exporter.span.exported"] == {None: 1}
    exporters[1].shutdown()


def test_nothing_is_told_unless_it_is_asked_for(db_path, reader, monkeypatch):
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
    monitor = otel_perfmon.configure(db_path)
    with monitor.monitor("op"):
        pass
    assert points(reader, PROCESSOR) == {}


def test_names_units_and_descriptions_are_those_of_the_semantic_conventions():
    made = {}

    class Meter:
        def __getattr__(self, kind):
            return lambda name, *_, unit, description: made.setdefault(name, (unit, description))

    meter = Meter()
    for part in ("processor_span_queue_size", "processor_span_queue_capacity", "processor_span_processed"):
        getattr(otel_metrics, f"create_otel_sdk_{part}")(_Keywords(meter))
    for part in ("exporter_span_inflight", "exporter_span_exported"):
        getattr(otel_metrics, f"create_otel_sdk_{part}")(_Keywords(meter))
    expected = dict(made)
    made.clear()
    self_metrics._register(_Provider(meter))
    assert made == expected


class _Keywords:
    """The semantic conventions name every argument."""

    def __init__(self, meter) -> None:
        self.meter = meter

    def __getattr__(self, kind):
        return lambda name, unit, description: getattr(self.meter, kind)(name, unit=unit, description=description)


class _Provider:
    def __init__(self, meter) -> None:
        self.meter = meter

    def get_meter(self, *_):
        return self.meter
