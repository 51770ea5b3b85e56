"""The lossless round trip: whatever OTLP carries of a span comes back from the file as it was."""

from __future__ import annotations

import enum
import itertools
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from otel_perfmon import SpanQuery, SpanRecord, SQLiteSpanExporter, open_store

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**63 - 1)
KEYS = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["@bytes", "@double", "@", "@@x", "a.b", '"', "\\", "\0", "é€😀"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | INT64
    | st.floats()
    | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 1e22, 0.1])
    | st.text(max_size=12)
    | st.sampled_from(["@x", "\x00", "\u2028", "\ud800", "a\udfffb", "NaN", "'; DROP TABLE _spans; --"])
    | st.binary(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4)
STORABLE_TEXT = st.text(max_size=20)
TRACE_STATES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_*/-]{0,8}", fullmatch=True),
    st.from_regex(r"[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,8}", fullmatch=True),
    max_size=3,
).map(lambda items: TraceState(list(items.items())))
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 255).map(TraceFlags),
    trace_state=TRACE_STATES,
)
RESOURCES = st.builds(Resource, ATTRIBUTES, st.sampled_from(["", "https://opentelemetry.io/schemas/1.29.0"]))
SCOPES = st.fixed_dictionaries(
    {
        "instrumenting_module_name": STORABLE_TEXT.filter(bool),
        "instrumenting_library_version": st.none() | STORABLE_TEXT,
        "schema_url": st.none() | st.just("https://example.org/schema"),
        "attributes": st.none() | ATTRIBUTES,
    }
)
LIMITS = st.none() | st.integers(0, 2)
STATUSES = st.sampled_from([Status(StatusCode.UNSET), Status(StatusCode.OK)]) | STORABLE_TEXT.map(
    lambda text: Status(StatusCode.ERROR, text)
)


