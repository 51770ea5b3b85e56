"""Providers, samplers and processors of others, and what they raise."""

# ruff: noqa: PT012 - what raises is measured

from __future__ import annotations

import pytest
from monitor_kit import exported_names, make_provider, names, points_of, stored
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, TraceFlags

from otel_perfmon import PerformanceMonitor, configure

pytestmark = pytest.mark.usefixtures("fresh_process")


class _ApiSpan(trace.NonRecordingSpan):
    """What a provider that is not the SDK's may hand out."""

    def __init__(self) -> None:
        super().__init__(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
        self.ended_at: int | None = None
        self.noted: dict = {}

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key, value) -> None:
        self.noted[key] = value

    def end(self, end_time=None) -> None:
        self.ended_at = end_time


class _ApiTracer(trace.Tracer):
    def __init__(self) -> None:
        self.spans: list[_ApiSpan] = []

    def start_span(self, *args, **kwargs):
        self.spans.append(_ApiSpan())
        return self.spans[-1]

    def start_as_current_span(self, *args, **kwargs):
        raise NotImplementedError


class _ApiProvider(trace.TracerProvider):
    def __init__(self) -> None:
        self.tracer = _ApiTracer()

    def get_tracer(self, *args, **kwargs):
        return self.tracer


def test_a_given_provider_that_is_not_the_sdks_gets_the_operations_with_what_is_said_of_them(storage, clock):
    provider = _ApiProvider()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, slow_threshold_ms=1)
    with pytest.raises(ValueError, match="boom"), monitor.monitor("op"):
        clock[0] += 5_000_000
        raise ValueError("boom")
    (span,) = provider.tracer.spans
    assert span.ended_at is not None
    assert span.noted == {"error.type": "ValueError", "perfmon.slow": True}


def test_a_global_provider_that_is_not_the_sdks_leaves_a_lone_monitor_storing_its_operations(monitor):
    provider = _ApiProvider()
    trace.set_tracer_provider(provider)
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]
    assert provider.tracer.spans == []


def test_a_sampler_that_drops_everything_stores_nothing_and_measures_the_histogram(storage):
    provider, exporter = make_provider(ALWAYS_OFF)
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, meter_provider=MeterProvider([reader]))
    with monitor.monitor("op"):
        pass
    assert names(storage) == []
    assert exported_names(exporter) == []
    assert [point.count for point in points_of(reader)] == [1]


class _Deciding(Sampler):
    def __init__(self, decide) -> None:
        self.decide = decide

    def should_sample(self, parent_context, trace_id, name, *others, **more):
        return SamplingResult(self.decide(name))

    def get_description(self) -> str:
        return "deciding"


def test_spans_that_are_only_recorded_are_stored(storage):
    provider, exporter = make_provider(_Deciding(lambda name: Decision.RECORD_ONLY))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("op"):
        pass
    assert names(storage) == ["op"]
    assert exported_names(exporter) == []


def _refuse(name: str) -> Decision:
    if name.startswith("refused"):
        raise LookupError(name)
    return Decision.RECORD_AND_SAMPLE


def test_a_sampler_that_raises_costs_that_operation_only(storage):
    provider, _ = make_provider(_Deciding(_refuse))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("root"), monitor.monitor("refused", attributes={"a": 1}), monitor.monitor("leaf"):
        pass
    spans = stored(storage)
    assert sorted(spans) == ["leaf", "root"]
    assert spans["leaf"].trace_id == spans["root"].trace_id
    assert storage.store.get_health().dropped == {"unreadable": 1}
    assert trace.get_current_span() is trace.INVALID_SPAN


class _Raising(SpanProcessor):
    def __init__(self, *moments: str) -> None:
        self.moments = moments

    def on_start(self, span, parent_context=None) -> None:
        if "start" in self.moments:
            raise LookupError("on_start")

    def on_end(self, span) -> None:
        if "end" in self.moments:
            raise LookupError("on_end")


def test_a_processor_that_raises_at_the_end_of_a_span_does_not_keep_it_from_a_lone_monitors_store(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("end"))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("op"):
        pass
    assert names(storage) == ["op"]


def test_a_processor_that_raises_at_the_end_of_a_span_does_not_keep_it_from_the_configured_store():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("end"))
    trace.set_tracer_provider(provider)
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]


def test_a_processor_that_raises_at_the_start_of_a_span_does_not_break_the_program(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("start"))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    ran = []
    with monitor.monitor("op", attributes={"a": 1}):
        ran.append(1)
    with pytest.raises(ValueError, match="unchanged"), monitor.monitor("op"):
        raise ValueError("unchanged")
    assert ran == [1]


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise self

    __repr__ = __str__


def test_an_unprintable_error_of_a_sampler_does_not_break_the_program(storage):
    def fail(name: str) -> Decision:
        raise _UnprintableError

    provider, _ = make_provider(_Deciding(fail))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    ran = []
    with monitor.monitor("op"):
        ran.append(1)
    assert ran == [1]
