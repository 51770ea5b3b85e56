"""Exceptions that answer oddly to what is asked of them, and errors in odd places."""

# ruff: noqa: N818, TRY301, PT012, SIM117 - odd exceptions with short names, raised where they are measured

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import threading

import pytest
from monitor_kit import found, point_counts, stored
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import PerformanceMonitor
from otel_perfmon.sdk.stacks import STACK_EVENT

pytestmark = pytest.mark.usefixtures("fresh_process")


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadRepr(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class NotText(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - that is what is odd


class Slotted(Exception):
    __slots__ = ("code",)


class NoDict(Exception):
    @property
    def __dict__(self):
        raise AttributeError("none")


class FixedDict(Exception):
    @property
    def __dict__(self):
        return {}


class Frozen(Exception):
    def __setattr__(self, name, value) -> None:
        raise TypeError("frozen")


class Catching(Exception):
    def __getattr__(self, name):
        raise RuntimeError(name)


class Equal(Exception):
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("no comparison")


class Falsy(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __len__(self) -> int:
        return 0


class BadNotes(Exception):
    __notes__ = property(lambda self: 1 / 0)


class NamedOddly(Exception):
    __module__ = None


ODD = [BadStr, BadRepr, NotText, Slotted, NoDict, FixedDict, Frozen, Catching, Equal, Falsy, BadNotes, NamedOddly]


@pytest.mark.parametrize("kind", ODD, ids=[kind.__name__ for kind in ODD])
def test_an_odd_exception_passes_through_and_is_counted_as_the_error_that_it_is(storage, kind):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]), slow_threshold_ms=0)
    error = kind("odd")
    caught = None
    try:
        with monitor.monitor("outer"), monitor.monitor("op"):
            raise error
    except kind as raised:
        caught = raised
    assert caught is error
    spans = stored(storage)
    for span in spans.values():
        assert span.is_error
        assert span.error_type
        assert span.is_slow
        assert span.attributes["perfmon.slow"] is True
    (event,) = (event for event in spans["op"].events if event.name != STACK_EVENT)  # all are slow, one may be long
    assert (event.name, bool(event.attributes["exception.stacktrace"])) == ("exception", True)
    assert storage.get_stats("op").error_count == 1
    assert {name: count for (name, kind), count in point_counts(reader).items() if kind} == {"op": 1, "outer": 1}
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_the_type_of_an_exception_is_its_full_name_without_the_module_of_builtins(monitor):
    class Local(Exception):
        pass

    for name, kind in (("builtin", OSError), ("own", Slotted), ("local", Local), ("std", pickle.PicklingError)):
        with pytest.raises(kind), monitor.monitor(name):
            raise kind
    spans = stored(monitor.storage)
    assert spans["builtin"].error_type == "OSError"
    assert spans["own"].error_type == f"{__name__}.Slotted"
    assert spans["local"].error_type == f"{__name__}.{Local.__qualname__}"
    assert spans["std"].error_type == "_pickle.PicklingError"


def test_an_exception_group_keeps_all_its_stack_traces(monitor):
    if sys.version_info < (3, 11):
        pytest.skip("exception groups are new in 3.11")

    async def fail(name: str) -> None:
        async with monitor.monitor(name):
            raise ValueError(name)

    async def main() -> None:
        async with monitor.monitor("group"), asyncio.TaskGroup() as group:
            for name in ("first", "second"):
                group.create_task(fail(name))

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - 3.11
        asyncio.run(main())
    assert len(caught.value.exceptions) == 2
    spans = stored(monitor.storage)
    assert spans["group"].error_type == "ExceptionGroup"
    text = spans["group"].events[0].attributes["exception.stacktrace"]
    assert "ValueError: first" in text
    assert "ValueError: second" in text
    assert len(spans["first"].events) == len(spans["second"].events) == 1
    assert spans["first"].parent_span_id == spans["group"].span_id


def test_an_error_with_a_huge_binary_or_surrogate_message_is_kept(monitor):
    for message in ("x" * 5_000_000, b"\xff\x00", "\ud800 lone", "nul \0 byte", ""):
        with pytest.raises(ValueError, match=r"(?s).*"), monitor.monitor("op"):
            raise ValueError(message)
    assert monitor.storage.get_stats("op").error_count == 5
    assert all(len(span.events) == 1 for span in found(monitor.storage))


def test_a_chain_of_a_thousand_causes_and_a_cycle_of_causes_are_kept(monitor):
    first = error = ValueError("0")
    for i in range(1, 300):
        error.__cause__ = error = ValueError(str(i))
    error.__cause__ = first
    with pytest.raises(ValueError, match="0"), monitor.monitor("op"):
        raise first
    assert len(stored(monitor.storage)["op"].events) == 1


def test_an_exception_without_a_traceback_handed_to_exit_is_an_error(monitor):
    operation = monitor.monitor("op")
    operation.__enter__()
    error = ValueError("by hand")
    assert not operation.__exit__(ValueError, error, None)
    span = stored(monitor.storage)["op"]
    assert (span.is_error, span.events[0].attributes["exception.message"]) == (True, "by hand")


def test_an_exception_that_cannot_be_copied_or_pickled_before_can_not_after_and_else_it_can(monitor):
    error = ValueError("copy me")
    with pytest.raises(ValueError, match="copy"), monitor.monitor("op"):
        raise error
    assert copy.copy(error).args == pickle.loads(pickle.dumps(error)).args == ("copy me",)


def test_an_error_in_one_thread_says_nothing_of_the_operations_in_the_others(monitor):
    def work(i: int) -> None:
        try:
            with monitor.monitor(f"op {i}"):
                if i % 2:
                    raise ValueError(str(i))
        except ValueError:
            pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, span in stored(monitor.storage).items():
        assert span.is_error == bool(int(name.split()[1]) % 2)
        assert span.status_message == (name.split()[1] if span.is_error else "")


def test_a_users_own_record_of_the_exception_is_kept_beside_ours(monitor):
    with pytest.raises(ValueError, match="boom"), monitor.monitor("op") as span:
        error = ValueError("boom")
        span.record_exception(error, {"mine": True})
        raise error
    events = stored(monitor.storage)["op"].events
    assert [event.attributes.get("mine") for event in events] == [True, None]


def test_an_error_inside_a_foreign_span_between_two_operations_has_our_stack_trace_on_the_inner_one(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with pytest.raises(ValueError, match="boom"), monitor.monitor("outer"):
        with provider.get_tracer("x").start_as_current_span("foreign"), monitor.monitor("inner"):
            raise ValueError("boom")
    spans = stored(storage)
    assert (len(spans["outer"].events), len(spans["inner"].events)) == (0, 1)


@pytest.mark.parametrize("span", [object(), "junk", 5])
def test_what_stands_in_the_context_in_a_spans_place_and_is_none_is_no_parent(monitor, span):
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        with monitor.monitor("op"):
            pass
    finally:
        otel_context.detach(token)
    assert monitor.storage.get_metrics()[0]["parent_span_id"] is None


def test_an_interrupt_while_an_operation_ends_leaves_no_span_current(monitor, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), monitor.monitor("outer"):
        patch.setattr(type(monitor.monitor("x")), "_flag_slow", interrupt)
    assert not trace.get_current_span().get_span_context().is_valid
    assert [metric["operation"] for metric in monitor.storage.get_metrics()] == ["outer"]
