"""Asking the file: read-only connections, short transactions, every question through an index."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from otel_perfmon.errors import NotFoundError, StoreClosedError
from otel_perfmon.query import INT64_MAX, SpanQuery, Window, parse_id
from otel_perfmon.records import (
    CallEdge,
    ErrorGroup,
    EventRecord,
    Health,
    LinkRecord,
    OperationStats,
    PointRecord,
    ResourceRecord,
    ScopeRecord,
    SpanPage,
    SpanRecord,
    Trace,
)
from otel_perfmon.storage import fork
from otel_perfmon.storage.attributes import decode_attributes, untag
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import statistics
from otel_perfmon.storage.sqlite.names import OVERFLOW_OPERATION

SCAN_ROWS_MAX: Final = 200_000
SCAN_SECONDS_MAX: Final = 2.0
"""What a question may read, and how long, where no index serves it (by attribute, by duration)."""
_IDLE_MAX: Final = 4

_SELECT: Final = """
SELECT s.trace_id, s.span_id, s.parent_span_id, iif(s.name = '', o.name, s.name), s.kind, s.start_unix_nano,
    s.end_unix_nano,
    s.status_code, s.status_message, s.trace_state, s.flags, s.attributes, s.events, s.links,
    s.dropped_attributes_count, s.dropped_events_count, s.dropped_links_count, s.resource_id, s.scope_id,
    s.is_error, s.is_slow, s.error_type, s.altered, s.duration_nano, s.id, v.name
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id CROSS JOIN _services v ON v.id = o.service_id
"""  # CROSS JOIN: the spans come first, in the order of their index
_NAME, _END, _ATTRIBUTES, _ERROR_TYPE, _DURATION, _ID, _SERVICE = 3, 6, 11, 21, 23, 24, 25
_ORDER: Final = {
    "newest": "s.end_unix_nano DESC, s.id DESC",
    "oldest": "s.end_unix_nano, s.id",
    "slowest": "s.end_unix_nano DESC, s.id DESC",  # no index serves durations: the newest rows are gone through
}


class SqliteReader:
    """The `SpanReader` of one file. Any number of threads; each question has a connection to itself."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[tuple[tuple[int, int] | None, sqlite3.Connection]] = []
        self._idle_lock = threading.Lock()
        self._is_closed = False
        fork.tell_of_forks(self)

    # --- questions

    def find_spans(self, query: SpanQuery) -> SpanPage:
        """The spans that match; see `SpanReader`."""
        with self._transaction() as connection:
            return _find_spans(connection, query)

    def get_trace(self, trace_id: str) -> Trace:
        """Every span of a trace, ordered by start; `NotFoundError` when there is none."""
        key = parse_id(trace_id, 16)
        with self._transaction() as connection:
            sql = f"{_SELECT} WHERE s.trace_id = ? ORDER BY s.start_unix_nano, s.id"
            spans = tuple(_records(connection, connection.execute(sql, (key,))))
        if not spans:
            message = f"There is no trace {key.hex()} in {self.path}: it was never stored, or is pruned by now."
            raise NotFoundError(message)
        return Trace(key.hex(), spans)

    def summarize_operations(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        is_by_service: bool = False,
    ) -> list[OperationStats]:
        """The figures of each operation that ran, most total time first; see `SpanReader`."""
        with self._transaction() as connection:
            return statistics.summarize(
                connection,
                operation=operation,
                service=service,
                window=window,
                is_by_service=is_by_service,
                now_unix_s=time.time(),
            )

    def list_operations(self, *, service: str | None = None) -> list[str]:
        """The distinct operations, by name."""
        sql = "SELECT DISTINCT o.name FROM _operations o JOIN _services v ON v.id = o.service_id"
        condition, parameters = ("", ()) if service is None else (" WHERE v.name = ?", (service,))
        with self._transaction() as connection:
            return [name for (name,) in connection.execute(f"{sql}{condition} ORDER BY o.name", parameters)]

    def list_services(self) -> list[str]:
        """The distinct services, by name."""
        with self._transaction() as connection:
            return [name for (name,) in connection.execute("SELECT DISTINCT name FROM _services ORDER BY name")]

    def summarize_calls(self, *, window: Window | None = None) -> list[CallEdge]:
        """Which operation called which, by hour, newest hour first."""
        start, end = _bounds(window)
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT caller, callee, hour_unix_s, sum(count), total(total_ms) FROM calls"
                " WHERE hour_unix_s > ? AND hour_unix_s < ? GROUP BY caller, callee, hour_unix_s"
                " ORDER BY hour_unix_s DESC, total(total_ms) DESC",
                (start / 1e9 - 3600, end / 1e9),
            )
            return [CallEdge(*row) for row in rows]

    def summarize_errors(self, *, operation: str | None = None) -> list[ErrorGroup]:
        """The error groups, most recent first, those of one operation or of all."""
        condition, parameters = ("", ()) if operation is None else (" WHERE o.name = ?", (operation,))
        sql = (
            "SELECT o.name, g.error_type, g.message, sum(g.count), min(g.first_unix_nano), max(g.last_unix_nano)"
            f" FROM _error_groups g JOIN _operations o ON o.id = g.operation_id{condition}"
            " GROUP BY 1, 2, 3 ORDER BY 6 DESC"
        )
        with self._transaction() as connection:
            rows = connection.execute(sql, parameters)
            return [
                ErrorGroup(name, kind, message, count, first / 1e9, last / 1e9)
                for name, kind, message, count, first, last in rows
            ]

    def find_points(
        self, instrument: str | None = None, *, window: Window | None = None, limit: int = 1000
    ) -> list[PointRecord]:
        """Metric data points, newest first; of one instrument or of all."""
        start, end = _bounds(window)
        condition = "" if instrument is None else "p.instrument_id IN (SELECT id FROM _instruments WHERE name = ?) AND"
        sql = (
            "SELECT i.name, i.kind, i.unit, i.description, i.temporality, i.is_monotonic, p.attributes,"
            " p.start_unix_nano, p.time_unix_nano, p.data, i.resource_id, i.scope_id"
            f" FROM _points p JOIN _instruments i ON i.id = p.instrument_id WHERE {condition}"
            " p.time_unix_nano >= ? AND p.time_unix_nano < ? ORDER BY p.time_unix_nano DESC, p.id DESC LIMIT ?"
        )
        parameters = (start, end, limit) if instrument is None else (instrument, start, end, limit)
        with self._transaction() as connection:
            names = _Shared(connection)
            return [_point(row, names) for row in connection.execute(sql, parameters)]

    def get_health(self) -> Health:
        """The account of everything that ended, over all processes."""
        columns = ("ended", "counted", "stored", "sampled_out", "pruned", "forwarded", "altered")
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in columns)
        with self._transaction() as connection:
            row = connection.execute(f"SELECT {sums} FROM _health").fetchone()
            drops = connection.execute("SELECT reason, sum(count) FROM _drops GROUP BY reason ORDER BY reason")
            return Health(**dict(zip(columns, row, strict=True)), dropped=dict(drops.fetchall()))

    # --- connections

    def close(self) -> None:
        """Close the idle connections; a later question raises `StoreClosedError`."""
        self._is_closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close what no question is using."""
        with self._idle_lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._is_closed:
            message = f"The store {self.path} is closed; open it again."
            raise StoreClosedError(message)
        with connections.translated(self.path):
            inode, connection = self._take()
            try:
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except sqlite3.DatabaseError:
                connection.close()
                raise
            except BaseException:
                self._give_back(inode, connection)
                raise
            self._give_back(inode, connection)

    def _take(self) -> tuple[tuple[int, int] | None, sqlite3.Connection]:
        inode = _inode_of(self.path)
        while True:
            with self._idle_lock:
                if not self._idle:
                    break
                opened_inode, connection = self._idle.pop()
            if opened_inode == inode:
                return inode, connection
            connection.close()  # the path leads to another file by now
        return inode, connections.open_reader(self.path)

    def _give_back(self, inode: tuple[int, int] | None, connection: sqlite3.Connection) -> None:
        with self._idle_lock:
            if len(self._idle) < _IDLE_MAX and not self._is_closed:
                self._idle.append((inode, connection))
                return
        connection.close()

    # --- fork

    def before_fork(self) -> None:
        """No connection goes over a fork; one that a question uses belongs to a thread that the child has not."""
        self.close_idle()

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start without a connection; another thread may have held the lock."""
        self._idle, self._idle_lock = [], threading.Lock()


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bounds(window: Window | None) -> tuple[int, int]:
    if window is None:
        return -INT64_MAX, INT64_MAX
    return max(window.start_unix_nano, -INT64_MAX), min(window.end_unix_nano, INT64_MAX)