def canonical(value: Any) -> Any:
    """Something that is equal exactly when type, order and bits are."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack(">d", value))
    if isinstance(value, (list, tuple)):
        return ("array", [canonical(each) for each in value])
    if isinstance(value, Mapping):
        return ("map", [(key, canonical(each)) for key, each in value.items()])
    return (type(value).__name__, value)


def expected_attributes(attributes: Mapping[str, Any] | None) -> Any:
    return canonical(dict(attributes or {}))


def flags_of(context: SpanContext, other_end: SpanContext | None) -> int:
    return int(context.trace_flags) | 0x100 | (0x200 if other_end is not None and other_end.is_remote else 0)


def assert_same(record: SpanRecord, span: ReadableSpan) -> None:
    context, parent = span.get_span_context(), span.parent
    assert record.trace_id == trace.format_trace_id(context.trace_id)
    assert record.span_id == trace.format_span_id(context.span_id)
    assert record.parent_span_id == (trace.format_span_id(parent.span_id) if parent else None)
    assert record.name == span.name
    assert record.kind == span.kind.value + 1
    assert (record.start_unix_nano, record.end_unix_nano) == (span.start_time, span.end_time)
    assert record.status_code == span.status.status_code.value
    assert record.status_message == (span.status.description or "")
    assert record.trace_state == context.trace_state.to_header()
    assert record.flags == flags_of(context, parent)
    assert canonical(record.attributes) == expected_attributes(span.attributes)
    assert record.dropped_attributes_count == span.dropped_attributes
    assert record.dropped_events_count == span.dropped_events
    assert record.dropped_links_count == span.dropped_links
    assert len(record.events) == len(span.events)
    for event, original in zip(record.events, span.events, strict=True):
        assert (event.name, event.time_unix_nano) == (original.name, original.timestamp)
        assert canonical(event.attributes) == expected_attributes(original.attributes)
        assert event.dropped_attributes_count == original.dropped_attributes
    assert len(record.links) == len(span.links)
    for link, original in zip(record.links, span.links, strict=True):
        assert link.trace_id == trace.format_trace_id(original.context.trace_id)
        assert link.span_id == trace.format_span_id(original.context.span_id)
        assert link.trace_state == original.context.trace_state.to_header()
        assert link.flags == flags_of(original.context, original.context)
        assert canonical(link.attributes) == expected_attributes(original.attributes)
        assert link.dropped_attributes_count == original.dropped_attributes
    assert canonical(record.resource.attributes) == expected_attributes(span.resource.attributes)
    assert record.resource.schema_url == (span.resource.schema_url or "")
    scope = span.instrumentation_scope
    assert (record.scope.name, record.scope.version) == (scope.name, scope.version or "")
    assert record.scope.schema_url == (scope.schema_url or "")
    assert canonical(record.scope.attributes) == expected_attributes(scope.attributes)
    assert record.is_error == (span.status.status_code is StatusCode.ERROR)


@pytest.fixture
def exporter(db_path):
    exporter = SQLiteSpanExporter(db_path)
    yield exporter
    exporter.shutdown()


@pytest.fixture
def store(db_path):
    with open_store(db_path) as store:
        yield store


@pytest.fixture
def kept(exporter, store):
    """Export one span and read it back."""

    def keep(span: ReadableSpan) -> SpanRecord:
        assert exporter.export([span]) is SpanExportResult.SUCCESS
        (record,) = store.get_trace(trace.format_trace_id(span.get_span_context().trace_id)).spans
        return record

    return keep


_numbers = itertools.count(1)


def readable(name: Any = "op", **fields: Any) -> ReadableSpan:
    number = next(_numbers)
    fields.setdefault("context", SpanContext(number << 64 | 7, number, is_remote=False, trace_flags=TraceFlags(1)))
    fields.setdefault("instrumentation_scope", InstrumentationScope("test"))
    fields.setdefault("resource", Resource({"service.name": "test"}))
    return ReadableSpan(name, **{"start_time": 10**18, "end_time": 10**18 + 10**6, **fields})


class DrawnIds(IdGenerator):
    """Ids that hypothesis chose."""

    def __init__(self, trace_id: int, span_id: int) -> None:
        self._ids = trace_id, span_id

    def generate_trace_id(self) -> int:
        return self._ids[0]

    def generate_span_id(self) -> int:
        return self._ids[1]


@st.composite
def sdk_spans(draw) -> ReadableSpan:
    """A span that a tracer of the SDK made, with limits that drop something now and then."""
    limits = SpanLimits(
        max_span_attributes=draw(LIMITS),
        max_events=draw(LIMITS),
        max_links=draw(LIMITS),
        max_event_attributes=draw(LIMITS),
        max_link_attributes=draw(LIMITS),
    )
    provider = TracerProvider(
        resource=draw(RESOURCES),
        span_limits=limits,
        id_generator=DrawnIds(draw(st.integers(1, 2**128 - 1)), draw(st.integers(1, 2**64 - 1))),
        shutdown_on_exit=False,
    )
    tracer = provider.get_tracer(**draw(SCOPES))
    parent = draw(st.none() | CONTEXTS)
    context = None
    if parent is not None:
        sampled = TraceFlags(parent.trace_flags | 1)
        parent = SpanContext(parent.trace_id, parent.span_id, parent.is_remote, sampled, parent.trace_state)
        context = trace.set_span_in_context(NonRecordingSpan(parent))
    links = draw(st.lists(st.builds(Link, CONTEXTS, ATTRIBUTES), max_size=3))
    span = tracer.start_span(
        draw(STORABLE_TEXT),
        context=context,
        kind=draw(st.sampled_from(SpanKind)),
        attributes=draw(ATTRIBUTES),
        links=links,
        start_time=draw(TIMES),
    )
    for key, value in draw(ATTRIBUTES).items():
        span.set_attribute(key, value)
    for name, attributes, time in draw(st.lists(st.tuples(STORABLE_TEXT, ATTRIBUTES, TIMES), max_size=3)):
        span.add_event(name, attributes, time)
    span.set_status(draw(STATUSES))
    span.end(draw(TIMES))
    return span


@st.composite
def bare_spans(draw) -> ReadableSpan:
    """A span that somebody put together, such as one that came in from elsewhere: any flags and ids."""
    parent = draw(st.none() | CONTEXTS)
    return ReadableSpan(
        draw(STORABLE_TEXT),
        context=draw(CONTEXTS),
        parent=parent,
        resource=draw(RESOURCES),
        attributes=draw(ATTRIBUTES),
        events=[Event(*each) for each in draw(st.lists(st.tuples(STORABLE_TEXT, ATTRIBUTES, TIMES), max_size=2))],
        links=[Link(*each) for each in draw(st.lists(st.tuples(CONTEXTS, ATTRIBUTES), max_size=2))],
        kind=draw(st.sampled_from(SpanKind)),
        status=draw(STATUSES),
        start_time=draw(TIMES),
        end_time=draw(TIMES),
        instrumentation_scope=InstrumentationScope("made", "1", "https://example.org/s", draw(ATTRIBUTES)),
    )


@given(span=sdk_spans() | bare_spans())
@settings(derandomize=True, phases=[Phase.generate, Phase.shrink])
def test_every_generated_span_comes_back_equal_in_every_field_that_otlp_carries(tmp_path_factory, span):
    path = str(tmp_path_factory.mktemp("spans") / "metrics.db")
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([span]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    with open_store(path) as store:
        (record,) = store.find_spans(SpanQuery())
        health = store.get_health()
    assert_same(record, span)
    assert record.altered == ()
    assert (health.ended, health.stored, health.altered, health.dropped) == (1, 1, 0, {})


@given(value=VALUES)
@settings(derandomize=True)
def test_every_attribute_value_keeps_its_type_order_and_bits(kept, value):
    attributes = BoundedAttributes(attributes={"value": value})
    span = readable(attributes=attributes)
    record = kept(span)
    assert canonical(record.attributes) == expected_attributes(span.attributes)
    assert record.altered == ()


@pytest.mark.parametrize("limit", [0, 1])
def test_what_span_limits_dropped_is_counted_also_when_nothing_was_let_through(kept, limit):
    limits = SpanLimits(
        max_span_attributes=limit,
        max_events=limit,
        max_links=limit,
        max_event_attributes=limit,
        max_link_attributes=limit,
    )
    tracer = TracerProvider(span_limits=limits, shutdown_on_exit=False).get_tracer("t")
    links = [Link(SpanContext(n, n, is_remote=True), {"a": 1, "b": 2}) for n in (1, 2, 3)]
    span = tracer.start_span("op", attributes={"a": 1, "b": 2, "c": 3}, links=links)
    for _ in range(3):
        span.add_event("e", {"a": 1, "b": 2})
    span.end()
    record = kept(span)
    assert span.dropped_attributes == 3 - limit
    assert_same(record, span)


def test_an_attribute_that_the_sdk_refused_is_counted_as_dropped(kept):
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("op")
    span.set_attribute("", 1)
    span.end()
    assert span.dropped_attributes == 1
    assert kept(span).dropped_attributes_count == 1


# --- huge and odd values: kept as far as can be, marked, and the program goes on


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"name": "n" * 100_000}, "name"),
        ({"name": "lone \ud800"}, "name"),
        ({"name": 5}, "name"),
        ({"attributes": {"text": "x" * 200_000}}, "attributes"),
        ({"attributes": {"bytes": b"x" * 200_000}}, "attributes"),
        ({"attributes": {f"key{n}": "x" * 60_000 for n in range(40)}}, "attributes"),
        ({"attributes": {"n": 10**6000}}, "attributes"),
        ({"attributes": {"object": object()}}, "attributes"),
        ({"attributes": {5: "number as key"}}, "attributes"),
        ({"attributes": {None: "none as key"}}, "attributes"),
        ({"attributes": {"map": {5: "number as key", "5": "text as key"}}}, "attributes"),
        ({"status": Status(StatusCode.ERROR, "m" * 200_000)}, "status_message"),
        ({"status": Status(StatusCode.ERROR, "\udcff")}, "status_message"),
        ({"events": [Event("e" * 5000)]}, "events"),
        ({"events": [Event("e", {"x": "y" * 200_000})]}, "events"),
        ({"events": [Event("e", {"x": "y" * 60_000})] * 40}, "events"),
        ({"events": [Event("e", timestamp=2**70)]}, "events"),
        ({"links": [Link(SpanContext(1, 1, is_remote=False), {"x": "y" * 200_000})]}, "links"),
        ({"start_time": 2**70, "end_time": 2**70}, "start_time"),
        ({"end_time": 2**64}, "end_time"),
        ({"end_time": math.inf}, "end_time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_cut_or_replaced_is_marked_and_counted_and_the_next_span_is_kept(exporter, store, fields, part):
    odd = readable(**fields)
    plain = readable("plain", attributes={"a": 1})
    assert exporter.export([odd, plain]) is SpanExportResult.SUCCESS
    (record,) = store.get_trace(trace.format_trace_id(odd.context.trace_id)).spans
    assert_same(store.get_trace(trace.format_trace_id(plain.context.trace_id)).spans[0], plain)
    # A time has no part of its own among the names that exist so far: that it is marked at all is what counts.
    assert record.altered, f"{part} was changed without a mark"
    if not part.endswith("_time"):
        assert record.altered == (part,)
    health = store.get_health()
    assert (health.stored, health.altered, health.dropped) == (2, 1, {})


@pytest.mark.parametrize(
    "value",
    [2**63, 2**64, -(2**63) - 1, 2**70, -(2**900), 10**300, ((), ((),)), {}, "", b"", "\ud83d", "\ud800\ud800"],
)
def test_a_value_that_need_not_be_changed_is_not_and_bears_no_mark(kept, value):
    record = kept(readable(attributes={"value": value}))
    assert canonical(record.attributes["value"]) == canonical(value)
    assert record.altered == ()


class Colour(str, enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@pytest.mark.parametrize("beside", [1, math.nan, b"x"])
def test_a_member_of_a_text_or_number_enum_is_kept_as_its_value_whatever_stands_beside_it(kept, beside):
    record = kept(readable(attributes={"colour": Colour.RED, "size": Size.BIG, "beside": beside}))
    assert (record.attributes["colour"], record.attributes["size"]) == ("red", 3)
    assert record.altered == ()


def test_a_name_of_a_subclass_of_str_is_no_altered_name(kept):
    record = kept(readable(Colour.RED))
    assert (record.name, record.altered) == ("red", ())


@pytest.mark.parametrize("depth", [40, 600])
def test_a_deeply_nested_attribute_neither_stops_the_export_nor_spoils_any_later_question(exporter, store, depth):
    value: Any = "bottom"
    for _ in range(depth):
        value = {"down": value}
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("deep", attributes={"nested": value})
    span.end()
    assert exporter.export([span, readable("plain")]) is SpanExportResult.SUCCESS
    assert {each.name for each in store.find_spans(SpanQuery())} == {"deep", "plain"}


def test_a_span_that_cannot_be_read_at_all_is_counted_and_the_others_are_kept(exporter, store):
    broken = [object(), None, readable(kind="server")]
    exporter.export([*broken, readable("plain")])
    assert [each.name for each in store.find_spans(SpanQuery())] == ["plain"]
    health = store.get_health()
    assert (health.ended, health.stored, health.dropped) == (4, 1, {"unreadable": 3})


def test_a_span_whose_start_is_no_number_is_kept_and_marked(exporter, store):
    exporter.export([readable("plain", start_time="yesterday")])
    (span,) = store.find_spans(SpanQuery())
    assert (span.name, span.altered, span.duration_ms) == ("plain", ("times",), 0)


def test_a_span_whose_ids_do_not_fit_is_counted_and_the_others_are_kept(exporter, store):
    wide = SpanContext(2**128, 1, is_remote=False)
    exporter.export([readable(context=wide), readable("plain")])
    assert [each.name for each in store.find_spans(SpanQuery())] == ["plain"]
    assert store.get_health().dropped == {"unreadable": 1}


def test_a_span_without_a_context_is_kept_under_ids_of_zeros(exporter, store):
    exporter.export([ReadableSpan("no context", start_time=1, end_time=2)])
    (record,) = store.find_spans(SpanQuery())
    assert (record.name, record.trace_id, record.span_id) == ("no context", "0" * 32, "0" * 16)


def test_a_span_without_scope_or_times_comes_back_with_empty_ones(kept):
    record = kept(readable(instrumentation_scope=None, start_time=None, end_time=None))
    assert (record.scope.name, record.start_unix_nano, record.end_unix_nano) == ("", 0, 0)


def test_times_given_as_floats_are_kept_as_whole_nanoseconds(kept):
    record = kept(readable(start_time=1.7e18, end_time=1.7e18 + 1024))
    assert (record.start_unix_nano, record.end_unix_nano) == (int(1.7e18), int(1.7e18) + 1024)


def test_a_span_that_ended_before_it_started_keeps_both_times_and_lasted_no_time(kept, store):
    record = kept(readable("back", start_time=2 * 10**18, end_time=10**18))
    assert (record.start_unix_nano, record.end_unix_nano, record.duration_nano) == (2 * 10**18, 10**18, 0)
    assert store.summarize_operations(operation="back")[0].max_ms == 0


# --- what the row says beside what OTLP carries


@pytest.mark.parametrize(
    ("duration_nano", "attributes", "is_slow"),
    [
        (10**9, {}, False),
        (10**9 + 1, {}, True),
        (1, {"perfmon.slow": True}, True),
        (10**12, {"perfmon.slow": False}, False),
    ],
)
def test_a_span_is_slow_above_the_threshold_unless_it_says_otherwise_itself(kept, duration_nano, attributes, is_slow):
    assert kept(readable(end_time=10**18 + duration_nano, attributes=attributes)).is_slow is is_slow


@pytest.mark.parametrize(
    ("attributes", "events", "error_type"),
    [
        ({"error.type": "timeout"}, [Event("exception", {"exception.type": "ValueError"})], "timeout"),
        (
            {},
            [Event("exception", {"exception.type": "First"}), Event("exception", {"exception.type": "Last"})],
            "Last",
        ),
        ({}, [Event("exception")], None),
        ({"error.type": 500}, [], "500"),
        ({}, [], None),
    ],
)
def test_the_error_type_is_the_spans_own_else_that_of_its_last_exception(kept, attributes, events, error_type):
    span = readable(status=Status(StatusCode.ERROR, "m"), attributes=attributes, events=events)
    assert kept(span).error_type == error_type


def test_a_span_without_error_status_has_no_error_type(kept):
    record = kept(readable(attributes={"error.type": "timeout"}))
    assert (record.is_error, record.error_type) == (False, None)


def test_service_version_and_environment_of_the_resource_make_a_service(kept, db_path, run_python):
    kept(
        readable(resource=Resource({"service.name": "shop", "service.version": "2", "deployment.environment": "prod"}))
    )
    printed = run_python(f"""
        import sqlite3
        print(sqlite3.connect({db_path!r}).execute("SELECT name, version, environment FROM _services").fetchall())
    """)
    assert printed.strip() == "[('shop', '2', 'prod')]"
