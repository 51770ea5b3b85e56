"""The decorator on all four kinds of function."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
import types

import pytest
from monitor_kit import current_id, found, stored
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN

pytestmark = pytest.mark.usefixtures("fresh_process")


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
