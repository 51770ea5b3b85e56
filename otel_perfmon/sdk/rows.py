"""From a span of the SDK to a row of the store, losing nothing that OTLP carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import gt, sub
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from otel_perfmon.query import INT64_MAX
from otel_perfmon.sdk.span import UNSET, Span
from otel_perfmon.sdk.times import may_be_time, nearest_time
from otel_perfmon.storage.attributes import (
    NO_ATTRIBUTES,
    TEXT_MAX,
    Encoded,
    encode_attributes,
    encode_foreign_attributes,
    encode_items,
    encode_plain_attributes,
    longest_text,
    size_bytes,
    storable_text,
)
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.intake import Entry, opaque
from otel_perfmon.storage.row_parts import (
    EXCEPTION_EVENT,
    SLOW_ATTRIBUTE,
    error_of,
    make_resource_row,
    make_scope_row,
)
from otel_perfmon.storage.rows import (
    NO_DETAILS,
    OPERATION_NAME_MAX,
    OpenSpanRow,
    ResourceRow,
    ScopeRow,
    SpanDetails,
    SpanRow,
)
from otel_perfmon.storage.scales import weight_of

_FLAG_HAS_IS_REMOTE: Final = 0x100
_FLAG_IS_REMOTE: Final = 0x200
_SHARED_MAX: Final = 1_000
_Origin = tuple[ResourceRow, ScopeRow, Any, Any]
"""The rows of a tracer's resource and scope, that resource, and the tracer."""
_SPAN_PART_BYTES: Final = 300
_UNSET: Final = StatusCode.UNSET  # a member of an enum is found by a call
_new_tuple: Final = tuple.__new__  # what SpanRow(...) calls, without the detour through Python


