"""Answers as values: what a store gives back. Times are nanoseconds since 1970, durations carry their unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_perfmon.query import Window

#: Attribute values: str, bool, int, float, bytes, None, and tuples and dicts of them.
Attributes = Mapping[str, Any]

KIND_NAMES = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_NAMES = ("unset", "ok", "error")


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
    """What made the spans: a process of a service."""

    attributes: Attributes = field(default_factory=dict)
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """The instrumentation scope that made the spans."""

    name: str
    version: str = ""
    schema_url: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One stored span, with everything OTLP carries of it, and the flags that were set when it was kept.

    ``kind`` and ``status_code`` are OTLP's numbers, ``flags`` its 32 bits. Ids are lower-case hex; ``parent_span_id``
    is None for a root. ``altered`` names the parts that were cut or replaced to make them storable, if any.
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
    def exception(self) -> EventRecord | None:
        """The last exception event, or None."""
        return next((event for event in reversed(self.events) if event.name == "exception"), None)


@dataclass(frozen=True, slots=True)
class SpanPage(Sequence[SpanRecord]):
    """The spans that answer a `SpanQuery`, in its order; a sequence.

    ``is_complete`` is False when the search stopped at its limit of ``rows_read`` rows, so that more may match.
    """

    spans: tuple[SpanRecord, ...]
    is_complete: bool = True
    rows_read: int = 0

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[SpanRecord]:
        return iter(self.spans)

    def __getitem__(self, index: Any) -> Any:
        return self.spans[index]


@dataclass(frozen=True, slots=True)
class Trace:
    """Every stored span of one trace, ordered by start."""

    trace_id: str
    spans: tuple[SpanRecord, ...]

    @property
    def roots(self) -> tuple[SpanRecord, ...]:
        """The spans whose parent is not among the stored ones."""
        present = {span.span_id for span in self.spans}
        return tuple(span for span in self.spans if span.parent_span_id not in present)

    def children(self, span: SpanRecord) -> tuple[SpanRecord, ...]:
        """The direct children of ``span``, ordered by start."""
        return tuple(child for child in self.spans if child.parent_span_id == span.span_id)


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


@dataclass(frozen=True, slots=True)
class CallEdge:
    """How often one operation called another in one hour, and how long the calls took together."""

    caller: str
    callee: str
    hour_unix_s: int
    count: int
    total_ms: float


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors of one operation that differ only in the variable parts of their message."""

    operation: str
    error_type: str
    message: str
    count: int
    first_seen: float
    last_seen: float


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


@dataclass(frozen=True, slots=True)
class Health:
    """What became of the spans that ended, over every process that recorded into the file.

    ``ended`` = ``stored`` + ``sampled_out`` + the sum of ``dropped``. ``pruned`` counts stored spans that retention
    removed, ``altered`` those of which a part was cut or replaced.
    """

    ended: int
    counted: int
    stored: int
    sampled_out: int
    pruned: int
    forwarded: int
    altered: int
    dropped: Mapping[str, int]
