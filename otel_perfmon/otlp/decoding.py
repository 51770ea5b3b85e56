"""Spans that came as OTLP, in protobuf or JSON, as rows of the store.

What a row has no place for is lost: the earlier of two attributes with one key, which is told in ``altered``, and
fields that opentelemetry-proto does not know.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_perfmon.errors import DecodeError, OtlpError
from otel_perfmon.otlp.json_parsing import UnusualError, fill_traces
from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.attributes import (
    NO_ATTRIBUTES,
    Encoded,
    encode_attributes,
    encode_items,
    storable_text,
)
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
    STATUS_ERROR,
    ResourceRow,
    ScopeRow,
    SpanDetails,
    SpanRow,
)

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

_REMOTE: Final = 0x200
_SHARED_MAX: Final = 1_000
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_UINT32_MAX: Final = (1 << 32) - 1
_TOLD_MAX: Final = 200
"""Characters of an error of protobuf's, which quotes what it read."""
_ID_NAMES: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
"""Protobuf's JSON takes its own names too."""
_JsonObject = dict[str, Any]


class SpanDecoder:
    """Makes rows of spans; slow is what took longer than ``slow_threshold_nano`` and does not say otherwise itself.

    The rows of one resource are one object, as those of one scope are, for as long as the decoder lives.
    """

    def __init__(self, slow_threshold_nano: int) -> None:
        self.refused_count = 0
        """Spans so far that had no ids of 16 and 8 bytes, without which OTLP calls them invalid."""
        self._slow_threshold_nano = slow_threshold_nano
        self._resources: dict[tuple[str, str], ResourceRow] = {}
        self._scopes: dict[tuple[str, str, str, str], ScopeRow] = {}

    def decode_protobuf(self, data: bytes) -> Iterator[SpanRow]:
        """The spans of a ``TracesData``, or of an ``ExportTraceServiceRequest``; `DecodeError` for what is neither."""
        traces = _new_traces()
        from google.protobuf.message import DecodeError as ProtobufError  # noqa: PLC0415 - 40 ms

        try:
            traces.ParseFromString(data)
        except ProtobufError as error:
            message = f"These {len(data):,} bytes are no TracesData of OTLP: {error}."
            raise DecodeError(message) from error
        return self._rows_of(traces)

    def decode_json(self, text: str | bytes) -> Iterator[SpanRow]:
        """The same of OTLP's JSON. Names that it does not know are passed over, as the protocol asks."""
        traces = _new_traces()
        from google.protobuf.json_format import ParseDict  # noqa: PLC0415 - as above

        try:
            read = json.loads(text, parse_constant=_refuse)
            try:
                fill_traces(read, traces)
            except UnusualError:
                traces.Clear()
                ParseDict(_in_base64(read), traces, ignore_unknown_fields=True)
        except Exception as error:  # protobuf raises whatever Python raises, and SystemError besides
            what = str(error)[:_TOLD_MAX] or type(error).__name__
            message = f"This is no TracesData of OTLP in JSON: {what.rstrip('.')}."
            raise DecodeError(message) from error
        return self._rows_of(traces)

    def _rows_of(self, traces: TracesData) -> Iterator[SpanRow]:
        for resource_spans in traces.resource_spans:
            resource = self._resource(resource_spans)
            for scope_spans in resource_spans.scope_spans:
                scope = self._scope(scope_spans)
                for span in scope_spans.spans:
                    if _has_ids(span):
                        yield self._row_of(span, resource, scope)
                    else:
                        self.refused_count += 1

    def _resource(self, resource_spans: Any) -> ResourceRow:
        attributes, _ = _decode_attributes(resource_spans.resource.attributes)
        key = encode_attributes(attributes).text, resource_spans.schema_url
        if key not in self._resources:
            _make_room(self._resources)
            self._resources[key] = make_resource_row(attributes, *key)
        return self._resources[key]

    def _scope(self, scope_spans: Any) -> ScopeRow:
        scope = scope_spans.scope
        encoded = encode_attributes(_decode_attributes(scope.attributes)[0]).text
        key = scope.name, scope.version, scope_spans.schema_url, encoded
        if key not in self._scopes:
            _make_room(self._scopes)
            self._scopes[key] = make_scope_row(*key)
        return self._scopes[key]

    def _row_of(self, span: Any, resource: ResourceRow, scope: ScopeRow) -> SpanRow:
        cut: list[str] = []
        name = _noted(storable_text(span.name, OPERATION_NAME_MAX), "name", cut)
        start, end = (_time(each, cut) for each in (span.start_time_unix_nano, span.end_time_unix_nano))
        duration = max(0, end - start)
        attributes, encoded = _encode(span.attributes, "attributes", cut)
        says_slow = attributes.get(SLOW_ATTRIBUTE)
        is_slow = duration > self._slow_threshold_nano if says_slow is None else bool(says_slow)
        details = _details(span, attributes, encoded.dropped_count, cut)
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


def _new_traces() -> TracesData:
    try:
        from opentelemetry.proto.trace.v1.trace_pb2 import TracesData  # noqa: PLC0415 - 40 ms, and an extra
    except ImportError as error:
        message = "Reading OTLP takes one package more: pip install 'otel-perfmon[otlp]'."
        raise OtlpError(message) from error
    return TracesData()