# --- spans


def _find_spans(connection: sqlite3.Connection, query: SpanQuery) -> SpanPage:
    """Search each operation by itself, each in order through an index, and merge what they yield."""
    branches = _branches(connection, query)
    is_scan = _is_scan(query)
    deadline = time.monotonic() + SCAN_SECONDS_MAX
    rows: list[tuple[Any, ...]] = []
    rows_read, is_complete = 0, True
    for operation_id, is_overflow in branches:
        is_bounded = is_scan or is_overflow
        bounds = (SCAN_ROWS_MAX // len(branches), deadline) if is_bounded else (query.limit, math.inf)
        found, read, is_done = _search(connection, query, operation_id, *bounds)
        rows += found
        rows_read += read
        is_complete = is_complete and (is_done or not is_bounded)
    if len(branches) > 1:
        rows = _best(rows, query)
    return SpanPage(tuple(_records(connection, rows)), is_complete, rows_read)


def _is_scan(query: SpanQuery) -> bool:
    """Whether no index serves the question, so that rows must be looked at which the answer may not hold."""
    filters = (query.error_type, query.min_duration_ms, query.max_duration_ms)
    has_filter = bool(query.attributes) or any(each is not None for each in filters)
    is_by_service = query.service is not None and query.operation is None
    return query.order == "slowest" or has_filter or is_by_service


def _branches(connection: sqlite3.Connection, query: SpanQuery) -> list[tuple[int | None, bool]]:
    """The ids of the operations to search (None: all), and whether it is an overflow one, which holds many names."""
    if query.operation is None:
        return [(None, False)]
    condition, parameters = ("", ()) if query.service is None else (" WHERE v.name = ?", (query.service,))
    of_service = "SELECT id FROM _operations o WHERE o.service_id = v.id AND o.name = ?"
    sql = f"SELECT ({of_service}), ({of_service}) FROM _services v{condition}"
    rows = connection.execute(sql, (query.operation, OVERFLOW_OPERATION, *parameters)).fetchall()
    found = [(own, False) if own is not None else (overflow, True) for own, overflow in rows]
    return [each for each in found if each[0] is not None]


def _search(
    connection: sqlite3.Connection, query: SpanQuery, operation_id: int | None, rows_max: int, deadline: float
) -> tuple[list[tuple[Any, ...]], int, bool]:
    """What matches in one branch, how many rows were read, and whether all were that could matter."""
    where, parameters = _indexed_conditions(query, operation_id)
    sql = f"{_SELECT} {where} ORDER BY {_ORDER[query.order]} LIMIT ?"
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
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.trace_id is not None:
        conditions.append("s.trace_id = ?")
        parameters.append(parse_id(query.trace_id, 16))
    if operation_id is not None:
        conditions.append("s.operation_id = ?")
        parameters.append(operation_id)
    if query.window is not None:
        conditions.append("s.end_unix_nano >= ? AND s.end_unix_nano < ?")
        parameters += _bounds(query.window)
    for column, wanted in (("is_error", query.is_error), ("is_slow", query.is_slow)):
        if wanted is not None:
            conditions.append(f"s.{column} = {int(wanted)}")  # a literal: a partial index is not used for a parameter
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
        (query.operation is None or row[_NAME] == query.operation)
        and (query.service is None or row[_SERVICE] == query.service)
        and (query.min_duration_ms is None or duration_ms >= query.min_duration_ms)
        and (query.max_duration_ms is None or duration_ms <= query.max_duration_ms)
        and (query.error_type is None or row[_ERROR_TYPE] == query.error_type)
        and (not query.attributes or _has_attributes(decode_attributes(row[_ATTRIBUTES]), query.attributes))
    )


