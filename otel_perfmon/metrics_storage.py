"""The plain face of a store: metrics in, metrics and statistics out, as dicts and numbers."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from otel_perfmon.config import Config, resolve_config
from otel_perfmon.errors import StoreClosedError
from otel_perfmon.failure import message_of
from otel_perfmon.query import INT64_MAX, SpanQuery, Window, check_seconds
from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.sdk.provider import make_resource
from otel_perfmon.sdk.rows import SpanEncoder
from otel_perfmon.storage.attributes import (
    NO_ATTRIBUTES,
    encode_foreign_attributes,
    encode_items,
    safe_str,
    storable_text,
)
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.cells import Kept, align_window
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.rows import NO_DETAILS, OPERATION_NAME_MAX, STATUS_ERROR, ScopeRow, SpanDetails, SpanRow
from otel_perfmon.storage.scales import weight_of
from otel_perfmon.storage.url import open_configured_recorder, open_store

if TYPE_CHECKING:  # loaded when something is asked
    from otel_perfmon.records import OpenSpanRecord, OperationStats, SpanRecord

_SCOPE: Final = ScopeRow("otel_perfmon", "", "", "{}")
_INTERNAL: Final = 1
_SAMPLED: Final = 0x101


class MetricsStorage:
    """Metrics of operations in one local SQLite file. Any number of threads; a context manager.

    A metric is a dict with ``operation``, ``timestamp`` (Unix seconds, when it ended), ``duration`` (ms), ``error``,
    ``is_slow``, ``error_type``, ``error_message``, ``stack_trace``, ``context`` (its attributes), ``trace_id``,
    ``span_id`` and ``parent_span_id`` (hex or None). Lists are newest first. Questions see everything that ended
    before them in this process, and raise `StoreError` when the file cannot answer.

    With the ``durability`` ``root`` or ``span`` a metric is in the file when `insert_metric` returns, with ``batch``
    within 200 ms.

    ``db_path`` left out is ``OTEL_PYTHON_PERFMON_PATH``, else ``metrics.db`` in the working directory. The file is
    made when the first metric is kept. Raises `ConfigError` for a wrong setting.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str] | None = None,
        *,
        retention_seconds: float | None = None,
        keep_seconds: float | None = None,
        size_max_bytes: int | str | None = None,
        durability: str | None = None,
        sample_rate: float | None = None,
        sample_rates: Mapping[str, float] | None = None,
        redact: bool | None = None,
        redact_keys: Sequence[str] | None = None,
        redact_patterns: Sequence[str] | None = None,
    ) -> None:
        arguments = {
            "path": db_path,
            "retention_seconds": retention_seconds,
            "keep_seconds": keep_seconds,
            "size_max_bytes": size_max_bytes,
            "durability": durability,
            "sample_rate": sample_rate,
            "sample_rates": sample_rates,
            "redact": redact,
            "redact_keys": redact_keys,
            "redact_patterns": redact_patterns,
        }
        self._open(resolve_config(arguments), arguments)

    @classmethod
    def from_config(cls, config: Config) -> MetricsStorage:
        """The storage that settled settings describe; they hold for every user of the file in this process."""
        storage = cls.__new__(cls)
        storage._open(config, asdict(config))  # noqa: SLF001 - its own
        return storage

    def _open(self, config: Config, arguments: Mapping[str, Any]) -> None:
        self.path = config.path
        self.retention_seconds = config.retention_seconds
        self.durability = config.durability
        self._recorder = open_configured_recorder(config, arguments)
        self._opened_store: Store | None = None
        self._door = _MetricDoor()
        self._is_closed = False

    @property
    def recorder(self) -> Recorder:
        """Where spans for this storage are handed in."""
        return self._recorder

    @property
    def store(self) -> Store:
        """The same file, with every question a `Store` answers."""
        if self._opened_store is None:
            self._opened_store = open_store(self.path)
        return self._opened_store

    # --- in

    def insert_metric(
        self,
        operation: str,
        duration: float,
        error: bool = False,
        is_slow: bool = False,
        *,
        timestamp: float | None = None,
        error_type: str | None = None,
        error_message: str | None = None,
        stack_trace: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep one metric that was measured elsewhere, as a trace of one span with ids of its own.

        ``duration`` in milliseconds, ``timestamp`` in Unix seconds when it ended (now, if left out). Never raises: a
        duration or timestamp that is no finite number, or a negative duration, is counted as dropped and logged.
        """
        try:
            end_unix_nano = time.time_ns() if timestamp is None else _nano(timestamp, 10**9)
            duration_nano = _nano(duration, 10**6, minimum=0)
            figures = (end_unix_nano, duration_nano, bool(error), bool(is_slow))
            # Encoded here: the caller may go on to change what the context holds.
            attributes = encode_foreign_attributes(context) if isinstance(context, Mapping) and context else None
        except Exception as trouble:  # the outer rim: a value may be anything, its own methods included
            why = (
                f"a metric of {safe_str(operation)[:100]} has a value that cannot be kept: {message_of(trouble)[:200]}."
            )
            self._recorder.lose("invalid", 1, why)
            return
        texts = (operation, error_type, error_message, stack_trace)
        self._recorder.record(self._door, (figures, texts, attributes))
        if self.durability != "batch":
            self._recorder.commit()

    # --- out

    def get_metrics(self, operation: str | None = None, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The metrics of one operation or of all, newest first, at most ``limit`` (None: all that are kept)."""
        return self._find(SpanQuery(operation=operation, limit=INT64_MAX if limit is None else limit))

    def get_metrics_in_window(
        self,
        operation: str | None,
        window_seconds: float,
        filter_slow: bool = False,
        filter_errors: bool = False,
    ) -> list[dict[str, Any]]:
        """The metrics that ended in the last ``window_seconds``, newest first; only slow, only failed ones if asked."""
        query = SpanQuery(
            operation=operation,
            window=Window.last(window_seconds),
            is_slow=True if filter_slow else None,
            is_error=True if filter_errors else None,
            limit=INT64_MAX,
        )
        return self._find(query)

    def get_stats(self, operation: str | None = None, *, window_seconds: float | None = None) -> Any:
        """The `OperationStats` of one operation; without an operation those of all, most total time first.

        ``window_seconds`` asks for the last so many seconds, aligned outwards to the rollups' cells; the answer's
        ``window`` says what it covers. An operation never seen has count 0 and no durations.
        """
        window = None if window_seconds is None else Window.last(window_seconds)
        self._check_open()
        stats = self.store.summarize_operations(operation=operation, window=window) if self._has_file() else []
        if operation is None:
            return stats
        if stats:
            return stats[0]
        aligned = None if window is None else align_window(window, Kept(int(time.time())))
        from otel_perfmon.records import OperationStats  # noqa: PLC0415 - see above

        return OperationStats.of_no_calls(operation, None, aligned)

    def find_open_spans(self) -> list[OpenSpanRecord]:
        """What is running now, open for longer than about a second, in every process on this file; oldest first.

        With it what was running in a process that died, until the next one that records makes spans of it.
        """
        self._check_open()
        self.recorder.look_at_open_spans()  # which may be what makes the file
        return self.store.find_open_spans() if self._has_file() else []

    def get_error_rate(self, operation: str, window_seconds: float) -> float:
        """The share of failed calls in the last ``window_seconds``, between 0 and 1; 0 without any call."""
        stats: OperationStats = self.get_stats(operation, window_seconds=window_seconds)
        return stats.error_rate

    def cleanup(self, older_than_seconds: float | None = None) -> int:
        """Remove the metrics that ended longer ago than that (None: than the retention); statistics stay. How many."""
        age = self.retention_seconds if older_than_seconds is None else older_than_seconds
        now = time.time()
        age = min(now, check_seconds("older_than_seconds", age))
        self._check_open()
        return self.store.delete_spans_before(now - age) if self._has_file() else 0

    def close(self) -> None:
        """Write what there is and close; a later question raises `StoreClosedError`."""
        if not self._is_closed:
            self._is_closed = True
            if self._opened_store is not None:
                self._opened_store.close()
            release_recorder(self._recorder)

    def __enter__(self) -> MetricsStorage:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- inside

    def _find(self, query: SpanQuery) -> list[dict[str, Any]]:
        self._check_open()
        return [_metric(span) for span in self._pages(query)] if self._has_file() else []

    def _pages(self, query: SpanQuery) -> Iterator[SpanRecord]:
        """The spans of all pages, up to the query's limit: a search that stops is gone on with."""
        while True:
            page = self.store.find_spans(query)
            yield from page
            rest = query.limit - len(page)
            if page.next_page_token is None or rest < 1:
                return
            query = replace(query, page_token=page.next_page_token, limit=rest)

    def _check_open(self) -> None:
        if self._is_closed:
            message = f"The storage {self.path} is closed; make a new MetricsStorage."
            raise StoreClosedError(message)

    def _has_file(self) -> bool:
        """Whether there is anything to ask: the file is made when the first metric is written."""
        if not self._is_file_there():
            self._recorder.flush_or_raise()
        return self._is_file_there()

    def _is_file_there(self) -> bool:
        try:
            return os.stat(self.path).st_size > 0
        except OSError:
            return False


class _MetricDoor:
    """Makes a span of a metric, on the writer's thread."""

    def __init__(self) -> None:
        self._ids = TimeOrderedIdGenerator()
        self._resource = SpanEncoder().resource(make_resource(None, None))

    def weigh(self, payload: Any) -> int:
        """About how many bytes of memory a metric holds."""
        return weight_of(payload)

    def encode(self, payload: Any, slow_threshold_nano: int) -> SpanRow:
        (end, duration, is_error, is_slow), (operation, kind, message, stack_trace), attributes = payload
        name, is_name_cut = storable_text(operation, OPERATION_NAME_MAX)
        exception = {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack_trace}
        event = encode_foreign_attributes({key: value for key, value in exception.items() if value is not None})
        item = {"name": "exception", "time_unix_nano": end, "attributes": event}
        events = encode_items([item]) if event.text != "{}" else None
        error_type = storable_text(kind, OPERATION_NAME_MAX)[0] if is_error else ""
        attributes = attributes or NO_ATTRIBUTES
        start = max(-INT64_MAX, end - duration)
        is_time_cut = end - start != duration or abs(end) == INT64_MAX or duration == INT64_MAX
        cut = (
            ("times", is_time_cut),
            ("name", is_name_cut),
            ("attributes", attributes.is_altered),
            ("events", event.is_altered),
        )
        details = SpanDetails(
            status_message=storable_text(message)[0],
            error_type=error_type,
            error_message=storable_text(message)[0],
            events=events.text if events else "",
            dropped_attributes_count=attributes.dropped_count,
            altered=",".join(part for part, is_cut in cut if is_cut),
        )
        return SpanRow(
            trace_id=self._ids.generate_trace_id().to_bytes(16, "big"),
            span_id=self._ids.generate_span_id().to_bytes(8, "big"),
            parent_span_id=b"",
            is_parent_remote=False,
            name=name,
            resource=self._resource,
            scope=_SCOPE,
            kind=_INTERNAL,
            flags=_SAMPLED,
            start_unix_nano=start,
            end_unix_nano=end,
            duration_nano=end - start,
            status_code=STATUS_ERROR if is_error else 0,
            is_slow=int(is_slow),
            attributes=attributes.text,
            details=None if details == NO_DETAILS else details,
        )


def _nano(value: Any, scale: int, *, minimum: float = -math.inf) -> int:
    """``value`` times ``scale`` as an integer, exactly rounded, or what comes nearest in 64 bits.

    Raises `ValueError` or `OverflowError` for what is not finite or below ``minimum``, `TypeError` for no number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{type(value).__name__} is no number"
        raise TypeError(message)
    if not math.isfinite(value) or value < minimum:  # a too large integer raises OverflowError here
        message = f"{value} is out of range"
        raise ValueError(message)
    from fractions import Fraction  # noqa: PLC0415 - 5 ms, for who inserts metrics

    return max(-INT64_MAX, min(INT64_MAX, round(Fraction(value) * scale)))


def _metric(span: SpanRecord) -> dict[str, Any]:
    exception = span.exception.attributes if span.exception else {}
    return {
        "operation": span.name,
        "timestamp": span.end_unix_nano / 10**9,
        "duration": span.duration_nano / 10**6,
        "error": span.is_error,
        "is_slow": span.is_slow,
        "error_type": span.error_type or exception.get("exception.type"),
        "error_message": exception.get("exception.message") or span.status_message or None,
        "stack_trace": exception.get("exception.stacktrace"),
        "context": dict(span.attributes),
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
    }


# --- the storage that everything without one of its own shares, once configure() has run

_shared: MetricsStorage | None = None


def share_storage(storage: MetricsStorage | None) -> None:
    """Let `PerformanceMonitor()` without a storage use this one; None ends that."""
    global _shared  # noqa: PLW0603 - one per process, like the global tracer provider
    _shared = storage


def shared_storage() -> MetricsStorage | None:
    """The storage of the configured process, or None."""
    return _shared
