"""One call of an operation, from its start to its end: a span, its times, and how it went.

Time within a local trace comes from one anchor, the wall clock and the monotonic clock read together at its root: every
start and end is the anchor plus what the monotonic clock has run since, so that a wall clock which jumps makes no wrong
duration and no child outside its parent.
"""

from __future__ import annotations

import contextvars
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode

from otel_perfmon import failure
from otel_perfmon.sdk.processor import SpanDoor
from otel_perfmon.sdk.provider import readable, started_at
from otel_perfmon.sdk.rows import SLOW_ATTRIBUTE

OUTCOME_ATTRIBUTE: Final = "perfmon.outcome"
_CALL_KEY: Final = otel_context.create_key("perfmon-call")
_ANCHOR: Final = "_perfmon_anchor"
DEPTH_MAX: Final = 1_000
"""Calls around a call that are remembered, so that one exception leaves one stack trace."""
_serials: Final = itertools.count(1)
_NO_CONTEXT: Final = otel_context.Context()
_OWN_FILES: Final = [__file__]


class Measured(Protocol):
    """The operation that a call is of, as far as a call must know it."""

    name: str
    attributes: Mapping[str, Any] | None
    kind: SpanKind
    threshold_nano: int | None
    metric_attributes: dict[str, str]
    monitor: Measurer


class Measurer(Protocol):
    """The monitor behind an operation, as far as a call must know it."""

    histogram: Histogram
    slow_threshold_nano: int

    def start_span(
        self, operation: Measured, start_unix_nano: int, parent: SpanContext
    ) -> tuple[Span, SpanDoor | None]:
        """A span, and the door to hand it to when it has ended, if no processor does. Never raises."""

    def end_span(self, span: Span, end_unix_nano: int, door: SpanDoor | None) -> None:
        """End the span and hand it over. Never raises."""

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """The doors of the processors that store every span of the monitor's provider."""

    def lose(self, what: str, error: BaseException) -> None:
        """Count and log what could not be recorded."""


class _Anchor:
    """The wall clock and the monotonic clock, read together at the root of a local trace."""

    __slots__ = ("perf_nano", "unix_nano")

    def __init__(self, unix_nano: int, perf_nano: int) -> None:
        self.unix_nano = unix_nano
        self.perf_nano = perf_nano


class _Link:
    """A call's place among those around it: a number of its own, and the next one outwards.

    Links outlive their calls, for tasks that outlive their makers. A task that makes its successor for ever would make
    a chain without end: it is cut at `DEPTH_MAX`.
    """

    __slots__ = ("depth", "outer", "serial")

    def __init__(self, outer: _Link | None) -> None:
        self.serial = next(_serials)
        self.depth: int = 0 if outer is None or outer.depth >= DEPTH_MAX else outer.depth + 1
        self.outer = outer if self.depth else None

    def enclosing(self) -> Iterator[int]:
        """The numbers of the calls around this one, inmost first."""
        link = self.outer
        while link is not None:
            yield link.serial
            link = link.outer


