"""Finding spans: each search goes through an index, or reads a bounded number of rows and says so."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otel_perfmon.query import INT64_MAX, SpanQuery, Window, parse_id
from otel_perfmon.records import EventRecord, LinkRecord, PointRecord, ResourceRecord, ScopeRecord, SpanPage, SpanRecord
from otel_perfmon.storage.attributes import decode_attributes, storable_text, untag
from otel_perfmon.storage.rows import OPERATION_NAME_MAX
from otel_perfmon.storage.sqlite.names import OVERFLOW_OPERATION

SCAN_ROWS_MAX: Final = 200_000
SCAN_SECONDS_MAX: Final = 2.0
"""What a question may read, and how long, where no index serves it (by attribute, by duration)."""

SELECT: Final = """
SELECT s.trace_id, s.span_id, s.parent_span_id, iif(s.name = '', o.name, s.name), s.kind, s.start_unix_nano,
    s.end_unix_nano,
    s.status_code, s.status_message, s.trace_state, s.flags, s.attributes, s.events, s.links,
    s.dropped_attributes_count, s.dropped_events_count, s.dropped_links_count, s.resource_id, s.scope_id,
    s.is_error, s.is_slow, s.error_type, s.altered, s.duration_nano, s.id, v.name
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id CROSS JOIN _services v ON v.id = o.service_id
"""  # CROSS JOIN: the spans come first, in the order of their index
_NAME, _END, _ATTRIBUTES, _IS_ERROR, _IS_SLOW, _ERROR_TYPE, _DURATION, _ID, _SERVICE = 3, 6, 11, 19, 20, 21, 23, 24, 25
_ORDER: Final = {
    "newest": "s.end_unix_nano DESC, s.id DESC",
    "oldest": "s.end_unix_nano, s.id",
    "slowest": "s.end_unix_nano DESC, s.id DESC",  # no index serves durations: the newest rows are gone through
}


def stored_name(name: str | None) -> str | None:
    """The name under which an operation is stored: what is too long is cut, what is no Unicode escaped."""
    return None if name is None else storable_text(name, OPERATION_NAME_MAX)[0]


def bounds(window: Window | None) -> tuple[int, int]:
    """Start and end of a window in nanoseconds that fit 64 bits; of all time, without one."""
    if window is None:
        return -INT64_MAX, INT64_MAX
    return _int64(window.start_unix_nano), _int64(window.end_unix_nano)


def _int64(value: int) -> int:
    return max(-INT64_MAX, min(INT64_MAX, value))


def find_spans(connection: sqlite3.Connection, query: SpanQuery) -> SpanPage:
    """Search each operation by itself, each in order through an index, and merge what they yield."""
    branches = _branches(connection, query)
    is_scan = _is_scan(query)
    deadline = time.monotonic() + SCAN_SECONDS_MAX
    rows: list[tuple[Any, ...]] = []
    rows_read, is_complete = 0, True
    for operation_id, is_overflow in branches:
        is_bounded = is_scan or is_overflow
        limits = (SCAN_ROWS_MAX // len(branches), deadline) if is_bounded else (_int64(query.limit), math.inf)
        found, read, is_done = _search(connection, query, operation_id, *limits)
        rows += found
        rows_read += read
        is_complete = is_complete and (is_done or not is_bounded)
    if len(branches) > 1:
        rows = _best(rows, query)
    return SpanPage(tuple(read_spans(connection, rows)), is_complete, rows_read)


def _is_scan(query: SpanQuery) -> bool:
    """Whether no index serves all of the question, so that rows must be looked at which the answer may not hold."""
    filters = (query.trace_id, query.error_type, query.min_duration_ms, query.max_duration_ms)
    has_filter = bool(query.attributes) or any(each is not None for each in filters)
    is_by_service = query.service is not None and query.operation is None
    has_unindexed_flag = [query.is_error, query.is_slow] not in ([None, None], [True, None], [None, True])
    return query.order == "slowest" or has_filter or is_by_service or has_unindexed_flag


def _branches(connection: sqlite3.Connection, query: SpanQuery) -> list[tuple[int | None, bool]]:
    """The ids of the operations to search (None: all), and whether it is an overflow one, which holds many names."""
    name = stored_name(query.operation)
    if name is None or query.trace_id is not None:
        return [(None, False)]
    condition, parameters = ("", ()) if query.service is None else (" WHERE v.name = ?", (stored_name(query.service),))
    of_service = "SELECT id FROM _operations o WHERE o.service_id = v.id AND o.name = ?"
    sql = f"SELECT ({of_service}), ({of_service}) FROM _services v{condition}"
    rows = connection.execute(sql, (name, OVERFLOW_OPERATION, *parameters)).fetchall()
    found = [(own, False) if own is not None else (overflow, True) for own, overflow in rows]
    return [each for each in found if each[0] is not None]


def _search(
    connection: sqlite3.Connection, query: SpanQuery, operation_id: int | None, rows_max: int, deadline: float
) -> tuple[list[tuple[Any, ...]], int, bool]:
    """What matches in one branch, how many rows were read, and whether all were that could matter."""
    where, parameters = _indexed_conditions(query, operation_id)
    sql = f"{SELECT} {where} ORDER BY {_ORDER[query.order]} LIMIT ?"
    is_slowest = query.order == "slowest"
    kept: list[tuple[Any, ...]] = []
    rows_read = 0
    for row in connection.execute(sql, (*parameters, rows_max)):
        rows_read += 1
        if _matches(row, query):
            kept.append(row)
            if not is_slowest and len(kept) == query.limit:
                return kept, rows_read, True
            if len(kept) > 2 * query.limit + 1000:
                kept = _best(kept, query)
        if time.monotonic() > deadline:
            return _best(kept, query), rows_read, False
    return _best(kept, query), rows_read, rows_read < rows_max


def _indexed_conditions(query: SpanQuery, operation_id: int | None) -> tuple[str, list[Any]]:
    """What an index answers; the rest is looked at row by row, in `_matches`."""
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.trace_id is not None:
        return "WHERE s.trace_id = ?", [parse_id(query.trace_id, 16)]
    if operation_id is not None:
        conditions.append("s.operation_id = ?")
        parameters.append(operation_id)
    if query.window is not None:
        conditions.append("s.end_unix_nano >= ? AND s.end_unix_nano < ?")
        parameters += bounds(query.window)
    # A literal: a partial index is not used for a parameter.
    if query.is_error:
        conditions.append("s.is_error = 1")
    elif query.is_slow:
        conditions.append("s.is_slow = 1")
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), parameters


def _best(rows: list[tuple[Any, ...]], query: SpanQuery) -> list[tuple[Any, ...]]:
    """The rows that come first in the query's order, as many as it wants."""
    if query.order == "slowest":
        return sorted(rows, key=lambda row: (-row[_DURATION], -row[_ID]))[: query.limit]
    is_newest = query.order == "newest"
    return sorted(rows, key=lambda row: (row[_END], row[_ID]), reverse=is_newest)[: query.limit]


