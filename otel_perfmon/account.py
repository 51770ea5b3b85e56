"""What a store says of itself, as values: what became of all that ended, how much it holds, and which secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Health:
    """What became of the spans that ended, over every process that recorded into the file.

    ``ended`` = ``counted`` in the statistics + the sum of ``dropped`` + ``queued``, and ``counted`` = ``stored`` +
    ``sampled_out``. ``pruned`` counts stored spans that were removed since, ``altered`` those of which a part was cut
    or replaced, ``forwarded`` those that destinations have taken. Of those sampled out, ``held`` wait for the verdict
    on their trace, and ``not_kept``, by reason, could not be stored though their trace was kept. ``interrupted`` spans
    are stored beside all these: they never ended, their process did.
    """

    ended: int
    counted: int
    stored: int
    sampled_out: int
    pruned: int
    forwarded: int
    altered: int
    dropped: Mapping[str, int]
    queued: int = 0
    held: int = 0
    not_kept: Mapping[str, int] = field(default_factory=dict)
    interrupted: int = 0


@dataclass(frozen=True, slots=True)
class ProcessHealth:
    """The account of one process that recorded; ``process`` is ``past`` for all that have been silent for an hour.

    ``is_alive`` is None where that cannot be told from here; when it ``is_closed`` it has closed the file. Times in
    Unix seconds: ``updated`` is when it last wrote or was heard of, ``oldest_queued`` when the span that waits
    longest had ended, ``failed`` when a write last failed, with the sentence ``failure``.
    """

    process: str
    pid: int
    is_alive: bool | None
    is_closed: bool
    updated: float
    oldest_queued: float | None
    failure_count: int
    failed: float | None
    failure: str
    health: Health


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """How far the spans have come that are sent on to one destination; ``name`` is its URL, without credentials.

    ``sent_count`` it took, ``refused_count`` it rejected among others that it took; ``parked_count`` it would not take
    by themselves, ``left_out_count`` were not chosen, ``pruned_count`` went before their turn; ``waiting_count`` are
    still to be looked at, the first of which arrived at about ``oldest_waiting``. Times in Unix seconds, or None:
    ``sent`` is when it last took a span, ``failing_since`` when it stopped to, with the sentence ``failure``.
    ``sender_pid`` is the process that sends, if any does.
    """

    name: str
    sent_count: int
    refused_count: int
    parked_count: int
    left_out_count: int
    pruned_count: int
    waiting_count: int
    oldest_waiting: float | None
    sent: float | None
    failing_since: float | None
    failure: str
    sender_pid: int | None


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """What a store is and holds. Sizes in bytes; the first and the last end of a span in Unix seconds, or None.

    ``retention_seconds``, ``keep_seconds`` and ``size_max_bytes`` are those of the process that last recorded.
    ``rollup_keep_seconds`` tells for each width of cell, in seconds, how long it is kept. ``slow_threshold_ms`` is from
    when on spans are slow that have no threshold of their own, by the process that last wrote; None if none has said.
    """

    path: str
    schema_version: int
    sqlite_version: str
    file_bytes: int
    wal_bytes: int
    span_count: int
    operation_count: int
    service_count: int
    error_group_count: int
    point_count: int
    first_end: float | None
    last_end: float | None
    retention_seconds: float
    keep_seconds: float
    size_max_bytes: int
    rollup_keep_seconds: Mapping[int, int]
    log_count: int = 0
    slow_threshold_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SecretFinding:
    """Secrets that a store holds: in how many rows, at which ``place`` (such as ``spans.attributes``), and the ``key``.

    ``key`` is the name under which they stand, '' where they stand in a text without one.
    """

    place: str
    key: str
    count: int
