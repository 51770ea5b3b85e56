"""The decorator on all four kinds of function, and generators in every way they can be driven and left."""

# ruff: noqa: PERF203 - exceptions are what is tried

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import sys
import threading
import time
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_kit import found, stored
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN

from otel_perfmon import MetricsStorage, PerformanceMonitor

pytestmark = pytest.mark.usefixtures("fresh_process")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A monotonic clock that stands still until its one element is changed."""
    now = [10**12]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    return now


def current_id() -> str:
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


# --- all four kinds


def test_a_decorated_function_makes_a_span_for_each_call_and_returns_its_value(monitor):
    @monitor.monitor("add", attributes={"unit": "apples"})
    def add(a: int, b: int = 2, *rest: int, **named: int) -> tuple:
        return a, b, rest, named

    assert add(1) == (1, 2, (), {})
    assert add(1, 3, 4, c=5) == (1, 3, (4,), {"c": 5})
    spans = found(monitor.storage)
    assert [span.name for span in spans] == ["add", "add"]
    assert all(dict(span.attributes) == {"unit": "apples"} for span in spans)


def test_a_decorated_coroutine_function_is_measured_from_its_first_step_to_its_last(monitor, clock):
    @monitor.monitor("co")
    async def work(x: int) -> int:
        clock[0] += 10_000_000
        await asyncio.sleep(0)
        clock[0] += 20_000_000
        return x

    async def main() -> int:
        coroutine = work(7)
        clock[0] += 500_000_000
        return await coroutine

    assert asyncio.run(main()) == 7
    assert [span.duration_ms for span in found(monitor.storage)] == [30]


def test_a_decorated_generator_is_measured_over_its_run_and_not_over_its_creation(monitor, clock):
    @monitor.monitor("gen")
    def generate():
        clock[0] += 1_000_000
        yield 1
        clock[0] += 2_000_000
        yield 2
        clock[0] += 4_000_000

    generator = generate()
    clock[0] += 10**9
    assert list(generator) == [1, 2]
    assert [span.duration_ms for span in found(monitor.storage)] == [7]


def test_a_decorated_async_generator_is_measured_over_its_run_and_not_over_its_creation(monitor, clock):
    @monitor.monitor("agen")
    async def generate():
        clock[0] += 1_000_000
        yield 1
        await asyncio.sleep(0)
        clock[0] += 2_000_000
        yield 2
        clock[0] += 4_000_000

    async def main() -> list:
        generator = generate()
        clock[0] += 10**9
        return [each async for each in generator]

    assert asyncio.run(main()) == [1, 2]
    assert [span.duration_ms for span in found(monitor.storage)] == [7]


def test_the_kinds_of_the_decorated_functions_stay_what_they_were(monitor):
    def function(): ...

    async def coroutine(): ...

    def generator():
        yield

    async def async_generator():
        yield

    class Callable:
        async def __call__(self): ...

    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    for each in (function, coroutine, generator, async_generator, functools.partial(coroutine)):
        wrapped = monitor.monitor("op")(each)
        assert [kind(wrapped) for kind in kinds] == [kind(each) for kind in kinds]
        assert inspect.isfunction(wrapped)
    assert inspect.iscoroutinefunction(monitor.monitor("op")(Callable()))


def test_a_decorated_function_keeps_its_name_signature_docstring_and_attributes(monitor):
    def function(a: int, *, b: str = "x") -> float:
        """What it does."""

    function.mark = 1
    wrapped = monitor.monitor("op")(function)
    assert wrapped.__name__ == "function"
    assert wrapped.__qualname__ == function.__qualname__
    assert wrapped.__module__ == __name__
    assert wrapped.__doc__ == "What it does."
    assert wrapped.__wrapped__ is function
    assert wrapped.mark == 1
    assert inspect.signature(wrapped) == inspect.signature(function)


def test_a_generator_based_coroutine_can_still_be_awaited(monitor):
    @monitor.monitor("op")
    @types.coroutine
    def pause():
        yield
        return 5

    async def main() -> int:
        return await pause()

    assert asyncio.run(main()) == 5
    assert list(stored(monitor.storage)) == ["op"]


@pytest.mark.parametrize("kind", ["function", "generator"])
def test_a_call_with_wrong_arguments_fails_with_the_type_error_of_the_function(monitor, kind):
    def function(a): ...

    def generator(a):
        yield

    wrapped = monitor.monitor("op")({"function": function, "generator": generator}[kind])
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        list(wrapped())


def test_methods_class_methods_and_static_methods_can_be_decorated_under_their_descriptor(monitor):
    class Shop:
        @monitor.monitor("method")
        def method(self, x):
            return self, x

        @classmethod
        @monitor.monitor("class method")
        def class_method(cls, x):
            return cls, x

        @staticmethod
        @monitor.monitor("static method")
        def static_method(x):
            return x

        @property
        @monitor.monitor("property")
        def shelf(self):
            return 7

    shop = Shop()
    assert shop.method(1) == (shop, 1)
    assert shop.class_method(1) == Shop.class_method(1) == (Shop, 1)
    assert shop.static_method(1) == Shop.static_method(1) == 1
    assert shop.shelf == 7
    assert sorted(span.name for span in found(monitor.storage)) == [
        *["class method"] * 2,
        "method",
        "property",
        *["static method"] * 2,
    ]


def test_a_static_method_decorated_from_outside_stays_a_static_method(monitor):
    class Shop:
        @monitor.monitor("sync")
        @staticmethod
        def sync(x):
            return x

        @monitor.monitor("async")
        @staticmethod
        async def coroutine(x):
            return current_id()

    assert Shop().sync(1) == Shop.sync(1) == 1
    inside = asyncio.run(Shop().coroutine(1))
    assert stored(monitor.storage)["async"].span_id == inside


def test_a_class_method_decorated_from_outside_stays_a_class_method(monitor):
    class Shop:
        @monitor.monitor("op")
        @classmethod
        def method(cls, x):
            return cls, x

    assert Shop().method(1) == Shop.method(1) == (Shop, 1)
    assert len(found(monitor.storage)) == 2


def test_partials_bound_methods_builtins_and_callable_objects_can_be_decorated(monitor):
    class Callable:
        def __call__(self, x):
            return x + 1

    class Generating:
        def __call__(self, x):
            yield x
            yield current_id()

    assert monitor.monitor("partial")(functools.partial(int, base=2))("101") == 5
    assert monitor.monitor("object")(Callable())(1) == 2
    assert monitor.monitor("bound")([1, 2].index)(2) == 1
    assert monitor.monitor("builtin")(len)("abc") == 3
    first, inside = monitor.monitor("generating")(Generating())(1)
    assert monitor.monitor("cached")(functools.lru_cache(lambda x: x))(4) == 4
    spans = stored(monitor.storage)
    assert set(spans) == {"partial", "object", "bound", "builtin", "generating", "cached"}
    assert (first, inside) == (1, spans["generating"].span_id)


@pytest.mark.parametrize("thing", [5, None, "text", int, type("Class", (), {})], ids=repr)
def test_what_is_no_function_cannot_be_decorated(monitor, thing):
    with pytest.raises(TypeError, match="op"):
        monitor.monitor("op")(thing)


def test_recursion_makes_a_chain_of_spans(monitor):
    @monitor.monitor("factorial")
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    @monitor.monitor("tree")
    def tree(n: int):
        if n:
            yield from tree(n - 1)
            yield n
            yield from tree(n - 1)

    assert factorial(5) == 120
    assert list(tree(3)) == [1, 2, 1, 3, 1, 2, 1]
    spans = found(monitor.storage)
    chain = [span for span in spans if span.name == "factorial"]
    assert len(chain) == 6
    assert len({span.parent_span_id for span in chain}) == 6
    branches = [span for span in spans if span.name == "tree"]
    assert len(branches) == 15
    assert len({span.trace_id for span in branches}) == 1


def test_recursion_without_end_raises_recursion_error_and_leaves_no_current_span(monitor):
    depth = 0

    @monitor.monitor("endless")
    def endless():
        nonlocal depth
        depth += 1
        endless()

    with pytest.raises(RecursionError):
        endless()
    assert trace.get_current_span() is INVALID_SPAN
    with monitor.monitor("after"):
        pass
    spans = found(monitor.storage)
    assert next(span for span in spans if span.name == "after").parent_span_id is None
    health = monitor.storage.store.get_health()
    assert len(spans) + sum(health.dropped.values()) >= depth


def test_a_decorated_function_called_from_many_threads_makes_a_root_span_for_each_call(monitor):
    @monitor.monitor("op")
    def work() -> None:
        time.sleep(0)

    threads = [threading.Thread(target=lambda: [work() for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = found(monitor.storage)
    assert len(spans) == 400
    assert all(span.parent_span_id is None for span in spans)


def test_concurrent_calls_of_one_decorated_coroutine_function_are_spans_of_their_own(monitor):
    @monitor.monitor("op")
    async def work() -> str:
        before = current_id()
        await asyncio.sleep(0)
        assert current_id() == before
        return before

    async def main() -> list[str]:
        return await asyncio.gather(*(work() for _ in range(20)))

    ids = asyncio.run(main())
    assert sorted(span.span_id for span in found(monitor.storage)) == sorted(ids)


def test_the_decorated_kinds_are_slow_by_the_operations_own_threshold(monitor, clock):
    @monitor.monitor("gen", slow_threshold_ms=2)
    def generate():
        clock[0] += 1_000_000
        yield
        clock[0] += 1_000_001

    @monitor.monitor("co", slow_threshold_ms=2)
    async def work():
        clock[0] += 2_000_001

    list(generate())
    asyncio.run(work())
    assert {span.name: span.is_slow for span in found(monitor.storage)} == {"gen": True, "co": True}


# --- the current span


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


# --- driving generators


def test_send_throw_and_return_values_pass_through_a_decorated_generator(monitor):
    log = []

    @monitor.monitor("gen")
    def generate(start):
        got = start
        while True:
            try:
                got = yield got
                if got == "end":
                    return "returned"
            except LookupError as error:
                log.append(error)
                got = "caught"

    def delegate():
        return (yield from generate("first"))

    error = LookupError("thrown")
    generator = delegate()
    assert next(generator) == "first"
    assert generator.send("sent") == "sent"
    assert next(generator) is None
    assert generator.send(0) == 0
    assert generator.throw(error) == "caught"
    assert log == [error]
    with pytest.raises(StopIteration) as stop:
        generator.send("end")
    assert stop.value.value == "returned"
    (span,) = found(monitor.storage)
    assert (span.is_error, span.events, dict(span.attributes)) == (False, (), {})


def test_asend_and_athrow_pass_through_a_decorated_async_generator(monitor):
    log = []

    @monitor.monitor("agen")
    async def generate(start):
        got = start
        while got != "end":
            try:
                got = yield got
            except LookupError as error:
                log.append(error)
                got = "caught"

    async def main() -> None:
        generator = generate("first")
        assert await anext(generator) == "first"
        assert await generator.asend("sent") == "sent"
        assert await generator.asend(None) is None
        assert await generator.asend(0) == 0
        error = LookupError("thrown")
        assert await generator.athrow(error) == "caught"
        assert log == [error]
        with pytest.raises(StopAsyncIteration):
            await generator.asend("end")

    asyncio.run(main())
    (span,) = found(monitor.storage)
    assert (span.is_error, span.events, dict(span.attributes)) == (False, (), {})


def test_an_exception_that_a_generators_body_does_not_catch_ends_its_span_as_an_error(monitor):
    @monitor.monitor("thrown")
    def generate():
        yield

    @monitor.monitor("raised")
    def fail():
        yield
        raise error

    error = ValueError("boom")
    generator = generate()
    next(generator)
    with pytest.raises(ValueError, match="boom") as caught:
        generator.throw(error)
    assert caught.value is error
    with pytest.raises(ValueError, match="boom") as caught:
        list(fail())
    assert caught.value is error
    for span in found(monitor.storage):
        assert (span.is_error, span.error_type, len(span.events)) == (True, "ValueError", 1)


def test_stop_iteration_raised_in_a_decorated_generator_is_the_runtime_error_it_always_is(monitor):
    @monitor.monitor("gen")
    def generate():
        yield 1
        raise StopIteration("inner")  # noqa: PLR1708 - what is tried

    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        list(generate())
    assert stored(monitor.storage)["gen"].error_type == "RuntimeError"


def test_stop_async_iteration_raised_in_a_decorated_async_generator_is_the_runtime_error_it_always_is(monitor):
    @monitor.monitor("agen")
    async def generate():
        yield 1
        raise StopAsyncIteration

    async def main() -> None:
        async for _ in generate():
            pass

    with pytest.raises(RuntimeError, match="async generator raised StopAsyncIteration"):
        asyncio.run(main())
    assert stored(monitor.storage)["agen"].error_type == "RuntimeError"


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


def test_context_that_a_generators_body_attaches_itself_lasts_over_its_yields_and_ends_with_it(monitor):
    key = otel_context.create_key("mine")
    seen = []

    @monitor.monitor("gen")
    def generate():
        token = otel_context.attach(otel_context.set_value(key, "body"))
        yield
        seen.append(otel_context.get_value(key))
        otel_context.detach(token)
        seen.append(otel_context.get_value(key))
        yield

    for _ in generate():
        assert otel_context.get_value(key) is None
    assert seen == ["body", None]


def test_the_callers_other_context_variables_are_seen_and_set_by_a_generators_body(monitor):
    variable = contextvars.ContextVar("variable", default=0)

    @monitor.monitor("gen")
    def generate():
        for _ in range(3):
            variable.set(variable.get() + 1)
            yield variable.get()

    generator = generate()
    assert next(generator) == 1
    variable.set(10)
    assert next(generator) == 11
    assert variable.get() == 11


def test_driving_a_generator_from_within_itself_gives_the_value_error_it_always_gives(monitor):
    holder: list = []

    @monitor.monitor("gen")
    def generate():
        with pytest.raises(ValueError, match="generator already executing"):
            next(holder[0])
        yield 1

    holder.append(generate())
    assert list(holder[0]) == [1]
    assert not stored(monitor.storage)["gen"].is_error


def test_twenty_thousand_steps_are_one_span(monitor):
    @monitor.monitor("gen")
    def generate():
        yield from range(20_000)

    assert sum(generate()) == sum(range(20_000))
    assert len(found(monitor.storage)) == 1


def test_an_exception_that_went_through_a_generator_is_freed_without_the_garbage_collector(monitor):
    freed = []

    class TroubleError(Exception):
        def __del__(self) -> None:
            freed.append(1)

    @monitor.monitor("gen")
    def generate():
        yield
        raise TroubleError

    @monitor.monitor("function")
    def fail():
        raise TroubleError

    gc.disable()
    try:
        for call in (lambda: list(generate()), fail):
            with contextlib.suppress(TroubleError):
                call()
        assert sys.exc_info() == (None, None, None)
        assert freed == [1, 1]
    finally:
        gc.enable()