def _matches(row: tuple[Any, ...], query: SpanQuery) -> bool:
    duration_ms = row[_DURATION] / 1e6
    return (
        (query.operation is None or _has_name(row[_NAME], query.operation))
        and (query.service is None or row[_SERVICE] == stored_name(query.service))
        and (query.is_error is None or bool(row[_IS_ERROR]) == query.is_error)
        and (query.is_slow is None or bool(row[_IS_SLOW]) == query.is_slow)
        and (query.window is None or query.window.start_unix_nano <= row[_END] < query.window.end_unix_nano)
        and (query.min_duration_ms is None or duration_ms >= query.min_duration_ms)
        and (query.max_duration_ms is None or duration_ms <= query.max_duration_ms)
        and (query.error_type is None or row[_ERROR_TYPE] == query.error_type)
        and (not query.attributes or _has_attributes(decode_attributes(row[_ATTRIBUTES]), query.attributes))
    )


def _has_name(name: str, wanted: str) -> bool:
    return wanted in (name, OVERFLOW_OPERATION) or name == stored_name(wanted)


def _has_attributes(attributes: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in attributes and _is_same(attributes[key], value) for key, value in wanted.items())


def _is_same(stored: Any, wanted: Any) -> bool:
    """Equal in value and type, all the way down: 1, 1.0 and True are three things."""
    if isinstance(wanted, (list, tuple)):
        return isinstance(stored, tuple) and len(stored) == len(wanted) and all(map(_is_same, stored, wanted))
    if isinstance(wanted, Mapping):
        return isinstance(stored, dict) and len(stored) == len(wanted) and _has_attributes(stored, wanted)
    return type(stored) is type(wanted) and bool(stored == wanted)


def read_spans(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> Iterator[SpanRecord]:
    """The records of rows that `SELECT` gave."""
    names = Shared(connection)
    for row in list(rows):
        yield SpanRecord(
            trace_id=row[0].hex(),
            span_id=row[1].hex(),
            parent_span_id=row[2].hex() or None,
            name=row[3],
            kind=row[4],
            start_unix_nano=row[5],
            end_unix_nano=row[6],
            status_code=row[7],
            status_message=row[8],
            trace_state=row[9],
            flags=row[10],
            attributes=decode_attributes(row[11]),
            events=tuple(_event(each) for each in json.loads(row[12])) if row[12] else (),
            links=tuple(_link(each) for each in json.loads(row[13])) if row[13] else (),
            dropped_attributes_count=row[14],
            dropped_events_count=row[15],
            dropped_links_count=row[16],
            resource=names.resource(row[17]),
            scope=names.scope(row[18]),
            is_error=bool(row[19]),
            is_slow=bool(row[20]),
            error_type=row[21] or None,
            altered=tuple(row[22].split(",")) if row[22] else (),
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
            sql = "SELECT attributes, schema_url FROM _resources WHERE id = ?"
            row = self._connection.execute(sql, (key,)).fetchone() or ("{}", "")
            self._resources[key] = ResourceRecord(decode_attributes(row[0]), row[1])
        return self._resources[key]

    def scope(self, key: int) -> ScopeRecord:
        """The scope of that id."""
        if key not in self._scopes:
            sql = "SELECT name, version, schema_url, attributes FROM _scopes WHERE id = ?"
            name, version, schema_url, attributes = self._connection.execute(sql, (key,)).fetchone()
            self._scopes[key] = ScopeRecord(name, version, schema_url, decode_attributes(attributes))
        return self._scopes[key]
