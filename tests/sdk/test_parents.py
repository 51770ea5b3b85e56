"""Each span's parent is the one that was current where it started, however much goes on at once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_perfmon import PerformanceMonitor
from otel_perfmon.sdk.tracer import TracerProvider

THREADS = 16


@pytest.fixture(params=[200, pytest.param(1_000, marks=pytest.mark.long)])
def task_count(request) -> int:
    return request.param


@pytest.fixture
def memory():
    return InMemorySpanExporter()


@pytest.fixture
def provider(memory):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider


@pytest.fixture(params=["monitor", "start_as_current_span"])
def block(request, provider, storage):
    """Gives a context manager for a name: of the monitor, or of the plain tracer."""
    if request.param == "start_as_current_span":
        return provider.get_tracer("t").start_as_current_span
    return PerformanceMonitor(storage, tracer_provider=provider).monitor


def check(memory: InMemorySpanExporter, roots: int) -> None:
    """A span ``a/b/c`` is the child of ``a/b``, in one trace with it; ``a`` has no parent."""
    spans = {span.name: span for span in memory.get_finished_spans()}
    assert len(spans) == len(memory.get_finished_spans())
    assert len({span.context.trace_id for span in spans.values()}) == roots
    for name, span in spans.items():
        above, _, _ = name.rpartition("/")
        if not above:
            assert span.parent is None, name
        else:
            assert span.parent is not None, name
            assert (span.parent.trace_id, span.parent.span_id) == (
                spans[above].context.trace_id,
                spans[above].context.span_id,
            ), name


def nested(block, name: str, depth: int) -> None:
    with block(name):
        for number in range(2 if depth else 0):
            time.sleep(0)  # another thread's turn, or another greenlet's
            nested(block, f"{name}/{number}", depth - 1)


def test_in_16_threads_every_parent_is_right(block, memory):
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        start.wait(10)
        for turn in range(5):
            nested(block, f"{number}.{turn}", 3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.get_finished_spans()) == THREADS * 5 * 15
    check(memory, THREADS * 5)


def test_in_hundreds_of_tasks_every_parent_is_right(block, memory, task_count):
    async def work(name: str) -> None:
        with block(name):
            for number in range(2):
                await asyncio.sleep(0)
                with block(f"{name}/{number}"):
                    await asyncio.gather(*(leaf(f"{name}/{number}/{each}") for each in range(2)))

    async def leaf(name: str) -> None:
        await asyncio.sleep(0)
        with block(name):
            await asyncio.sleep(0)

    async def main() -> None:
        with block("root"):
            await asyncio.gather(*(work(f"root/{number}") for number in range(task_count)))

    asyncio.run(main())
    assert len(memory.get_finished_spans()) == 1 + task_count * 7
    check(memory, 1)


def test_a_decorated_coroutine_function_is_a_child_of_the_task_that_awaits_it(provider, memory, task_count):
    tracer = provider.get_tracer("t")

    async def work(number: int) -> None:
        @tracer.start_as_current_span(f"root/{number}/inner")
        async def inner() -> None:
            await asyncio.sleep(0)
            with tracer.start_as_current_span(f"root/{number}/inner/leaf"):
                await asyncio.sleep(0)

        with tracer.start_as_current_span(f"root/{number}"):
            await inner()

    async def main() -> None:
        with tracer.start_as_current_span("root"):
            await asyncio.gather(*map(work, range(task_count)))

    asyncio.run(main())
    check(memory, 1)


def test_in_greenlets_every_parent_is_right(block, memory, task_count):
    gevent = pytest.importorskip("gevent", reason="gevent is not installed: parents in greenlets are not looked at")

    def work(name: str) -> None:
        with block(name):
            for number in range(3):
                gevent.sleep(0)
                with block(f"{name}/{number}"):
                    gevent.sleep(0)

    gevent.joinall([gevent.spawn(work, str(number)) for number in range(task_count)], raise_error=True)
    assert len(memory.get_finished_spans()) == task_count * 4
    check(memory, task_count)
