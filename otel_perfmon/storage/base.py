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

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from otel_perfmon.alerts import Alert, AlertRule
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.rows import EdgeRow, LogRow, OpenSpanRow, PointRow, SpanKey, SpanRow

if TYPE_CHECKING:  # answers, 10 ms of imports that who records never needs
    from otel_perfmon.account import DestinationHealth, Health, ProcessHealth, SecretFinding, StoreSummary
    from otel_perfmon.outline import Outline
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
    from otel_perfmon.storage.redactor import RedactionPolicy
    from otel_perfmon.trace import Trace

TRACE_SPANS_MAX: Final = 10_000
"""Spans of one trace that an answer holds."""
OUTLINE_SPANS_MAX: Final = 200_000
"""Spans of one trace that its outline holds."""
KEYS_MAX: Final = 100_000
"""Spans of one trace among which those that came before are known."""
TRACE_LOGS_MAX: Final = 1_000
"""Log records of one trace that an answer holds, the latest."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long and how much is kept.

    ``retention_seconds`` for ordinary spans, ``keep_seconds`` for slow and failed spans with their traces (and for
    metric points), ``size_max_bytes`` for the file with its write-ahead log. Log records stay with their trace; those
    of severity ERROR or worse as if it had failed.
    """

    retention_seconds: float = 3600.0
    keep_seconds: float = 7 * 86_400.0
    size_max_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenSpans:
    """The spans of this process that have not ended.

    Rows of others are to go if ``is_all``: what ended before was written by now, or dropped.
    """

    rows: Sequence[OpenSpanRow] = ()
    is_all: bool = True


@dataclass(frozen=True, slots=True)
class RecorderState:
    """What a recorder tells of itself at the moment it writes, for whoever looks at the file alone.

    ``queued_count`` spans wait behind the batch, the oldest of which ended at ``oldest_unix_nano`` (0 if none, or
    if nobody can say); ``held_count`` are counted, and wait for their trace's verdict. ``failure_count`` writes
    failed so far, the last at ``failed_unix_s`` with the sentence ``failure``. When it ``is_closed``, it gives no
    more signs of life. Spans are slow from ``slow_threshold_nano`` on; 0 where nobody has said.
    """

    queued_count: int = 0
    oldest_unix_nano: int = 0
    held_count: int = 0
    failure_count: int = 0
    failed_unix_s: int = 0
    failure: str = ""
    is_closed: bool = False
    slow_threshold_nano: int = 0


@dataclass(slots=True)
class Batch:
    """What is written in one transaction. ``self_nano`` runs parallel to ``spans``, which are stored and counted.

    With sampling, ``counted`` are spans that are only counted, with their self times in ``counted_self_nano``, and
    ``kept`` those that an earlier batch counted and that are stored now: a span that is counted and not stored is
    sampled out, until it is kept. ``dropped`` counts spans lost since the last batch, by reason. ``open_spans``, unless
    it is None, replaces what the store knows of those; a span that is stored or counted is no longer one of them. The
    writer sets ``is_written`` the moment the transaction is committed, and calls ``on_written``, before any tidying:
    whatever happens after that, it is not tried again; ``unstorable_count`` says how many of ``spans`` and ``counted``
    it had to drop.
    """

    spans: Sequence[SpanRow] = ()
    self_nano: Sequence[int] = ()
    edges: Sequence[EdgeRow] = ()
    points: Sequence[PointRow] = ()
    logs: Sequence[LogRow] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    kept: Sequence[SpanRow] = ()
    counted: Sequence[SpanRow] = ()
    counted_self_nano: Sequence[int] = ()
    open_spans: OpenSpans | None = None
    state: RecorderState | None = None
    is_written: bool = False
    on_written: Callable[[], None] = field(default=lambda: None)
    unstorable_count: int = 0

    @property
    def span_count(self) -> int:
        """The spans that it is the first to count."""
        return len(self.spans) + len(self.counted)


