"""Spans that came as OTLP, in protobuf or JSON, as rows of the store.

A span that a row cannot tell wholly keeps the form in which it came beside it: one with fields that opentelemetry-proto
does not know, with two attributes of one key, or with a part that had to be cut. So do resources and scopes. Only
what stands above those, and names that OTLP's JSON does not have, is lost, as the protocol wants it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from otel_perfmon.otlp.messages import (
    RESOURCE_SPANS,
    SCOPE_SPANS,
    SPAN,
    TRACES,
    has_unknown_fields,
    parse_json,
    parse_protobuf,
)
from otel_perfmon.otlp.origins import RAW_BYTES_MAX, Origins
from otel_perfmon.otlp.span_scanning import SpanScanner, places_of
from otel_perfmon.otlp.value_decoding import UNTOLD, Notes, count_of, encode_pairs, text_of
from otel_perfmon.storage.attributes import NO_ATTRIBUTES, Encoded, encode_items
from otel_perfmon.storage.redactor import RAW
from otel_perfmon.storage.row_parts import EXCEPTION_EVENT, SLOW_ATTRIBUTE, error_of
from otel_perfmon.storage.rows import (
    NO_DETAILS,
    OPERATION_NAME_MAX,
    STATUS_ERROR,
    ResourceRow,
    ScopeRow,
    SpanDetails,
    SpanRow,
)

_REMOTE: Final = 0x200
_RESOURCE_SPANS, _BELOW = 1, 2
_REMEMBERED_MAX, _REMEMBERED_BYTES_MAX = 1_000, 16_384
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_JsonObject = dict[str, Any]


class SpanDecoder:
    """Makes rows of spans; slow is what took longer than ``slow_threshold_nano`` and does not say otherwise itself.

    The rows of one resource are one object, as those of one scope are, for as long as the decoder lives.
    """

    def __init__(self, slow_threshold_nano: int) -> None:
        self.refusals: Counter[str] = Counter()
        """Why spans were refused so far, which OTLP calls invalid without their ids, and how many."""
        self._slow_threshold_nano = slow_threshold_nano
        self._origins = Origins()
        self._resources: dict[bytes, ResourceRow] = {}
        self._scopes: dict[bytes, ScopeRow] = {}
        self._scanner = SpanScanner(slow_threshold_nano)

    @property
    def refused_count(self) -> int:
        """How many spans were refused so far."""
        return self.refusals.total()

    def decode_protobuf(self, data: bytes) -> Iterator[SpanRow]:
        """The spans of a ``TracesData``, or of an ``ExportTraceServiceRequest``; `DecodeError` for what is neither."""
        for place in places_of(_RESOURCE_SPANS, data, 0, len(data))[1]:
            yield from self._rows_of_resource(data, *place)

    def decode_json(self, text: str | bytes) -> Iterator[SpanRow]:
        """The same of OTLP's JSON. Names that it does not know are passed over, as the protocol asks."""
        for resource_spans in parse_json(TRACES, text).resource_spans:
            resource = self._origins.resource(resource_spans, "scope_spans", may_be_unknown=False)
            for scope_spans in resource_spans.scope_spans:
                scope = self._origins.scope(scope_spans, "spans", may_be_unknown=False)
                for span in scope_spans.spans:
                    if fault := _fault_of(span):
                        self.refusals[fault] += 1
                    else:
                        yield self._row_of(span, resource, scope, b"")

    def _rows_of_resource(self, data: bytes, start: int, end: int) -> Iterator[SpanRow]:
        above, below = places_of(_BELOW, data, start, end)
        resource = self._resources.get(above)
        if resource is None:
            resource_spans = parse_protobuf(RESOURCE_SPANS, above)
            resource = self._origins.resource(resource_spans, "scope_spans", may_be_unknown=True)
            _remember(self._resources, above, resource)
        for place in below:
            yield from self._rows_of_scope(data, *place, resource)

    def _rows_of_scope(self, data: bytes, start: int, end: int, resource: ResourceRow) -> Iterator[SpanRow]:
        above, below = places_of(_BELOW, data, start, end)
        scope = self._scopes.get(above)
        if scope is None:
            scope = self._origins.scope(parse_protobuf(SCOPE_SPANS, above), "spans", may_be_unknown=True)
            _remember(self._scopes, above, scope)
        scan = self._scanner.scan
        for place in below:
            row = scan(data, *place, resource, scope) or self._read(data, *place, resource, scope)
            if row is not None:
                yield row

    def _read(self, data: bytes, start: int, end: int, resource: ResourceRow, scope: ScopeRow) -> SpanRow | None:
        """The row of a span that is not as most are; None, and counted, for one without ids."""
        raw = data[start:end]
        span = parse_protobuf(SPAN, raw)
        if fault := _fault_of(span):
            self.refusals[fault] += 1
            return None
        return self._row_of(span, resource, scope, raw if has_unknown_fields(span) else b"")

    def _row_of(self, span: Any, resource: ResourceRow, scope: ScopeRow, raw: bytes) -> SpanRow:
        notes = Notes([UNTOLD] if raw else ())
        name = text_of(span.name, "name", notes, OPERATION_NAME_MAX)
        start, end = notes.time(span.start_time_unix_nano), notes.time(span.end_time_unix_nano)
        duration = max(0, end - start)
        attributes, encoded = encode_pairs(span.attributes, "attributes", notes)
        says_slow = attributes.get(SLOW_ATTRIBUTE)
        is_slow = duration > self._slow_threshold_nano if says_slow is None else bool(says_slow)
        details = _details(span, attributes, encoded.dropped_count, notes)
        if notes:
            details = _with_raw(details, raw or span.SerializeToString(), notes)
        return SpanRow(
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            is_parent_remote=bool(span.flags & _REMOTE),
            name=name,
            resource=resource,
            scope=scope,
            kind=span.kind,
            flags=span.flags,
            start_unix_nano=start,
            end_unix_nano=end,
            duration_nano=duration,
            status_code=span.status.code,
            is_slow=int(is_slow),
            attributes="" if encoded.text == "{}" else encoded.text,
            details=None if details == NO_DETAILS else details,
        )


