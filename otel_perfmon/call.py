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
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, SpanContext, SpanKind, Status, StatusCode

from otel_perfmon import failure
from otel_perfmon.sdk.context import SPAN_KEY, attach, current, reset, with_span_and
from otel_perfmon.sdk.histogram import DurationHistogram
from otel_perfmon.sdk.open_spans import note_foreign
from otel_perfmon.sdk.processor import SpanDoor
from otel_perfmon.sdk.provider import readable, started_at
from otel_perfmon.sdk.span import Span as OurSpan
from otel_perfmon.sdk.thresholds import lowest_threshold_nano
from otel_perfmon.storage.row_parts import SLOW_ATTRIBUTE

OUTCOME_ATTRIBUTE: Final = "perfmon.outcome"
_CALL_KEY: Final = otel_context.create_key("perfmon-call")
_ANCHOR: Final = "_perfmon_anchor"
DEPTH_MAX: Final = 1_000
"""Calls around a call that are remembered, so that one exception leaves one stack trace."""
_serials: Final = itertools.count(1)
_NO_CONTEXT: Final = otel_context.Context()
_OWN_FILES: Final = [__file__]


class Measurer(Protocol):
    """The monitor behind a call, as far as a call must know it."""

    histogram: DurationHistogram
    slow_threshold_nano: int

    def start_span(
        self, call: Call, context: otel_context.Context, start_unix_nano: int, parent: SpanContext
    ) -> tuple[Span, SpanDoor | None]:
        """A span, and the door to hand it to when it has ended, if no processor does. Never raises."""

    def end_span(self, span: Span, end_unix_nano: int | None, door: SpanDoor | None) -> None:
        """End the span and hand it over. Never raises."""

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """The doors of the processors that store every span of the monitor's provider."""

    def lose(self, what: str, error: BaseException) -> None:
        """Count and log a span that could not be recorded."""

    def warn(self, what: str, error: BaseException) -> None:
        """Log what could not be recorded beside a span, which is counted as it is."""


