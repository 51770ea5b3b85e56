"""Spans that were answered, or read from another tool's file, as rows of a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.query import INT64_MAX
from otel_perfmon.records import Attributes, EventRecord, LinkRecord, ResourceRecord, ScopeRecord, SpanRecord
from otel_perfmon.storage.attributes import NO_ATTRIBUTES, Encoded, encode_attributes, encode_items, storable_text
from otel_perfmon.storage.row_parts import EXCEPTION_EVENT, error_of, make_resource_row, make_scope_row
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
_SHARED_MAX: Final = 1_000
_UINT32_MAX: Final = (1 << 32) - 1


class RowMaker:
    """Makes rows of records, with the flags that the records have.

    The rows of one resource are one object, as those of one scope are, for as long as the maker lives.
    """

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, bytes], ResourceRow] = {}
        self._scopes: dict[tuple[str, str, str, str, bytes], ScopeRow] = {}
        self._known: dict[int, tuple[ResourceRecord | ScopeRecord, Any]] = {}
        """By the record's id; it is kept, so that no other one can have that id."""

    def row_of(self, span: SpanRecord) -> SpanRow:
        """The row of one span; what could not be stored as it was is told in ``altered``."""
        altered = list(span.altered)
        start, end = _time(span.start_unix_nano, altered), _time(span.end_unix_nano, altered)
        encoded = _noted(encode_attributes(span.attributes), "attributes", altered)
        details = _details(span, encoded.dropped_count, altered)
        name = _text(span.name, "name", altered, OPERATION_NAME_MAX)
        details = details._replace(altered=",".join(altered))
        return SpanRow(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_span_id or ""),
            is_parent_remote=bool(span.flags & _REMOTE),
            name=name,
            resource=self._resource(span.resource),
            scope=self._scope(span.scope),
            kind=span.kind,
            flags=span.flags,
            start_unix_nano=start,
            end_unix_nano=end,
            duration_nano=max(0, end - start),
            status_code=span.status_code,
            is_slow=int(span.is_slow),
            attributes="" if encoded.text == "{}" else encoded.text,
            details=None if details == NO_DETAILS else details,
        )

    def _resource(self, record: ResourceRecord) -> ResourceRow:
        known = self._known.get(id(record))
        if known is None:
            key = encode_attributes(record.attributes).text, record.schema_url, record.otlp
            if key not in self._resources:
                _make_room(self._resources)
                self._resources[key] = make_resource_row(record.attributes, *key)
            known = self._note(record, self._resources[key])
        row: ResourceRow = known[1]
        return row

    def _scope(self, record: ScopeRecord) -> ScopeRow:
        known = self._known.get(id(record))
        if known is None:
            encoded = encode_attributes(record.attributes).text
            key = record.name, record.version, record.schema_url, encoded, record.otlp
            if key not in self._scopes:
                _make_room(self._scopes)
                self._scopes[key] = make_scope_row(*key)
            known = self._note(record, self._scopes[key])
        row: ScopeRow = known[1]
        return row

    def _note(self, record: ResourceRecord | ScopeRecord, row: Any) -> tuple[ResourceRecord | ScopeRecord, Any]:
        _make_room(self._known)
        self._known[id(record)] = known = (record, row)
        return known


def _details(span: SpanRecord, cut_count: int, altered: list[str]) -> SpanDetails:
    events = encode_items([_event(each, altered) for each in span.events]) if span.events else NO_ATTRIBUTES
    links = encode_items([_link(each, altered) for each in span.links]) if span.links else NO_ATTRIBUTES
    _noted(events, "events", altered)
    _noted(links, "links", altered)
    message = _text(span.status_message, "status_message", altered)
    error_type = error_message = ""
    if span.status_code == STATUS_ERROR:
        latest = (event.attributes for event in reversed(span.events) if event.name == EXCEPTION_EVENT)
        error_type, error_message = error_of(span.attributes, latest, message)
    return SpanDetails(
        status_message=message,
        error_type=error_type if span.error_type is None else span.error_type,
        error_message=error_message,
        trace_state=_text(span.trace_state, "trace_state", altered),
        events=events.text,
        links=links.text,
        dropped_attributes_count=_count(span.dropped_attributes_count, cut_count),
        dropped_events_count=_count(span.dropped_events_count, events.dropped_count),
        dropped_links_count=_count(span.dropped_links_count, links.dropped_count),
        otlp=span.otlp,
    )


def _event(event: EventRecord, altered: list[str]) -> Mapping[str, Any]:
    name = _text(event.name, "events", altered, OPERATION_NAME_MAX)
    item = {"name": name, "time_unix_nano": _time(event.time_unix_nano, altered)}
    return _with_attributes(item, event.attributes, event.dropped_attributes_count)


def _link(link: LinkRecord, altered: list[str]) -> Mapping[str, Any]:
    item: dict[str, Any] = {"trace_id": link.trace_id, "span_id": link.span_id}
    if link.trace_state:
        item["trace_state"] = _text(link.trace_state, "links", altered)
    item["flags"] = link.flags
    return _with_attributes(item, link.attributes, link.dropped_attributes_count)


def _with_attributes(item: dict[str, Any], attributes: Attributes, dropped_count: int) -> Mapping[str, Any]:
    encoded = encode_attributes(attributes)
    if dropped_count + encoded.dropped_count:
        item["dropped_attributes_count"] = _count(dropped_count, encoded.dropped_count)
    item["attributes"] = encoded
    return item


def _time(unix_nano: int, altered: list[str]) -> int:
    if -INT64_MAX <= unix_nano <= INT64_MAX:
        return unix_nano
    _note("times", altered)
    return INT64_MAX if unix_nano > 0 else -INT64_MAX


def _text(value: Any, part: str, altered: list[str], *length_max: int) -> str:
    text, is_changed = storable_text(value, *length_max)
    if is_changed:
        _note(part, altered)
    return text


def _noted(encoded: Encoded, part: str, altered: list[str]) -> Encoded:
    if encoded.is_altered:
        _note(part, altered)
    return encoded


def _note(part: str, altered: list[str]) -> None:
    if part not in altered:
        altered.append(part)


def _count(theirs: int, ours: int) -> int:
    return min(theirs + ours, _UINT32_MAX)


def _make_room(shared: dict[Any, Any]) -> None:
    if len(shared) >= _SHARED_MAX:
        shared.clear()
