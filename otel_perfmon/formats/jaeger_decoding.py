"""Spans of Jaeger's JSON: what its query service answers, its UI saves, and its Elasticsearch indexes hold.

A document of traces (``{"data": [...]}``), a trace (``{"spans": [...], "processes": {...}}``), or a span with its
``process`` in it, one or many. Fields of OpenTelemetry's that Jaeger lacks come in tags (`foreign_span`). Warnings are
the query service's own, and passed over.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import Any, Final

from otel_perfmon.errors import DecodeError
from otel_perfmon.formats import foreign_span
from otel_perfmon.formats.foreign_span import Tags
from otel_perfmon.formats.json_stream import JsonStream, parse_json
from otel_perfmon.records import EventRecord, LinkRecord, ResourceRecord, SpanRecord

REF_TYPE: Final = "opentracing.ref_type"
"""The attribute of a link that was a second parent."""
DROPPED_OF_EVENT: Final = "otel.event.dropped_attributes_count"
NO_SERVICE_NAME: Final = "OTLPResourceNoServiceName"
"""What the Collector calls a service without a name."""
_TAGS_AS_FIELDS: Final = "tag"
"""Where Elasticsearch has tags by their keys, as fields of its index, in which a dot is an at sign."""
_HELD_BYTES_MAX: Final = 32 * 1024 * 1024
_NANO_IN_MICRO: Final = 1_000
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_DEPTH_MAX: Final = 3
_STATUS_ERROR: Final = 2
_PROCESSES_MAX: Final = 1_000

Processes = Mapping[str, Any]


class JaegerDecoder:
    """Makes records of spans; slow is what took longer than ``slow_threshold_nano`` and does not say so itself."""

    def __init__(self, slow_threshold_nano: int) -> None:
        self._slow_threshold_nano = slow_threshold_nano
        self._resources: dict[str, ResourceRecord] = {}
        self._latest: tuple[Any, ResourceRecord] = None, ResourceRecord()

    def read(self, stream: JsonStream, depth: int = 0) -> Iterator[Callable[[], SpanRecord]]:
        """The spans of a document, each to be decoded by a call, which raises `DecodeError` for one that is none."""
        if stream.peek() == "[" and depth < _DEPTH_MAX:
            for _ in stream.elements():
                yield from self.read(stream, depth + 1)
            return
        if stream.peek() != "{":
            raise _no_span(stream.value()[0])
        yield from self._read_object(stream, depth)

    def _read_object(self, stream: JsonStream, depth: int) -> Iterator[Callable[[], SpanRecord]]:
        others: dict[str, Any] = {}
        is_of_many = False
        with SpooledTemporaryFile(
            _HELD_BYTES_MAX, "w+", encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as held:
            for name in stream.members():
                if name == "data" and stream.peek() == "[" and depth < _DEPTH_MAX:
                    is_of_many = True
                    yield from self.read(stream, depth + 1)
                elif name == "spans" and stream.peek() == "[":
                    is_of_many = True
                    for _ in stream.elements():
                        span, text = stream.value()
                        if "processes" in others:
                            yield self._later(span, others)
                        else:  # Jaeger itself writes them behind the spans, which may be many
                            held.write(text.replace("\n", " ") + "\n")
                else:
                    others[name] = stream.value()[0]
            held.seek(0)
            for line in held:
                yield self._later_of_text(line, others)
        if not is_of_many and "data" not in others:
            yield self._later(others, {})

    def _later(self, span: Any, trace: Mapping[str, Any]) -> Callable[[], SpanRecord]:
        return lambda: self.decode(span, trace.get("processes"))

    def _later_of_text(self, text: str, trace: Mapping[str, Any]) -> Callable[[], SpanRecord]:
        return lambda: self.decode(parse_json(text), trace.get("processes"))

    def decode(self, span: Any, processes: Any) -> SpanRecord:
        """One span, whose process is in it, or among the ``processes``. Raises `DecodeError`."""
        if not isinstance(span, dict):
            raise _no_span(span)
        try:
            return self._decode(span, processes if isinstance(processes, dict) else {})
        except DecodeError as error:
            message = f"This is no span of Jaeger's: {error}."
            raise DecodeError(message) from error

    def _decode(self, span: Mapping[str, Any], processes: Processes) -> SpanRecord:
        trace_id = foreign_span.id_of(span, "traceID", _TRACE_DIGITS)
        start = foreign_span.number_of(span, "startTime") * _NANO_IN_MICRO
        end = start + foreign_span.number_of(span, "duration") * _NANO_IN_MICRO
        tags, is_altered = _tags(span, "tags")
        code, message = _take_status(tags)
        attributes_lost, events_lost, links_lost = foreign_span.take_dropped_counts(tags)
        parent, links = _relations(span, trace_id)
        kind = foreign_span.kind_of(tags.pop("span.kind", None))
        scope, trace_state = foreign_span.take_scope(tags), foreign_span.take_trace_state(tags)
        return SpanRecord(
            trace_id=trace_id,
            span_id=foreign_span.id_of(span, "spanID", _SPAN_DIGITS),
            parent_span_id=parent,
            name=_text(span, "operationName"),
            kind=kind,
            start_unix_nano=start,
            end_unix_nano=end,
            status_code=code,
            status_message=message,
            trace_state=trace_state,
            flags=1 if span.get("flags") is None else foreign_span.number_of(span, "flags") & 1,
            attributes=tags,
            events=tuple(map(_event, foreign_span.objects_of(span, "logs"))),
            links=links,
            dropped_attributes_count=attributes_lost,
            dropped_events_count=events_lost,
            dropped_links_count=links_lost,
            resource=self._resource(span.get("process") or processes.get(str(span.get("processID")))),
            scope=scope,
            is_error=code == _STATUS_ERROR,
            is_slow=foreign_span.is_slow(tags, end - start, self._slow_threshold_nano),
            error_type=None,
            altered=("attributes",) if is_altered else (),
        )

    def _resource(self, process: Any) -> ResourceRecord:
        if process is not None and process is self._latest[0]:
            return self._latest[1]
        if not isinstance(process, dict):
            process = {}
        key = json.dumps(process, sort_keys=True)
        if key not in self._resources:
            if len(self._resources) >= _PROCESSES_MAX:
                self._resources.clear()
            name = process.get("serviceName")
            named = {"service.name": name} if isinstance(name, str) and name not in ("", NO_SERVICE_NAME) else {}
            self._resources[key] = ResourceRecord({**named, **_tags(process, "tags")[0]})
        self._latest = process, self._resources[key]
        return self._resources[key]


def _no_span(found: Any) -> DecodeError:
    return DecodeError(f"This is no span of Jaeger's: an object was expected, not {found!r:.60}.")


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name, "")
    if isinstance(value, str):
        return value
    message = f"its {name} is no text: {value!r:.60}"
    raise DecodeError(message)


def _tags(part: Mapping[str, Any], name: str) -> tuple[Tags, bool]:
    """Tags as attributes, and whether two had one key, the last of which is kept."""
    found = part.get(name)
    if isinstance(found, dict):  # as some tools have them
        return dict(found), False
    fields = part.get(_TAGS_AS_FIELDS) if name == "tags" else None
    pairs = [(key.replace("@", "."), value) for key, value in fields.items()] if isinstance(fields, dict) else []
    pairs += [(_text(each, "key"), _value(each)) for each in foreign_span.objects_of(part, name)]
    tags = dict(pairs)
    return tags, len(tags) < len(pairs)


def _value(tag: Mapping[str, Any]) -> Any:
    """The value as its type says; what cannot be that stays as it is."""
    value, kind = tag.get("value"), tag.get("type")
    try:
        if kind == "int64" and isinstance(value, (str, float)):
            return int(value)
        if kind == "float64" and isinstance(value, (str, int)) and not isinstance(value, bool):
            return float(value)
        if kind == "bool" and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if kind == "binary" and isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (ValueError, KeyError, OverflowError, binascii.Error):
        return value
    return value


def _take_status(tags: Tags) -> tuple[int, str]:
    """Status and description; ``error`` says the last word on whether it failed."""
    code = foreign_span.take_status_code(tags)
    error = tags.get(foreign_span.ERROR)
    if error in (True, False, "true", "false"):
        del tags[foreign_span.ERROR]
        code = _STATUS_ERROR if error in (True, "true") else code
    description = tags.get(foreign_span.STATUS_DESCRIPTION)
    if not isinstance(description, str):
        return code, ""
    return code, tags.pop(foreign_span.STATUS_DESCRIPTION)


def _relations(span: Mapping[str, Any], trace_id: str) -> tuple[str | None, tuple[LinkRecord, ...]]:
    """The parent, and the links.

    The parent is the first reference of the own trace that says ``CHILD_OF``, or without one the first at all, as
    Jaeger itself draws it.
    """
    references = [_reference(each) for each in foreign_span.objects_of(span, "references")]
    own = [each for each in references if each[1] == trace_id]
    parent = next((each for each in own if each[0] == "CHILD_OF"), next(iter(own), None))
    if parent is None:
        links = references
        told = span.get("parentSpanID")
        is_told = bool(told.strip("0") if isinstance(told, str) else told)
        parent_id = foreign_span.id_of(span, "parentSpanID", _SPAN_DIGITS) if is_told else None
    else:
        links = [each for each in references if each is not parent]
        parent_id = parent[2]
    return parent_id, tuple(_link(*each) for each in links)


def _reference(reference: Mapping[str, Any]) -> tuple[str, str, str]:
    trace_id = foreign_span.id_of(reference, "traceID", _TRACE_DIGITS)
    return _text(reference, "refType"), trace_id, foreign_span.id_of(reference, "spanID", _SPAN_DIGITS)


def _link(kind: str, trace_id: str, span_id: str) -> LinkRecord:
    attributes = {REF_TYPE: "child_of"} if kind == "CHILD_OF" else {}
    return LinkRecord(trace_id, span_id, attributes=attributes)


def _event(log: Mapping[str, Any]) -> EventRecord:
    fields, _ = _tags(log, "fields")
    name = fields.get("event")
    if isinstance(name, str):
        del fields["event"]
    else:
        name = ""
    lost_count = foreign_span.take_count(fields, DROPPED_OF_EVENT)
    return EventRecord(name, foreign_span.number_of(log, "timestamp") * _NANO_IN_MICRO, fields, lost_count)