class SpanEncoder:
    """Makes rows of spans; the `Door` of everything that comes as a span of the SDK. One thread at a time.

    Resources and scopes are remembered by identity: hashing a resource costs more than a whole row (3.3 µs, measured).
    """

    def __init__(self) -> None:
        self._resources: dict[int, tuple[Resource, ResourceRow]] = {}
        self._scopes: dict[int, tuple[Any, ScopeRow]] = {}
        self._origins: dict[int, _Origin] = {}

    def entry_of(self, span: ReadableSpan, slow_threshold_nano: int) -> Entry:
        """What to put into the queue for an ended span.

        Of one of ours that has a name, times and plain attributes and nothing else, as most have, its parts: reading
        any other takes eight times as long (measured).
        """
        if type(span) is not Span or not span._is_plain or span._status is not UNSET:
            return opaque(span, self, slow_threshold_nano)
        name, start, end = span._name, span._start_time, span._end_time
        if (
            type(name) is not str
            or len(name) > OPERATION_NAME_MAX
            or not name.isascii()
            or type(start) is not int
            or type(end) is not int
            or not 0 <= start <= end <= INT64_MAX
            or type(span._kind) is not SpanKind
            or (span._trace_state is not DEFAULT_TRACE_STATE and span._trace_state)  # whose length is a call
            or span._resource is not span._tracer.resource
        ):
            return opaque(span, self, slow_threshold_nano)
        parent, parent_id, flags = span._parent, 0, span._trace_flags | _FLAG_HAS_IS_REMOTE
        if parent is not None:
            parent_id = parent[1]
            if parent[2]:
                flags |= _FLAG_IS_REMOTE
        ids = span._trace_id, span._span_id, parent_id, flags
        # Nothing that the garbage collector counts, unless there are attributes.
        return (self, slow_threshold_nano, span._tracer, name, span._kind, *ids, start, end, span._values or None)

    def encode(self, payload: ReadableSpan, slow_threshold_nano: int) -> SpanRow:
        """The row of an ended span; ``slow_threshold_nano`` decides where the span does not say itself."""
        _, *parts = self.entry_of(payload, slow_threshold_nano)
        if parts[1] is not payload:
            return self.encode_plain([[part] for part in parts], 0)[0][0]
        return self._encode_any(payload, slow_threshold_nano)

    def weigh(self, payload: ReadableSpan) -> int:
        """About how many bytes of memory a span holds."""
        weight = weight_of(payload._name) + weight_of(payload._status.description)
        attributes = _raw_attributes(payload)[0]
        if attributes:
            weight += sum(map(weight_of, attributes)) + sum(map(weight_of, attributes.values()))
        for items in (payload._events, payload._links):
            listed: Any = getattr(items, "_dq", items)  # to ask a list of the SDK's takes its lock: 1 µs
            if listed:
                weight += sum(_SPAN_PART_BYTES + weight_of(each.attributes) for each in tuple(listed))
        return weight

    def encode_plain(self, parts: Sequence[list[Any]], room: int) -> tuple[SpanColumns, int]:
        """Rows of what `entry_of` took apart; see `BulkDoor`."""
        details: list[SpanDetails | None] = [None] * len(parts[0])
        texts, size = _texts(parts[-1], details, room)
        if len(texts) < len(details):
            parts = [part[: len(texts)] for part in (*parts, details)]
            details = parts.pop()
        thresholds_nano, tracers, names, kinds, trace_ids, span_ids, parent_ids, flags, starts, ends, attributes = parts
        durations = list(map(sub, ends, starts))
        slow = [1 if each else 0 for each in map(gt, durations, thresholds_nano)]
        for number, each in enumerate(attributes) if any(attributes) else ():
            said = each.get(SLOW_ATTRIBUTE) if each else None
            if said is not None:
                slow[number] = 1 if said else 0
        resources, scopes = self._origins_of(tracers)
        if any(parent_ids):
            parent_ids = [each.to_bytes(8, "big") if each else b"" for each in parent_ids]
            are_remote = [each & _FLAG_IS_REMOTE != 0 for each in flags]
        else:
            parent_ids, are_remote = [b""] * len(texts), [False] * len(texts)
        columns = [
            [each.to_bytes(16, "big") for each in trace_ids],
            [each.to_bytes(8, "big") for each in span_ids],
            *(parent_ids, are_remote, names, resources, scopes),
            _kind_numbers(kinds),
            *(flags, starts, ends, durations, [0] * len(texts), slow, texts, details),
        ]
        return SpanColumns(columns), size

    def _origins_of(self, tracers: list[Any]) -> tuple[list[ResourceRow], list[ScopeRow]]:
        """The resources and scopes of spans, by their tracers, of which there are few."""
        first = tracers[0]
        if tracers.count(first) == len(tracers):
            resource, scope, *_ = self._origin_of(first)
            return [resource] * len(tracers), [scope] * len(tracers)
        numbers = list(map(id, tracers))
        known = {number: self._origin_of(tracer) for number, tracer in dict(zip(numbers, tracers, strict=True)).items()}
        origins = list(map(known.__getitem__, numbers))
        return [each[0] for each in origins], [each[1] for each in origins]

    def _origin_of(self, tracer: Any) -> _Origin:
        """What is the same for all spans of a tracer, until a fork, in whose child the SDK changes its resource.

        The tracer is kept alive so that its id stays its own.
        """
        origin = self._origins.get(id(tracer))
        if origin is None or origin[2] is not tracer.resource:
            if len(self._origins) >= _SHARED_MAX:
                self._origins.clear()
            resource = tracer.resource
            origin = self.resource(resource), self.scope(tracer._instrumentation_scope), resource, tracer
            self._origins[id(tracer)] = origin
        return origin

    def _encode_any(self, payload: ReadableSpan, slow_threshold_nano: int) -> SpanRow:
        span = payload
        parent, status_code, name = span._parent, span._status.status_code, span._name  # each property is a call
        context = span._context or INVALID_SPAN_CONTEXT
        trace_id, span_id, _, _, trace_state, _ = context
        cut: list[str] = []
        if type(name) is not str or len(name) > OPERATION_NAME_MAX or not name.isascii():
            name = _storable(name, "name", cut, OPERATION_NAME_MAX)
        raw, dropped_count = _raw_attributes(span)
        attributes, slow = NO_ATTRIBUTES, None
        if raw:
            attributes = _noted(encode_any_attributes(span._attributes), "attributes", cut)
            dropped_count += attributes.dropped_count
            slow = raw.get(SLOW_ATTRIBUTE)
        start, end = span._start_time, span._end_time
        if type(start) is not int or type(end) is not int or not 0 <= start <= end <= INT64_MAX:
            # No time at all takes the other's place: it must not make a duration of decades.
            times = nearest_time(start, cut), nearest_time(end, cut)
            start, end = times[not may_be_time(start)], times[may_be_time(end)]
        duration = min(end - start, INT64_MAX) if end > start else 0
        details = None
        is_bare = status_code is _UNSET and not (cut or dropped_count)
        if not is_bare or trace_state or _is_something(span._events) or _is_something(span._links):
            details = _details(span, context, raw, dropped_count, cut)
        return _new_tuple(
            SpanRow,
            (
                trace_id.to_bytes(16, "big"),
                span_id.to_bytes(8, "big"),
                parent.span_id.to_bytes(8, "big") if parent is not None else b"",
                parent is not None and parent.is_remote,
                name,
                self.resource(span._resource),
                self.scope(span._instrumentation_scope),
                span._kind._value_ + 1,  # value is a call, and so is the hash of an enum's member
                _flags(context, parent),
                start,
                end,
                duration,
                0 if status_code is _UNSET else status_code.value,
                1 if (duration > slow_threshold_nano if slow is None else slow) else 0,
                attributes.text,
                details,
            ),
        )

    def encode_open(self, span: Any, slow_threshold_nano: int) -> OpenSpanRow:
        """The row of a span that has not ended, as it stands now; its program may go on changing it meanwhile."""
        parts = span.__dict__
        bounded = parts.get("_attributes")
        so_far = ReadableSpan(
            span._name,
            span.get_span_context(),
            span._parent,
            span._resource,
            (parts["_values"] if bounded is None else bounded._dict).copy(),
            _so_far(parts.get("_events")),
            _so_far(parts.get("_links")),
            span._kind,
            status=span._status,
            start_time=span._start_time,
            end_time=time_ns(),
            instrumentation_scope=span._instrumentation_scope,
        )
        row = self._encode_any(so_far, slow_threshold_nano)
        return OpenSpanRow(row, slow_threshold_nano, getattr(span, "_perfmon_thread_id", 0), "")

    def resource(self, resource: Resource) -> ResourceRow:
        """The row of a resource: the same object for the same resource."""
        found = self._resources.get(id(resource))
        if found is None:
            if len(self._resources) >= _SHARED_MAX:
                self._resources.clear()
            found = self._resources[id(resource)] = (resource, _resource_row(resource))
        return found[1]

    def scope(self, scope: InstrumentationScope | None) -> ScopeRow:
        """The row of an instrumentation scope: the same object for the same scope."""
        found = self._scopes.get(id(scope))
        if found is None:
            if len(self._scopes) >= _SHARED_MAX:
                self._scopes.clear()
            found = self._scopes[id(scope)] = (scope, _scope_row(scope))
        return found[1]


