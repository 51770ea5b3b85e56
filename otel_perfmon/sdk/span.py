"""The span: the SDK's own, made without what most spans never need.

The SDK's constructor makes locks, bounded lists and a bounded dict, and its end a second span: starting and ending one
takes 9.2 µs there and 1.8 here (measured). Here those parts come into being when somebody first asks for them
(`_Lazy`), and everything that works on them is the SDK's own code. Plain attributes (text, numbers, truths) are
kept in a dict; what needs cleaning, or has a limit in its way, goes through the SDK's `BoundedAttributes`, which then
holds that same dict.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags, TraceState

from otel_perfmon.sdk.open_spans import let_go

UNSET: Final = Status(StatusCode.UNSET)
_PLAIN: Final = frozenset((str, int, float, bool, bytes, type(None)))
"""Types of values that the SDK takes as they are."""


class EndedSpanProcessor(sdk.SpanProcessor):
    """A processor that does nothing when a span starts, and reads it as it is when it has ended: it needs no copy."""


class _Lazy:
    """An attribute that `_Span` has from its constructor on, made when it is first asked for.

    Not by ``__getattr__``: with that the interpreter takes the long way to every attribute, and reading a span took
    twice as long (measured).
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, span: Any, owner: type) -> Any:
        return span.__dict__.setdefault(self._name, self._make(span))  # of two threads one makes what both get


class _Part(_Lazy):
    """A part of a span that most have not. A span that has one is not plain."""

    def __get__(self, span: Any, owner: type) -> Any:
        part = span.__dict__.get(self._name)
        if part is None:
            span._is_plain = False
            part = super().__get__(span, owner)
        return part

    def __set__(self, span: Any, part: Any) -> None:
        span._is_plain = False
        span.__dict__[self._name] = part


def _bounded_attributes(span: Any) -> BoundedAttributes:
    """The SDK's attributes over the dict of the plain ones."""
    limits = span._limits
    bounded = BoundedAttributes(limits.max_span_attributes, None, False, limits.max_span_attribute_length)
    bounded._dict = span._values
    bounded._immutable = span._end_time is not None
    return bounded


class Span(sdk._Span):
    """A span of the SDK. `Tracer.start_span` fills it in; the constructor is the SDK's, for who makes one by hand.

    ``_values`` holds the plain attributes. ``_is_plain`` says that nothing beside those was ever asked for.
    """

    _tracer: Any
    _trace_id: int
    _span_id: int
    _trace_flags: TraceFlags
    _trace_state: TraceState
    _span_context: SpanContext | None
    _values: dict[str, Any]
    _is_plain = False
    _end_time: int | None = None
    _status: Status = UNSET
    _record_exception: bool = True
    _set_status_on_exception: bool = True
    _record_end_metrics: Callable[[], None] | None = None
    _trace_config = None
    _attributes: Any = _Part(_bounded_attributes)
    _events: Any = _Part(lambda span: span._new_events())
    _links: Any = _Part(lambda span: span._new_links(()))
    _instrumentation_info: Any = _Lazy(lambda span: span._tracer.instrumentation_info)
    _instrumentation_scope: Any = _Lazy(lambda span: span._tracer._instrumentation_scope)
    _limits: Any = _Lazy(lambda span: span._tracer._span_limits)
    _lock: Any = _Lazy(lambda _: threading.Lock())
    _sampler: Any = _Lazy(lambda span: span._tracer.sampler)
    _perfmon_anchor: object = None
    _perfmon_thread_id = 0
    _perfmon_task: Any = None
    _perfmon_door: Any = None
    _perfmon_threshold_nano: int | None = None
    _perfmon_is_seen = False

    def get_span_context(self) -> SpanContext:
        """As the SDK's, made when it is first asked for."""
        context = self._span_context
        if context is None:
            parts = (self._trace_id, self._span_id, False, self._trace_flags, self._trace_state, True)
            context = self._span_context = tuple.__new__(SpanContext, parts)
        return context

    @property
    def _context(self) -> SpanContext:
        return self.get_span_context()

    @_context.setter
    def _context(self, context: SpanContext) -> None:
        self._span_context = context

    def set_attribute(self, key: str, value: Any) -> None:
        """As the SDK's."""
        if self._is_plain and type(value) in _PLAIN and type(key) is str and key and self._end_time is None:
            values = self._values
            values.pop(key, None)  # what is set again goes to the end
            if len(values) < self._tracer.attributes_max:
                values[key] = value
                return
        try:
            super().set_attribute(key, value)
        except TypeError:
            self._refuse_late_attributes()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """As the SDK's."""
        if self._is_plain and self._end_time is None and are_plain(attributes):
            values = self._values
            if len(values) + len(attributes) <= self._tracer.attributes_max:
                for key, value in attributes.items():
                    values.pop(key, None)
                    values[key] = value
                return
        try:
            super().set_attributes(attributes)
        except TypeError:
            self._refuse_late_attributes()

    def _refuse_late_attributes(self) -> None:
        """Another thread ended the span between the SDK's look and its change; any other error passes through."""
        if self._end_time is None:
            raise  # noqa: PLE0704 - called while it is handled
        sdk.logger.warning("Setting attribute on ended span.")

    def end(self, end_time: int | None = None) -> None:
        """As the SDK's, except that our own processor gets the span itself and no copy."""
        if self._start_time is None:
            message = "Calling end() on a not started span."
            raise RuntimeError(message)
        if end_time is None:
            end_time = time_ns()
        if self._is_plain and self._end_time is None:  # without a lock: no other thread gets its turn in between
            self._end_time = end_time
        elif not self._end_with_parts(end_time):
            sdk.logger.warning("Calling end() on an ended span.")
            return
        let_go(self)
        if self._record_end_metrics is not None:
            self._record_end_metrics()
        processor = self._span_processor
        if type(processor) is not SynchronousMultiSpanProcessor:
            processor._on_ending(self)
            processor.on_end(self._readable_span())
        elif processor._span_processors is self._tracer.own_processors:
            for each in processor._span_processors:
                each.on_end(self)
        else:
            self._tell(processor._span_processors)

    def _end_with_parts(self, end_time: int) -> bool:
        """Note the end as the SDK does it, when no thread is between its look and its change; False if it is noted."""
        with self._lock:
            if self._end_time is not None:
                return False
            self._end_time = end_time
            self._attributes._immutable = True
        return True

    def _tell(self, processors: tuple[sdk.SpanProcessor, ...]) -> None:
        """Tell each processor in its turn, of the same copy: what one takes out of it, the next ones do not see."""
        for processor in processors:
            processor._on_ending(self)
        copy = self._readable_span()
        for processor in processors:
            processor.on_end(copy)


def _share_names() -> None:
    """Let all spans have their attributes in one table of names, made while there are no spans yet.

    What none of the first thirty spans has is not in it. A later one that has it gets a dict of its own, which makes it
    a twentieth dearer in all (measured). So it is for the parts that few have: events, links, a stack.
    """
    span = object.__new__(Span)
    span._perfmon_thread_id, span._perfmon_task = 0, None
    span._perfmon_anchor = span._perfmon_door = span._perfmon_threshold_nano = None


_share_names()


def are_plain(attributes: Any) -> bool:
    """Whether the SDK would keep these attributes as they are."""
    if type(attributes) is not dict:
        return False
    for key, value in attributes.items():  # noqa: SIM110 - a generator expression takes three times as long
        if type(value) not in _PLAIN or type(key) is not str or not key:
            return False
    return True