def _remember(remembered: dict[bytes, Any], above: bytes, row: Any) -> None:
    if len(remembered) >= _REMEMBERED_MAX:
        remembered.clear()
    if len(above) <= _REMEMBERED_BYTES_MAX:
        remembered[above] = row


def _with_raw(details: SpanDetails, raw: bytes, notes: Notes) -> SpanDetails:
    """The details with the span as it came, unless that is too large."""
    if len(raw) > RAW_BYTES_MAX:
        notes.add(RAW)
        raw = b""
    return details._replace(altered=notes.altered, otlp=raw)


def _details(span: Any, attributes: Mapping[str, Any], cut_count: int, notes: Notes) -> SpanDetails:
    events = [_event(event, notes) for event in span.events]
    links = [_link(link, notes) for link in span.links if not _fault_of(link)]
    lost_links_count = len(span.links) - len(links)
    encoded_events = encode_items([item for item, _ in events]) if events else NO_ATTRIBUTES
    encoded_links = encode_items(links) if links else NO_ATTRIBUTES
    for part, is_cut in (("events", encoded_events.is_altered), ("links", encoded_links.is_altered)):
        if is_cut:
            notes.add(part)
    if lost_links_count:
        notes.add("links")
    message = text_of(span.status.message, "status_message", notes)
    error_type = error_message = ""
    if span.status.code == STATUS_ERROR:
        latest = (own for item, own in reversed(events) if item["name"] == EXCEPTION_EVENT)
        error_type, error_message = error_of(attributes, latest, message)
    return SpanDetails(
        status_message=message,
        error_type=error_type,
        error_message=error_message,
        trace_state=text_of(span.trace_state, "trace_state", notes),
        events=encoded_events.text,
        links=encoded_links.text,
        dropped_attributes_count=count_of(span.dropped_attributes_count, cut_count),
        dropped_events_count=count_of(span.dropped_events_count, encoded_events.dropped_count),
        dropped_links_count=count_of(span.dropped_links_count, encoded_links.dropped_count + lost_links_count),
    )


def _event(event: Any, notes: Notes) -> tuple[_JsonObject, Mapping[str, Any]]:
    attributes, encoded = encode_pairs(event.attributes, "events", notes)
    name = text_of(event.name, "events", notes, OPERATION_NAME_MAX)
    item = {"name": name, "time_unix_nano": notes.time(event.time_unix_nano)}
    return _with_attributes(item, encoded, event.dropped_attributes_count), attributes


def _link(link: Any, notes: Notes) -> _JsonObject:
    item: _JsonObject = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
    if link.trace_state:
        item["trace_state"] = text_of(link.trace_state, "links", notes)
    item["flags"] = link.flags
    return _with_attributes(item, encode_pairs(link.attributes, "links", notes)[1], link.dropped_attributes_count)


def _with_attributes(item: _JsonObject, encoded: Encoded, dropped_count: int) -> _JsonObject:
    if dropped_count + encoded.dropped_count:
        item["dropped_attributes_count"] = count_of(dropped_count, encoded.dropped_count)
    item["attributes"] = encoded
    return item


def _fault_of(item: Any) -> str:
    """What is wrong with the ids of a span or a link; empty for nothing."""
    for name, size, value in (("trace_id", _TRACE_ID_BYTES, item.trace_id), ("span_id", _SPAN_ID_BYTES, item.span_id)):
        if len(value) != size:
            return f"had no {name} of {size} bytes"
        if not any(value):
            return f"had a {name} that is all zeros"
    if len(getattr(item, "parent_span_id", b"")) not in {0, _SPAN_ID_BYTES}:
        return f"had a parent_span_id that is not of {_SPAN_ID_BYTES} bytes"
    return ""
