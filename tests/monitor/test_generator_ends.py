"""Generators and coroutines under the decorator, in every way they can be left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import types

import pytest
from monitor_kit import current_id, found, stored
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN

from otel_perfmon import MetricsStorage

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_a_generator_that_was_never_started_makes_no_span(monitor):
    @monitor.monitor("gen")
    def generate():
        yield

    generate().close()
    generator = generate()
    del generator
    assert monitor.storage.get_metrics() == []


def test_a_generator_closed_early_runs_its_cleanup_inside_its_span_and_is_no_error(monitor, clock):
    inside = []

    @monitor.monitor("gen")
    def generate():
        try:
            yield 1
        finally:
            clock[0] += 3_000_000
            inside.append(current_id())

    generator = generate()
    next(generator)
    with monitor.monitor("closer") as closer:
        generator.close()
        assert trace.get_current_span() is closer
    span = stored(monitor.storage)["gen"]
    assert (span.is_error, span.status_name, span.events) == (False, "unset", ())
    assert span.attributes["perfmon.outcome"] == "closed"
    assert inside == [span.span_id]
    assert span.duration_ms == 3
    with pytest.raises(StopIteration):
        next(generator)


def test_a_generator_collected_while_suspended_ends_its_span_and_leaves_the_current_one_alone(monitor):
    @monitor.monitor("gen")
    def generate():
        with monitor.monitor("block"):
            yield 1

    generator = generate()
    next(generator)
    with monitor.monitor("elsewhere") as elsewhere:
        del generator
        gc.collect()
        assert trace.get_current_span() is elsewhere
    spans = stored(monitor.storage)
    assert spans["gen"].attributes["perfmon.outcome"] == "closed"
    assert spans["block"].attributes["perfmon.outcome"] == "closed"
    assert spans["block"].parent_span_id == spans["gen"].span_id
    assert not spans["gen"].is_error


def test_a_generator_closed_in_another_context_or_thread_ends_its_span_and_disturbs_neither(monitor):
    @monitor.monitor("gen")
    def generate():
        with monitor.monitor("block"):
            yield 1

    def in_a_thread(close) -> None:
        thread = threading.Thread(target=close)
        thread.start()
        thread.join()

    for close_in in (in_a_thread, contextvars.copy_context().run, contextvars.Context().run):
        generator = contextvars.copy_context().run(generate)
        contextvars.copy_context().run(next, generator)
        close_in(generator.close)
        assert trace.get_current_span() is INVALID_SPAN
    spans = found(monitor.storage)
    assert len(spans) == 6
    assert all(span.attributes["perfmon.outcome"] == "closed" and not span.is_error for span in spans)


def test_an_async_generator_abandoned_in_a_running_loop_is_closed_by_it_without_error(monitor):
    troubles = []

    @monitor.monitor("agen")
    async def generate():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        async for _ in generate():
            break
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        assert trace.get_current_span() is INVALID_SPAN

    asyncio.run(main())
    assert troubles == []
    (span,) = found(monitor.storage)
    assert (span.is_error, span.attributes["perfmon.outcome"]) == (False, "closed")


def test_an_async_generator_left_suspended_until_the_loop_ends_is_closed_by_it_without_error(monitor):
    troubles, kept = [], []

    @monitor.monitor("agen")
    async def generate():
        try:
            yield 1
        finally:
            await asyncio.sleep(0.001)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context["exception"]))
        kept.append(generate())
        await anext(kept[-1])

    for _ in range(10):
        asyncio.run(main())
    assert troubles == []
    spans = found(monitor.storage)
    assert [span.attributes["perfmon.outcome"] for span in spans] == ["closed"] * 10
    assert not any(span.is_error for span in spans)


def test_a_generator_suspended_when_the_program_ends_does_not_disturb_its_end(run_python):
    program = """
        import otel_perfmon as o
        m = o.PerformanceMonitor()
        @m.monitor("gen")
        def gen():
            yield 1
        @m.monitor("agen")
        async def agen():
            yield 1
        g = gen()
        a = agen()
        next(g)
        try:
            a.__anext__().send(None)
        except StopIteration as stop:
            print(stop.value)
        with m.monitor("whole"):
            pass
    """
    assert run_python(program) == "1\n"
    with MetricsStorage("metrics.db") as storage:
        assert "whole" in stored(storage)


def test_aclose_runs_the_cleanup_of_a_decorated_async_generator(monitor):
    inside = []

    @monitor.monitor("agen")
    async def generate():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            inside.append(current_id())

    async def main() -> None:
        generator = generate()
        await anext(generator)
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    asyncio.run(main())
    (span,) = found(monitor.storage)
    assert inside == [span.span_id]
    assert span.attributes["perfmon.outcome"] == "closed"


def test_a_generator_that_ignores_its_closing_gives_the_runtime_error_it_always_gives(monitor):
    @monitor.monitor("gen")
    def generate():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = generate()
    next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        generator.close()


def test_an_error_in_the_cleanup_of_a_closed_generator_passes_through_and_is_an_error(monitor):
    @monitor.monitor("gen")
    def generate():
        try:
            yield 1
        finally:
            raise OSError("cleanup")

    generator = generate()
    next(generator)
    with pytest.raises(OSError, match="cleanup"):
        generator.close()
    span = stored(monitor.storage)["gen"]
    assert (span.is_error, span.error_type, len(span.events)) == (True, "OSError", 1)


def test_an_async_generator_cancelled_inside_a_step_ends_as_cancelled(monitor):
    @monitor.monitor("agen")
    async def generate():
        yield 1
        await asyncio.sleep(3600)

    async def consume() -> None:
        async for _ in generate():
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    span = stored(monitor.storage)["agen"]
    assert (span.is_error, span.attributes["perfmon.outcome"]) == (False, "cancelled")


def test_a_coroutine_that_is_closed_while_suspended_ends_as_closed(monitor):
    @types.coroutine
    def pause():
        yield

    @monitor.monitor("co")
    async def work() -> None:
        await pause()

    coroutine = work()
    coroutine.send(None)
    coroutine.close()
    span = stored(monitor.storage)["co"]
    assert (span.is_error, span.attributes["perfmon.outcome"]) == (False, "closed")


def test_a_coroutine_closed_in_another_context_inside_a_step_of_an_async_generator_leaves_that_ones_span_alone(monitor):
    @types.coroutine
    def pause():
        yield

    @monitor.monitor("agen")
    async def generate():
        await pause()
        yield

    async def consume() -> None:
        async for _ in generate():
            pass

    coroutine = consume()
    contextvars.copy_context().run(coroutine.send, None)
    with monitor.monitor("here") as span:
        coroutine.close()
        assert trace.get_current_span() is span
    assert trace.get_current_span() is INVALID_SPAN
    assert stored(monitor.storage)["agen"].attributes["perfmon.outcome"] == "closed"
