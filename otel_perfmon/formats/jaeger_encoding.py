"""Spans as Jaeger's JSON: what its query service answers, and its UI opens ("Upload", JSON file).

The transformation is that of opentelemetry-specification, ``trace/sdk_exporters/jaeger.md``, with the Collector's names
where it has none. Times are microseconds. A trace is told in one place, its processes before its spans, so that who
reads it as a stream knows them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from otel_perfmon.formats import foreign_span
from otel_perfmon.formats.jaeger_decoding import DROPPED_OF_EVENT, REF_TYPE
from otel_perfmon.formats.trace_spool import TraceSpool
from otel_perfmon.otlp.grouping import resource_key
from otel_perfmon.otlp.wire import utf8
from otel_perfmon.records import Attributes, EventRecord, LinkRecord, ResourceRecord, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes

_NANO_IN_MICRO: Final = 1_000
_EXACT_MAX: Final = (1 << 53) - 1
"""Larger integers are text: JavaScript, which Jaeger's UI is written in, would round them."""
_INT64: Final = range(-(1 << 63), 1 << 63)
_SPANS_AT_ONCE: Final = 512
_UNKNOWN_SERVICE: Final = "unknown_service"
_STATUS_NAMES: Final = {1: "OK", 2: "ERROR"}

JsonObject = dict[str, Any]


def encode_jaeger_json(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """One JSON document, a span a line. Spans are put together by trace on the disk where they are many."""
    processes = _Processes()
    with TraceSpool() as spool:
        for page in pages:
            for span in page:
                number = processes.number_of(span.resource)
                spool.add(span.trace_id, b"%d:%s" % (number, _encode_span(span, number)))
        yield b'{"data":['
        separator = b"\n"
        for trace_id, pieces in spool.traces():
            yield separator
            yield from _encode_trace(trace_id, pieces, processes)
            separator = b",\n"
    yield b'\n],"total":0,"limit":0,"offset":0,"errors":null}\n'


class _Processes:
    """The processes of all traces: each resource is one."""

    def __init__(self) -> None:
        self.encoded: list[bytes] = []
        self._numbers: dict[tuple[str, ...], int] = {}
        self._known: tuple[ResourceRecord | None, int] = None, 0

    def number_of(self, resource: ResourceRecord) -> int:
        """Its number, from 1 on."""
        if self._known[0] is resource:
            return self._known[1]
        key = resource_key(resource)
        if key not in self._numbers:
            self.encoded.append(_encode_process(resource))
            self._numbers[key] = len(self.encoded)
        self._known = resource, self._numbers[key]
        return self._numbers[key]


def _encode_trace(trace_id: str, pieces: list[bytes], processes: _Processes) -> Iterator[bytes]:
    """A trace, some of its spans at a time: it may have very many."""
    numbers = sorted({int(piece[: piece.index(b":")]) for piece in pieces})
    told = b",".join(b'"p%d":%s' % (number, processes.encoded[number - 1]) for number in numbers)
    yield b'{"traceID":"%s","processes":{%s},"spans":[\n' % (trace_id.encode(), told)
    for first in range(0, len(pieces), _SPANS_AT_ONCE):
        some = pieces[first : first + _SPANS_AT_ONCE]
        yield (b",\n" if first else b"") + b",\n".join(piece[piece.index(b":") + 1 :] for piece in some)
    yield b'\n],"warnings":null}'


def _encode_process(resource: ResourceRecord) -> bytes:
    others = {key: value for key, value in resource.attributes.items() if key != "service.name"}
    name = resource.attributes.get("service.name")
    service = name if isinstance(name, str) and name else _UNKNOWN_SERVICE
    return _dump({"serviceName": _text(service), "tags": _fields(others)})


def _encode_span(span: SpanRecord, process_number: int) -> bytes:
    start, end = span.start_unix_nano // _NANO_IN_MICRO, span.end_unix_nano // _NANO_IN_MICRO
    warnings = [f"Cut or replaced to be stored: {', '.join(span.altered)}."] if span.altered else None
    return _dump(
        {
            "traceID": span.trace_id,
            "spanID": span.span_id,
            "flags": span.flags & 1,  # the second bit is "debug" there, and "random trace id" in OpenTelemetry
            "operationName": _text(span.name),
            "references": [*_parent(span), *map(_reference, span.links)],
            "startTime": start,
            "duration": max(0, end - start),
            "tags": _fields(_tags(span)),
            "logs": list(map(_log, span.events)),
            "processID": f"p{process_number}",
            "warnings": warnings,
        }
    )


def _parent(span: SpanRecord) -> list[JsonObject]:
    """The parent, which has to be the first of the references."""
    if span.parent_span_id is None:
        return []
    return [{"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_span_id}]


def _reference(link: LinkRecord) -> JsonObject:
    kind = "CHILD_OF" if link.attributes.get(REF_TYPE) == "child_of" else "FOLLOWS_FROM"
    return {"refType": kind, "traceID": link.trace_id, "spanID": link.span_id}


def _tags(span: SpanRecord) -> Attributes:
    told = {
        foreign_span.SCOPE_NAME: span.scope.name,
        foreign_span.SCOPE_VERSION: span.scope.version,
        "span.kind": "" if span.kind <= foreign_span.INTERNAL else span.kind_name,
        foreign_span.STATUS_CODE: _STATUS_NAMES.get(span.status_code),
        foreign_span.STATUS_DESCRIPTION: span.status_message,
        foreign_span.ERROR: span.is_error,
        foreign_span.TRACE_STATE: span.trace_state,
        foreign_span.DROPPED_ATTRIBUTES: span.dropped_attributes_count,
        foreign_span.DROPPED_EVENTS: span.dropped_events_count,
        foreign_span.DROPPED_LINKS: span.dropped_links_count,
    }
    return {**span.attributes, **{name: value for name, value in told.items() if value}}


def _log(event: EventRecord) -> JsonObject:
    fields = {"event": event.name, **event.attributes}  # an attribute of that name takes precedence
    if event.dropped_attributes_count:
        fields[DROPPED_OF_EVENT] = event.dropped_attributes_count
    return {"timestamp": event.time_unix_nano // _NANO_IN_MICRO, "fields": _fields(fields)}


def _fields(attributes: Attributes) -> list[JsonObject]:
    return [{"key": _text(key), **_typed(value)} for key, value in attributes.items()]


def _typed(value: Any) -> JsonObject:
    """A value with its type; lists, mappings and nothing are text, as JSON."""
    kind = type(value)
    if kind is str:
        return {"type": "string", "value": _text(value)}
    if kind is bool:
        return {"type": "bool", "value": value}
    if kind is int and value in _INT64:
        return {"type": "int64", "value": value if abs(value) <= _EXACT_MAX else str(value)}
    if kind is float:
        return {"type": "float64", "value": value if math.isfinite(value) else str(value)}
    if kind is bytes:
        return {"type": "binary", "value": base64.b64encode(value).decode()}
    if isinstance(value, (Mapping, Sequence)):
        return {"type": "string", "value": _json(value)}
    return {"type": "string", "value": "" if value is None else str(value)}


def _json(value: Any) -> str:
    text = encode_attributes({"": value}).text  # {"":...}
    return text[len('{"":') : -1]


def _text(value: str) -> str:
    return value if value.isascii() else utf8(value).decode()


def _dump(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
