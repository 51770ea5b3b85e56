"""The tracer provider and its tracers: the SDK's, with a shorter way to a span.

Everything a span goes by is asked as the SDK asks it: the enabled state, the id generator, the sampler, the limits, the
self-metrics, the processors. What is short: the SDK's own samplers are not called where their answer is known, a
context is made without validating ids that come from our generator, and no generator function stands between a program
and its block.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import time_ns
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, sampling
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from otel_perfmon.sdk.context import SPAN_KEY, current, with_span
from otel_perfmon.sdk.current_span import CurrentSpan
from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.sdk.open_spans import note, watch
from otel_perfmon.sdk.span import UNSET, EndedSpanProcessor, Span, are_plain

_new_span: Final = object.__new__
_IS_VALID: Final = 5
"""Where a `SpanContext`, which is a tuple, has its mark of validity."""
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_FLAGS: Final = tuple(TraceFlags(number) for number in range((_SAMPLED | _RANDOM) + 1))
_ON: Final = sampling.Decision.RECORD_AND_SAMPLE
_DROP: Final = sampling.Decision.DROP
_NO_LIMIT: Final = 2**63


class Tracer(sdk.Tracer):
    """A tracer whose spans cost a quarter of the SDK's (measured). Made by `TracerProvider.get_tracer`."""

    _seen_sampler: sampling.Sampler | None = None
    _is_always_on = False
    attributes_max = 0
    """So many plain attributes may a span have without a look at its other limits."""
    own_processors: tuple[sdk.SpanProcessor, ...] = ()
    """The processors of the provider, when all of them are `EndedSpanProcessor`."""

    def start_as_current_span(  # type: ignore[override]  # noqa: PLR0917 - the SDK's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> CurrentSpan:
        """As the SDK's: the span starts when the block is entered."""
        arguments = (name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception)
        return CurrentSpan(self, arguments, end_on_exit)

    def start_span(  # noqa: C901, PLR0912, PLR0917 - in one piece: a call is 0.1 of 1.2 µs
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """As the SDK's."""
        outer: Any = (current() if context is None else context).get(SPAN_KEY)
        parent = None if outer is None else outer.get_span_context() if type(outer) is Span else _context_of(outer)
        if not self._tracer_config.is_enabled:
            return NonRecordingSpan(parent or INVALID_SPAN_CONTEXT)
        generator = self.id_generator
        is_ours = type(generator) is TimeOrderedIdGenerator
        if parent is None or not parent[_IS_VALID]:
            parent, trace_state = None, DEFAULT_TRACE_STATE
            trace_id, is_sampled = generator.generate_trace_id(), _SAMPLED
            flags = _RANDOM if is_ours or generator.is_trace_id_random() else 0
        else:
            trace_id, _, _, flags, trace_state, _ = parent
            is_sampled, flags = flags & _SAMPLED, flags & _RANDOM
        if self.sampler is not self._seen_sampler:
            self._look_at_sampler()
        if is_sampled and self._is_always_on:
            decision = _ON
        else:
            result = self.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
            decision, attributes, trace_state = _parts_of(result)
            is_sampled = _SAMPLED if decision is _ON else 0
        span_id, flags = generator.generate_span_id(), _FLAGS[flags | is_sampled]
        span_context = None
        if not is_ours or decision is _DROP:
            span_context = SpanContext(trace_id, span_id, False, flags, trace_state)
        metrics = self._tracer_metrics
        record_end = None if type(metrics) is NoOpTracerMetrics else metrics.start_span(parent, decision)
        if decision is _DROP:
            return NonRecordingSpan(span_context or INVALID_SPAN_CONTEXT)
        span = _new_span(Span)
        span._tracer, span._name, span._kind, span._trace_id, span._span_id = self, name, kind, trace_id, span_id
        span._trace_flags, span._trace_state, span._status = flags, trace_state, UNSET
        span._span_context, span._parent, span._resource = span_context, parent, self.resource
        span._end_time = span._record_end_metrics = span._perfmon_threshold_nano = None  # found sooner than the class's
        if attributes is None:
            span._values, span._is_plain = {}, True
        else:
            self._set_attributes(span, attributes)
        if links or record_end is not None or not (record_exception and set_status_on_exception):
            _set_rest(span, links, record_end, record_exception, set_status_on_exception)
        processor = span._span_processor = self.span_processor
        span._start_time = start_time if start_time is not None else time_ns()
        if watch[0]:
            note(span)
        is_plural = type(processor) is SynchronousMultiSpanProcessor
        if not is_plural or processor._span_processors is not self.own_processors:
            self._tell_of_start(processor, span, context)
        return span

    def look_at_limits(self) -> None:
        """Settle `attributes_max`."""
        limits = self._span_limits
        if limits.max_span_attribute_length is not None:
            self.attributes_max = 0
        else:
            self.attributes_max = _NO_LIMIT if limits.max_span_attributes is None else limits.max_span_attributes

    def _tell_of_start(self, processor: sdk.SpanProcessor, span: Span, context: Context | None) -> None:
        processor.on_start(span, parent_context=context)
        if type(processor) is SynchronousMultiSpanProcessor:
            processors = processor._span_processors
            if all(isinstance(each, EndedSpanProcessor) for each in processors):
                self.own_processors = processors

    def _look_at_sampler(self) -> None:
        """Find out whether the sampler's answer is known for every root, and every child of what is sampled."""
        sampler = self.sampler
        inner = sampler._root if type(sampler) is sampling.AlwaysRecordSampler else sampler
        if isinstance(inner, sampling.ParentBased) and type(inner).should_sample is sampling.ParentBased.should_sample:
            asked = [inner._root, inner._remote_parent_sampled, inner._local_parent_sampled]
        else:
            asked = [inner]
        self._is_always_on = all(
            isinstance(each, sampling.StaticSampler)
            and type(each).should_sample is sampling.StaticSampler.should_sample
            and each._decision is _ON
            for each in asked
        )
        self._seen_sampler = sampler

    def _set_attributes(self, span: Span, attributes: Any) -> None:
        if are_plain(attributes) and len(attributes) <= self.attributes_max:
            span._values = attributes.copy()
            span._is_plain = True
            return
        if not isinstance(attributes, MappingProxyType):
            attributes = MappingProxyType(attributes)  # as from the SDK's samplers: what is no mapping is refused
        limits = self._span_limits
        span._attributes = BoundedAttributes(
            limits.max_span_attributes,
            attributes,
            immutable=False,
            max_value_len=limits.max_span_attribute_length,
        )


class ContinuingTracer(Tracer):
    """A tracer whose root spans continue a trace that was begun elsewhere: that of who started this process."""

    parent_of_roots: trace.Span

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> trace.Span:
        """As the SDK's, but for spans without a parent."""
        around = current() if context is None else context
        outer = around.get(SPAN_KEY)
        if not isinstance(outer, trace.Span) or not outer.get_span_context().is_valid:
            context = with_span(around, self.parent_of_roots)
        return super().start_span(name, context, *args, **kwargs)


class TracerProvider(sdk.TracerProvider):
    """A drop-in for the SDK's: the same arguments, the same behaviour, cheaper spans.

    Ids are in time order unless an ``id_generator`` is given.
    """

    parent_of_roots: SpanContext | None = None
    """What the spans without a parent continue, when it is set before the first tracer is got."""

    def __init__(  # noqa: PLR0917 - the SDK's signature
        self,
        sampler: sampling.Sampler | None = None,
        resource: Resource | None = None,
        shutdown_on_exit: bool = True,
        active_span_processor: Any = None,
        id_generator: IdGenerator | None = None,
        span_limits: sdk.SpanLimits | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            sampler,
            resource,
            shutdown_on_exit,
            active_span_processor,
            id_generator or TimeOrderedIdGenerator(),
            span_limits,
            **more,
        )

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """As the SDK's."""
        tracer = super().get_tracer(*args, **kwargs)
        if tracer.__class__ is sdk.Tracer:
            with self._tracers_lock:  # nobody gives it another configuration meanwhile
                if tracer.__class__ is sdk.Tracer:
                    _make_ours(tracer, self.parent_of_roots)
        return tracer


def _parts_of(result: sampling.SamplingResult) -> tuple[sampling.Decision, Any, TraceState]:
    attributes: Any = result.attributes
    with suppress(AttributeError, TypeError):  # no mapping: the SDK says what it thinks of it
        attributes = dict(attributes)
    return result.decision, attributes, result.trace_state or DEFAULT_TRACE_STATE


def _set_rest(span: Any, links: Any, record_end: Any, record_exception: bool, set_status_on_exception: bool) -> None:
    """What few spans are started with."""
    span._record_exception, span._set_status_on_exception = record_exception, set_status_on_exception
    span._record_end_metrics = record_end
    if links:
        span._links = span._new_links(links)
        span._is_plain = False


def _make_ours(tracer: Any, parent_of_roots: SpanContext | None) -> None:
    """Make a tracer of the SDK, which has made it and keeps it for who asks again, one of ours."""
    if parent_of_roots is None:
        tracer.__class__ = Tracer
    else:
        tracer.__class__, tracer.parent_of_roots = ContinuingTracer, NonRecordingSpan(parent_of_roots)
    tracer.__dict__ = dict(tracer.__dict__)  # that of another class cost ten slow look-ups a span, 0.02 of the SDK's
    tracer.look_at_limits()


def _context_of(span: Any) -> SpanContext | None:
    """The context of a current span that is not ours, as the SDK takes it."""
    if not isinstance(span, trace.Span):
        return None
    context: Any = span.get_span_context()
    if context is not None and not isinstance(context, SpanContext):
        message = "parent_span_context must be a SpanContext or None."
        raise TypeError(message)
    return context