def _details(span: Any, attributes: Mapping[str, Any], cut_count: int, cut: list[str]) -> SpanDetails:
    events = [_event(event, cut) for event in span.events]
    links = [_link(link, cut) for link in span.links if _has_ids(link)]
    lost_links_count = len(span.links) - len(links)
    encoded_events = encode_items([item for item, _ in events]) if events else NO_ATTRIBUTES
    encoded_links = encode_items(links) if links else NO_ATTRIBUTES
    for part, encoded in (("events", encoded_events), ("links", encoded_links)):
        _noted(("", encoded.is_altered), part, cut)
    message = _noted(storable_text(span.status.message), "status_message", cut)
    error_type = error_message = ""
    if span.status.code == STATUS_ERROR:
        latest = (own for item, own in reversed(events) if item["name"] == EXCEPTION_EVENT)
        error_type, error_message = error_of(attributes, latest, message)
    return SpanDetails(
        status_message=message,
        error_type=error_type,
        error_message=error_message,
        trace_state=_noted(storable_text(span.trace_state), "trace_state", cut),
        events=encoded_events.text,
        links=encoded_links.text,
        dropped_attributes_count=_count(span.dropped_attributes_count, cut_count),
        dropped_events_count=_count(span.dropped_events_count, encoded_events.dropped_count),
        dropped_links_count=_count(span.dropped_links_count, encoded_links.dropped_count + lost_links_count),
        altered=",".join(cut),
    )


def _event(event: Any, cut: list[str]) -> tuple[_JsonObject, Mapping[str, Any]]:
    attributes, encoded = _encode(event.attributes, "events", cut)
    name = _noted(storable_text(event.name, OPERATION_NAME_MAX), "events", cut)
    item = {"name": name, "time_unix_nano": _time(event.time_unix_nano, cut)}
    return _with_attributes(item, encoded, event.dropped_attributes_count), attributes


def _link(link: Any, cut: list[str]) -> _JsonObject:
    item: _JsonObject = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
    if link.trace_state:
        item["trace_state"] = _noted(storable_text(link.trace_state), "links", cut)
    item["flags"] = link.flags
    return _with_attributes(item, _encode(link.attributes, "links", cut)[1], link.dropped_attributes_count)


def _with_attributes(item: _JsonObject, encoded: Encoded, dropped_count: int) -> _JsonObject:
    if dropped_count + encoded.dropped_count:
        item["dropped_attributes_count"] = _count(dropped_count, encoded.dropped_count)
    item["attributes"] = encoded
    return item


def _encode(pairs: Sequence[Any], part: str, cut: list[str]) -> tuple[dict[str, Any], Encoded]:
    attributes, is_whole = _decode_attributes(pairs)
    encoded = encode_attributes(attributes)
    _noted(("", encoded.is_altered or not is_whole), part, cut)
    return attributes, encoded


def _decode_attributes(pairs: Sequence[Any]) -> tuple[dict[str, Any], bool]:
    """The attributes, and whether each has a key of its own."""
    attributes = {pair.key: _decode_value(pair.value) for pair in pairs}
    return attributes, len(attributes) == len(pairs)


def _decode_value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return tuple(_decode_value(each) for each in value.array_value.values)
    if kind == "kvlist_value":
        return {pair.key: _decode_value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def _count(theirs: int, ours: int) -> int:
    return min(theirs + ours, _UINT32_MAX)


def _has_ids(item: Any) -> bool:
    """Whether a span or a link has a trace id and a span id, and a parent id if any, of the right lengths."""
    has_own = len(item.trace_id) == _TRACE_ID_BYTES and len(item.span_id) == _SPAN_ID_BYTES
    return has_own and any(item.trace_id) and any(item.span_id) and len(getattr(item, "parent_span_id", b"")) in {0, 8}


def _time(unix_nano: int, cut: list[str]) -> int:
    if unix_nano > INT64_MAX:
        _noted(("", True), "times", cut)
    return min(unix_nano, INT64_MAX)


def _noted(clean: tuple[str, bool], part: str, cut: list[str]) -> str:
    """The text of a pair of text and whether it was changed, which is noted."""
    text, is_changed = clean
    if is_changed and part not in cut:
        cut.append(part)
    return text


def _make_room(shared: dict[Any, Any]) -> None:
    if len(shared) >= _SHARED_MAX:
        shared.clear()


def _in_base64(traces: Any) -> Any:
    """With ids as protobuf's own JSON has them. Raises `ValueError` for what is no object, and for ids not in hex."""
    if not isinstance(traces, dict):
        message = "an object was expected"
        raise ValueError(message)  # noqa: TRY004 - as of any other malformed text
    for resource_spans in _objects(traces, "resourceSpans", "resource_spans"):
        for scope_spans in _objects(resource_spans, "scopeSpans", "scope_spans"):
            for span in _objects(scope_spans, "spans"):
                _ids_in_base64(span)
                for link in _objects(span, "links"):
                    _ids_in_base64(link)
    return traces


def _objects(parent: _JsonObject, *names: str) -> list[_JsonObject]:
    lists = [found for found in map(parent.get, names) if isinstance(found, list)]
    return [each for found in lists for each in found if isinstance(each, dict)]


def _refuse(constant: str) -> Any:
    message = f"{constant} is no JSON"
    raise ValueError(message)


def _ids_in_base64(item: _JsonObject) -> None:
    for name in _ID_NAMES:
        if isinstance(item.get(name), str):
            try:
                item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
            except (ValueError, binascii.Error) as error:
                message = f"{name} is not in hex: {item[name]!r:.60}"
                raise ValueError(message) from error