def _kind_numbers(kinds: list[SpanKind]) -> list[int]:
    """OTLP's numbers of those kinds."""
    if kinds.count(kinds[0]) == len(kinds):
        return [kinds[0]._value_ + 1] * len(kinds)
    return [each._value_ + 1 for each in kinds]


def _texts(
    attributes: Sequence[dict[str, Any] | None], details: list[SpanDetails | None], room: int
) -> tuple[list[str], int]:
    """The JSON of plain attributes and its bytes, for as many spans as there is room; ``details`` note cuts."""
    if not any(attributes):
        return [""] * len(attributes), 0
    texts: list[str] = []
    size = 0
    lengths = [len(text) for each in attributes if each for text in each.values() if type(text) is str]
    are_long = max(lengths, default=0) > TEXT_MAX
    for number, each in enumerate(attributes):
        text = ""
        if each:
            plain_text = None if are_long and longest_text(each) > TEXT_MAX else encode_plain_attributes(each)
            if plain_text is not None:
                text = plain_text
            else:
                encoded = encode_foreign_attributes(each)
                text = encoded.text
                if encoded.is_altered or encoded.dropped_count:
                    altered = "attributes" if encoded.is_altered else ""
                    details[number] = SpanDetails(dropped_attributes_count=encoded.dropped_count, altered=altered)
        texts.append(text)
        size += len(text) if text.isascii() else size_bytes(text)
        if size > room:
            break
    return texts, size


def encode_any_attributes(attributes: Mapping[Any, Any] | None) -> Encoded:
    """Attributes from the SDK, or from a user who bypassed it: those are cleaned."""
    if isinstance(attributes, BoundedAttributes):
        return encode_attributes(attributes._dict)  # no copy
    return encode_foreign_attributes(attributes) if attributes else encode_attributes(None)


def _so_far(items: Any) -> tuple[Any, ...]:
    """Events or links of a span that may still get some.

    Not by the SDK's iterator, which takes a lock: the program may be within it, under the signal handler that asks.
    """
    return tuple(getattr(items, "_dq", items or ()))


