"""Rollups: the figures of each operation in cells of 10 s, a minute, an hour and a day.

A batch is summed in Python, cell by cell, and merged with what the file holds in one SELECT and one multi-row REPLACE
for each size of cell. The figures of a cell's spans are summed by loops of C: half a microsecond a span (measured).
Sums are kept as seconds and nanoseconds, since a sum of nanoseconds can pass 2^63.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from operator import floordiv
from typing import Any, Final

from otel_perfmon.storage import histogram
from otel_perfmon.storage.cells import RESOLUTIONS_S
from otel_perfmon.storage.rows import STATUS_ERROR
from otel_perfmon.storage.sqlite.statements import padded_values, run_multirow

_NANO: Final = 1_000_000_000
_FINEST_NANO: Final = RESOLUTIONS_S[0] * _NANO
_CELLS_AT_ONCE: Final = 2_048

COLUMNS: Final = (
    "resolution_s, operation_id, start_unix_s, count, error_count, slow_count, sum_s, sum_nano, self_s, self_nano, "
    "min_nano, max_nano, first_unix_nano, last_unix_nano, histogram"
)
_WIDTH: Final = COLUMNS.count(",") + 1

GIVEN_UP: Final = "rollups_{}_since"
"""The fact that tells before which time the cells of a resolution were given up for want of room."""

CellKey = tuple[int, int, int]
"""Resolution in seconds, operation id, start in Unix seconds."""


class Cell:
    """The figures of one operation over some stretch of time; durations in nanoseconds."""

    __slots__ = ("buckets", "count", "errors", "first", "last", "maximum", "minimum", "own", "packed", "slow", "total")

    def __init__(self) -> None:
        self.count = self.errors = self.slow = self.total = self.own = 0
        self.minimum = self.first = 2**63 - 1
        self.maximum = self.last = -(2**63)
        self.buckets: dict[int, int] = {}
        self.packed = b""
        """More of the histogram, in its packed form, for `row` alone."""

    def add_spans(
        self,
        durations: Sequence[int],
        own: Sequence[int],
        ends: Sequence[int],
        statuses: Sequence[int],
        slow: Sequence[int],
    ) -> None:
        """Count spans by their durations, self times, ends, status codes and whether they were slow (0 or 1).

        What runs parallel, for at least one span.
        """
        self._add_figures(len(durations), statuses.count(STATUS_ERROR), sum(slow), sum(durations), sum(own))
        self._stretch(min(durations), max(durations), min(ends), max(ends))
        for bucket, count in histogram.count_buckets(durations).items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def add_cell(self, other: Cell) -> None:
        """Count everything that ``other`` counted."""
        self._add_figures(other.count, other.errors, other.slow, other.total, other.own)
        self._stretch(other.minimum, other.maximum, other.first, other.last)
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def add_stored(self, stored: Sequence[Any]) -> None:
        """Count a stored cell: its columns from ``count`` on, in the order of `COLUMNS`."""
        self.add_figures(stored[:-1])
        packed = stored[-1]
        histogram.add_packed(self.buckets, bytes.fromhex(packed) if isinstance(packed, str) else packed)

    def add_figures(self, figures: Sequence[Any]) -> None:
        """Count what is stored of a cell, or the sums and extremes of several, without its histogram."""
        count, errors, slow, sum_s, sum_nano, self_s, self_nano, low, high, first, last = figures
        self._add_figures(count, errors, slow, sum_s * _NANO + sum_nano, self_s * _NANO + self_nano)
        self._stretch(low, high, first, last)

    def percentiles_nano(self, shares: Sequence[float]) -> list[float]:
        """The values of the nearest ranks; ``shares`` ascend."""
        return histogram.percentiles_nano(self.buckets, shares, self.minimum, self.maximum)

    def row(self, key: CellKey) -> tuple[Any, ...]:
        """The cell as a row of ``_rollups``."""
        figures = (self.count, self.errors, self.slow, *divmod(self.total, _NANO), *divmod(self.own, _NANO))
        extremes = (self.minimum, self.maximum, self.first, self.last)
        packed = histogram.pack_onto(self.packed, self.buckets) if self.packed else histogram.pack(self.buckets)
        return (*key, *figures, *extremes, packed)

    def _add_figures(self, count: int, errors: int, slow: int, total: int, own: int) -> None:
        self.count += count
        self.errors += errors
        self.slow += slow
        self.total += total
        self.own += own

    def _stretch(self, minimum: int, maximum: int, first: int, last: int) -> None:
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)
        self.first = min(self.first, first)
        self.last = max(self.last, last)


class Rollup:
    """The cells of one batch."""

    def __init__(self) -> None:
        self._finest: dict[tuple[int, int], Cell] = {}

    def add_spans(self, operation_ids: Sequence[int], ends: Sequence[int], *figures: Sequence[int]) -> None:
        """Count spans in the finest cells in which they ended.

        What runs parallel; ``figures`` are durations, self times, ends, status codes and whether they were slow.
        """
        # Not a tuple for each span: every 700 of them wake the garbage collector, which took as long as all of this.
        tens = list(map(floordiv, ends, repeat(_FINEST_NANO)))
        counts = Counter(zip(operation_ids, tens, strict=True))
        columns: Sequence[Sequence[int]] = figures
        if len(counts) > 1:
            ranks = {key: rank for rank, key in enumerate(counts)}
            of_spans = list(map(ranks.__getitem__, zip(operation_ids, tens, strict=True)))
            order = sorted(range(len(of_spans)), key=of_spans.__getitem__)
            columns = [list(map(column.__getitem__, order)) for column in figures]
        start = 0
        for key, count in counts.items():
            cell = self._finest.get(key)
            if cell is None:
                cell = self._finest[key] = Cell()
            cell.add_spans(*(column[start : start + count] for column in columns))
            start += count

    def save(self, connection: sqlite3.Connection) -> None:
        """Merge every cell into the file; the caller holds the transaction."""
        cells = self._all_resolutions()
        keys = list(cells)
        for start in range(0, len(keys), _CELLS_AT_ONCE):
            part = keys[start : start + _CELLS_AT_ONCE]
            _merge_stored(connection, cells, part)
            values = [value for key in part for value in cells[key].row(key)]
            run_multirow(connection, f"INSERT OR REPLACE INTO _rollups ({COLUMNS})", _WIDTH, values)

    def _all_resolutions(self) -> dict[CellKey, Cell]:
        cells: dict[CellKey, Cell] = {}
        for (operation_id, tens), finest in self._finest.items():
            for resolution in RESOLUTIONS_S:
                start = tens * RESOLUTIONS_S[0] // resolution * resolution
                cells.setdefault((resolution, operation_id, start), Cell()).add_cell(finest)
        return cells


def _merge_stored(connection: sqlite3.Connection, cells: dict[CellKey, Cell], keys: list[CellKey]) -> None:
    values, parameters = padded_values(keys)
    names = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(",")[:-1])
    # One row of JSON instead of one row a cell: one step, one wait for the GIL. The join, unlike a row value in IN,
    # searches the primary key.
    query = (
        f"SELECT json_group_array(json_array({names}, hex(r.histogram)))"
        f" FROM (SELECT DISTINCT column1, column2, column3 FROM ({values})) k CROSS JOIN _rollups r"
        " ON r.resolution_s = k.column1 AND r.operation_id = k.column2 AND r.start_unix_s = k.column3"
    )
    stored = json.loads(connection.execute(query, parameters).fetchone()[0])
    for resolution, operation_id, start, *figures, packed in stored:
        cell = cells[resolution, operation_id, start]
        cell.add_figures(figures)
        cell.packed = bytes.fromhex(packed)
