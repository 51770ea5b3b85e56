"""Generators under the decorator, in every way they can be driven."""

# ruff: noqa: PERF203 - exceptions are what is tried

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys

import pytest
from monitor_kit import found, stored
from opentelemetry import context as otel_context

pytestmark = pytest.mark.usefixtures("fresh_process")


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