def _raw_attributes(span: ReadableSpan) -> tuple[Mapping[str, Any], int]:
    """The attributes as they are, and how many of them the SDK dropped."""
    attributes = span._attributes  # the property wraps
    if type(attributes) is BoundedAttributes:
        return attributes._dict, attributes.dropped  # no copy; the span has ended
    return attributes or {}, span.dropped_attributes


def _storable(text: Any, part: str, cut: list[str], max_characters: int = TEXT_MAX) -> str:
    if type(text) is str and len(text) <= max_characters and text.isascii():
        return text
    clean, is_cut = storable_text(text, max_characters)
    if is_cut:
        cut.append(part)
    return clean


def _noted(encoded: Encoded, part: str, cut: list[str]) -> Encoded:
    if encoded.is_altered:
        cut.append(part)
    return encoded


def _is_something(items: Any) -> bool:
    """Whether there are events or links, or were before limits took them."""
    return bool(items) or (type(items) is BoundedList and items.dropped > 0)


def _details(
    span: ReadableSpan, context: SpanContext, raw: Mapping[str, Any], dropped_attributes_count: int, cut: list[str]
) -> SpanDetails | None:
    """What few spans have; None where this one has nothing of it."""
    events = _noted(_events(span), "events", cut) if span._events else NO_ATTRIBUTES
    links = _noted(_links(span), "links", cut) if span._links else NO_ATTRIBUTES
    status = span._status
    message = "" if status.description is None else _storable(status.description, "status_message", cut)
    is_error = status.status_code is StatusCode.ERROR
    error_type = error_message = ""
    if is_error:
        events_of_it: Sequence[Any] = span.events
        latest = (each.attributes or {} for each in reversed(events_of_it) if _is_exception(each))
        error_type, error_message = error_of(raw, latest, message)
    details = SpanDetails(
        message,
        error_type,
        error_message,
        _storable(context.trace_state.to_header(), "trace_state", cut) if context.trace_state else "",
        events.text,
        links.text,
        dropped_attributes_count,
        span.dropped_events + events.dropped_count,
        span.dropped_links + links.dropped_count,
        ",".join(cut),
    )
    return None if details == NO_DETAILS else details


def _events(span: ReadableSpan) -> Encoded:
    return encode_items([_event(event) for event in span.events])


def _links(span: ReadableSpan) -> Encoded:
    return encode_items([_link(link) for link in span.links])


def _event(event: Any) -> dict[str, Any]:
    cut: list[str] = []
    name = _storable(event.name, "name", cut, OPERATION_NAME_MAX)
    time_unix_nano = nearest_time(event.timestamp, cut)
    attributes = encode_any_attributes(event.attributes)
    item = {"name": name, "time_unix_nano": time_unix_nano}
    return _with_attributes(item, attributes, getattr(event, "dropped_attributes", 0), is_cut=bool(cut))


def _link(link: Link) -> dict[str, Any]:
    context = link.context
    item: dict[str, Any] = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    if context.trace_state:
        item["trace_state"] = storable_text(context.trace_state.to_header())[0]
    item["flags"] = _flags(context, context)
    return _with_attributes(item, encode_any_attributes(link.attributes), getattr(link, "dropped_attributes", 0))


def _with_attributes(
    item: dict[str, Any], attributes: Encoded, dropped_count: int, *, is_cut: bool = False
) -> dict[str, Any]:
    dropped_count += attributes.dropped_count
    if dropped_count:
        item["dropped_attributes_count"] = dropped_count
    item["attributes"] = attributes._replace(is_altered=attributes.is_altered or is_cut)
    return item


def _flags(context: SpanContext, other_end: SpanContext | None) -> int:
    """OTLP's 32 bits: the W3C flags, and whether the other end (a span's parent, a link's target) is remote."""
    flags = int(context.trace_flags) & 0xFF | _FLAG_HAS_IS_REMOTE
    return flags | _FLAG_IS_REMOTE if other_end is not None and other_end.is_remote else flags


def _is_exception(event: Any) -> bool:
    return isinstance(event.name, str) and event.name == EXCEPTION_EVENT


def _resource_row(resource: Resource) -> ResourceRow:
    attributes = resource.attributes
    return make_resource_row(attributes, encode_any_attributes(attributes).text, resource.schema_url)


def _scope_row(scope: InstrumentationScope | None) -> ScopeRow:
    if scope is None:
        return ScopeRow("", "", "", "{}")
    return make_scope_row(scope.name, scope.version, scope.schema_url, encode_any_attributes(scope.attributes).text)
