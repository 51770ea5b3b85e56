"""OTEL_SDK_DISABLED=true: operations work as if they were not there, and nothing is written."""

from __future__ import annotations

import asyncio
import os
import types

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_perfmon import ConfigError, MonitoredOperation, PerformanceMonitor, configure
from otel_perfmon.operation import DisabledOperation


@pytest.fixture(params=["alone", "configured"], autouse=True)
def monitor(request, fresh_process, monkeypatch):
    """A monitor that has found out that OpenTelemetry is disabled; whatever a test does, no file comes of it."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monitor = PerformanceMonitor() if request.param == "alone" else configure()
    with monitor.monitor("first"):  # may be the one that finds it out
        pass
    assert type(monitor.monitor("op")) is DisabledOperation
    yield monitor
    assert (monitor.storage.get_metrics(), monitor.storage.get_stats("op").count) == ([], 0)
    assert monitor.force_flush()
    monitor.shutdown()
    assert os.listdir() == []


def test_an_operation_gives_a_span_that_records_nothing_and_is_not_current(monitor):
    with monitor.monitor("op", attributes={"a": 1}) as span:
        assert not span.is_recording()
        assert not span.get_span_context().is_valid
        span.set_attribute("b", 2)
        span.add_event("event")
        span.set_status(trace.StatusCode.ERROR)
        assert trace.get_current_span() is trace.INVALID_SPAN


def test_operations_nest_and_may_be_the_same_object(monitor):
    operation = monitor.monitor("op")
    assert isinstance(operation, MonitoredOperation)
    with operation, operation, monitor.monitor("inner"):
        pass


def test_operations_nest_in_tasks(monitor):
    async def work(number: int) -> int:
        async with monitor.monitor("op") as span, monitor.monitor("inner"):
            await asyncio.sleep(0)
            assert not span.is_recording()
        return number

    async def main():
        return await asyncio.gather(*map(work, range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_an_exception_passes_as_it_is(monitor, kind):
    error = kind("no")
    with pytest.raises(kind) as raised, monitor.monitor("op"), monitor.monitor("inner"):
        raise error
    assert raised.value is error
    assert error.__context__ is None


def test_an_exception_passes_async_with(monitor):
    async def main():
        async with monitor.monitor("op"):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def function(value):
    return [value]


async def coroutine(value):
    await asyncio.sleep(0)
    return [value]


def generator(value):
    sent = yield value
    yield sent


async def async_generator(value):
    yield value
    yield value


@types.coroutine
def awaitable_generator(value):
    yield
    return [value]


class Callable:
    def __call__(self, value):
        return [value]


KINDS = [function, coroutine, generator, async_generator, awaitable_generator, Callable(), len, lambda value: value]


@pytest.mark.parametrize("decorated", KINDS, ids=lambda kind: getattr(kind, "__name__", "callable"))
def test_a_function_of_any_kind_is_decorated_with_itself(monitor, decorated):
    assert monitor.monitor("op")(decorated) is decorated


def test_methods_of_every_kind_work_when_they_are_decorated(monitor):
    class Shop:
        @monitor.monitor("plain")
        def plain(self):
            return self

        @monitor.monitor("static")
        @staticmethod
        def static(value):
            return value

        @monitor.monitor("class")
        @classmethod
        def of_class(cls):
            return cls

        @property
        @monitor.monitor("property")
        def own(self):
            return self

    shop = Shop()
    assert (shop.plain(), Shop.static(5), Shop.of_class(), shop.own) == (shop, 5, Shop, shop)


@pytest.mark.parametrize(
    "wrong", [5, None, "text", Callable, int, property(function)], ids=lambda each: type(each).__name__
)
def test_what_cannot_be_decorated_is_refused_all_the_same(monitor, wrong):
    with pytest.raises(TypeError, match="decorates functions, not"):
        monitor.monitor("op")(wrong)


def test_an_operation_without_a_name_is_refused_all_the_same(monitor):
    with pytest.raises(TypeError, match="needs a name"):
        monitor.monitor(function)


def test_a_wrong_threshold_is_refused_all_the_same(monitor):
    with pytest.raises(ConfigError, match="slow_threshold_ms"):
        monitor.monitor("op", slow_threshold_ms=-1)
    with monitor.monitor("op", slow_threshold_ms=5) as span:
        assert not span.is_recording()


def test_the_parent_that_somebody_made_current_stays_current(monitor):
    theirs = trace.NonRecordingSpan(trace.SpanContext(5, 6, is_remote=True))
    with trace.use_span(theirs), monitor.monitor("op"):
        assert trace.get_current_span() is theirs


def test_a_histogram_with_a_reader_gets_nothing_that_breaks_it(monkeypatch, tmp_path):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(meter_provider=MeterProvider([reader]))
    for _ in range(3):
        with monitor.monitor("op"):
            pass
    reader.collect()
    monitor.shutdown()
