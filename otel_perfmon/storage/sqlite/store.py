"""The SQLite store: what can be asked and tidied, whoever records."""

from __future__ import annotations

from typing import Final

from otel_perfmon.errors import QueryError, StoreClosedError
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import CallEdge, ErrorGroup, Health, OperationStats, PointRecord, SpanPage, Trace
from otel_perfmon.storage import registry
from otel_perfmon.storage.sqlite.connection import check_ours, check_readable, translated
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

_UNIX_S_MAX: Final = 9_000_000_000
"""The year 2255: nanoseconds up to here fit 64 bits."""


class SqliteStore:
    """The `Store` of one file. What this process records into it is flushed before each question."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._reader = SqliteReader(path)
        self._is_closed = False

    def find_spans(self, query: SpanQuery | None = None) -> SpanPage:
        """The spans that match; see `SpanReader`."""
        return self._asked().find_spans(query)

    def get_trace(self, trace_id: str) -> Trace:
        """Every span of a trace, ordered by start; `NotFoundError` when there is none."""
        return self._asked().get_trace(trace_id)

    def summarize_operations(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        is_by_service: bool = False,
    ) -> list[OperationStats]:
        """The figures of each operation that ran, most total time first; see `SpanReader`."""
        return self._asked().summarize_operations(
            operation=operation, service=service, window=window, is_by_service=is_by_service
        )

    def list_operations(self, *, service: str | None = None) -> list[str]:
        """The distinct operations, by name."""
        return self._asked().list_operations(service=service)

    def list_services(self) -> list[str]:
        """The distinct services, by name."""
        return self._asked().list_services()

    def summarize_calls(self, *, window: Window | None = None) -> list[CallEdge]:
        """Which operation called which, by hour, newest hour first."""
        return self._asked().summarize_calls(window=window)

    def summarize_errors(self, *, operation: str | None = None) -> list[ErrorGroup]:
        """The error groups, most recent first."""
        return self._asked().summarize_errors(operation=operation)

    def find_points(
        self, instrument: str | None = None, *, window: Window | None = None, limit: int = 1000
    ) -> list[PointRecord]:
        """Metric data points, newest first."""
        return self._asked().find_points(instrument, window=window, limit=limit)

    def get_health(self) -> Health:
        """The account of everything that ended, over all processes."""
        return self._asked().get_health()

    def delete_spans_before(self, end_time: float) -> int:
        """Remove the spans that ended before ``end_time`` (Unix seconds); statistics stay. How many."""
        if isinstance(end_time, bool) or not isinstance(end_time, (int, float)) or end_time != end_time:  # noqa: PLR0124
            message = f"end_time must be a number of Unix seconds; it is {end_time!r:.100}."
            raise QueryError(message)
        self._asked()
        end_unix_nano = int(max(-_UNIX_S_MAX, min(_UNIX_S_MAX, end_time)) * 10**9)
        recorder = registry.find_recorder(self.path)
        if recorder is not None:
            return recorder.delete_spans_before(end_unix_nano)
        with translated(self.path):
            check_readable(self.path)
            check_ours(self.path)
        writer = SqliteWriter(self.path)
        try:
            return writer.delete_spans_before(end_unix_nano)
        finally:
            writer.close()

    def close(self) -> None:
        """Close it; a later question raises `StoreClosedError`."""
        self._is_closed = True
        self._reader.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _asked(self) -> SqliteReader:
        if self._is_closed:
            message = f"The store {self.path} is closed; open it again."
            raise StoreClosedError(message)
        registry.flush_before_reading(self.path)
        return self._reader