class Call:
    """One call of an operation: `start`, `attach`, `finish` (takes its time and describes it), `detach`, `end`.

    It knows the call around it, which it outlives only as a link: one exception leaves one stack trace, within the
    inmost call. A task that makes its successor for ever would make a chain without end: it is cut at `DEPTH_MAX`.
    """

    __slots__ = (
        "_anchor",
        "_began",
        "_context",
        "_depth",
        "_door",
        "_end_unix_nano",
        "_is_free",
        "_outer",
        "_serial",
        "_start_unix_nano",
        "_token",
        "attributes",
        "kind",
        "monitor",
        "name",
        "span",
        "threshold_nano",
    )

    _outer: Call | None
    _end_unix_nano: int | None

    def __init__(
        self,
        monitor: Measurer,
        name: str,
        attributes: Mapping[str, Any] | None,
        threshold_nano: int | None,
        kind: SpanKind,
    ) -> None:
        self.monitor = monitor
        self.name = name
        self.attributes = attributes
        self.threshold_nano = threshold_nano
        self.kind = kind
        self._is_free = True
        self._token: Any = None

    def prepare(self) -> None:
        """Start the span, to be made current for each `step`."""
        self._context = self._start()

    def _start(self) -> otel_context.Context:
        context = current() or _NO_CONTEXT  # None where a propagator gave none, which somebody attached
        outer_span: Any = context.get(SPAN_KEY)
        if outer_span is not None and type(outer_span) is not OurSpan and not isinstance(outer_span, Span):
            outer_span = None
        self._began = began = time.perf_counter_ns()
        if outer_span is None:
            outer, start = INVALID_SPAN_CONTEXT, time.time_ns()
            self._anchor = start - began
            self._outer, self._depth = None, 0
        else:
            outer = outer_span.get_span_context()
            self._find_place(context.get(_CALL_KEY), outer_span, outer)
            start = began + self._anchor
        self._start_unix_nano = start
        self._serial, self._end_unix_nano = 0, None
        self.span, self._door = self.monitor.start_span(self, context, start, outer)
        span: Any = self.span
        if type(span) is OurSpan or readable(span) is not None:  # never the API's span for no span, which all share
            span._perfmon_anchor = self._anchor  # noqa: SLF001 - ours
            if self._door is not None:  # what is not known of the span otherwise: where it goes, and when it is slow
                span._perfmon_door = self._door  # noqa: SLF001
                if type(span) is not OurSpan:
                    note_foreign(span)
            if self.threshold_nano is not None:
                span._perfmon_threshold_nano = self.threshold_nano  # noqa: SLF001
        return with_span_and(context, span, _CALL_KEY, self)

    def _find_place(self, caller: object, outer_span: Span, outer: SpanContext) -> None:
        """Find the call around this one, and what makes wall time of the monotonic clock within this local trace."""
        anchor: int | None
        if isinstance(caller, Call) and not outer.is_remote and caller.trace_id == outer.trace_id:
            anchor, depth = caller._anchor, caller._depth  # noqa: SLF001 - another call's
            self._depth = depth + 1 if depth < DEPTH_MAX else 0
            self._outer = caller if self._depth else None
        else:
            # A thread may have been handed the span without its context: the span knows the anchor as well.
            anchor = getattr(outer_span, _ANCHOR, None)
            self._outer, self._depth = None, 0
        if type(anchor) is not int:  # a span that is a proxy for others may answer anything
            anchor = max(time.time_ns(), started_at(outer_span)) - self._began
        self._anchor = anchor
        if readable(outer_span) is not None:
            setattr(outer_span, _ANCHOR, anchor)

    @property
    def trace_id(self) -> int:
        """The trace that the call is in."""
        return self.span.get_span_context().trace_id

    @property
    def serial(self) -> int:
        """A number of the call's own."""
        if not self._serial:
            self._serial = next(_serials)
        return self._serial

    def enclosing(self) -> Iterator[int]:
        """The numbers of the calls around this one, inmost first."""
        call = self._outer
        while call is not None:
            yield call.serial
            call = call._outer  # noqa: SLF001 - another call's

    def detach(self) -> bool:
        """Make the context current again that was so before; False in another execution context."""
        token = self._token
        try:
            reset(token)
        except (ValueError, RuntimeError):
            # We are in another execution context by now, as a generator is that its caller drives from changing
            # threads, or that is garbage-collected. Ours may have come along, or not.
            if current().get(_CALL_KEY) is self:
                outer = token.old_value
                attach(_NO_CONTEXT if outer is contextvars.Token.MISSING else outer)
            return False
        return True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a piece of a generator's body: its own context is current, and remembered for the next step."""
        self._token = attach(self._context)
        try:
            yield
        finally:
            inside = current()
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
            self._token = attach(self._context)
            self.finish(error)
            self.detach()
            self.end()
            self._context = _NO_CONTEXT  # else a cycle, for the garbage collector to find

    def finish(self, error: BaseException | None) -> None:
        """Take the time, and say on the span and in the histogram how it went. The span is still current."""
        elapsed_nano = time.perf_counter_ns() - self._began
        end_unix_nano = self._end_unix_nano = self._start_unix_nano + elapsed_nano
        error_type = self._describe_error(error) if error is not None else None
        monitor = self.monitor
        histogram = monitor.histogram
        try:
            if elapsed_nano > lowest_threshold_nano[0] or self.threshold_nano is not None:
                self._flag_slow(elapsed_nano, monitor)
            if histogram.is_read:
                attributes = histogram.attributes_of(self.name, error_type)
                histogram.record(elapsed_nano, attributes, current(), end_unix_nano)
        except Exception as trouble:  # the outer rim: a processor's or a view's failure
            monitor.warn(f"the histogram point of {self.name}", trouble)

    def end(self) -> None:
        """End the span."""
        self.monitor.end_span(self.span, self._end_unix_nano, self._door)

    def _flag_slow(self, elapsed_nano: int, monitor: Measurer) -> None:
        """Say that the call was slow; or that it was not, where a door would think so by its own threshold."""
        threshold_nano = self.threshold_nano
        if elapsed_nano > (monitor.slow_threshold_nano if threshold_nano is None else threshold_nano):
            self.span.set_attribute(SLOW_ATTRIBUTE, True)
            return
        if elapsed_nano <= lowest_threshold_nano[0]:
            return
        if threshold_nano is None:
            for door in monitor.storing_doors():
                if elapsed_nano > door.slow_threshold_nano:
                    break
            else:
                if self._door is None or elapsed_nano <= self._door.slow_threshold_nano:
                    return
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
            self.monitor.warn("the description of an error", trouble)
            return type(error).__name__
        return error_type

    def _record_error(self, error: BaseException, error_type: str) -> None:
        span, message = self.span, failure.message_of(error)
        span.set_status(Status(StatusCode.ERROR, message))
        span.set_attribute("error.type", error_type)
        if span.is_recording() and not failure.is_recorded_within(error, self.serial):
            stack_trace = failure.stack_trace_of(error, _OWN_FILES)
            event = {"exception.type": error_type, "exception.message": message, "exception.stacktrace": stack_trace}
            span.add_event("exception", event, timestamp=self._end_unix_nano)
            failure.mark_recorded(error, self.enclosing())
        failure.unmark(error, self.serial)


def skip_in_stack_traces(path: str) -> None:
    """Leave the outermost frames in the file at ``path`` out of stack traces: a wrapper of ours."""
    _OWN_FILES.append(path)
