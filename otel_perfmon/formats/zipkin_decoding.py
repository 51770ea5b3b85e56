"""Spans of Zipkin's JSON, version 2: lists of spans, lists of traces, or one span a line.

As opentelemetry-specification, ``trace/sdk_exporters/zipkin.md``, has it, read backwards. Both sides of a call that
share one span id are two spans here, too; the server's has ``zipkin.shared``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from otel_perfmon.errors import DecodeError
from otel_perfmon.formats import foreign_span
from otel_perfmon.formats.foreign_span import Tags
from otel_perfmon.formats.json_stream import JsonStream
from otel_perfmon.records import EventRecord, ResourceRecord, SpanRecord

_NANO_IN_MICRO: Final = 1_000
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_DEPTH_MAX: Final = 2
_SERVICES_MAX: Final = 1_000
_STATUS_ERROR: Final = 2


class ZipkinDecoder:
    """Makes records of spans; slow is what took longer than ``slow_threshold_nano`` and does not say so itself."""

    def __init__(self, slow_threshold_nano: int) -> None:
        self._slow_threshold_nano = slow_threshold_nano
        self._resources: dict[str, ResourceRecord] = {}

    def read(self, stream: JsonStream, depth: int = 0) -> Iterator[Callable[[], SpanRecord]]:
        """The spans of a document, each to be decoded by a call, which raises `DecodeError` for one that is none."""
        if stream.peek() == "[" and depth < _DEPTH_MAX:
            for _ in stream.elements():
                yield from self.read(stream, depth + 1)
        else:
            yield self._later(stream.value()[0])

    def _later(self, span: Any) -> Callable[[], SpanRecord]:
        return lambda: self.decode(span)

    def decode(self, span: Any) -> SpanRecord:
        """One span. Raises `DecodeError`."""
        try:
            return self._decode(_checked(span))
        except DecodeError as error:
            message = f"This is no span of Zipkin's: {error}."
            raise DecodeError(message) from error

    def _decode(self, span: Mapping[str, Any]) -> SpanRecord:
        events = tuple(map(_event, foreign_span.objects_of(span, "annotations")))
        start, end = _times(span, events)
        tags = _tags(span)
        code, message = _take_status(tags)
        attributes_lost, events_lost, links_lost = foreign_span.take_dropped_counts(tags)
        scope, trace_state = foreign_span.take_scope(tags), foreign_span.take_trace_state(tags)
        name = span.get("name")
        parent = span.get("parentId")
        return SpanRecord(
            trace_id=foreign_span.id_of(span, "traceId", _TRACE_DIGITS),
            span_id=foreign_span.id_of(span, "id", _SPAN_DIGITS),
            parent_span_id=foreign_span.id_of(span, "parentId", _SPAN_DIGITS) if parent else None,
            name=name if isinstance(name, str) else "",
            kind=foreign_span.kind_of(span.get("kind")),
            start_unix_nano=start,
            end_unix_nano=end,
            status_code=code,
            status_message=message,
            trace_state=trace_state,
            flags=1,  # what was not sampled is not sent
            attributes={**_endpoint_attributes(span), **tags},
            events=events,
            links=(),
            dropped_attributes_count=attributes_lost,
            dropped_events_count=events_lost,
            dropped_links_count=links_lost,
            resource=self._resource(span),
            scope=scope,
            is_error=code == _STATUS_ERROR,
            is_slow=foreign_span.is_slow(tags, end - start, self._slow_threshold_nano),
            error_type=None,
        )

    def _resource(self, span: Mapping[str, Any]) -> ResourceRecord:
        name = _endpoint(span, "localEndpoint").get("serviceName")
        service = name if isinstance(name, str) else ""
        if service not in self._resources:
            if len(self._resources) >= _SERVICES_MAX:
                self._resources.clear()
            self._resources[service] = ResourceRecord({"service.name": service} if service else {})
        return self._resources[service]


def _checked(span: Any) -> Mapping[str, Any]:
    if not isinstance(span, dict):
        message = f"an object was expected, not {span!r:.60}"
        raise DecodeError(message)
    if "binaryAnnotations" in span:
        raise DecodeError("it is of version 1, and only version 2 is read")
    return span


def _times(span: Mapping[str, Any], events: tuple[EventRecord, ...]) -> tuple[int, int]:
    """Start and end in nanoseconds; without a timestamp those of its annotations, which is what there is.

    The server's half of a shared span is a nanosecond later, within the microsecond that Zipkin tells: by trace, id and
    start both halves would else be one span wherever they begin in one microsecond.
    """
    later = 1 if span.get("shared") else 0
    start, end = _told_times(span, events)
    return start + later, end + later


def _told_times(span: Mapping[str, Any], events: tuple[EventRecord, ...]) -> tuple[int, int]:
    start = foreign_span.number_of(span, "timestamp") * _NANO_IN_MICRO
    noted = [event.time_unix_nano for event in events]
    if not start:
        start = min(noted, default=0)
    if span.get("duration") is None:
        return start, max(start, *noted) if noted else start
    return start, start + foreign_span.number_of(span, "duration") * _NANO_IN_MICRO


def _tags(span: Mapping[str, Any]) -> Tags:
    tags = span.get("tags")
    if tags is None:
        return {}
    if isinstance(tags, dict):
        return dict(tags)
    raise DecodeError("its tags are no object")


def _take_status(tags: Tags) -> tuple[int, str]:
    """Whoever sets ``error`` says that the span failed, and why."""
    code = foreign_span.take_status_code(tags)
    error = tags.pop(foreign_span.ERROR, None)
    message = tags.pop(foreign_span.STATUS_DESCRIPTION, "")
    if error in (None, False, "false"):
        return code, message if isinstance(message, str) else ""
    is_told = isinstance(error, str) and error != "true"
    return _STATUS_ERROR, error if is_told else message if isinstance(message, str) else ""


def _endpoint(span: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    endpoint = span.get(name)
    if endpoint is None:
        return {}
    if isinstance(endpoint, dict):
        return endpoint
    message = f"its {name} is no object"
    raise DecodeError(message)


def _endpoint_attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    """Both ends of the call, by the names of the semantic conventions, and what else Zipkin alone knows."""
    local, remote = _endpoint(span, "localEndpoint"), _endpoint(span, "remoteEndpoint")
    found = {
        "peer.service": remote.get("serviceName"),
        "network.peer.address": remote.get("ipv4") or remote.get("ipv6"),
        "network.peer.port": remote.get("port"),
        "network.local.address": local.get("ipv4") or local.get("ipv6"),
        "network.local.port": local.get("port"),
        "zipkin.shared": span.get("shared"),
        "zipkin.debug": span.get("debug"),
    }
    return {name: value for name, value in found.items() if value}


def _event(annotation: Mapping[str, Any]) -> EventRecord:
    value = annotation.get("value")
    if not isinstance(value, str):
        raise DecodeError("an annotation has no value")
    name, attributes = _named(value)
    return EventRecord(name, foreign_span.number_of(annotation, "timestamp") * _NANO_IN_MICRO, attributes)


def _named(value: str) -> tuple[str, dict[str, Any]]:
    """The name of an event, and its attributes where they are in it, as OpenTelemetry's exporters write them."""
    text = value if value.startswith("{") else f"{{{value}}}"
    if value[:2] in ('{"', "{}") or value[:1] == '"':
        try:
            ((name, attributes),) = json.loads(text).items()
        except (ValueError, RecursionError):
            return value, {}
        if isinstance(attributes, dict):
            return name, attributes
    return value, {}
