"""The intake: what waits to be written, and how a part of it becomes a batch.

Turning spans into rows happens here, on the writer's thread: encoding, leaving out what came through another door
already, self time and call edges.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, compress, repeat, starmap
from typing import Any, Final, NamedTuple, Protocol

from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sampling import SamplingChoice, TailSampling

BATCH_TEXT_MAX: Final = 2 * 1024 * 1024
"""Characters of attributes, events and links in one batch, so that no transaction swells the file beyond its limit."""
INTERRUPTIONS_MAX: Final = 4
"""So often in a row may the reading of one span be interrupted."""
ITEMS_AT_ONCE: Final = 256
"""After so many items progress is told: beside busy threads a batch can take a second, without being stuck."""
_RECENT_MAX: Final = 65_536


class Door(Protocol):
    """Where spans come in: turns what it put into the queue into a row, on the writer's thread."""

    def encode(self, payload: Any, slow_threshold_nano: int) -> SpanRow:
        """The row of one payload; ``slow_threshold_nano`` is what it was when the span ended."""


class BulkDoor(Door, Protocol):
    """A door whose payloads wait as they are, and that reads many at once."""

    def encode_plain(self, items: Sequence[Any], room: int) -> PlainSpans:
        """Those among ``items`` that are such payloads of its own and easily read; at most one has no ``room``."""


class PlainSpans(NamedTuple):
    """What a `BulkDoor` has read: ``columns`` of spans, ``text_size`` characters large.

    ``others`` are the numbers of the items it left alone, among the first ``item_count``; it looked at no more.
    """

    columns: SpanColumns
    others: Sequence[int]
    text_size: int
    item_count: int


class Item(NamedTuple):
    """What waits to be written, with the door it came through and the slow threshold that held when it ended.

    A payload that has the other two as attributes itself, of a `BulkDoor`, may wait as it is: in a burst the garbage
    collector has one object less to visit for each span.
    """

    payload: Any
    door: Door
    slow_threshold_nano: int


class _Part:
    """Items that were taken in together; ``own`` (self times) and ``verdicts`` grow until there is one for each span.

    So an interrupt finds out for how many spans the lineage and the sampling have been told, and each is told once.
    """

    __slots__ = ("item_count", "own", "spans", "text_size", "verdicts")

    def __init__(self, spans: SpanColumns, text_size: int, item_count: int) -> None:
        self.spans = spans
        self.text_size = text_size
        self.item_count = item_count
        self.own: list[int] = []
        self.verdicts: list[bool] = []


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
        parts: list[_Part] = []
        self._follow_policy()
        try:
            # One call of C for all of them: an interrupt finds each item here or there.
            items.extend(starmap(self.queue.popleft, repeat((), min(count_max, len(self.queue)))))
            room, done_count = BATCH_TEXT_MAX, 0
            at_once = ITEMS_AT_ONCE if self._interrupted is None else 1  # to find the one that interrupts
            while done_count < len(items) and room > 0:
                part = self._read(items[done_count : done_count + at_once], room)
                parts.append(part)
                self._trace_and_sift(part)
                room -= part.text_size
                done_count += part.item_count
                self._on_progress()
            self.queue.extendleft(reversed(items[done_count:]))
            del items[done_count:]
            self.unfinished = self._batch_of(parts)
        except BaseException:
            self._put_back_interrupted(items[sum(part.item_count for part in parts) :])
            for part in parts[-1:]:
                self._trace_and_sift(part)
            self.unfinished = self.unfinished or self._batch_of(parts)
            raise
        self._interrupted = None
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

    def _read(self, items: list[Any], room: int) -> _Part:
        """Items as columns; fewer than all where there is no ``room`` for their texts."""
        others: Sequence[int]
        bulk: BulkDoor | None = next((item.door for item in items if type(item) is not Item), None)
        if bulk is None:
            columns, others, text_size, item_count = SpanColumns.of(()), range(len(items)), 0, len(items)
        else:
            columns, others, text_size, item_count = bulk.encode_plain(items, room)
        unread: list[int] = []
        for number in others:
            item = items[number]
            try:
                row = item.door.encode(item.payload if type(item) is Item else item, item.slow_threshold_nano)
                text_size += row.text_size
                columns.insert(number - len(unread), row)
            except Exception as error:  # a span that cannot even be read; the others are kept
                self._lose_unreadable(error)
                unread.append(number)
                continue
            if text_size > room:
                item_count = number + 1
                columns = columns[: item_count - len(unread)]
                break
        if len(self._doors) > 1:
            columns = self._without_known(columns, [items[n].door for n in range(item_count) if n not in unread])
        return _Part(columns, text_size, item_count)

    def _trace_and_sift(self, part: _Part) -> None:
        self._lineage.add_self_times(part.spans, part.own)
        if self._sampling is not None:
            self._sampling.judge(part.spans, part.own, part.verdicts)

    def _batch_of(self, parts: list[_Part]) -> Batch:
        edges = self._lineage.take_edges()
        if self._sampling is None:
            spans = SpanColumns.joined([part.spans for part in parts])
            return Batch(spans, list(chain.from_iterable(part.own for part in parts)), edges)
        stored: list[SpanColumns] = []
        own: list[int] = []
        for part in parts:
            if part.verdicts:
                stored.append(part.spans.pick([number for number, is_stored in enumerate(part.verdicts) if is_stored]))
                own += compress(part.own, part.verdicts)
        kept, counted, counted_own = self._sampling.take()
        return Batch(
            SpanColumns.joined(stored),
            own,
            edges,
            kept=kept,
            counted=counted,
            counted_self_nano=counted_own,
            sampled_out=self._sampling.take_sampled_out(),
        )

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

    def _without_known(self, spans: SpanColumns, doors: Sequence[Door]) -> SpanColumns:
        """Without what came through another door already."""
        return spans.pick([number for number, door in enumerate(doors) if not self._came_before(spans[number], door)])

    def _came_before(self, row: SpanRow, door: Door) -> bool:
        key = (row.trace_id, row.span_id, row.start_unix_nano, row.end_unix_nano)
        first = self._recent.get(key)
        if first is None:
            self._recent.set(key, door)
        return first is not None and first is not door
