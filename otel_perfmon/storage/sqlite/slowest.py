"""The slowest spans: looked for first where the slowest can be, until no stretch of time can hold a slower one."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.sqlite.span_filter import DURATION, ID, Row, indexed_conditions
from otel_perfmon.storage.sqlite.stretches import Stretch, Stretches


def count_in(connection: sqlite3.Connection, query: SpanQuery, stretch: Stretch, most: int) -> int:
    """How many spans an index has in a stretch, up to ``most``."""
    where, parameters = indexed_conditions(query, stretch.operation_id)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM _spans s WHERE {where} s.end_unix_nano BETWEEN ? AND ? LIMIT ?)"
    return int(connection.execute(sql, (*parameters, stretch.low, stretch.high, most)).fetchone()[0])


@dataclass(frozen=True, slots=True)
class SlowestRows:
    """The rows that a search may answer with: those with a duration in ``durations``, behind ``after``, that match.

    Nothing needs a look at each where ``matches`` is None; then of one stretch no more than ``limit`` are of use.
    """

    connection: sqlite3.Connection
    query: SpanQuery
    columns: str
    matches: Callable[[Row], bool] | None
    durations: tuple[int, int]
    after: tuple[int, int]
    limit: int

    def count(self, stretch: Stretch, most: int) -> int:
        """How many are stored in a stretch, up to ``most``, whether they match or not."""
        return count_in(self.connection, self.query, stretch, most)

    def read(self, stretch: Stretch, least_nano: int, room: int) -> Iterable[Row]:
        """Of the ``room`` newest of a stretch those that took ``least_nano`` or more."""
        where, parameters = indexed_conditions(self.query, stretch.operation_id)
        newest = f"SELECT {self.columns} FROM _spans s WHERE {where} s.end_unix_nano BETWEEN ? AND ?"
        newest += " ORDER BY s.end_unix_nano DESC LIMIT ?"
        sql = f"SELECT * FROM ({newest}) WHERE duration_nano BETWEEN ? AND ? AND (duration_nano, id) < (?, ?)"
        durations = (max(least_nano, self.durations[0]), self.durations[1])
        bounded = (*parameters, stretch.low, stretch.high, room, *durations, *self.after)
        if self.matches is not None:
            return filter(self.matches, self.connection.execute(sql, bounded))
        return self.connection.execute(f"{sql} ORDER BY duration_nano DESC, id DESC LIMIT ?", (*bounded, self.limit))


class SlowestSearch:
    """Finds the ``limit`` slowest, of those alike in duration the last to arrive.

    When it stops before it ``is_complete``, for want of rows or seconds, what it found is the slowest of what it read.
    """

    def __init__(self, rows: SlowestRows, limit: int, *, rows_max: int, seconds_max: float) -> None:
        self.rows_read = 0
        self.is_complete = True
        self._rows = rows
        self._limit = limit
        self._rows_max = rows_max
        self._deadline = time.monotonic() + seconds_max
        self._best: list[tuple[int, int, Row]] = []

    def search(self, stretches: Stretches, first: Sequence[Stretch]) -> list[Row]:
        """The slowest in those stretches, slowest first."""
        waiting = [(-each.longest_nano, number, each) for number, each in enumerate(first)]
        number = len(waiting)
        heapq.heapify(waiting)
        while waiting and -waiting[0][0] >= self._least_nano() and self.is_complete:
            stretch = heapq.heappop(waiting)[2]
            parts = stretches.split(stretch, self._least_nano())
            if parts is None:
                self._look_into(stretch)
                continue
            for part in parts:
                number += 1  # so that two are never compared by what else they are
                heapq.heappush(waiting, (-part.longest_nano, number, part))
        return [row for _, _, row in sorted(self._best, key=lambda each: each[:2], reverse=True)]

    def _least_nano(self) -> int:
        """How long a span must have taken to be among them; as long as the shortest, when it came later."""
        return self._best[0][0] if len(self._best) == self._limit else 0

    def _look_into(self, stretch: Stretch) -> None:
        room = self._rows_max - self.rows_read
        count = self._rows.count(stretch, room + 1)
        self.is_complete = count <= room and time.monotonic() <= self._deadline
        self.rows_read += min(count, room)
        for row in self._rows.read(stretch, self._least_nano(), room) if count else ():
            entry = (row[DURATION], row[ID], row)
            if len(self._best) < self._limit:
                heapq.heappush(self._best, entry)
            elif entry[:2] > self._best[0][:2]:
                heapq.heapreplace(self._best, entry)
