"""Answers as values: what a store gives back. Times are nanoseconds since 1970, durations carry their unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from otel_perfmon.query import Window

#: Attribute values: str, bool, int, float, bytes, None, and tuples and dicts of them.
Attributes = Mapping[str, Any]

KIND_NAMES = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_NAMES = ("unset", "ok", "error")
STACK_EVENT = "perfmon.stack"
"""The event of a slow span that tells where it was when it passed its threshold."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One timed note on a span."""

    name: str
    time_unix_nano: int
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """A pointer from a span to another one; ``flags`` as in OTLP (bits 8 and 9 say whether it is remote)."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    flags: int = 0
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0


@dataclass(frozen=True, slots=True)
class ResourceRecord:
    """What made the spans: a process of a service.

    ``otlp`` is empty where the other fields tell all, as in a `ScopeRecord`; else a ``ResourceSpans`` of OTLP without
    its scopes, or a ``ScopeSpans`` without its spans, as they came.
    """

    attributes: Attributes = field(default_factory=dict)
    schema_url: str = ""
    otlp: bytes = b""


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """The instrumentation scope that made the spans."""

    name: str
    version: str = ""
    schema_url: str = ""
    attributes: Attributes = field(default_factory=dict)
    otlp: bytes = b""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One stored span, with everything OTLP carries of it, and the flags that were set when it was kept.

    ``kind`` and ``status_code`` are OTLP's numbers, ``flags`` its 32 bits. Ids are lower-case hex; ``parent_span_id``
    is None for a root. ``altered`` names the parts that were cut or replaced to make them storable, if any. ``otlp`` is
    the span as it came in OTLP's protobuf, where the other fields cannot tell all of it; empty for most.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: int
    start_unix_nano: int
    end_unix_nano: int
    status_code: int
    status_message: str
    trace_state: str
    flags: int
    attributes: Attributes
    events: tuple[EventRecord, ...]
    links: tuple[LinkRecord, ...]
    dropped_attributes_count: int
    dropped_events_count: int
    dropped_links_count: int
    resource: ResourceRecord
    scope: ScopeRecord
    is_error: bool
    is_slow: bool
    error_type: str | None
    altered: tuple[str, ...] = ()
    otlp: bytes = b""

    @property
    def duration_nano(self) -> int:
        """End less start, never below 0."""
        return max(0, self.end_unix_nano - self.start_unix_nano)

    @property
    def duration_ms(self) -> float:
        """The duration in milliseconds."""
        return self.duration_nano / 1e6

    @property
    def service(self) -> str:
        """The resource's ``service.name``, or an empty string."""
        return str(self.resource.attributes.get("service.name", ""))

    @property
    def kind_name(self) -> str:
        """The kind in words, such as ``server``."""
        return KIND_NAMES[self.kind] if 0 <= self.kind < len(KIND_NAMES) else str(self.kind)

    @property
    def status_name(self) -> str:
        """The status in words: ``unset``, ``ok`` or ``error``."""
        return STATUS_NAMES[self.status_code] if 0 <= self.status_code < len(STATUS_NAMES) else str(self.status_code)

    @property
    def is_interrupted(self) -> bool:
        """Whether its process was gone before it ended: its end is when that was last seen."""
        return self.attributes.get("perfmon.interrupted") is True

    @property
    def stack_trace(self) -> str:
        """Where it was when it passed its slow threshold; empty if nobody looked."""
        event = next((event for event in self.events if event.name == STACK_EVENT), None)
        return str(event.attributes.get("code.stacktrace", "")) if event else ""

    @property
    def exception(self) -> EventRecord | None:
        """The last exception event, or None."""
        return next((event for event in reversed(self.events) if event.name == "exception"), None)


