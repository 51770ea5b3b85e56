"""What an exception that leaves an operation does to its span, and what it must not do to the program."""

# ruff: noqa: TRY301, PT012, SIM117 - odd exceptions with short names, raised where they are measured

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import sys

import pytest
from monitor_kit import found, point_counts, stored
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_perfmon import MetricsStorage, PerformanceMonitor

pytestmark = pytest.mark.usefixtures("fresh_process")


# --- what an error sets


def test_an_exception_passes_through_unchanged_and_sets_status_type_and_one_event(monitor):
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught, monitor.monitor("op"):
        raise error
    assert caught.value is error
    assert error.args == ("boom",)
    assert error.__cause__ is error.__context__ is None
    span = stored(monitor.storage)["op"]
    assert (span.status_name, span.status_message) == ("error", "boom")
    assert span.is_error
    assert span.error_type == span.attributes["error.type"] == "ValueError"
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.message"] == "boom"
    trace_text = event.attributes["exception.stacktrace"]
    assert trace_text.startswith("Traceback (most recent call last):")
    assert "raise error" in trace_text
    assert trace_text.rstrip().endswith("ValueError: boom")
    assert span.start_unix_nano <= event.time_unix_nano <= span.end_unix_nano


def test_an_exception_says_afterwards_what_it_said_before(monitor):
    class OwnError(Exception):
        def __init__(self, code: int) -> None:
            self.code = code

    error = OwnError(7)
    before = (repr(error), str(error), error.args, dir(error), error.__cause__, error.__context__)
    with pytest.raises(OwnError), monitor.monitor("outer"), monitor.monitor("op"):
        raise error
    marks = [name for name in dir(error) if "perfmon" in name]
    names = [name for name in dir(error) if name not in marks]
    assert (repr(error), str(error), error.args, names, error.__cause__, error.__context__) == before
    assert all(name.startswith("__") for name in marks)


def test_the_sdks_exporters_see_the_same_error(storage):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with pytest.raises(KeyError), monitor.monitor("op"):
        raise KeyError("missing")
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "'missing'"
    assert [event.name for event in span.events] == ["exception"]
    assert span.attributes["error.type"] == "KeyError"


def test_a_success_sets_no_status_no_type_and_no_event(monitor):
    with monitor.monitor("op"):
        pass
    span = stored(monitor.storage)["op"]
    assert (span.status_name, span.is_error, span.error_type, span.events) == ("unset", False, None, ())
    assert dict(span.attributes) == {}


def test_only_the_innermost_operation_keeps_the_stack_trace_and_all_keep_status_and_type(monitor):
    with pytest.raises(ValueError, match="boom"), monitor.monitor("outer"), monitor.monitor("middle"):
        with monitor.monitor("inner"):
            raise ValueError("boom")
    spans = stored(monitor.storage)
    assert {name: len(span.events) for name, span in spans.items()} == {"outer": 0, "middle": 0, "inner": 1}
    assert all(span.is_error and span.error_type == "ValueError" for span in spans.values())
    assert all(span.status_message == "boom" for span in spans.values())


def test_the_stack_trace_is_kept_once_across_all_kinds_of_decorated_functions(monitor):
    @monitor.monitor("function")
    def function():
        raise ValueError("deep")

    @monitor.monitor("generator")
    def generator():
        yield function()

    @monitor.monitor("async generator")
    async def async_generator():
        yield next(generator())

    @monitor.monitor("coroutine")
    async def coroutine():
        async for _ in async_generator():
            pass

    with pytest.raises(ValueError, match="deep"):
        asyncio.run(coroutine())
    spans = stored(monitor.storage)
    assert {name: len(span.events) for name, span in spans.items()} == {
        "function": 1,
        "generator": 0,
        "async generator": 0,
        "coroutine": 0,
    }
    assert all(span.error_type == "ValueError" for span in spans.values())


def test_the_stack_trace_begins_with_the_users_code_and_shows_none_of_ours_first(monitor):
    @monitor.monitor("op")
    def fail():
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    lines = stored(monitor.storage)["op"].events[0].attributes["exception.stacktrace"].splitlines()
    assert "test_errors.py" in lines[1]
    assert not any("otel_perfmon" in line and "monitor.py" in line and "tests" not in line for line in lines)


def test_an_exception_caught_between_two_operations_is_an_error_of_the_inner_one_only(monitor):
    with monitor.monitor("outer"):
        try:
            with monitor.monitor("inner"):
                raise ValueError("boom")
        except ValueError:
            pass
    spans = stored(monitor.storage)
    assert (spans["outer"].is_error, spans["inner"].is_error) == (False, True)


def test_another_exception_raised_from_the_first_has_an_event_of_its_own_with_both_traces(monitor):
    with pytest.raises(RuntimeError), monitor.monitor("outer"):
        try:
            with monitor.monitor("inner"):
                raise ValueError("first")
        except ValueError as error:
            raise RuntimeError("second") from error
    spans = stored(monitor.storage)
    assert spans["inner"].events[0].attributes["exception.message"] == "first"
    (event,) = spans["outer"].events
    assert event.attributes["exception.message"] == "second"
    assert "ValueError: first" in event.attributes["exception.stacktrace"]


def test_one_exception_object_raised_in_many_traces_has_its_stack_trace_in_each(monitor):
    singleton = ValueError("always me")
    for i in range(5):
        with pytest.raises(ValueError, match="me"), monitor.monitor(f"outer {i}"), monitor.monitor(f"inner {i}"):
            raise singleton
    spans = stored(monitor.storage)
    assert all(len(spans[f"inner {i}"].events) == 1 for i in range(5))
    assert all(len(spans[f"outer {i}"].events) == 0 for i in range(5))


