"""Stretches of time in which an operation can have taken so long: its rollups, as an index over durations.

Every stored span was counted in the cells of its time: a cell that counted no such duration has no such span. A day is
split into its hours, these into minutes and those into tens of seconds, as long as the finer cells counted as many as
the coarser one; else some of them are gone, and it stays whole. Of what ended before days are sure to be there nothing
is known. Spans that were counted may be gone, or never were stored: a stretch tells where to look, no more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.cells import DAY_S, HOUR_S, KEEP_SECONDS
from otel_perfmon.storage.histogram import bucket_of, highest_bucket, longest_in
from otel_perfmon.storage.sqlite.rollup import GIVEN_UP

_NANO: Final = 1_000_000_000
_FINER_S: Final = {DAY_S: HOUR_S, HOUR_S: 60, 60: 10}
_SPLIT_ABOVE: Final = 200
"""Of fewer spans each is looked at: that takes about as long as to look at finer cells."""
# The histogram alone tells of durations between the extremes; it is read where all of the cell is asked for, since of
# another one the finer cells tell more. One row of JSON: one step, however many cells.
_CELLS: Final = """
SELECT total(r.count), json_group_array(json_array(r.operation_id, r.start_unix_s, r.count, r.max_nano,
    iif(r.max_nano > ?2 AND r.start_unix_s >= ?6 AND r.start_unix_s + ?3 <= ?7, hex(r.histogram), '')))
    FILTER (WHERE r.min_nano <= ?2 AND r.max_nano >= ?8)
FROM json_each(?1) k CROSS JOIN _rollups r
WHERE r.resolution_s = ?3 AND r.operation_id = k.value AND r.start_unix_s >= ?4 AND r.start_unix_s < ?5
"""
_EARLIEST: Final = """
SELECT end_unix_nano FROM _spans WHERE end_unix_nano BETWEEN ? AND ? ORDER BY end_unix_nano LIMIT 1
"""


class Stretch(NamedTuple):
    """Spans of an operation (None: of all) that ended from ``low`` to ``high``, both included, in Unix nanoseconds.

    Of those that took as long as is asked none took longer than ``longest_nano``. The cell that says so counted
    ``counted`` spans in ``resolution_s`` seconds from ``start_unix_s`` on; there is none where these are 0.
    """

    longest_nano: int
    low: int
    high: int
    operation_id: int | None
    resolution_s: int = 0
    start_unix_s: int = 0
    counted: int = 0


class Stretches:
    """Those of a search: for spans that took ``least_nano`` to ``most_nano`` and ended from ``low`` to ``high``.

    ``count_up_to`` counts what is stored in a stretch, up to a number.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        durations: tuple[int, int],
        ends: tuple[int, int],
        count_up_to: Callable[[Stretch, int], int],
        now_unix_s: float,
    ) -> None:
        self._connection = connection
        self._least_nano, self._most_nano = durations
        self._buckets = bucket_of(max(0, self._least_nano)), bucket_of(max(0, self._most_nano))
        self._low, self._high = ends
        self._count_up_to = count_up_to
        self._days_since_s = _days_since(connection, now_unix_s)

    def of(self, operation_ids: Sequence[int]) -> list[Stretch]:
        """The days of these operations from the first stored span on, and what was before days are sure to be there."""
        earliest = self._connection.execute(_EARLIEST, (self._low, self._high)).fetchone()
        if earliest is None:
            return []
        first_nano, found = self._days_since_s * _NANO, []
        if earliest[0] < first_nano:
            high = min(self._high, first_nano - 1)
            found = [Stretch(self._most_nano, self._low, high, each) for each in operation_ids]
        start_s = max(self._days_since_s, earliest[0] // _NANO // DAY_S * DAY_S)
        _, cells = self._cells(operation_ids, DAY_S, (start_s, self._high // _NANO + 1), self._least_nano)
        return found + self._asked_for(DAY_S, cells)

    def split(self, stretch: Stretch, least_nano: int = 0) -> list[Stretch] | None:
        """Its parts that can have spans of ``least_nano`` or more; None for one that is to be searched as it is."""
        finer_s = _FINER_S.get(stretch.resolution_s)
        if finer_s is None or stretch.operation_id is None or stretch.counted <= _SPLIT_ABOVE:
            return None
        if self._count_up_to(stretch, _SPLIT_ABOVE + 1) <= _SPLIT_ABOVE:
            return None  # the others are gone, or never were stored
        starts_s = (stretch.start_unix_s, stretch.start_unix_s + stretch.resolution_s)
        counted, cells = self._cells([stretch.operation_id], finer_s, starts_s, max(least_nano, self._least_nano))
        return self._asked_for(finer_s, cells) if counted == stretch.counted else None

    def in_order(self, operation_id: int, *, is_falling: bool) -> Iterator[tuple[int, int]]:
        """The first and the last moment of each stretch to search, newest or oldest first."""
        waiting = sorted(self.of([operation_id]), key=lambda each: each.low, reverse=not is_falling)
        while waiting:
            stretch = waiting.pop()
            parts = self.split(stretch)
            if parts is None:
                yield stretch.low, stretch.high
            else:
                waiting += sorted(parts, key=lambda each: each.low, reverse=not is_falling)

    def _cells(
        self, operation_ids: Sequence[int], resolution_s: int, starts_s: tuple[int, int], least_nano: int
    ) -> tuple[int, list[list[Any]]]:
        """How many spans the cells counted that start then, and those of them with durations that are asked for."""
        asked = (self._low // _NANO, (self._high + 1) // _NANO, least_nano)
        parameters = (json.dumps(operation_ids), self._most_nano, resolution_s, *starts_s, *asked)
        counted, cells = self._connection.execute(_CELLS, parameters).fetchone()
        return int(counted), json.loads(cells)

    def _asked_for(self, resolution_s: int, cells: Sequence[Sequence[Any]]) -> list[Stretch]:
        """The stretches of cells, as far as they are asked for."""
        found = []
        for operation_id, start_s, counted, maximum, packed in cells:
            low = max(self._low, start_s * _NANO)
            high = min(self._high, (start_s + resolution_s) * _NANO - 1)
            longest = self._longest(maximum, packed) if low <= high else None
            if longest is not None:
                found.append(Stretch(longest, low, high, operation_id, resolution_s, start_s, counted))
        return found

    def _longest(self, maximum: int, packed: str) -> int | None:
        """What no span of a cell that is asked for is above; None where it has none."""
        if not packed:
            return min(maximum, self._most_nano)
        bucket = highest_bucket(bytes.fromhex(packed), *self._buckets)
        return None if bucket is None else min(self._most_nano, longest_in(bucket))


def _days_since(connection: sqlite3.Connection, now_unix_s: float) -> int:
    """From when on each day's cells are there, in Unix seconds: older ones go by their age, or for want of room."""
    given_up = connection.execute("SELECT value FROM _facts WHERE name = ?", (GIVEN_UP.format(DAY_S),)).fetchone()
    arrived_s = connection.execute("SELECT max(unix_s) FROM _arrivals").fetchone()[0] or 0  # by the clock that tidied
    oldest = max(int(max(now_unix_s, arrived_s)) - KEEP_SECONDS[DAY_S], given_up[0] if given_up else -INT64_MAX)
    return -(-oldest // DAY_S) * DAY_S
