"""Providers and resources: what we make, what is there, and which of them makes a monitor's spans."""

from __future__ import annotations

import sys
import threading
import types

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider, SpanContext, TraceFlags

from otel_perfmon import MetricsStorage, PerformanceMonitor, SpanQuery, SpanRecord, TimeOrderedIdGenerator
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor, add_first
from otel_perfmon.sdk.provider import (
    GlobalProvider,
    OwnProvider,
    global_provider,
    make_provider,
    make_resource,
    readable,
    started_at,
)

pytestmark = pytest.mark.usefixtures("fresh_process")


def spans_in(storage: MetricsStorage) -> list[SpanRecord]:
    storage.recorder.flush()
    return storage.store.find_spans(SpanQuery())


def test_a_resource_has_what_the_sdk_detects_when_nothing_is_given():
    attributes = make_resource(None, None).attributes
    assert attributes["telemetry.sdk.name"] == "opentelemetry"
    assert attributes["service.name"].startswith("unknown_service")


def test_opentelemetrys_own_variables_hold_for_what_is_not_given(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from variable")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=red,room=5")
    attributes = make_resource(None, {"team": "blue"}).attributes
    assert (attributes["service.name"], attributes["team"], attributes["room"]) == ("from variable", "blue", "5")
    assert make_resource("given", None).attributes["service.name"] == "given"


def test_the_service_name_wins_over_the_one_among_the_attributes():
    assert make_resource("name", {"service.name": "attribute"}).attributes["service.name"] == "name"
    assert make_resource(None, {"service.name": "attribute"}).attributes["service.name"] == "attribute"


def test_the_given_attributes_are_not_changed():
    given = {"a": 1}
    make_resource("name", given)
    assert given == {"a": 1}


def test_a_provider_of_ours_makes_ids_in_time_order_with_the_given_resource():
    provider = make_provider("name", {"a": 1}, shutdown_on_exit=False)
    assert isinstance(provider.id_generator, TimeOrderedIdGenerator)
    assert (provider.resource.attributes["service.name"], provider.resource.attributes["a"]) == ("name", 1)


def test_the_global_provider_is_found_only_if_it_is_the_sdks():
    assert global_provider() is None
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    assert global_provider() is provider


def test_a_global_provider_of_somebody_elses_is_none():
    trace.set_tracer_provider(NoOpTracerProvider())
    assert global_provider() is None


def test_a_span_that_does_not_say_when_it_started_started_at_0():
    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(1))
    assert started_at(NonRecordingSpan(context)) == 0
    assert started_at(trace.INVALID_SPAN) == 0
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("op", start_time=5)
    assert started_at(span) == 5
    assert readable(span) is span
    assert readable(trace.INVALID_SPAN) is None


def test_without_any_provider_a_private_one_makes_the_spans_and_the_global_one_stays_unset(storage):
    source = OwnProvider(None, storage.recorder)
    tracer, must_store = source.tracer()
    assert must_store is True
    assert tracer.start_span("op").is_recording()
    assert trace._TRACER_PROVIDER is None
    source.close()


def test_a_global_provider_that_comes_later_is_taken_as_soon_as_it_is_there(storage):
    source = OwnProvider(None, storage.recorder)
    private, _ = source.tracer()
    provider = make_provider("later", shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    tracer, must_store = source.tracer()
    assert tracer is not private
    assert must_store is True
    assert tracer.start_span("op").resource is provider.resource
    source.close()


def test_the_given_provider_makes_the_spans_whatever_the_global_one_is(storage):
    given = make_provider("given", shutdown_on_exit=False)
    trace.set_tracer_provider(make_provider("global", shutdown_on_exit=False))
    tracer, _ = OwnProvider(given, storage.recorder).tracer()
    assert tracer.start_span("op").resource is given.resource


def test_the_monitor_need_not_store_what_a_processor_of_the_provider_stores_into_the_same_file(storage, tmp_path):
    provider = TracerProvider(shutdown_on_exit=False)
    source = OwnProvider(provider, storage.recorder)
    assert source.tracer()[1] is True
    processor = StoreSpanProcessor(SpanDoor(storage.recorder, 10**9))
    add_first(provider, processor)
    assert source.tracer()[1] is False
    assert [door.recorder for door in source.storing_doors()] == [storage.recorder]
    processor.close()
    assert source.tracer()[1] is True


def test_spans_of_a_monitor_on_a_provider_that_stores_too_are_stored_once(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    add_first(provider, StoreSpanProcessor(SpanDoor(storage.recorder, 10**9)))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("op"):
        provider.get_tracer("t").start_span("inner").end()
    assert sorted(span.name for span in spans_in(storage)) == ["inner", "op"]
    monitor.shutdown()


def test_the_global_source_goes_where_opentelemetry_sends_it():
    source = GlobalProvider()
    tracer, must_store = source.tracer()
    assert must_store is False
    assert source.storing_doors() == ()
    assert not tracer.start_span("nowhere").is_recording()
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    assert source.tracer()[0].start_span("somewhere").is_recording()
    source.close()
    assert provider.get_tracer("t").start_span("open").is_recording()


def work_on_another_thread(monitor: PerformanceMonitor, function: str) -> None:
    """Measure an operation while another thread, which measures one as well, has just called ``function``."""
    called: list[threading.Thread] = []

    def look(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == function and not called:
            other = threading.Thread(target=work, args=(monitor,))
            called.append(other)
            other.start()
            other.join(20)

    def profiled() -> None:
        sys.setprofile(look)
        work(monitor)
        sys.setprofile(None)

    thread = threading.Thread(target=profiled)
    thread.start()
    thread.join(20)
    assert called


def work(monitor: PerformanceMonitor) -> None:
    with monitor.monitor("work"):
        pass


@pytest.mark.parametrize("function", ["make_provider", "get_tracer"])
def test_threads_that_measure_first_at_once_lose_nothing(storage, function):
    monitor = PerformanceMonitor(storage)
    work_on_another_thread(monitor, function)
    assert len(spans_in(storage)) == 2


@pytest.mark.parametrize("function", ["global_provider", "get_tracer", "doors_of"])
def test_threads_that_meet_the_global_provider_at_once_lose_nothing_and_are_of_it(storage, function):
    monitor = PerformanceMonitor(storage)
    work(monitor)
    provider = make_provider("shop", shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    work_on_another_thread(monitor, function)
    work(monitor)
    spans = spans_in(storage)
    assert len(spans) == 4
    assert [span.service for span in spans].count("shop") == 3


def test_a_private_provider_never_takes_the_place_of_the_global_one_that_another_thread_found(storage):
    monitor = PerformanceMonitor(storage)
    made: list[TracerProvider] = []

    def look(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "make_provider" and not made:
            made.append(make_provider("shop", shutdown_on_exit=False))
            trace.set_tracer_provider(made[0])
            other = threading.Thread(target=work, args=(monitor,))
            other.start()
            other.join(20)

    sys.setprofile(look)
    try:
        work(monitor)
    finally:
        sys.setprofile(None)
    work(monitor)
    assert [span.service for span in spans_in(storage)].count("shop") >= 2
