"""The intake: what waits to be written, and how a part of it becomes a batch.

Turning spans into rows happens here, on the writer's thread: encoding, leaving out what came through another door
already, self time and call edges.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from typing import Any, Final, NamedTuple, Protocol

from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.rows import NO_DETAILS, SpanRow
from otel_perfmon.storage.sampling import SamplingChoice, TailSampling

BATCH_TEXT_MAX: Final = 2 * 1024 * 1024
"""Characters of attributes, events and links in one batch, so that no transaction swells the file beyond its limit."""
INTERRUPTIONS_MAX: Final = 4
"""So often in a row may the reading of one span be interrupted."""
PROGRESS_ROWS: Final = 64
"""After so many rows progress is told: beside busy threads a batch can take a second, without being stuck."""
_RECENT_MAX: Final = 65_536


class Door(Protocol):
    """Where spans come in: turns what it put into the queue into a row, on the writer's thread."""

    def encode(self, payload: Any, slow_threshold_nano: int) -> SpanRow:
        """The row of one payload; ``slow_threshold_nano`` is what it was when the span ended."""


class Item(NamedTuple):
    """What waits to be written, with the door it came through and the slow threshold that held when it ended.

    A payload that has the other two as attributes itself may wait as it is: in a burst the garbage collector has one
    object less to visit for each span.
    """

    payload: Any
    door: Door
    slow_threshold_nano: int


class Intake:
    """A queue of what doors brought. Any thread may append to ``queue``; one at a time takes batches."""

    def __init__(self, losses: Losses, on_progress: Callable[[], None], choice: SamplingChoice | None = None) -> None:
        self._on_progress = on_progress
        self.queue: deque[Any] = deque()
        self.unfinished: Batch | None = None
        self._losses = losses
        self._doors: weakref.WeakSet[Door] = weakref.WeakSet()
        self._lineage = Lineage()
        self._recent: Generations[tuple[bytes, bytes, int, int], Door] = Generations(_RECENT_MAX)
        self._interrupted: Any = None
        self._interruption_count = 0
        self._choice = choice or SamplingChoice()
        self._sampling: TailSampling | None = None

    def open_door(self, door: Door) -> None:
        """Say that spans may come through ``door``. One that two doors bring in is kept once."""
        self._doors.add(door)

    def open_doors_of(self, other: Intake) -> None:
        """Keep the doors of another intake open."""
        self._doors = other._doors

    def take_batch(self, count_max: int) -> int:
        """Make a batch of at most ``count_max`` items, in ``unfinished``; how many were taken from the queue for it.

        When something interrupts (Ctrl-C in a program that helps to write), what is done is there as well, and the
        others are back in the queue.
        """
        items: list[Any] = []
        rows: list[SpanRow] = []
        own: list[int] = []
        self._follow_policy()
        sampling = self._sampling
        is_shared = len(self._doors) > 1
        self_nano = self._lineage.self_nano
        done_count = text_size = 0
        try:
            # One call of C for all of them: an interrupt finds each item here or there.
            items.extend(starmap(self.queue.popleft, repeat((), min(count_max, len(self.queue)))))
            for item in items:
                try:
                    door = item.door
                    row = door.encode(item.payload if type(item) is Item else item, item.slow_threshold_nano)
                    if not (is_shared and self._came_before(row, door)):
                        size = len(row.attributes) if row.details is None else _text_size(row)
                        text_size += size
                        self_time = self_nano(row)
                        if sampling is None or sampling.sift(row, size, self_time):
                            own.append(self_time)
                            rows.append(row)
                except Exception as error:  # a span that cannot even be read; the others are kept
                    self._lose_unreadable(error)
                done_count += 1
                if not done_count % PROGRESS_ROWS:
                    self._on_progress()
                if text_size > BATCH_TEXT_MAX:
                    break
            self.queue.extendleft(reversed(items[done_count:]))
            del items[done_count:]
            self.unfinished = self._batch_of(rows, own)
        except BaseException:
            self._put_back_interrupted(items[done_count:])
            del own[len(rows) :]  # what was between the two is put back
            self.unfinished = self.unfinished or self._batch_of(rows, own)
            raise
        return done_count

    def give_up_held(self) -> None:
        """Sample out what is held: no root will end any more."""
        if self._sampling is not None:
            self._sampling.give_up()

    def take_sampled_out(self) -> int:
        """How many spans were sampled out since the last time."""
        return self._sampling.take_sampled_out() if self._sampling is not None else 0

    def put_back(self, account: Batch) -> None:
        """Count again what could not be written down."""
        self._losses.put_back(account.dropped)
        if self._sampling is not None:
            self._sampling.put_back(account.sampled_out)

    def _batch_of(self, rows: list[SpanRow], own: list[int]) -> Batch:
        edges = self._lineage.take_edges()
        if self._sampling is None:
            return Batch(rows, own, edges)
        kept, counted = self._sampling.take()
        return Batch(rows, own, edges, kept=kept, counted=counted, sampled_out=self._sampling.take_sampled_out())

    def _follow_policy(self) -> None:
        policy, sampling = self._choice.policy, self._sampling
        if policy is not None and (sampling is not None or policy.is_sampling):
            if sampling is None:
                self._sampling = TailSampling(policy, self._losses)
            elif sampling.policy is not policy:
                sampling.follow(policy)

    def _lose_unreadable(self, error: Exception) -> None:
        why = f"a span could not be read: {type(error).__name__}: {safe_str(error)[:200]}"
        self._losses.add("unreadable", 1, why)

    def _put_back_interrupted(self, items: list[Any]) -> None:
        is_same = bool(items) and items[0] is self._interrupted
        self._interruption_count = self._interruption_count + 1 if is_same else 1
        if self._interruption_count > INTERRUPTIONS_MAX:  # not Ctrl-C: the span itself does that, each time
            self._losses.add("unreadable", 1, "reading a span ends the thread that reads it")
            items = items[1:]
        self._interrupted = items[0] if items else None
        self.queue.extendleft(reversed(items))

    def _came_before(self, row: SpanRow, door: Door) -> bool:
        key = (row.trace_id, row.span_id, row.start_unix_nano, row.end_unix_nano)
        first = self._recent.get(key)
        if first is None:
            self._recent.set(key, door)
        return first is not None and first is not door


def _text_size(row: SpanRow) -> int:
    details = row.details or NO_DETAILS
    return len(row.attributes) + len(details.events) + len(details.links)