@dataclass(frozen=True, slots=True)
class SpanPage(Sequence[SpanRecord]):
    """The spans that answer a `SpanQuery`, in its order; a sequence.

    ``is_complete`` is False when the search stopped at its limit of ``rows_read`` rows, so that more may match.
    ``next_page_token`` continues where this page ends; None when nothing can follow. The slowest of a search that
    stopped are those of what was read: their pages go no further.
    """

    spans: tuple[SpanRecord, ...]
    is_complete: bool = True
    rows_read: int = 0
    next_page_token: str | None = None

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[SpanRecord]:
        return iter(self.spans)

    def __getitem__(self, index: Any) -> Any:
        return self.spans[index]


@dataclass(frozen=True, slots=True)
class OperationStats:
    """The figures of one operation over one window, from its rollups.

    Count, errors, slow, sum, minimum and maximum are exact. Percentiles are those of the nearest rank, within 1.1 %.
    Without any call the durations, and first and last seen, are None. ``service`` is None where all services count
    together. ``first_seen`` and ``last_seen`` are Unix seconds. ``window`` is the time covered, aligned to the
    rollups' cells; None means all that is kept.
    """

    operation: str
    service: str | None
    count: int
    error_count: int
    error_rate: float
    slow_count: int
    avg_ms: float | None
    min_ms: float | None
    max_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    total_ms: float
    self_ms: float
    first_seen: float | None
    last_seen: float | None
    window: Window | None

    @classmethod
    def of_no_calls(cls, operation: str, service: str | None, window: Window | None) -> OperationStats:
        """The figures of an operation that was not called in the window."""
        durations = (None,) * 7
        return cls(operation, service, 0, 0, 0.0, 0, *durations, 0.0, 0.0, None, None, window)

    @property
    def rate_per_second(self) -> float:
        """Calls in a second: over the window, without one between the first and the last call, at least one second."""
        if self.window is not None:
            return self.count / self.window.seconds if self.window.seconds else 0.0
        return self.count / max(1.0, (self.last_seen or 0.0) - (self.first_seen or 0.0))


@dataclass(frozen=True, slots=True)
class OperationSeries:
    """The figures of one operation (None: of all together) over time, one `OperationStats` for each cell.

    The cells are ``cell_seconds`` wide and follow each other over ``window``; one without calls has count 0.
    """

    operation: str | None
    service: str | None
    window: Window
    cell_seconds: int
    points: tuple[OperationStats, ...]


@dataclass(frozen=True, slots=True)
class CountSeries:
    """How often one operation was called, and failed, in each cell of ``window``."""

    operation: str
    window: Window
    cell_seconds: int
    counts: tuple[int, ...]
    error_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DurationBucket:
    """``count`` calls took more than ``lower_ms`` and at most ``upper_ms``; both are 0 for calls that took no time."""

    lower_ms: float
    upper_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """How the durations of one operation (None: of all) spread: its buckets that are not empty, shortest first.

    A bucket is 2.2 % wide.
    """

    operation: str | None
    service: str | None
    window: Window | None
    buckets: tuple[DurationBucket, ...]

    @property
    def count(self) -> int:
        """How many calls there were."""
        return sum(bucket.count for bucket in self.buckets)

    def percentile_rank(self, duration_ms: float) -> float | None:
        """The share of calls, between 0 and 1, that took less, by a bucket at least; None without any call."""
        total = self.count
        faster = sum(bucket.count for bucket in self.buckets if bucket.upper_ms < duration_ms)
        return faster / total if total else None