class SpanWriter(Protocol):
    """Writes batches; see the module's docstring.

    ``on_progress`` is called whenever a piece of a write is done: it tells a write that is starved of CPU, which goes
    on, from one that hangs. ``now`` is the clock that `maintain` goes by, in Unix seconds.
    """

    on_progress: Callable[[], None]
    now: Callable[[], float]

    def write(self, batch: Batch, *, timeout_seconds: float) -> int:
        """Keep the batch; wait at most ``timeout_seconds`` for other writers. How many spans could never be kept."""

    def maintain(self) -> bool:
        """Do a bounded piece of housekeeping; True when more is waiting."""

    def evaluate_alarms(self, rule: AlertRule, now: float) -> list[Alert]:
        """Which operations' alarms are raised, and which are over, by the figures of the window that ends ``now``.

        ``now`` in Unix seconds. The store remembers what is raised, for each threshold: of all processes that ask, one
        is told of a change, once.
        """

    @property
    def batch_bytes_max(self) -> int:
        """So many bytes may be written in one transaction, for the store to stay within its size meanwhile."""

    @property
    def is_over_size(self) -> bool:
        """Whether the store is larger than its policy allows, so that `maintain` should run now."""

    def delete_spans_before(self, end_unix_nano: int) -> tuple[int, bool]:
        """Remove a bounded number of the spans that ended before that moment, and of log records of before.

        How many spans, and if more of either wait.
        """

    def prune(self, policy: RetentionPolicy | None = None) -> tuple[int, bool]:
        """Do a bounded piece of `maintain`, by ``policy`` or the store's own; how many spans went, and if more wait."""

    def set_retention(self, policy: RetentionPolicy) -> None:
        """What `maintain` keeps from now on."""

    def close(self) -> None:
        """Give back every resource; a later write opens them again."""

    def hurry(self, *, is_hurried: bool) -> None:
        """Let a write that waits for other processes give up at once. From any thread."""

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching it."""


class KeysFound(NamedTuple):
    """Spans that a store has by their row ids, and whether what was found earlier still holds."""

    rows: Sequence[tuple[int, SpanKey]] = ()
    file: object = None
    """Which file it is, None before anything was recorded: another one has none of the spans of this one."""
    removed_count: int = 0
    """How many spans were ever removed from it: while it stays the same, what was there is there."""


class SpanReader(Protocol):
    """Answers questions; see the module's docstring.

    Figures come from rollups: a ``window`` is aligned to their cells, outwards, and the answer says what it covers;
    without one it is all that is kept. An ``operation`` of None means all of them together, a ``service`` likewise.
    """

    def find_spans(self, query: SpanQuery | None = None) -> SpanPage:
        """The spans that match; without a query the newest hundred."""

    def find_known_spans(self, keys: Collection[SpanKey]) -> set[SpanKey]:
        """Which of these spans the store has."""

    def get_end_token(self) -> str:
        """The page token, for the order of arrival, after which nothing has arrived yet."""

    def get_trace(self, trace_id: str) -> Trace:
        """The spans of a trace, ordered by start, and its log records; `NotFoundError` when there is no span.

        Of a trace with more than ``TRACE_SPANS_MAX`` spans the last to arrive (of those of a million spans at most),
        and ``is_complete`` is False.
        """

    def get_outline(self, trace_id: str) -> Outline:
        """The tree of a trace without what its spans carry; `NotFoundError` when there is no span.

        Spans that have not ended are among them, up to now. Of a trace with more than ``OUTLINE_SPANS_MAX`` spans the
        last to arrive, as above.
        """

    def find_in_trace(self, trace_id: str, text: str) -> list[str]:
        """The ids of the spans of a trace in whose name, attributes, events or status ``text`` occurs, in any case."""

    def find_trace_spans(self, trace_id: str, span_ids: Collection[str]) -> list[SpanRecord]:
        """The spans of those ids in a trace, those first that started first: one for each as a rule, as ids may repeat.

        Of ids that occur very often, ``TRACE_SPANS_MAX`` in all.
        """

    def find_trace_ids(self, prefix: str, *, limit: int = 2) -> list[str]:
        """The ids of traces that begin with ``prefix``, in hex, in order; `QueryError` when it is none."""

    def summarize_operations(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        is_by_service: bool = False,
    ) -> list[OperationStats]:
        """The figures of each operation that ran, most total time first; services together or each for itself."""

    def summarize_series(
        self,
        operation: str | None = None,
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 60,
    ) -> OperationSeries:
        """The figures over time, in at most ``cells_max`` cells."""

    def summarize_counts(
        self,
        operations: Sequence[str],
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 24,
    ) -> list[CountSeries]:
        """Calls over time of each of the operations, in their order."""

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

    def summarize_distribution(
        self, operation: str | None = None, *, service: str | None = None, window: Window | None = None
    ) -> Distribution:
        """How the durations spread; what a percentile rank is told from."""

    def list_operations(self, *, service: str | None = None) -> list[str]:
        """The distinct operations, by name."""

    def list_services(self) -> list[str]:
        """The distinct services, by name."""

    def summarize_calls(
        self, *, operation: str | None = None, service: str | None = None, window: Window | None = None
    ) -> list[CallEdge]:
        """Which operation called which, most time first; with an ``operation`` its callers and its callees."""

    def summarize_errors(
        self,
        *,
        operation: str | None = None,
        service: str | None = None,
        window: Window | None = None,
        limit: int = 100,
    ) -> list[ErrorGroup]:
        """The error groups that occurred in the window, most recent first."""

    def summarize_error_counts(
        self,
        groups: Sequence[ErrorGroup],
        *,
        service: str | None = None,
        window: Window | None = None,
        cells_max: int = 48,
    ) -> list[CountSeries]:
        """How often each of the groups occurred over time, in their order; cells are hours or wider."""

    def find_open_spans(self, *, trace_id: str | None = None) -> list[OpenSpanRecord]:
        """The spans that have not ended, in every process, those first that started first; of one trace or of all.

        Of a process that runs, those open for longer than about a second; of one that is gone, what it was doing.
        """

    def get_open_token(self) -> str:
        """A text that changes when what `find_open_spans` tells does, but for how long; cheap, to be asked each second.

        Empty when nothing is open.
        """

    def find_points(
        self, instrument: str | None = None, *, window: Window | None = None, limit: int = 1000
    ) -> list[PointRecord]:
        """Metric data points, newest first."""

    def find_logs(
        self,
        *,
        trace_id: str | None = None,
        service: str | None = None,
        severity_min: int = 0,
        window: Window | None = None,
        limit: int = 1000,
    ) -> list[LogRecord]:
        """Log records, newest first; of one trace, of one service, and of a severity number or more."""

    def find_arrived_points(self, after: int = 0, *, limit: int = 512) -> ArrivalPage[PointRecord, int]:
        """Metric data points in the order in which they arrived, behind the one that another page ended with."""

    def find_arrived_logs(self, after: int = 0, *, limit: int = 512) -> ArrivalPage[LogRecord, int]:
        """The same of log records."""

    def find_rollup_points(
        self, after: tuple[int, int] = (0, 0), *, limit: int = 512
    ) -> ArrivalPage[PointRecord, tuple[int, int]]:
        """Statistics as metric data points, for ``limit`` hours of operations: delta, exponential histograms."""

    def get_health(self) -> Health:
        """The account of everything that ended."""

    def list_processes(self) -> list[ProcessHealth]:
        """The account of each process that recorded, the latest to write first."""

    def list_destinations(self) -> list[DestinationHealth]:
        """Where spans are sent on to, and how far each destination has come, by name."""

    def summarize_store(self) -> StoreSummary:
        """What the store is, how much it holds and for how long."""

    def query_sql(self, sql: str, *, rows_max: int = 1000, seconds_max: float = 5.0) -> SqlRows:
        """Answer one read-only statement, over the views.

        `QueryError` when it is none, wrong, or wants more than to read; `StoreTimeoutError` when it takes longer.
        """

    def list_views(self) -> dict[str, tuple[str, ...]]:
        """What can be asked of in SQL: the views, by name, and the columns of each in their order."""


class Store(SpanReader, Protocol):
    """One store, to ask and to tidy. A context manager."""

    def find_span_keys(self, after: Mapping[bytes, int]) -> KeysFound:
        """The spans of some traces, by their ids: the row id and the key of each that stands behind a given row id.

        Row ids grow as spans arrive. Of a trace that has more of them, the newest ``KEYS_MAX``; of a store that is not
        there yet, none.
        """

    def prune(self, policy: RetentionPolicy | None = None) -> int:
        """Do now, and wholly, what retention does each minute, by the store's own policy unless one is given.

        How many spans were removed; statistics stay.
        """

    def delete_spans_before(self, end_time: float) -> int:
        """Remove the spans that ended before ``end_time`` (Unix seconds), and log records of before; how many spans.

        Statistics stay.
        """

    def find_secrets(self, policy: RedactionPolicy | None = None) -> list[SecretFinding]:
        """Where the store holds secrets, by the defaults and what ``policy`` adds; never the secrets themselves."""

    def remove_secrets(self, policy: RedactionPolicy | None = None) -> list[SecretFinding]:
        """The same, and take them out, so that no byte of the store's files has them."""

    def close(self) -> None:
        """Close it; a later question raises `StoreClosedError`."""

    def __enter__(self) -> Store: ...

    def __exit__(self, *exception: object) -> None: ...
