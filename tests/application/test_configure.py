"""What `configure()` installs, and what it leaves alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from monitor_kit import exported_names, names, stored, use_provider, warnings_in
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, AlwaysRecordSampler

from otel_perfmon import PerformanceMonitor, configure
from otel_perfmon.sdk.processor import StoreSpanProcessor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_configure_installs_a_global_sdk_provider_and_stores_every_span_of_it_with_the_same_flags():
    monitor = configure("metrics.db", slow_threshold_ms=0)
    assert isinstance(trace.get_tracer_provider(), TracerProvider)
    with trace.get_tracer("library", "1.0").start_as_current_span("theirs"), monitor.monitor("ours"):
        pass
    with pytest.raises(ValueError, match="boom"), trace.get_tracer("library").start_as_current_span("failing"):
        raise ValueError("boom")
    spans = stored(monitor.storage)
    assert spans["ours"].parent_span_id == spans["theirs"].span_id
    assert spans["theirs"].is_slow
    assert spans["ours"].is_slow
    assert (spans["failing"].is_error, spans["failing"].error_type) == (True, "ValueError")
    assert spans["theirs"].scope.version == "1.0"


def test_configure_makes_no_file_until_something_is_recorded_and_then_the_one_it_was_told():
    monitor = configure("folder-less.db")
    assert os.listdir() == []
    with monitor.monitor("op"):
        pass
    assert monitor.force_flush() is True
    assert Path("folder-less.db").exists()
    assert monitor.storage.path == str(Path("folder-less.db").absolute())


def test_configure_without_a_path_means_metrics_db():
    monitor = configure()
    with monitor.monitor("op"):
        pass
    monitor.force_flush()
    assert Path("metrics.db").exists()


def test_configure_takes_its_service_name_and_resource_attributes_before_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from the environment")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a,region=eu")
    monitor = configure("metrics.db", service_name="checkout", resource_attributes={"team": "b"})
    with monitor.monitor("op"):
        pass
    span = stored(monitor.storage)["op"]
    assert span.service == "checkout"
    assert span.resource.attributes["team"] == "b"
    assert span.resource.attributes["region"] == "eu"


def test_tracers_made_before_configure_are_stored_after_it():
    tracer = trace.get_tracer("early")
    with tracer.start_as_current_span("before"):
        pass
    monitor = configure("metrics.db")
    with tracer.start_as_current_span("after"):
        pass
    assert names(monitor.storage) == ["after"]


def test_an_sdk_provider_that_is_there_stays_and_gets_our_processor_once_and_first():
    provider, exporter = use_provider()
    for _ in range(3):
        monitor = configure("metrics.db")
    assert trace.get_tracer_provider() is provider
    processors = provider._active_span_processor._span_processors
    assert [isinstance(each, StoreSpanProcessor) for each in processors] == [True, False]
    with trace.get_tracer("x").start_as_current_span("theirs"), monitor.monitor("ours"):
        pass
    assert names(monitor.storage) == exported_names(exporter) == ["ours", "theirs"]
    assert monitor.storage.get_stats("ours").count == monitor.storage.get_stats("theirs").count == 1


def test_a_provider_with_concurrent_processors_gets_ours_as_well():
    provider, exporter = use_provider(active_span_processor=ConcurrentMultiSpanProcessor(2))
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == exported_names(exporter) == ["op"]
    provider.shutdown()


def test_a_slow_exporter_of_the_users_does_not_keep_the_provider_from_flushing_ours(monkeypatch):
    class Failing(SpanExporter):
        def export(self, spans):
            raise ConnectionError("down")

        def shutdown(self) -> None: ...

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Failing()))
    trace.set_tracer_provider(provider)
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider.force_flush(2_000)
    assert monitor.storage.recorder.queued_count == 0
    provider.shutdown()
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def test_spans_that_a_users_sampler_only_records_are_stored_and_not_exported():
    _, exporter = use_provider(sampler=AlwaysRecordSampler(ALWAYS_OFF))
    monitor = configure("metrics.db")
    with monitor.monitor("op"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(monitor.storage) == ["op", "theirs"]
    assert exported_names(exporter) == []


def test_the_users_pipelines_see_that_a_span_is_slow():
    _, exporter = use_provider()
    monitor = configure("metrics.db", slow_threshold_ms=0)
    with monitor.monitor("op"):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.attributes["perfmon.slow"] is True


def test_no_meter_provider_is_installed_without_readers_and_the_users_own_later_one_sees_the_operations():
    monitor = configure("metrics.db")
    with monitor.monitor("before"):
        pass
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    with monitor.monitor("after"):
        pass
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert [dict(point.attributes) for point in metric.data.data_points] == [{"perfmon.operation": "after"}]


def test_metric_readers_get_a_global_meter_provider_with_the_same_resource():
    reader = InMemoryMetricReader()
    monitor = configure("metrics.db", service_name="checkout", metric_readers=[reader])
    assert isinstance(metrics.get_meter_provider(), MeterProvider)
    metrics.get_meter("theirs").create_counter("requests").add(1)
    with monitor.monitor("op"):
        pass
    (resource,) = reader.get_metrics_data().resource_metrics
    assert resource.resource.attributes["service.name"] == "checkout"
    assert sorted(metric.name for scope in resource.scope_metrics for metric in scope.metrics) == [
        "perfmon.operation.duration",
        "requests",
    ]


def test_metric_readers_beside_a_meter_provider_that_is_there_are_warned_of(caplog):
    theirs = MeterProvider()
    metrics.set_meter_provider(theirs)
    configure("metrics.db", metric_readers=[InMemoryMetricReader()])
    assert metrics.get_meter_provider() is theirs
    assert any("metric_readers" in message for message in warnings_in(caplog))


class _Span(trace.NonRecordingSpan):
    pass


class _Tracer(trace.Tracer):
    def start_span(self, *args, **kwargs):
        return _Span(trace.INVALID_SPAN_CONTEXT)

    def start_as_current_span(self, *args, **kwargs):
        return trace.use_span(self.start_span())


class _Provider(trace.TracerProvider):
    def get_tracer(self, *args, **kwargs):
        return _Tracer()


def test_a_global_provider_that_is_not_the_sdks_stays_and_only_our_operations_are_stored(caplog):
    theirs = _Provider()
    trace.set_tracer_provider(theirs)
    monitor = configure("metrics.db")
    other = PerformanceMonitor()
    assert trace.get_tracer_provider() is theirs
    assert any("only the monitor's own operations" in message for message in warnings_in(caplog))
    with trace.get_tracer("x").start_as_current_span("theirs"), monitor.monitor("ours"), other.monitor("other"):
        pass
    assert names(monitor.storage) == ["other", "ours"]
    spans = stored(monitor.storage)
    assert spans["other"].parent_span_id == spans["ours"].span_id
