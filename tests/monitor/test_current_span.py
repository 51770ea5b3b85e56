"""The current span inside generators, however they are interleaved, and after each of their steps."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_kit import current_id, stored
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN

from otel_perfmon import MetricsStorage, PerformanceMonitor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_a_generators_body_has_its_span_at_each_step_and_the_caller_has_its_own_after_it(monitor):
    inside = []

    @monitor.monitor("gen")
    def generate():
        for i in range(3):
            inside.append(current_id())
            yield i

    with monitor.monitor("caller") as caller:
        for _ in generate():
            assert trace.get_current_span() is caller
    spans = stored(monitor.storage)
    assert inside == [spans["gen"].span_id] * 3
    assert spans["gen"].parent_span_id == spans["caller"].span_id


def test_an_async_generators_body_has_its_span_at_each_step_and_the_caller_has_its_own_after_it(monitor):
    inside = []

    @monitor.monitor("agen")
    async def generate():
        for i in range(3):
            await asyncio.sleep(0)
            inside.append(current_id())
            yield i

    async def main() -> None:
        with monitor.monitor("caller") as caller:
            async for _ in generate():
                assert trace.get_current_span() is caller

    asyncio.run(main())
    spans = stored(monitor.storage)
    assert inside == [spans["agen"].span_id] * 3
    assert spans["agen"].parent_span_id == spans["caller"].span_id


def test_interleaved_generators_keep_their_own_spans_and_blocks(monitor):
    seen: dict[str, list[str]] = {"a": [], "b": []}

    @monitor.monitor("gen")
    def generate(name: str):
        seen[name].append(current_id())
        with monitor.monitor(f"block of {name}"):
            seen[name].append(current_id())
            yield
            seen[name].append(current_id())
        seen[name].append(current_id())
        yield
        seen[name].append(current_id())

    a, b = generate("a"), generate("b")
    for generator in (a, b, a, b):
        next(generator)
        assert trace.get_current_span() is INVALID_SPAN
    for generator in (a, b):
        assert next(generator, "end") == "end"
    assert trace.get_current_span() is INVALID_SPAN
    spans = stored(monitor.storage)
    for name, ids in seen.items():
        own, block = ids[0], spans[f"block of {name}"]
        assert ids == [own, block.span_id, block.span_id, own, own]
        assert block.parent_span_id == own
    assert seen["a"][0] != seen["b"][0]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_generators_interleaved_in_any_order_never_leave_or_see_a_foreign_span(order):
    storage = MetricsStorage("any-order.db")
    monitor = PerformanceMonitor(storage)

    @monitor.monitor("gen")
    def generate():
        own = current_id()
        for i in range(3):
            yield own == current_id()
            with monitor.monitor(f"block {i}"):
                block = current_id()
                yield block == current_id() != own
                assert block == current_id()
            assert own == current_id()

    with monitor.monitor("caller") as caller:
        generators = [generate() for _ in range(4)]
        for i in order:
            assert next(generators[i], True)
            assert trace.get_current_span() is caller
        for generator in generators:
            generator.close()
            assert trace.get_current_span() is caller
    storage.close()


def test_a_block_inside_a_generator_that_is_driven_from_changing_contexts_gives_the_span_back(monitor):
    ids = []

    @monitor.monitor("gen")
    def generate():
        with monitor.monitor("block"):
            yield
        ids.append(current_id())
        with monitor.monitor("after the block"):
            yield

    generator = generate()
    for _ in range(2):  # as a web framework does that runs each step in a worker thread
        contextvars.copy_context().run(next, generator)
    generator.close()
    spans = stored(monitor.storage)
    assert ids == [spans["gen"].span_id]
    assert spans["after the block"].parent_span_id == spans["gen"].span_id


def test_a_generator_driven_from_a_new_thread_at_each_step_is_one_span_with_its_children(monitor):
    inside = []

    @monitor.monitor("gen")
    def generate():
        for i in range(3):
            inside.append(current_id())
            with monitor.monitor(f"child {i}"):
                pass
            yield i

    generator, got = generate(), []

    def step() -> None:
        got.extend(each for each in [next(generator, None)] if each is not None)
        assert trace.get_current_span() is INVALID_SPAN

    for _ in range(4):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert got == [0, 1, 2]
    spans = stored(monitor.storage)
    assert set(inside) == {spans["gen"].span_id}
    assert {spans[f"child {i}"].parent_span_id for i in range(3)} == {spans["gen"].span_id}


def test_an_async_generator_driven_by_a_new_task_at_each_step_is_one_span_with_its_children(monitor):
    @monitor.monitor("agen")
    async def generate():
        for i in range(3):
            with monitor.monitor(f"child {i}"):
                await asyncio.sleep(0)
            yield i

    async def main() -> list:
        generator = generate()
        return [await asyncio.create_task(anext(generator, None)) for _ in range(4)]

    assert asyncio.run(main()) == [0, 1, 2, None]
    spans = stored(monitor.storage)
    assert {spans[f"child {i}"].parent_span_id for i in range(3)} == {spans["agen"].span_id}
