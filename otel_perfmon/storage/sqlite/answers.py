"""Rows of the file as records: spans with their resources and scopes, and metric data points."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from otel_perfmon.records import (
    ArrivalPage,
    EventRecord,
    LinkRecord,
    PointRecord,
    ResourceRecord,
    ScopeRecord,
    SpanRecord,
)
from otel_perfmon.storage.attributes import decode_attributes, untag
from otel_perfmon.storage.rows import STATUS_ERROR
from otel_perfmon.storage.sqlite.details import decode_details

_IDS_AT_ONCE: Final = 1_000

_SELECT_SPANS: Final = """
SELECT s.id, s.trace_id, s.span_id, s.parent_span_id, o.name, s.kind, s.start_unix_nano, s.end_unix_nano, s.status_code,
    s.flags, s.attributes, s.resource_id, s.scope_id, s.is_slow, s.details,
    (SELECT r.otlp FROM _raw_spans r WHERE r.span_row_id = s.id)
FROM json_each(?) k CROSS JOIN _spans s ON s.id = k.value CROSS JOIN _operations o ON o.id = s.operation_id
"""
_POINT_COLUMNS: Final = (
    "i.name, i.kind, i.unit, i.description, i.temporality, i.is_monotonic, p.attributes,"
    " p.start_unix_nano, p.time_unix_nano, p.data, i.resource_id, i.scope_id"
)


def read_spans(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[SpanRecord, ...]:
    """The spans of those row ids, in that order."""
    names = Shared(connection)
    rest = iter(ids)
    spans: list[SpanRecord] = []
    while part := list(islice(rest, _IDS_AT_ONCE)):
        rows = {row[0]: row for row in connection.execute(_SELECT_SPANS, (json.dumps(part),))}
        spans += (span_record(rows[key], names) for key in part)
    return tuple(spans)


def span_record(row: tuple[Any, ...], names: Shared) -> SpanRecord:
    """The record of one row, whose columns are those of `_SELECT_SPANS`."""
    details = decode_details(row[14])
    altered = details.get("altered")
    return SpanRecord(
        trace_id=row[1].hex(),
        span_id=row[2].hex(),
        parent_span_id=row[3].hex() or None,
        name=details.get("name", row[4]),
        kind=row[5],
        start_unix_nano=details.get("start_unix_nano", row[6]),
        end_unix_nano=row[7],
        status_code=row[8],
        status_message=details.get("status_message", ""),
        trace_state=details.get("trace_state", ""),
        flags=row[9],
        attributes=decode_attributes(row[10]),
        events=tuple(_event(each) for each in details.get("events", ())),
        links=tuple(_link(each) for each in details.get("links", ())),
        dropped_attributes_count=details.get("dropped_attributes_count", 0),
        dropped_events_count=details.get("dropped_events_count", 0),
        dropped_links_count=details.get("dropped_links_count", 0),
        resource=names.resource(row[11]),
        scope=names.scope(row[12]),
        is_error=row[8] == STATUS_ERROR,
        is_slow=bool(row[13]),
        error_type=details.get("error_type"),
        altered=tuple(altered.split(",")) if altered else (),
        otlp=row[15] or b"",
    )


def _event(event: dict[str, Any]) -> EventRecord:
    return EventRecord(
        event["name"],
        event["time_unix_nano"],
        untag(event.get("attributes", {})),
        event.get("dropped_attributes_count", 0),
    )


def _link(link: dict[str, Any]) -> LinkRecord:
    return LinkRecord(
        link["trace_id"],
        link["span_id"],
        link.get("trace_state", ""),
        link.get("flags", 0),
        untag(link.get("attributes", {})),
        link.get("dropped_attributes_count", 0),
    )


def find_points(
    connection: sqlite3.Connection, instrument: str | None, bounds: tuple[int, int], limit: int
) -> list[PointRecord]:
    """The data points between two times in nanoseconds, newest first; of one instrument or of all."""
    condition = "" if instrument is None else "p.instrument_id IN (SELECT id FROM _instruments WHERE name = ?) AND"
    sql = (
        f"SELECT {_POINT_COLUMNS} FROM _points p JOIN _instruments i ON i.id = p.instrument_id WHERE {condition}"
        " p.time_unix_nano >= ? AND p.time_unix_nano < ? ORDER BY p.time_unix_nano DESC, p.id DESC LIMIT ?"
    )
    names = Shared(connection)
    named = () if instrument is None else (instrument,)
    return [read_point(row, names) for row in connection.execute(sql, (*named, *bounds, limit))]


def find_arrived_points(connection: sqlite3.Connection, after: int, limit: int) -> ArrivalPage[PointRecord, int]:
    """The next data points in the order of arrival."""
    sql = (
        f"SELECT {_POINT_COLUMNS}, p.id FROM _points p CROSS JOIN _instruments i ON i.id = p.instrument_id"
        " WHERE p.id > ? ORDER BY p.id LIMIT ?"
    )
    names = Shared(connection)
    rows = connection.execute(sql, (after, limit)).fetchall()
    return ArrivalPage(tuple(read_point(row[:-1], names) for row in rows), rows[-1][-1] if rows else None)


def read_point(row: tuple[Any, ...], names: Shared) -> PointRecord:
    """The record of one row of a data point."""
    name, kind, unit, description, temporality, is_monotonic, attributes, start, end, data, resource, scope = row
    return PointRecord(
        instrument=name,
        kind=kind,
        unit=unit,
        description=description,
        temporality=temporality,
        is_monotonic=bool(is_monotonic),
        attributes=decode_attributes(attributes),
        start_unix_nano=start,
        time_unix_nano=end,
        data=untag(json.loads(data)),
        resource=names.resource(resource),
        scope=names.scope(scope),
    )


class Shared:
    """The resources and scopes that one answer refers to, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._resources: dict[int, ResourceRecord] = {}
        self._scopes: dict[int, ScopeRecord] = {}

    def resource(self, key: int) -> ResourceRecord:
        """The resource of that id."""
        if key not in self._resources:
            sql = "SELECT attributes, schema_url, otlp FROM _resources WHERE id = ?"
            row = self._connection.execute(sql, (key,)).fetchone() or ("{}", "", b"")
            self._resources[key] = ResourceRecord(decode_attributes(row[0]), row[1], row[2])
        return self._resources[key]

    def scope(self, key: int) -> ScopeRecord:
        """The scope of that id."""
        if key not in self._scopes:
            sql = "SELECT name, version, schema_url, attributes, otlp FROM _scopes WHERE id = ?"
            name, version, schema_url, attributes, otlp = self._connection.execute(sql, (key,)).fetchone()
            self._scopes[key] = ScopeRecord(name, version, schema_url, decode_attributes(attributes), otlp)
        return self._scopes[key]
