"""The intake: what waits to be written, and how a part of it becomes a batch.

Turning spans into rows happens here, on the writer's thread: encoding, leaving out what came through another door
already, taking secrets out, self time and call edges.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, repeat, starmap
from operator import is_
from sys import getsizeof
from typing import Any, Final, Protocol

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.redactor import Redactor
from otel_perfmon.storage.rows import ROW_BYTES, SpanRow
from otel_perfmon.storage.sampling import SamplingChoice, TailSampling, Verdict
from otel_perfmon.storage.scales import UNWEIGHED_MAX, Scales

BATCH_BYTES_MAX: Final = 2 * 1024 * 1024
"""Bytes of text in one batch, unless the store wants fewer."""
INTERRUPTIONS_MAX: Final = 4
"""So often in a row may the reading of one span be interrupted."""
_PROGRESS_EVERY: Final = 256
"""Progress is told after so many spans that are read one by one: beside busy threads a batch of them takes seconds."""
_RECENT_MAX: Final = 65_536
_START: Final = SpanRow._fields.index("start_unix_nano")
_END: Final = SpanRow._fields.index("end_unix_nano")
_Key = tuple[bytes, bytes, int, int]


class Door(Protocol):
    """Where spans come in: turns what it put into the queue into a row, on the writer's thread."""

    def encode(self, payload: Any, slow_threshold_nano: int) -> SpanRow:
        """The row of one payload; ``slow_threshold_nano`` is what it was when the span ended."""

    def weigh(self, payload: Any) -> int:
        """About how many bytes of memory one payload holds; on any thread."""


class BulkDoor(Door, Protocol):
    """A door that can put in the parts of a span instead of the span, and reads many such at once."""

    def encode_plain(self, parts: Sequence[list[Any]], room: int) -> tuple[SpanColumns, int]:
        """The rows of what it put in, and the bytes of their texts; fewer when there is no ``room`` for more.

        ``parts`` are columns: what stands behind the door in each entry. The last is a dict of plain values or None.
        """


Entry = tuple[Any, ...]
"""What waits to be written, in `WIDTH` places: the door it came through, the slow threshold that held when it ended,
then the payload, or, where the fourth place is not None, whatever parts of it a `BulkDoor` put there, its end in the
last place but one, and last what takes memory beside, or None.

The queue is flat: a burst leaves nothing in it for the garbage collector to visit, which took a fifth of all CPU when
spans waited there (measured), and parts of one kind are a slice.
"""
WIDTH: Final = 12
_PAYLOAD: Final = 2
_MARK: Final = 3
_ENDED: Final = WIDTH - 2
_REST: Final = (*((None,) * (WIDTH - _MARK - 1)), ...)
_ENTRY_BYTES: Final = 400


def opaque(payload: Any, door: Door, slow_threshold_nano: int) -> Entry:
    """The entry of a payload that its door reads by itself."""
    return (door, slow_threshold_nano, payload, *_REST)


class _Part:
    """Entries that were taken in together; ``own`` (self times) and ``verdicts`` grow until there is one for each span.

    So an interrupt finds out for how many spans the lineage and the sampling have been told, and each is told once. Why
    spans could not be read stands in ``unreadable`` until it is counted, for what is interrupted before is read again.
    """

    __slots__ = ("entry_count", "own", "spans", "text_size", "unreadable", "verdicts")

    def __init__(self, spans: SpanColumns, text_size: int, entry_count: int) -> None:
        self.spans = spans
        self.text_size = text_size
        self.entry_count = entry_count
        self.own: list[int] = []
        self.verdicts: list[Verdict] = []
        self.unreadable: list[str] = []

    def only(self, *, is_stored: bool) -> tuple[SpanColumns, list[int]]:
        """The spans that are to be stored now, or the others, with their self times."""
        verdicts = self.verdicts
        if verdicts and verdicts.count(verdicts[0]) == len(verdicts):  # alike: other members of an enum take 30 ns each
            is_all = (verdicts[0] is Verdict.STORED) is is_stored
            return (self.spans, self.own) if is_all else (self.spans.pick(()), [])
        numbers = [number for number, verdict in enumerate(verdicts) if (verdict is Verdict.STORED) is is_stored]
        return self.spans.pick(numbers), [self.own[number] for number in numbers]