def test_one_exception_object_raised_by_two_siblings_one_after_the_other_has_its_stack_trace_in_both(monitor):
    singleton = ValueError("always me")
    with monitor.monitor("root"):
        for i in range(2):
            with pytest.raises(ValueError, match="me"), monitor.monitor(f"child {i}"):
                raise singleton
    spans = stored(monitor.storage)
    assert [len(spans[f"child {i}"].events) for i in range(2)] == [1, 1]


def test_one_exception_object_that_was_caught_before_has_its_stack_trace_where_it_is_raised_again(monitor):
    singleton = ValueError("always me")
    for i in range(50):
        with monitor.monitor("catching"):
            try:
                with monitor.monitor("raising"):
                    raise singleton
            except ValueError:
                pass
        with pytest.raises(ValueError, match="me"), monitor.monitor(f"alone {i}"):
            raise singleton
    spans = stored(monitor.storage)
    assert [len(spans[f"alone {i}"].events) for i in range(50)] == [1] * 50
    assert len(pickle.dumps(singleton)) < 10_000


def test_an_error_of_a_task_that_outlives_its_maker_has_one_stack_trace_although_it_comes_back_further_out(monitor):
    async def work() -> None:
        async with monitor.monitor("work"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise ValueError("late")

    async def main() -> None:
        async with monitor.monitor("root"):
            async with monitor.monitor("spawning"):
                task = asyncio.create_task(work())
            await task

    with pytest.raises(ValueError, match="late"):
        asyncio.run(main())
    spans = stored(monitor.storage)
    assert {name: len(span.events) for name, span in spans.items()} == {"root": 0, "spawning": 0, "work": 1}


@pytest.mark.parametrize("is_one_trace", [True, False], ids=["one trace", "two traces"])
def test_tasks_that_wait_for_one_failing_future_keep_one_stack_trace_each(monitor, is_one_trace):
    async def wait(future: asyncio.Future, name: str) -> None:
        async with monitor.monitor(f"outer {name}"):
            try:
                async with monitor.monitor(f"inner {name}"):
                    await future
            finally:
                await asyncio.sleep(0)

    async def both() -> None:
        future = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(wait(future, name)) for name in "ab"]
        await asyncio.sleep(0)
        future.set_exception(ValueError("shared"))
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), ValueError) for task in tasks)

    async def main() -> None:
        if is_one_trace:
            with monitor.monitor("root"):
                await both()
        else:
            await both()

    asyncio.run(main())
    counts = {name: len(span.events) for name, span in stored(monitor.storage).items() if name != "root"}
    assert counts == {"inner a": 1, "inner b": 1, "outer a": 0, "outer b": 0}


def test_an_exception_brought_back_from_a_thread_is_an_error_of_the_operation_that_it_leaves(monitor):
    @monitor.monitor("in the thread")
    def fail() -> None:
        raise ValueError("boom")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="boom"), monitor.monitor("waiting"):
            pool.submit(fail).result()
    spans = stored(monitor.storage)
    assert all(len(span.events) == 1 for span in spans.values())  # two traces: each has its stack trace


# --- what is no error


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (asyncio.CancelledError, "cancelled"),
        (KeyboardInterrupt, "interrupted"),
        (SystemExit, "exited"),
        (GeneratorExit, "closed"),
    ],
)
def test_cancellation_interrupt_exit_and_close_are_no_errors_and_the_span_says_how_it_ended(storage, kind, outcome):
    class Special(kind):
        pass

    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))
    for each in (kind, Special):
        error = each("x")
        with pytest.raises(each) as caught, monitor.monitor("op"):
            raise error
        assert caught.value is error
    for span in found(storage):
        assert (span.is_error, span.status_name, span.events, span.error_type) == (False, "unset", (), None)
        assert dict(span.attributes) == {"perfmon.outcome": outcome}
    assert storage.get_stats("op").error_count == 0
    assert storage.get_stats("op").count == 2
    assert point_counts(reader) == {("op", None): 2}


def test_a_cancelled_task_ends_its_span_as_cancelled_and_is_cancelled(monitor):
    @monitor.monitor("co")
    async def work() -> None:
        async with monitor.monitor("block"):
            await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    spans = stored(monitor.storage)
    assert {span.attributes["perfmon.outcome"] for span in spans.values()} == {"cancelled"}
    assert not any(span.is_error for span in spans.values())


def test_a_timeout_is_cancelled_inside_and_an_error_outside(monitor):
    async def main() -> None:
        async with monitor.monitor("outside"):
            async with asyncio.timeout(0):
                async with monitor.monitor("inside"):
                    await asyncio.sleep(3600)

    if sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is new in 3.11")
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    spans = stored(monitor.storage)
    assert spans["inside"].attributes["perfmon.outcome"] == "cancelled"
    assert (spans["outside"].is_error, spans["outside"].error_type) == (True, "TimeoutError")


def test_sys_exit_inside_an_operation_leaves_with_its_code_and_the_span_is_stored(run_python, tmp_path):
    program = """
        import sys, subprocess, os
        import otel_perfmon as o
        m = o.PerformanceMonitor()
        pid = os.fork() if hasattr(os, "fork") else None
        if pid == 0:
            with m.monitor("child"):
                sys.exit(7)
        if pid:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        with m.monitor("op"):
            sys.exit(0)
    """
    assert run_python(program) == "7\n"
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        spans = stored(storage)
        assert sorted(spans) == ["child", "op"]
        assert {span.attributes["perfmon.outcome"] for span in spans.values()} == {"exited"}


def test_any_other_base_exception_is_an_error(monitor):
    class Fatal(BaseException):
        pass

    with pytest.raises(Fatal), monitor.monitor("op"):
        raise Fatal("x")
    assert stored(monitor.storage)["op"].is_error