class Call:
    """One call. `attach` makes it current, `finish` takes its time and describes it, `detach`, `end`: in that order."""

    __slots__ = (
        "_began",
        "_context",
        "_door",
        "_end_unix_nano",
        "_operation",
        "_outer_context",
        "_start_unix_nano",
        "_token",
        "anchor",
        "link",
        "span",
        "trace_id",
    )

    def __init__(self, operation: Measured) -> None:
        self._operation = operation
        context = self._outer_context = otel_context.get_current()
        outer_span = trace.get_current_span(context)
        outer = outer_span.get_span_context()
        caller = context.get(_CALL_KEY)
        if isinstance(caller, Call) and caller.trace_id == outer.trace_id and not outer.is_remote:
            anchor: _Anchor | None = caller.anchor
            outer_link: _Link | None = caller.link
        else:
            # A thread may have been handed the span without its context: the span knows the anchor as well.
            anchor, outer_link = getattr(outer_span, _ANCHOR, None), None
        self.link: _Link = _Link(outer_link)
        self._began = began = time.perf_counter_ns()
        if anchor is not None:
            start = anchor.unix_nano + began - anchor.perf_nano
        else:
            start = max(time.time_ns(), started_at(outer_span))
            anchor = _Anchor(start, began)
        self.anchor: _Anchor = anchor
        self._start_unix_nano = start
        self.span, self._door = operation.monitor.start_span(operation, start, outer)
        for span in (self.span, outer_span):
            if readable(span) is not None:  # never the API's span for no span, which all share, nor a remote one
                setattr(span, _ANCHOR, anchor)
        self.trace_id: int = self.span.get_span_context().trace_id
        self._context = trace.set_span_in_context(self.span, otel_context.set_value(_CALL_KEY, self, context))

    def attach(self) -> None:
        """Make the call's context the current one."""
        self._token = otel_context.attach(self._context)

    def detach(self) -> bool:
        """Make the context current again that was so before `attach`; False in another execution context."""
        token = self._token
        if not isinstance(token, contextvars.Token):
            otel_context.detach(token)
            return True
        try:
            token.var.reset(token)
        except (ValueError, RuntimeError):
            # We are in another execution context by now, as a generator is that its caller drives from changing
            # threads, or that is garbage-collected. Ours may have come along, or not.
            if otel_context.get_current() is self._context:
                otel_context.attach(self._outer_context)
            return False
        return True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a piece of a generator's body: its own context is current, and remembered for the next step."""
        self.attach()
        try:
            yield
        finally:
            inside = otel_context.get_current()
            if self.detach():
                self._context = inside

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Finish and end the call when the block is left; between its steps nothing of it is current."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.attach()
            self.finish(error)
            self.detach()
            self.end()

    def finish(self, error: BaseException | None) -> None:
        """Take the time, and say on the span and in the histogram how it went. The span is still current."""
        elapsed_nano = time.perf_counter_ns() - self._began
        self._end_unix_nano = self._start_unix_nano + elapsed_nano
        operation = self._operation
        metric_attributes = operation.metric_attributes
        if error is not None:
            error_type = self._describe_error(error)
            if error_type is not None:
                metric_attributes = {**metric_attributes, "error.type": error_type}
        try:
            self._flag_slow(elapsed_nano)
            operation.monitor.histogram.record(elapsed_nano / 1e9, metric_attributes)
        except Exception as trouble:  # the outer rim: a processor's or a view's failure
            operation.monitor.lose(f"the histogram point of {operation.name}", trouble)

    def end(self) -> None:
        """End the span."""
        self._operation.monitor.end_span(self.span, self._end_unix_nano, self._door)
        self._context = self._outer_context = _NO_CONTEXT  # else a cycle, for the garbage collector to find

    def _flag_slow(self, elapsed_nano: int) -> None:
        """Say that the call was slow; or that it was not, where a door would think so by its own threshold."""
        operation = self._operation
        monitor, threshold_nano = operation.monitor, operation.threshold_nano
        if threshold_nano is None:
            threshold_nano = monitor.slow_threshold_nano
        if elapsed_nano > threshold_nano:
            self.span.set_attribute(SLOW_ATTRIBUTE, True)
            return
        doors = monitor.storing_doors() if self._door is None else (self._door, *monitor.storing_doors())
        if operation.threshold_nano is not None or any(elapsed_nano > door.slow_threshold_nano for door in doors):
            self.span.set_attribute(SLOW_ATTRIBUTE, False)

    def _describe_error(self, error: BaseException) -> str | None:
        """Note on the span what it was left by; the error's type, or None for what is no error."""
        try:
            outcome = failure.outcome_of(error)
            if outcome is not None:
                self.span.set_attribute(OUTCOME_ATTRIBUTE, outcome)
                return None
            error_type = failure.type_name(error)
            self._record_error(error, error_type)
        except Exception as trouble:  # the outer rim
            self._operation.monitor.lose("the description of an error", trouble)
            return type(error).__name__
        return error_type

    def _record_error(self, error: BaseException, error_type: str) -> None:
        span, message = self.span, failure.message_of(error)
        span.set_status(Status(StatusCode.ERROR, message))
        span.set_attribute("error.type", error_type)
        if span.is_recording() and not failure.is_recorded_within(error, self.link.serial):
            stack_trace = failure.stack_trace_of(error, _OWN_FILES)
            event = {"exception.type": error_type, "exception.message": message, "exception.stacktrace": stack_trace}
            span.add_event("exception", event, timestamp=self._end_unix_nano)
            failure.mark_recorded(error, self.link.enclosing())
        failure.unmark(error, self.link.serial)


def skip_in_stack_traces(path: str) -> None:
    """Leave the outermost frames in the file at ``path`` out of stack traces: a wrapper of ours."""
    _OWN_FILES.append(path)
