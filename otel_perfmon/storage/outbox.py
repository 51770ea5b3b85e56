"""The contract of an outbox: the spans of a store as a queue for one destination, in the order in which they arrived.

The table of spans is the queue; a destination is a *cursor* over the ids of its rows, so that any number of them share
the same rows, and nothing is copied. Who holds the *lease* on a destination sends to it, for every process on the
file. What was sent is written down after it was sent: a process that dies in between sends it again, and nothing is
lost. Retention does not wait for a destination; what it took before its turn is counted as pruned.

Every call may raise `StoreError`. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from otel_perfmon.records import ResourceRecord, ScopeRecord, SpanRecord

ALL_SPANS: Final = 1.0
LEASE_SECONDS: Final = 30.0
"""How long a lease lasts, unless it is kept: its holder may stand still for so long."""
LEASE_SECONDS_MAX: Final = 3_600.0
"""A lease that would last longer is of another boot, where the system does not tell one boot from another."""


@dataclass(frozen=True, slots=True)
class ForwardPolicy:
    """What is sent: every span, or of whole traces those that are slow or failed and a share of the rest.

    ``sample_rate`` is that share, 0 to 1; below 1 a trace is judged ``decision_wait_seconds`` after its spans arrived.
    """

    sample_rate: float = ALL_SPANS
    decision_wait_seconds: float = 30.0

    @property
    def is_sampling(self) -> bool:
        """Whether anything is left out."""
        return self.sample_rate < ALL_SPANS


@dataclass(frozen=True, slots=True)
class SpanNames:
    """What spans refer to by id."""

    operations: Mapping[int, str]
    resources: Mapping[int, ResourceRecord]
    scopes: Mapping[int, ScopeRecord]


class SpanShape(NamedTuple):
    """What most spans of a batch have in common, by the ids of names and as in OTLP."""

    resource_id: int
    scope_id: int
    operation_id: int
    kind: int
    flags: int
    status_code: int


@dataclass(frozen=True, slots=True)
class OutboxSpans:
    """Spans as they lie in the store, by column: one of each for every row, in the order of their row ids.

    Shapes that are equal are one object.

    ``raw`` has by row id the bytes of a ``Span`` of OTLP for those that a row cannot hold whole.
    """

    row_ids: Sequence[int]
    shapes: Sequence[SpanShape]
    trace_ids: Sequence[bytes]
    span_ids: Sequence[bytes]
    parent_span_ids: Sequence[bytes]
    start_unix_nano: Sequence[int]
    end_unix_nano: Sequence[int]
    attributes: Sequence[str]
    details: Sequence[str]
    names: SpanNames
    raw: Mapping[int, bytes] = field(default_factory=dict)


NO_SPANS: Final = OutboxSpans((), (), (), (), (), (), (), (), (), SpanNames({}, {}, {}))


class Stretch(NamedTuple):
    """A run of the queue: the rows to be sent of those with ids above ``after_id``, up to ``last_id``.

    ``found_ids`` are all the rows that are there, ``row_ids`` those that are to be sent. With a ``trace_id`` it is
    what was left out of a trace that is sent after all.
    """

    after_id: int
    last_id: int
    found_ids: Sequence[int]
    row_ids: Sequence[int]
    trace_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of the next rows of a stretch, up to ``last_id``: counts, and what is parked with which reply."""

    last_id: int
    sent_count: int = 0
    refused_count: int = 0
    parked: Mapping[int, str] = field(default_factory=dict)


class LeaseLostError(Exception):
    """Another process took the lease over: this one stood still for too long."""


class Outbox(Protocol):
    """The queue for one destination, which is known by its name."""

    name: str

    def acquire(self) -> bool:
        """Take the lease, or keep it; False while another process has it. Makes the destination if it is new."""

    def keep_lease(self) -> None:
        """Have the lease for its full time from now on, if less than most of that is left. `LeaseLostError`."""

    def release(self) -> None:
        """Give the lease back, and every resource."""

    def next_stretch(self, count_max: int) -> Stretch | None:
        """What comes next: at most ``count_max`` rows to be sent, perhaps none; None when nothing is due."""

    def read_spans(self, row_ids: Sequence[int]) -> OutboxSpans:
        """Those rows, as far as they are there."""

    def read_records(self, row_ids: Sequence[int]) -> tuple[Sequence[int], Sequence[SpanRecord]]:
        """The same as records, with their row ids."""

    def settle(self, stretch: Stretch, settlement: Settlement) -> Stretch | None:
        """Write down what became of the first rows of a stretch; what is left of it. `LeaseLostError`."""

    def note_failure(self, sentence: str) -> None:
        """Write down that the destination takes nothing just now, and why."""
