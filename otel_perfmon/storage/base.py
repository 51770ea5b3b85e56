"""The contracts of a store, once for every backend.

**Writing** (`SpanWriter`). One call is one transaction: spans, everything counted from them, and the account of losses
become visible together or not at all. When the call returns, they are durable against the death of the process; a power
cut may take the last moments. A `StoreError` means nothing was kept and the same batch may be tried again. A span that
can never be kept (its values break the backend) is left out and counted, the others of its batch are kept. The same
span written twice is two spans. One thread at a time; the recorder sees to that.

**Reading** (`SpanReader`). Any number of threads. A question in the process that records sees everything that ended
before it; in another process, what has been committed. Lists are newest first by end unless the question says
otherwise, ties in reverse order of arrival; nothing found is an empty answer, except for ``get_`` calls, which raise
`NotFoundError`. A malformed question is a `QueryError`; a store that cannot answer raises `StoreError`; nothing else.

**Time**. A span belongs to the moment it ended. Retention goes by arrival, `Store.delete_spans_before` by end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import CallEdge, ErrorGroup, Health, OperationStats, PointRecord, SpanPage, Trace
from otel_perfmon.storage.rows import EdgeRow, PointRow, SpanRow


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long and how much is kept.

    ``retention_seconds`` for ordinary spans, ``keep_seconds`` for slow and failed spans with their traces (and for
    metric points), ``size_max_bytes`` for the file with its write-ahead log.
    """

    retention_seconds: float = 3600.0
    keep_seconds: float = 7 * 86_400.0
    size_max_bytes: int = 512 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """What is written in one transaction. ``self_nano`` runs parallel to ``spans``.

    ``dropped`` counts spans lost since the last batch, by reason; ``sampled_out`` those a sampler kept back. The writer
    sets ``is_written`` the moment the transaction is committed: whatever happens after that, it is not tried again.
    """

    spans: Sequence[SpanRow] = ()
    self_nano: Sequence[int] = ()
    edges: Sequence[EdgeRow] = ()
    points: Sequence[PointRow] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    sampled_out: int = 0
    is_written: bool = False


class SpanWriter(Protocol):
    """Writes batches; see the module's docstring.

    ``on_progress`` is called whenever a piece of a write is done: it tells a write that is starved of CPU, which goes
    on, from one that hangs.
    """

    on_progress: Callable[[], None]

    def write(self, batch: Batch, *, timeout_seconds: float) -> int:
        """Keep the batch; wait at most ``timeout_seconds`` for other writers. How many spans could never be kept."""

    def maintain(self) -> bool:
        """Do a bounded piece of housekeeping; True when more is waiting."""

    @property
    def is_over_size(self) -> bool:
        """Whether the store is larger than its policy allows, so that `maintain` should run now."""

    def delete_spans_before(self, end_unix_nano: int) -> int:
        """Remove the spans that ended before that moment; how many."""

    def set_retention(self, policy: RetentionPolicy) -> None:
        """What `maintain` keeps from now on."""

    def close(self) -> None:
        """Give back every resource; a later write opens them again."""

    def hurry(self, *, is_hurried: bool) -> None:
        """Let a write that waits for other processes give up at once. From any thread."""

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching it."""


class SpanReader(Protocol):
    """Answers questions; see the module's docstring."""

    def find_spans(self, query: SpanQuery | None = None) -> SpanPage:
        """The spans that match; without a query the newest hundred."""

    def get_trace(self, trace_id: str) -> Trace:
        """Every span of a trace, ordered by start; `NotFoundError` when there is none."""

    def summarize_operations(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        is_by_service: bool = False,
    ) -> list[OperationStats]:
        """The figures of each operation that ran, most total time first; services together or each for itself."""

    def list_operations(self, *, service: str | None = None) -> list[str]:
        """The distinct operations, by name."""

    def list_services(self) -> list[str]:
        """The distinct services, by name."""

    def summarize_calls(self, *, window: Window | None = None) -> list[CallEdge]:
        """Which operation called which, by hour, newest hour first."""

    def summarize_errors(self, *, operation: str | None = None) -> list[ErrorGroup]:
        """The error groups, most recent first."""

    def find_points(
        self, instrument: str | None = None, *, window: Window | None = None, limit: int = 1000
    ) -> list[PointRecord]:
        """Metric data points, newest first."""

    def get_health(self) -> Health:
        """The account of everything that ended."""


class Store(SpanReader, Protocol):
    """One store, to ask and to tidy. A context manager."""

    def delete_spans_before(self, end_time: float) -> int:
        """Remove the spans that ended before ``end_time`` (Unix seconds); statistics stay. How many."""

    def close(self) -> None:
        """Close it; a later question raises `StoreClosedError`."""

    def __enter__(self) -> Store: ...

    def __exit__(self, *exception: object) -> None: ...