@dataclass(frozen=True, slots=True)
class Heatmap:
    """How often which durations were taken when, of one operation (None: of all together).

    ``counts[i][j]`` calls ended in cell ``i`` of ``window`` and took more than ``bounds_ms[j]`` and at most
    ``bounds_ms[j + 1]``; those up to a nanosecond count in the lowest row. ``error_counts[i]`` of the calls in that
    cell failed. Without any call there are no rows.
    """

    operation: str | None
    service: str | None
    window: Window
    cell_seconds: int
    bounds_ms: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    error_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CallEdge:
    """How often one operation called another over one window, and how long the calls took together.

    ``window`` is aligned to hours; None means all that is kept.
    """

    caller: str
    callee: str
    count: int
    total_ms: float
    window: Window | None


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors of one operation that differ only in the variable parts of their message.

    ``count`` is that of the hours of ``window``; None means all that is kept. ``first_seen`` and ``last_seen``
    (Unix seconds) are those of the group, whatever the window. ``last_message`` is the latest message in full. The
    traces are its first and its latest example, which may be pruned by now.
    """

    operation: str
    error_type: str
    message: str
    count: int
    first_seen: float
    last_seen: float
    last_message: str
    first_trace_id: str
    last_trace_id: str
    last_span_id: str
    window: Window | None


@dataclass(frozen=True, slots=True)
class PointRecord:
    """One stored metric data point of any instrument.

    ``data`` holds what the instrument's kind has, by OTLP's names: ``value``, or ``count``, ``sum``, ``min``, ``max``,
    ``bucket_counts``, ``explicit_bounds``, or the exponential form, and ``exemplars``.
    """

    instrument: str
    kind: str
    unit: str
    description: str
    temporality: int
    is_monotonic: bool
    attributes: Attributes
    start_unix_nano: int
    time_unix_nano: int
    data: Mapping[str, Any]
    resource: ResourceRecord
    scope: ScopeRecord


SEVERITY_NAMES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Four of OpenTelemetry's severity numbers each, from 1 on."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One stored log record. Ids are hex, or None; times are 0 where it has none, and so is an unknown severity.

    A ``body`` is text or any attribute value; None where it is empty, and without ``has_body`` where there is none.
    ``altered`` and ``otlp`` as in a `SpanRecord`.
    """

    trace_id: str | None
    span_id: str | None
    flags: int
    time_unix_nano: int
    observed_unix_nano: int
    severity_number: int
    severity_text: str
    event_name: str
    body: Any
    has_body: bool
    attributes: Attributes
    dropped_attributes_count: int
    resource: ResourceRecord
    scope: ScopeRecord
    arrived_unix_s: int
    altered: tuple[str, ...] = ()
    otlp: bytes = b""

    @property
    def moment_unix_nano(self) -> int:
        """When it happened, else when it was seen, else when it arrived here."""
        return self.time_unix_nano or self.observed_unix_nano or self.arrived_unix_s * 10**9

    @property
    def severity(self) -> str:
        """The severity in words: its own, else OpenTelemetry's; empty if it is unknown."""
        is_known = 0 < self.severity_number <= 4 * len(SEVERITY_NAMES)
        return self.severity_text or (SEVERITY_NAMES[(self.severity_number - 1) // 4] if is_known else "")

    @property
    def service(self) -> str:
        """The resource's ``service.name``, or an empty string."""
        return str(self.resource.attributes.get("service.name", ""))

    @property
    def exception(self) -> EventRecord | None:
        """The exception that it tells of, as an event of its span would; None if it tells of none."""
        is_one = any(self.attributes.get(f"exception.{name}") for name in ("type", "message"))
        return EventRecord("exception", self.moment_unix_nano, self.attributes) if is_one else None


_Item = TypeVar("_Item")
_Position = TypeVar("_Position")


@dataclass(frozen=True, slots=True)
class ArrivalPage(Generic[_Item, _Position]):
    """Some of what is stored, in an order that stays; the next page comes after ``last``, None when nothing is left."""

    items: tuple[_Item, ...]
    last: _Position | None


@dataclass(frozen=True, slots=True)
class OpenSpanRecord:
    """A span that has not ended, as it stood when its process last looked.

    ``state`` is ``running``, or ``interrupted`` when its process is gone: then that was what it was doing. The
    ``span`` ends now, or when the process last looked. ``thread_name`` is empty for a thread that was unknown.
    """

    span: SpanRecord
    state: str
    pid: int
    thread_id: int
    thread_name: str

    @property
    def is_interrupted(self) -> bool:
        """Whether its process is gone."""
        return self.state == "interrupted"

    @property
    def stack_trace(self) -> str:
        """Where it was when it became slow; empty if it has not, or nobody looked."""
        return self.span.stack_trace


@dataclass(frozen=True, slots=True)
class SqlRows:
    """The answer to a question in SQL; ``is_complete`` is False when there were more rows than asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_complete: bool = True