class Intake:
    """A queue of entries. Any thread may extend ``queue`` by one; one at a time takes batches."""

    def __init__(
        self,
        losses: Losses,
        on_progress: Callable[[], None],
        choice: SamplingChoice | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._redactor = redactor or Redactor()
        self.queue: deque[Any] = deque()
        self.scales = Scales(self.queue, WIDTH, _weigh, _ENTRY_BYTES)
        self.unfinished: Batch | None = None
        self._losses = losses
        self._doors: weakref.WeakSet[Door] = weakref.WeakSet()
        self._lineage = Lineage()
        self._recent: Generations[_Key, Door] = Generations(_RECENT_MAX)
        self._interrupted: list[Any] = []
        self._interruption_count = 0
        self.room = 0
        """So many places of the queue may be in use before `is_full` is to be asked."""
        self._choice = choice or SamplingChoice()
        self._sampling: TailSampling | None = None
        self.taken_count = 0
        self._unreadable_count = self._repeated_count = 0

    def open_door(self, door: Door) -> None:
        """Say that spans may come through ``door``. One that two doors bring in is kept once."""
        self._doors.add(door)

    def open_doors_of(self, other: Intake) -> None:
        """Keep the doors of another intake open."""
        self._doors = other._doors

    def take_batch(self, count_max: int, bytes_max: int = BATCH_BYTES_MAX) -> int:
        """Make a batch of at most ``count_max`` entries, in ``unfinished``; how many were taken from the queue for it.

        It ends with the span with which its texts reach ``bytes_max``.

        When something interrupts (Ctrl-C in a program that helps to write), what is done is there as well, and the
        others are back in the queue.
        """
        places: list[Any] = []
        parts: list[_Part] = []
        taken_before = self.taken_count
        self._follow_policy()
        if self.waiting_count <= UNWEIGHED_MAX:  # more were weighed by who put them in
            self.scales.weigh()
        self.room = 0
        try:
            count = min(count_max, max(1, bytes_max // ROW_BYTES), self.waiting_count)
            if self.scales.at_once_max < UNWEIGHED_MAX:  # heavy ones: what is taken out makes room for more
                count = min(count, self.scales.at_once_max)
            # One call of C for all of them: an interrupt finds each entry here or there.
            places.extend(starmap(self.queue.popleft, repeat((), count * WIDTH)))
            self.taken_count = taken_before + count
            self.scales.taken_count += count
            room, done_count = bytes_max, 0
            doors = places[::WIDTH]
            while done_count < count and room > 0:
                # One by one, to find the one that interrupts.
                at_once = 1 if self._interrupted else _run_length(doors, done_count)
                part = self._read(places[done_count * WIDTH : (done_count + at_once) * WIDTH], room)
                parts.append(part)
                self._count_unreadable(part)
                self._trace_and_sift(part)
                room -= part.text_size
                done_count += part.entry_count
                self._on_progress()
            self.scales.taken_count -= count - done_count
            self.queue.extendleft(starmap(places.pop, repeat((), (count - done_count) * WIDTH)))
            self.taken_count = taken_before + done_count
            self.unfinished = self._batch_of(parts)
        except BaseException:
            done_count = sum(part.entry_count for part in parts)
            self.taken_count = taken_before + done_count + self._put_back_interrupted(places[done_count * WIDTH :])
            for part in parts[-1:]:
                self._count_unreadable(part)
                self._trace_and_sift(part)
            self.unfinished = self.unfinished or self._batch_of(parts)
            raise
        self._interrupted = []
        return done_count

    def is_full(self, count_max: int) -> bool:
        """Whether ``count_max`` entries are in the queue, or so heavy ones that there is no room for another."""
        waiting_count = self.waiting_count
        room_count = self.scales.room_count() if waiting_count < count_max else 0
        self.room = min(count_max, room_count) * WIDTH
        return room_count <= waiting_count

    @property
    def waiting_count(self) -> int:
        """How many entries are in the queue."""
        return len(self.queue) // WIDTH

    def give_up_held(self) -> None:
        """Sample out what is held: no root will end any more."""
        if self._sampling is not None:
            self._sampling.give_up()

    @property
    def handed_on_count(self) -> int:
        """How many spans the batches must have had so far: those taken from the queue that could be read, each once."""
        return self.taken_count - self._unreadable_count - self._repeated_count

    @property
    def held_count(self) -> int:
        """How many spans are counted, and wait for the verdict on their trace."""
        return self._sampling.held_count if self._sampling is not None else 0

    @property
    def oldest_unix_nano(self) -> int:
        """When the first span in the queue ended; 0 if there is none, or it does not say.

        The caller holds the right to write: nobody else takes from the queue.
        """
        if not self.queue:
            return 0
        payload, mark, end = (self.queue[place] for place in (_PAYLOAD, _MARK, _ENDED))
        if mark is None:
            end = 0
            with suppress(Exception):  # somebody's own class
                end = getattr(payload, "end_time", None) or payload.end_unix_nano
        return end if type(end) is int and 0 < end <= INT64_MAX else 0

    def _read(self, places: list[Any], room: int) -> _Part:
        """Entries of one door as columns; fewer where there is no ``room`` for their texts."""
        door: Any = places[0]
        marks = places[_MARK::WIDTH]
        count = len(marks)
        others = [number for number, mark in enumerate(marks) if mark is None]
        columns, text_size, plain = SpanColumns.of(()), 0, list(range(count))
        if len(others) < count:
            parts = [places[place::WIDTH] for place in range(1, WIDTH)]
            if others:
                plain = [number for number in plain if marks[number] is not None]
                parts = [list(map(part.__getitem__, plain)) for part in parts]
            try:
                columns, text_size = door.encode_plain(parts, room)
            except RecursionError:  # perhaps only of who helps to write: tried again
                raise
            except Exception as error:  # a value that no span should have
                if count > 1:
                    return self._read(places[: count // 2 * WIDTH], room)
                part = _Part(columns, 0, 1)
                part.unreadable.append(_why_unreadable(error))
                return part
            count = count if len(columns) == len(plain) else plain[len(columns) - 1] + 1
        part = _Part(columns, text_size, count)
        if others:
            self._read_others(places, others, plain, part, room)
        part.spans = self._redactor.redact_spans(part.spans)
        if len(self._doors) > 1:
            spans = part.spans
            part.spans = self._without_known(spans, door)
            self._repeated_count += len(spans) - len(part.spans)
        return part

    def _read_others(self, places: list[Any], others: list[int], plain: list[int], part: _Part, room: int) -> None:
        """Put the rows of the entries ``others``, read one by one, between those of ``plain``, which the part has."""
        rows, numbers = [], []
        for number in others:
            if number >= part.entry_count:
                break
            door, threshold_nano, payload = places[number * WIDTH : number * WIDTH + _MARK]
            try:
                row = door.encode(payload, threshold_nano)
                part.text_size += row.text_size
            except RecursionError:
                raise
            except Exception as error:  # a span that cannot even be read; the others are kept
                part.unreadable.append(_why_unreadable(error))
            else:
                rows.append(row)
                numbers.append(number)
            if part.text_size > room:
                part.entry_count = number + 1
            if number % _PROGRESS_EVERY == 0:
                self._on_progress()
        plain = plain[: min(len(part.spans), bisect_left(plain, part.entry_count))]
        spans = SpanColumns.joined([part.spans[: len(plain)], SpanColumns.of(rows)])
        part.spans = spans.sorted_by(plain + numbers) if plain and numbers else spans

    def _trace_and_sift(self, part: _Part) -> None:
        self._lineage.add_self_times(part.spans, part.own)
        if self._sampling is not None:
            self._sampling.judge(part.spans, part.verdicts)

    def _batch_of(self, parts: list[_Part]) -> Batch:
        edges = self._lineage.take_edges()
        if self._sampling is None:
            return Batch(*_joined([(part.spans, part.own) for part in parts]), edges)
        stored, own = _joined([part.only(is_stored=True) for part in parts])
        counted, counted_own = _joined([part.only(is_stored=False) for part in parts])
        kept = self._sampling.take_kept()
        return Batch(stored, own, edges, kept=kept, counted=counted, counted_self_nano=counted_own)

    def _follow_policy(self) -> None:
        policy, sampling = self._choice.policy, self._sampling
        if policy is not None and (sampling is not None or policy.is_sampling):
            if sampling is None:
                self._sampling = TailSampling(policy, self._losses)
            elif sampling.policy is not policy:
                sampling.follow(policy)

    def _count_unreadable(self, part: _Part) -> None:
        while part.unreadable:
            self._lose_one(part.unreadable.pop())

    def _lose_one(self, why: str) -> None:
        self._unreadable_count += 1
        self._losses.add("unreadable", 1, why)

    def _put_back_interrupted(self, places: list[Any]) -> int:
        """Put the entries back into the queue; how many of them (one, or none) are given up instead."""
        given_up_count = 0
        first = places[:WIDTH]
        is_same = bool(first) and len(self._interrupted) == WIDTH and all(map(is_, first, self._interrupted))
        self._interruption_count = self._interruption_count + 1 if is_same else 1
        if self._interruption_count > INTERRUPTIONS_MAX:  # not Ctrl-C: the span itself does that, each time
            self._lose_one("reading a span ends the thread that reads it")
            places, given_up_count = places[WIDTH:], 1
        self._interrupted = places[:WIDTH]
        self.queue.extendleft(reversed(places))
        return given_up_count

    def _without_known(self, spans: SpanColumns, door: Door) -> SpanColumns:
        """Without what came through another door already."""
        trace_ids, span_ids = spans.columns[:2]
        keys = list(zip(trace_ids, span_ids, spans.columns[_START], spans.columns[_END], strict=True))
        if self._recent.has_none_of(keys):
            self._recent.update(zip(keys, repeat(door)))
            return spans
        return spans.pick([number for number, key in enumerate(keys) if not self._came_before(key, door)])

    def _came_before(self, key: _Key, door: Door) -> bool:
        first = self._recent.get(key)
        if first is None:
            self._recent.set(key, door)
        return first is not None and first is not door


def _why_unreadable(error: Exception) -> str:
    return f"a span could not be read: {type(error).__name__}: {safe_str(error)[:200]}"


def _weigh(places: list[Any]) -> int:
    """About how many bytes of memory entries hold, those of plain parts by loops of C."""
    attributes = list(filter(None, places[WIDTH - 1 :: WIDTH]))
    weight = len(places) // WIDTH * _ENTRY_BYTES
    if ... in attributes:
        attributes = [each for each in attributes if each is not ...]
        for place in range(0, len(places), WIDTH):
            if places[place + _MARK] is None:
                weight += _weigh_opaque(*places[place : place + _MARK])
    weight += sum(map(len, chain.from_iterable(attributes)))
    weight += sum(map(getsizeof, chain.from_iterable(map(dict.values, attributes))))
    return weight


def _weigh_opaque(door: Door, _: int, payload: Any) -> int:
    try:
        return door.weigh(payload)
    except Exception:  # an object of the program's: that it cannot be read is found out when it is read
        return 0


def _run_length(doors: list[Any], start: int) -> int:
    """How many of the doors from ``start`` on are the same."""
    first, end = doors[start], len(doors)
    if start == 0 and doors.count(first) == end:
        return end
    return next((number for number in range(start, end) if doors[number] is not first), end) - start


def _joined(parts: Sequence[tuple[SpanColumns, list[int]]]) -> tuple[SpanColumns, list[int]]:
    """Spans with their self times, one part after another."""
    return SpanColumns.joined([spans for spans, _ in parts]), list(chain.from_iterable(own for _, own in parts))
