"""The monitor of every module, before and after `configure()`."""

from __future__ import annotations

import asyncio

import pytest
from monitor_kit import exported_names, names, stored, use_provider
from opentelemetry import trace

from otel_perfmon import PerformanceMonitor, StoreError, configure, get_monitor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_get_monitor_decorates_at_import_time_and_stores_once_configure_has_run():
    monitor = get_monitor()

    @monitor.monitor("function")
    def function():
        return 1

    @monitor.monitor("coroutine")
    async def coroutine():
        return 2

    @monitor.monitor("generator")
    def generator():
        yield 3

    @monitor.monitor("async generator")
    async def async_generator():
        yield 4

    async def collect():
        return [each async for each in async_generator()]

    def call_all() -> list:
        return [function(), asyncio.run(coroutine()), *generator(), *asyncio.run(collect())]

    assert call_all() == [1, 2, 3, 4]
    assert configure("metrics.db") is monitor is get_monitor()
    assert call_all() == [1, 2, 3, 4]
    stats = {each.operation: each.count for each in monitor.storage.get_stats()}
    assert stats == dict.fromkeys(["function", "coroutine", "generator", "async generator"], 1)


def test_what_is_recorded_before_configure_goes_where_opentelemetry_sends_it():
    monitor = get_monitor()
    with monitor.monitor("into nothing") as span:
        assert not span.is_recording()
    _, exporter = use_provider()
    with monitor.monitor("to the user"):
        pass
    configure("metrics.db")
    with monitor.monitor("to both"):
        pass
    assert exported_names(exporter) == ["to both", "to the user"]
    assert names(monitor.storage) == ["to both"]


def test_before_configure_there_is_no_storage_and_the_error_says_what_to_call():
    with pytest.raises(StoreError, match="configure"):
        get_monitor().storage  # noqa: B018 - the property raises


def test_an_operation_open_while_configure_runs_is_no_trouble():
    monitor = get_monitor()
    with monitor.monitor("open"):
        configure("metrics.db")
        with monitor.monitor("inside"):
            pass
    assert names(monitor.storage) == ["inside"]


def test_a_generator_suspended_while_configure_runs_gives_its_later_children_to_the_store():
    monitor = get_monitor()

    @monitor.monitor("gen")
    def generate():
        yield
        with monitor.monitor("inside"):
            yield

    generator = generate()
    next(generator)
    configure("metrics.db")
    assert list(generator) == [None]
    assert names(monitor.storage) == ["inside"]


def test_a_threshold_set_before_configure_holds_after_it_unless_configure_is_given_one():
    monitor = get_monitor()
    monitor.slow_threshold_ms = 5
    configure("metrics.db")
    assert monitor.slow_threshold_ms == 5


def test_a_threshold_given_to_configure_wins_over_one_set_before_it():
    monitor = get_monitor()
    monitor.slow_threshold_ms = 5
    configure("metrics.db", slow_threshold_ms=7)
    assert monitor.slow_threshold_ms == 7


def test_the_threshold_can_be_set_after_configure_and_holds_for_the_spans_of_others_too():
    monitor = configure("metrics.db", slow_threshold_ms=10_000)
    with trace.get_tracer("x").start_as_current_span("before"):
        pass
    monitor.slow_threshold_ms = 0
    with trace.get_tracer("x").start_as_current_span("after"):
        pass
    assert {name: span.is_slow for name, span in stored(monitor.storage).items()} == {"before": False, "after": True}


def test_the_thresholds_come_from_the_environment_when_no_argument_is_given(monkeypatch):
    monkeypatch.setenv("SLOW_REQUEST_THRESHOLD_MS", "250")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "0.25")
    monitor = configure("metrics.db")
    assert (monitor.slow_threshold_ms, monitor.error_rate_threshold) == (250, 0.25)
    assert PerformanceMonitor().slow_threshold_ms == 250
