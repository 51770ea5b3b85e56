"""Spans as OTLP's JSON: protobuf's JSON mapping, but with ids in hex (opentelemetry-proto, ``docs/specification.md``).

Names are in lowerCamelCase, enums are numbers, integers of 64 bits are text, bytes are base64; what has its default
value is left out.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_perfmon.otlp.grouping import ResourceSpans, group_spans
from otel_perfmon.otlp.messages import RESOURCE_SPANS, SCOPE_SPANS, SPAN, as_json
from otel_perfmon.otlp.wire import unsigned, utf8
from otel_perfmon.records import Attributes, EventRecord, LinkRecord, ResourceRecord, ScopeRecord, SpanRecord

_INT64: Final = range(-(1 << 63), 1 << 63)
JsonObject = dict[str, Any]


def encode_traces(spans: Iterable[SpanRecord]) -> JsonObject:
    """A ``TracesData``, which is an ``ExportTraceServiceRequest`` too: by resource, then by scope, then in order."""
    return {"resourceSpans": [_resource_spans(group) for group in group_spans(spans)]}


def encode_span(span: SpanRecord) -> JsonObject:
    """A ``Span``; of one that has a form as it came that, without fields for which JSON has no names."""
    if span.otlp:
        return as_json(SPAN, span.otlp)
    status = present({"message": span.status_message, "code": span.status_code})
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **present(
            {
                "traceState": span.trace_state,
                "parentSpanId": span.parent_span_id,
                "name": span.name,
                "kind": span.kind,
                "startTimeUnixNano": time_text(span.start_unix_nano),
                "endTimeUnixNano": time_text(span.end_unix_nano),
                "attributes": encode_attributes(span.attributes),
                "droppedAttributesCount": span.dropped_attributes_count,
                "events": [_event(event) for event in span.events],
                "droppedEventsCount": span.dropped_events_count,
                "links": [_link(link) for link in span.links],
                "droppedLinksCount": span.dropped_links_count,
            }
        ),
        "status": status,
        **present({"flags": span.flags}),
    }


def encode_value(value: Any) -> JsonObject:
    """An ``AnyValue``; an integer of more than 64 bits becomes text, as in protobuf."""
    kind = type(value)
    if kind is str:
        return {"stringValue": _text(value)}
    if kind is bool:
        return {"boolValue": value}
    if kind is int:
        return {"intValue": str(value)} if value in _INT64 else {"stringValue": str(value)}
    if kind is float:
        return {"doubleValue": value if math.isfinite(value) else _special(value)}
    if kind is bytes:
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": present({"values": encode_attributes(value)})}
    if isinstance(value, Sequence):
        return {"arrayValue": present({"values": [encode_value(each) for each in value]})}
    return {}


def _resource_spans(group: ResourceSpans) -> JsonObject:
    scopes = [around_items(scope, "spans", list(map(encode_span, spans))) for scope, spans in group.scopes]
    return around_scopes(group.resource, "scopeSpans", scopes)


def around_scopes(resource: ResourceRecord, name: str, scopes: list[JsonObject]) -> JsonObject:
    """A ``ResourceSpans``, or its like of another signal, with what its resource made, under ``name``."""
    if resource.otlp:
        return {"resource": {}} | as_json(RESOURCE_SPANS, resource.otlp) | {name: scopes}
    attributes = present({"attributes": encode_attributes(resource.attributes)})
    return {"resource": attributes, name: scopes, **present({"schemaUrl": resource.schema_url})}


def around_items(scope: ScopeRecord, name: str, items: list[JsonObject]) -> JsonObject:
    """A ``ScopeSpans``, or its like of another signal, with what its scope made, under ``name``."""
    if scope.otlp:
        return {"scope": {}} | as_json(SCOPE_SPANS, scope.otlp) | {name: items}
    return {"scope": _scope(scope), name: items, **present({"schemaUrl": scope.schema_url})}


def _scope(scope: ScopeRecord) -> JsonObject:
    return present({"name": scope.name, "version": scope.version, "attributes": encode_attributes(scope.attributes)})


def _event(event: EventRecord) -> JsonObject:
    return present(
        {
            "timeUnixNano": time_text(event.time_unix_nano),
            "name": event.name,
            "attributes": encode_attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes_count,
        }
    )


def _link(link: LinkRecord) -> JsonObject:
    return present(
        {
            "traceId": link.trace_id,
            "spanId": link.span_id,
            "traceState": link.trace_state,
            "attributes": encode_attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes_count,
            "flags": link.flags,
        }
    )


def encode_attributes(attributes: Attributes) -> list[JsonObject]:
    """``KeyValue`` objects."""
    return [present({"key": _text(key)}) | {"value": encode_value(value)} for key, value in attributes.items()]


def _text(value: str) -> str:
    """As in protobuf."""
    return value if value.isascii() else utf8(value).decode()


def time_text(value: int) -> str:
    """A time, as in protobuf; an empty text where it is 0."""
    return str(unsigned(value) or "")


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def present(members: JsonObject) -> JsonObject:
    """Without what has its default value."""
    return {name: value for name, value in members.items() if value}
