"""Where a slow operation is: the stack of its thread or its task, taken once, kept as an event of its span."""

from __future__ import annotations

import asyncio
import time

import pytest
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace import TracerProvider as StockProvider

from otel_perfmon import PerformanceMonitor, SpanQuery
from otel_perfmon.sdk import open_spans, stacks
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor
from otel_perfmon.sdk.tracer import TracerProvider

THRESHOLD_MS = 40
LONG_SECONDS = 0.25


@pytest.fixture
def slow_monitor(storage):
    return PerformanceMonitor(storage, slow_threshold_ms=THRESHOLD_MS)


def stack_of(storage, operation: str) -> str:
    (span,) = storage.store.find_spans(SpanQuery(operation=operation))
    assert len([event for event in span.events if event.name == stacks.STACK_EVENT]) <= 1
    return span.stack_trace


def sleep_here(seconds: float) -> None:
    time.sleep(seconds)


def compute_here(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@pytest.mark.parametrize("work", [sleep_here, compute_here])
def test_a_slow_operation_tells_the_line_it_was_in_when_it_passed_its_threshold(storage, slow_monitor, work):
    with slow_monitor.monitor("slow"):
        work(LONG_SECONDS)
    with slow_monitor.monitor("quick"):
        pass
    told = stack_of(storage, "slow")
    assert f"in {work.__name__}" in told
    assert "in test_a_slow_operation" in told
    assert "otel_perfmon/operation.py" not in told
    assert stack_of(storage, "quick") == ""
    (event,) = storage.store.find_spans(SpanQuery(operation="slow"))[0].events
    assert event.attributes["thread.name"] == "MainThread"
    assert (
        event.time_unix_nano - storage.store.find_spans(SpanQuery(operation="slow"))[0].start_unix_nano
        >= THRESHOLD_MS * 1e6
    )


def test_a_task_that_waits_tells_what_it_awaits_and_not_what_another_task_does(storage, slow_monitor):
    async def innermost():
        await asyncio.sleep(LONG_SECONDS)

    async def waits():
        async with slow_monitor.monitor("waits"):
            await innermost()

    async def computes():
        await asyncio.sleep(0)
        with slow_monitor.monitor("computes"):
            compute_here(LONG_SECONDS / 2)

    async def both():
        await asyncio.gather(waits(), computes())

    for _ in range(2):  # the first span of a program may begin before asyncio is known
        asyncio.run(both())
    for span in storage.store.find_spans(SpanQuery(operation="waits", limit=1)):
        assert "in waits" in span.stack_trace
        assert "in innermost" in span.stack_trace
        assert "compute_here" not in span.stack_trace
    for span in storage.store.find_spans(SpanQuery(operation="computes", limit=1)):
        assert "in compute_here" in span.stack_trace
        assert "in computes" in span.stack_trace
        assert "run_forever" not in span.stack_trace


def test_an_operations_own_threshold_holds(storage, slow_monitor):
    with slow_monitor.monitor("patient", slow_threshold_ms=60_000), slow_monitor.monitor("by default"):
        time.sleep(LONG_SECONDS)
    assert stack_of(storage, "patient") == ""
    assert stack_of(storage, "by default")
    with PerformanceMonitor(storage, slow_threshold_ms=60_000).monitor("impatient", slow_threshold_ms=THRESHOLD_MS):
        time.sleep(LONG_SECONDS)
    assert stack_of(storage, "impatient")


def test_of_many_that_become_slow_at_once_only_some_tell_it(storage, slow_monitor, monkeypatch):
    monkeypatch.setattr(open_spans, "_STACKS_MAX", 10)
    monkeypatch.setattr(open_spans, "_stack_budget", [3])

    async def wait():
        async with slow_monitor.monitor("at once"):
            await asyncio.sleep(LONG_SECONDS)

    async def many():
        await asyncio.gather(*(wait() for _ in range(50)))

    asyncio.run(many())
    told = [span for span in storage.store.find_spans(SpanQuery(operation="at once")) if span.stack_trace]
    assert 1 <= len(told) <= 8


def test_it_can_be_switched_off(storage, monkeypatch):
    with PerformanceMonitor(storage, slow_threshold_ms=THRESHOLD_MS, slow_stacks=False).monitor("off"):
        time.sleep(LONG_SECONDS)
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SLOW_STACKS", "false")
    with PerformanceMonitor(storage, slow_threshold_ms=THRESHOLD_MS).monitor("off too"):
        time.sleep(LONG_SECONDS)
    assert stack_of(storage, "off") == stack_of(storage, "off too") == ""


@pytest.mark.parametrize("make", [TracerProvider, StockProvider])
def test_spans_of_any_instrumentation_tell_it_within_their_limits(storage, make):
    provider = make(shutdown_on_exit=False, span_limits=SpanLimits(max_events=1, max_event_attributes=1))
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, THRESHOLD_MS * 10**6)))
    with provider.get_tracer("x").start_as_current_span("theirs") as span:
        span.add_event("first")
        time.sleep(LONG_SECONDS)
    (stored,) = storage.store.find_spans(SpanQuery(operation="theirs"))
    assert [event.name for event in stored.events] == [stacks.STACK_EVENT]
    assert len(stored.events[0].attributes) == 1
    assert stored.dropped_events_count == 1


def test_a_deep_stack_is_cut_to_its_innermost_frames_and_says_so(storage, slow_monitor):
    def dig(depth: int) -> None:
        if depth:
            dig(depth - 1)
        else:
            sleep_here(LONG_SECONDS)

    with slow_monitor.monitor("deep"):
        dig(200)
    told = stack_of(storage, "deep")
    assert told.rstrip().endswith("time.sleep(seconds)")
    assert told.count("File ") <= stacks.FRAMES_MAX
    assert "more frames" in told.splitlines()[0]


def test_a_generator_and_an_async_generator_tell_it_too(storage, slow_monitor):
    @slow_monitor.monitor("generator")
    def generate():
        sleep_here(LONG_SECONDS)
        yield 1

    @slow_monitor.monitor("async generator")
    async def generate_async():
        await asyncio.sleep(LONG_SECONDS)
        yield 1

    async def consume():
        return [each async for each in generate_async()]

    assert list(generate()) == asyncio.run(consume()) == [1]
    assert "in sleep_here" in stack_of(storage, "generator")
    assert "in consume" in stack_of(storage, "async generator")
