from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor
from otel_perfmon.sdk.rows import SLOW_ATTRIBUTE, SpanEncoder
from otel_perfmon.sdk.span import Span
from otel_perfmon.sdk.tracer import TracerProvider

TEXTS = st.text(max_size=8) | st.sampled_from(["@bytes", '"@', "ü", "\0", "\ud800", "x" * 70_000, ""])
VALUES = (
    TEXTS
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary(max_size=4)
    | st.sampled_from([10**5000, 2**1030, math.inf, -0.0, ["a"], {"b": 1}])
)
ATTRIBUTES = st.none() | st.dictionaries(TEXTS | st.just(SLOW_ATTRIBUTE), VALUES, max_size=4)
TIMES = st.sampled_from([None, 0, 5, 2**63, -1, 10**18])
REMOTE = SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(0xFF), trace_state=TraceState([("a", "b")]))
LOCAL = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1))
PARENTS = st.sampled_from([None, REMOTE, LOCAL])
SAMPLERS = st.sampled_from([sampling.DEFAULT_ON, sampling.AlwaysRecordSampler(sampling.ALWAYS_OFF)])
LATER = st.sampled_from(["nothing", "attribute", "event", "status", "ok", "link", "name", "read"])


def end_span(*, name, attributes, parent, sampler, kind, later, start, end) -> Span:
    provider = TracerProvider(sampler, shutdown_on_exit=False, span_limits=SpanLimits(max_span_attributes=3))
    context = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
    span = provider.get_tracer("t").start_span(name, context, kind, attributes, start_time=start)
    assert isinstance(span, Span)
    if later == "attribute":
        span.set_attribute("later", 1)
    elif later == "event":
        span.add_event("e", {"a": 1})
    elif later == "status":
        span.set_status(Status(StatusCode.ERROR, "boom"))
    elif later == "ok":
        span.set_status(StatusCode.OK)
    elif later == "link":
        span.add_link(LOCAL)
    elif later == "name":
        span.update_name("later")
    elif later == "read":
        dict(span.attributes or {})
    span.end(end)
    return span


@given(
    name=TEXTS,
    attributes=ATTRIBUTES,
    parent=PARENTS,
    sampler=SAMPLERS,
    kind=st.sampled_from(SpanKind),
    later=LATER,
    start=TIMES,
    end=TIMES,
    threshold=st.sampled_from([0, 10**9]),
)
@settings(max_examples=300, deadline=None)
def test_the_short_way_to_a_row_gives_the_row_of_the_long_one(threshold, **parts):
    span, encoder = end_span(**parts), SpanEncoder()
    row = encoder.encode(span, threshold)
    assert row == encoder._encode_any(span, threshold)
    entry = encoder.entry_of(span, threshold)
    assert entry[2] is span or read_plainly(encoder, [entry]) == [row]


def read_plainly(encoder, entries, room=10**6):
    columns, _ = encoder.encode_plain([list(each) for each in list(zip(*entries, strict=True))[1:]], room)
    return list(columns)


def test_most_spans_go_the_short_way():
    encoder = SpanEncoder()
    for attributes in (None, {"cart.items": 3, "user.tier": "gold", "price": 1.5, "ü": True}):
        span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("op", attributes=attributes)
        span.set_attribute("more", "yes")
        span.end()
        assert [row.name for row in read_plainly(encoder, [encoder.entry_of(span, 0)])] == ["op"]


def test_of_many_spans_so_many_are_read_as_there_is_room_for():
    encoder, tracer = SpanEncoder(), TracerProvider(shutdown_on_exit=False).get_tracer("t")
    spans = [tracer.start_span(f"op{number}", attributes={"number": number}) for number in range(5)]
    for span in spans:
        span.end()
    entries = [encoder.entry_of(span, 0) for span in spans]
    rows = [encoder.encode(span, 0) for span in spans]
    assert read_plainly(encoder, entries) == rows
    assert read_plainly(encoder, entries, room=len('{"number":0}') + 1) == rows[:2]


def login_stored_behind(processor, storage):
    """What is stored of a span with a password when that processor stands before ours."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, 10**9)))
    provider.get_tracer("t").start_span("login", attributes={"password": "secret"}).end()
    return storage.get_metrics()[0]["context"]


class Redacting(SpanProcessor):
    """Replaces what it must not see, in the SDK's private parts, as some programs do."""

    def on_start(self, span, parent_context=None) -> None:
        span._attributes = BoundedAttributes(attributes={"password": "***"})
        span._events = []


def test_a_processor_that_replaces_a_spans_attributes_when_it_starts_is_heeded(storage):
    assert login_stored_behind(Redacting(), storage) == {"password": "***"}


class RedactingAtTheEnd(SpanProcessor):
    def on_end(self, span) -> None:
        span._attributes = dict.fromkeys(span._attributes, "***")


def test_what_a_processor_before_ours_takes_out_of_an_ended_span_is_not_stored(storage):
    assert login_stored_behind(RedactingAtTheEnd(), storage) == {"password": "***"}
