"""Finding log records."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from otel_perfmon.query import parse_id
from otel_perfmon.records import ArrivalPage, LogRecord
from otel_perfmon.storage.attributes import decode_attributes, untag
from otel_perfmon.storage.sqlite.answers import Shared
from otel_perfmon.storage.sqlite.log_retention import SEVERE
from otel_perfmon.storage.sqlite.log_rows import COLUMNS


def find_logs(
    connection: sqlite3.Connection,
    *,
    trace_id: str | None = None,
    service: str | None = None,
    severity_min: int = 0,
    bounds: tuple[int, int] | None = None,
    limit: int,
) -> list[LogRecord]:
    """The log records between two times in nanoseconds, newest first; see `SpanReader`."""
    conditions, values = ["1"], list[Any]()
    if bounds is not None:
        conditions.append("l.moment_unix_nano >= ? AND l.moment_unix_nano < ?")
        values += bounds
    if trace_id is not None:
        conditions.append("l.trace_id = ? AND l.trace_id <> x''")  # what the index is made for
        values.append(parse_id(trace_id, 16))
    if service is not None:
        conditions.append("l.resource_id IN (SELECT r.id FROM _resources r JOIN _services v ON v.id = r.service_id"
                          " WHERE v.name = ?)")  # fmt: skip
        values.append(service)
    if severity_min >= SEVERE:
        conditions.append(f"l.severity_number >= {SEVERE}")  # as above
    if severity_min > 0:
        conditions.append("l.severity_number >= ?")
        values.append(severity_min)
    sql = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY l.moment_unix_nano DESC, l.id DESC LIMIT ?"
    names = Shared(connection)
    return [_record(row, names) for row in connection.execute(sql, (*values, limit))]


def find_arrived_logs(connection: sqlite3.Connection, after: int, limit: int) -> ArrivalPage[LogRecord, int]:
    """The next log records in the order of arrival."""
    names = Shared(connection)
    rows = connection.execute(f"{_SELECT} WHERE l.id > ? ORDER BY l.id LIMIT ?", (after, limit)).fetchall()
    return ArrivalPage(tuple(_record(row, names) for row in rows), rows[-1][0] if rows else None)


_SELECT: Final = f"SELECT l.id, {', '.join(f'l.{name}' for name in COLUMNS.split(', '))} FROM _logs l"


def _record(row: tuple[Any, ...], names: Shared) -> LogRecord:
    """The record of one row, whose columns are those of `_SELECT`."""
    _, trace_id, span_id, flags, resource_id, scope_id, time, observed, arrived, number, text, event_name = row[:12]
    body, body_json, attributes, dropped_count, altered, otlp = row[12:]
    return LogRecord(
        trace_id=trace_id.hex() or None,
        span_id=span_id.hex() or None,
        flags=flags,
        time_unix_nano=time,
        observed_unix_nano=observed,
        severity_number=number,
        severity_text=text,
        event_name=event_name,
        body=untag(json.loads(body_json)) if body_json else body or None,
        has_body=bool(body or body_json),
        attributes=decode_attributes(attributes),
        dropped_attributes_count=dropped_count,
        resource=names.resource(resource_id),
        scope=names.scope(scope_id),
        arrived_unix_s=arrived,
        altered=tuple(altered.split(",")) if altered else (),
        otlp=otlp,
    )