def _has_attributes(attributes: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        sought = tuple(value) if isinstance(value, list) else value
        if key not in attributes or attributes[key] != sought or type(attributes[key]) is not type(sought):
            return False
    return True


def _records(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> Iterator[SpanRecord]:
    names = _Shared(connection)
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


def _point(row: tuple[Any, ...], names: _Shared) -> PointRecord:
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


class _Shared:
    """The resources and scopes that one answer refers to, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._resources: dict[int, ResourceRecord] = {}
        self._scopes: dict[int, ScopeRecord] = {}

    def resource(self, key: int) -> ResourceRecord:
        if key not in self._resources:
            sql = "SELECT attributes, schema_url FROM _resources WHERE id = ?"
            row = self._connection.execute(sql, (key,)).fetchone() or ("{}", "")
            self._resources[key] = ResourceRecord(decode_attributes(row[0]), row[1])
        return self._resources[key]

    def scope(self, key: int) -> ScopeRecord:
        if key not in self._scopes:
            sql = "SELECT name, version, schema_url, attributes FROM _scopes WHERE id = ?"
            name, version, schema_url, attributes = self._connection.execute(sql, (key,)).fetchone()
            self._scopes[key] = ScopeRecord(name, version, schema_url, decode_attributes(attributes))
        return self._scopes[key]
