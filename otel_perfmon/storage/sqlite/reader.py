"""Asking the file: read-only connections, short transactions, every question through an index."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from otel_perfmon.account import DestinationHealth, Health, ProcessHealth, StoreSummary
from otel_perfmon.errors import NotFoundError, QueryError
from otel_perfmon.outline import Outline
from otel_perfmon.query import (
    INT64_MAX,
    SpanQuery,
    Window,
    check_count,
    check_seconds,
    check_text,
    check_window,
    parse_id,
)
from otel_perfmon.records import (
    ArrivalPage,
    CallEdge,
    CountSeries,
    Distribution,
    ErrorGroup,
    Heatmap,
    LogRecord,
    OpenSpanRecord,
    OperationSeries,
    OperationStats,
    PointRecord,
    SpanPage,
    SpanRecord,
    SqlRows,
)
from otel_perfmon.storage.cells import CELLS_MAX, Grid
from otel_perfmon.storage.rows import SpanKey
from otel_perfmon.storage.sqlite import logs, search, statistics, traces
from otel_perfmon.storage.sqlite.answers import find_arrived_points, find_points
from otel_perfmon.storage.sqlite.arrivals import last_id
from otel_perfmon.storage.sqlite.destinations import count_sent, list_destinations
from otel_perfmon.storage.sqlite.edges import summarize_calls
from otel_perfmon.storage.sqlite.error_counts import summarize_error_counts
from otel_perfmon.storage.sqlite.error_groups import summarize_errors
from otel_perfmon.storage.sqlite.health import read_processes, summed
from otel_perfmon.storage.sqlite.outlines import KnownOutlines
from otel_perfmon.storage.sqlite.read_connections import ReadConnections
from otel_perfmon.storage.sqlite.rollup_points import find_rollup_points
from otel_perfmon.storage.sqlite.running import find_open_spans, read_open_token
from otel_perfmon.storage.sqlite.span_filter import stored_name
from otel_perfmon.storage.sqlite.sql import list_views, query_sql
from otel_perfmon.storage.sqlite.summary import summarize_store
from otel_perfmon.trace import Trace


class SqliteReader(ReadConnections):
    """The `SpanReader` of one file. Any number of threads; each question has a connection to itself."""

    def __init__(self, path: str, seconds_max: float | None = None) -> None:
        super().__init__(path, seconds_max)
        self._outlines = KnownOutlines()

    def find_spans(self, query: SpanQuery | None = None) -> SpanPage:
        """The spans that match; see `SpanReader`."""
        if query is not None and not isinstance(query, SpanQuery):
            message = f"A SpanQuery is wanted; {query!r:.100} is none."
            raise QueryError(message)
        with self._transaction() as connection:
            return search.find_spans(connection, query or SpanQuery())

    def find_known_spans(self, keys: Collection[SpanKey]) -> set[SpanKey]:
        """Which of these spans the store has; see `SpanReader`."""
        with self._transaction() as connection:
            return traces.find_known_spans(connection, keys)

    def get_end_token(self) -> str:
        """The page token, for the order of arrival, after which nothing has arrived yet."""
        with self._transaction() as connection:
            last = last_id(connection)
            return search.make_token("arrival", (last, last))

    def get_trace(self, trace_id: str) -> Trace:
        """The spans of a trace, ordered by start; see `SpanReader`."""
        key = parse_id(trace_id, 16)
        with self._transaction() as connection:
            trace = traces.read_trace(connection, key)
        if not trace.spans:
            raise NotFoundError(self._no_trace(key))
        return trace

    def get_outline(self, trace_id: str) -> Outline:
        """The tree of a trace without what its spans carry; see `SpanReader`."""
        key = parse_id(trace_id, 16)
        with self._transaction() as connection:
            found = self._outlines.read(connection, key)
        if found is None:
            raise NotFoundError(self._no_trace(key))
        return found if isinstance(found, Outline) else self._outlines.make(found)

    def _no_trace(self, key: bytes) -> str:
        return f"There is no trace {key.hex()} in {self.path}: it was never stored, or is pruned by now."

    def find_in_trace(self, trace_id: str, text: str) -> list[str]:
        """The ids of the spans of a trace that have ``text`` in them; see `SpanReader`."""
        key, wanted = parse_id(trace_id, 16), check_text("text", text) or ""
        with self._transaction() as connection:
            return [span_id.hex() for span_id in traces.find_in_trace(connection, key, wanted)]

    def find_trace_spans(self, trace_id: str, span_ids: Collection[str]) -> list[SpanRecord]:
        """The spans of those ids in a trace; see `SpanReader`."""
        key, wanted = parse_id(trace_id, 16), {parse_id(span_id, 8) for span_id in span_ids}
        with self._transaction() as connection:
            return traces.find_trace_spans(connection, key, wanted)

    def find_trace_ids(self, prefix: str, *, limit: int = 2) -> list[str]:
        """The ids of traces that begin with ``prefix``, in hex, in order."""
        with self._transaction() as connection:
            return traces.find_trace_ids(connection, prefix, check_count("limit", limit))

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
                operation=_name("operation", operation),
                service=_name("service", service),
                window=_bounded(window),
                is_by_service=is_by_service,
                now_unix_s=time.time(),
            )

    def summarize_series(
        self,
        operation: str | None = None,
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 60,
    ) -> OperationSeries:
        """The figures over time, in at most ``cells_max`` cells."""
        names = {"operation": _name("operation", operation), "service": _name("service", service)}
        with self._transaction() as connection:
            grid = _grid(connection, window, cells_max, is_of_one=operation is not None)
            return statistics.summarize_series(connection, grid, **names)

    def summarize_counts(
        self,
        operations: Sequence[str],
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 24,
    ) -> list[CountSeries]:
        """Calls over time of each of the operations, in their order."""
        names = [_name("operation", operation) or "" for operation in operations]
        with self._transaction() as connection:
            grid = _grid(connection, window, cells_max, is_of_one=True)
            return statistics.summarize_counts(connection, grid, operations=names, service=_name("service", service))

    def summarize_heatmap(
        self,
        operation: str | None = None,
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 60,
        rows_max: int = 20,
    ) -> Heatmap:
        """Time against duration, in at most ``cells_max`` cells and ``rows_max`` rows."""
        names = {"operation": _name("operation", operation), "service": _name("service", service)}
        with self._transaction() as connection:
            grid = _grid(connection, window, cells_max, is_of_one=operation is not None)
            return statistics.summarize_heatmap(connection, grid, rows_max=check_count("rows_max", rows_max), **names)

    def summarize_distribution(
        self, operation: str | None = None, *, service: str | None = None, window: Window | None = None
    ) -> Distribution:
        """How the durations spread; what a percentile rank is told from."""
        with self._transaction() as connection:
            return statistics.summarize_distribution(
                connection,
                operation=_name("operation", operation),
                service=_name("service", service),
                window=_bounded(window),
                now_unix_s=time.time(),
            )

    def list_operations(self, *, service: str | None = None) -> list[str]:
        """The distinct operations, by name."""
        sql = "SELECT DISTINCT o.name FROM _operations o JOIN _services v ON v.id = o.service_id"
        condition, parameters = ("", ()) if service is None else (" WHERE v.name = ?", (_name("service", service),))
        with self._transaction() as connection:
            return [name for (name,) in connection.execute(f"{sql}{condition} ORDER BY o.name", parameters)]

    def list_services(self) -> list[str]:
        """The distinct services, by name."""
        with self._transaction() as connection:
            return [name for (name,) in connection.execute("SELECT DISTINCT name FROM _services ORDER BY name")]

    def summarize_calls(
        self, *, operation: str | None = None, service: str | None = None, window: Window | None = None
    ) -> list[CallEdge]:
        """Which operation called which, most time first; see `SpanReader`."""
        names = {"operation": _name("operation", operation), "service": _name("service", service)}
        with self._transaction() as connection:
            return summarize_calls(connection, window=_bounded(window), **names)

    def summarize_errors(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        limit: int = 100,
    ) -> list[ErrorGroup]:
        """The error groups that occurred in the window, most recent first."""
        names = {"operation": _name("operation", operation), "service": _name("service", service)}
        with self._transaction() as connection:
            return summarize_errors(connection, window=_bounded(window), limit=check_count("limit", limit), **names)

    def summarize_error_counts(
        self,
        groups: Sequence[ErrorGroup],
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 48,
    ) -> list[CountSeries]:
        """How often each of the groups occurred over time, in their order; see `SpanReader`."""
        cells_max = min(CELLS_MAX, check_count("cells_max", cells_max))
        service, window = _name("service", service), _bounded(window)
        with self._transaction() as connection:
            return summarize_error_counts(connection, groups, service=service, window=window, cells_max=cells_max)

    def find_points(
        self, instrument: str | None = None, *, window: Window | None = None, limit: int = 1000
    ) -> list[PointRecord]:
        """Metric data points, newest first; of one instrument or of all."""
        with self._transaction() as connection:
            ends = search.bounds(check_window(window))
            limit = min(check_count("limit", limit), INT64_MAX)
            return find_points(connection, _name("instrument", instrument), ends, limit)

    def find_logs(
        self,
        *,
        trace_id: str | None = None,
        service: str | None = None,
        severity_min: int = 0,
        window: Window | None = None,
        limit: int = 1000,
    ) -> list[LogRecord]:
        """Log records, newest first; see `SpanReader`."""
        bounds = search.bounds(check_window(window)) if window is not None else None
        chosen = {"trace_id": trace_id, "service": _name("service", service)}
        with self._transaction() as connection:
            limit = min(check_count("limit", limit), INT64_MAX)
            return logs.find_logs(connection, severity_min=severity_min, bounds=bounds, limit=limit, **chosen)

    def find_arrived_points(self, after: int = 0, *, limit: int = 512) -> ArrivalPage[PointRecord, int]:
        """Metric data points in the order in which they arrived; see `SpanReader`."""
        with self._transaction() as connection:
            return find_arrived_points(connection, after, min(check_count("limit", limit), INT64_MAX))

    def find_arrived_logs(self, after: int = 0, *, limit: int = 512) -> ArrivalPage[LogRecord, int]:
        """Log records in the order in which they arrived; see `SpanReader`."""
        with self._transaction() as connection:
            return logs.find_arrived_logs(connection, after, min(check_count("limit", limit), INT64_MAX))

    def find_rollup_points(
        self, after: tuple[int, int] = (0, 0), *, limit: int = 512
    ) -> ArrivalPage[PointRecord, tuple[int, int]]:
        """Statistics as metric data points; see `SpanReader`."""
        with self._transaction() as connection:
            return find_rollup_points(connection, after, min(check_count("limit", limit), INT64_MAX))

    def find_open_spans(self, *, trace_id: str | None = None) -> list[OpenSpanRecord]:
        """What is running now, in every process, and what was when a process died; see `SpanReader`."""
        key = None if trace_id is None else parse_id(trace_id, 16)
        with self._transaction() as connection:
            return find_open_spans(connection, key)

    def get_open_token(self) -> str:
        """A text that changes when what `find_open_spans` tells does; see `SpanReader`."""
        with self._transaction() as connection:
            return read_open_token(connection)

    def get_health(self) -> Health:
        """The account of everything that ended, over all processes and destinations."""
        with self._transaction() as connection:
            return replace(summed(read_processes(connection)), forwarded=count_sent(connection))

    def list_processes(self) -> list[ProcessHealth]:
        """The account of each process that recorded, the latest to write first."""
        with self._transaction() as connection:
            return read_processes(connection)

    def list_destinations(self) -> list[DestinationHealth]:
        """Where spans are sent on to, and how far each destination has come, by name."""
        with self._transaction() as connection:
            return list_destinations(connection)

    def summarize_store(self) -> StoreSummary:
        """What the store is, how much it holds and for how long."""
        with self._transaction() as connection:
            return summarize_store(connection, self.path)

    def query_sql(self, sql: str, *, rows_max: int = 1000, seconds_max: float = 5.0) -> SqlRows:
        """Answer one read-only statement; see `SpanReader`."""
        with self._transaction(is_reused=False) as connection:
            rows_max = min(check_count("rows_max", rows_max), INT64_MAX - 1)
            return query_sql(connection, sql, rows_max=rows_max, seconds_max=check_seconds("seconds_max", seconds_max))

    def list_views(self) -> dict[str, tuple[str, ...]]:
        """The views and their columns; see `SpanReader`."""
        with self._transaction(is_reused=False) as connection:
            return list_views(connection)


def _bounded(window: Window | None) -> Window | None:
    """The window in numbers that fit 64 bits; `QueryError` when it is none."""
    return None if check_window(window) is None else Window(*search.bounds(window))


def _grid(connection: sqlite3.Connection, window: Window | None, cells_max: int, *, is_of_one: bool) -> Grid:
    """The grid of a question; `QueryError` when its window is none, or its number of cells."""
    window, cells_max = _bounded(window), min(CELLS_MAX, check_count("cells_max", cells_max))
    return statistics.grid_over(connection, window, cells_max, is_of_one=is_of_one, now_unix_s=time.time())


def _name(what: str, name: str | None) -> str | None:
    """The name as it is stored; `QueryError` when it is no text."""
    return stored_name(check_text(what, name))
