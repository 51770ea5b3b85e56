"""Sums of stored cells: the figures of each operation over some ranges of time, added up where they are stored.

SQLite adds up all but the histograms, which cost most: a histogram of an hour has 300 buckets. What those of a range
came to is remembered with the connection, beside the range's other figures. Cells only grow, or go: as long as their
number, count, sums and extremes are what they were, so is the histogram. Of ten million spans of 50 operations over a
day a connection's first answer takes 18 ms, 11 of them for 2,700 histograms, and those after it 5 (measured).
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_perfmon.storage.histogram import lanes_of, percentiles_of_lanes_nano
from otel_perfmon.storage.sqlite.connection import SteppedConnection
from otel_perfmon.storage.sqlite.rollup import Cell

Range = tuple[int, int, int]
"""Resolution, start and end of some cells, in seconds."""
Figures = tuple[int, ...]
"""What SQLite adds up of some cells: how many there are, and the columns of `Cell.add_figures`."""

_REMEMBERED_MAX: Final = 2_048
"""Histograms, of 2 KB as a rule; 50 operations over a day take 150 to 250."""

_SUMS: Final = """
SELECT json_group_array(json_array(id, name, service, cells, count, errors, slow, sum_s, sum_nano, self_s, self_nano,
    low, high, first, last))
FROM (SELECT o.id, o.name, v.name AS service, count(*) AS cells, sum(r.count) AS count, sum(r.error_count) AS errors,
        sum(r.slow_count) AS slow, sum(r.sum_s) AS sum_s, sum(r.sum_nano) AS sum_nano, sum(r.self_s) AS self_s,
        sum(r.self_nano) AS self_nano, min(r.min_nano) AS low, max(r.max_nano) AS high,
        min(r.first_unix_nano) AS first, max(r.last_unix_nano) AS last
    FROM {operations} CROSS JOIN _rollups r
    WHERE o.service_id = v.id AND r.resolution_s = ? AND r.operation_id = o.id
        AND r.start_unix_s >= ? AND r.start_unix_s < ?{conditions}
    GROUP BY o.id)
"""
# All in one blob, and beside it whose each is and how long: as hex it took three times as long. SQLite takes what it
# concatenates for text, of which no byte changes in a database in UTF-8, as ours are.
_HISTOGRAMS: Final = """
SELECT json_group_array(json_array(r.operation_id, length(r.histogram))),
    CAST(group_concat(r.histogram, '') AS BLOB)
FROM json_each(?) k CROSS JOIN _rollups r
WHERE r.resolution_s = ? AND r.operation_id = k.value AND r.start_unix_s >= ? AND r.start_unix_s < ?
"""


class SummedCell(Cell):
    """A cell made of sums, with its histogram as lanes (`lanes_of`)."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        super().__init__()
        self.lanes = 0

    def percentiles_nano(self, shares: Sequence[float]) -> list[float]:
        """The values of the nearest ranks; ``shares`` ascend."""
        return percentiles_of_lanes_nano(self.lanes, shares, self.minimum, self.maximum)


def sum_cells(
    connection: SteppedConnection,
    ranges: Iterable[Range],
    *,
    operation: str | None,
    service: str | None,
    is_split: bool,
) -> dict[tuple[str, str | None], SummedCell]:
    """The sums by operation and, where it ``is_split``, service, of the cells in all ranges together."""
    sums: dict[tuple[str, str | None], SummedCell] = {}
    for each in ranges:
        rows = _figures(connection, each, operation, service)
        histograms = _histograms(connection, each, {row[0]: tuple(row[3:]) for row in rows})
        for operation_id, name, service_name, _cells, *figures in rows:
            cell = sums.setdefault((name, service_name if is_split else None), SummedCell())
            cell.add_figures(figures)
            cell.lanes += histograms[operation_id]
    return sums


def _figures(
    connection: sqlite3.Connection, cells: Range, operation: str | None, service: str | None
) -> list[list[Any]]:
    """Operation id, name, service and figures of each operation with a cell in the range."""
    # By row id, so that nothing needs sorting to be grouped; those of a name through its index.
    operations = "_operations o CROSS JOIN _services v" if operation is None else "_services v CROSS JOIN _operations o"
    wanted = {"o.name": operation, "v.name": service}
    conditions = "".join(f" AND {column} = ?" for column, value in wanted.items() if value is not None)
    parameters = (*cells, *(value for value in wanted.values() if value is not None))
    # One row of JSON: one step, one wait for the GIL, however many operations.
    sql = _SUMS.format(operations=operations, conditions=conditions)
    rows: list[list[Any]] = json.loads(connection.execute(sql, parameters).fetchone()[0])
    return rows


def _histograms(connection: SteppedConnection, cells: Range, figures: dict[int, Figures]) -> dict[int, int]:
    """The lanes of each operation's histogram over the range; read where the figures are not those remembered."""
    remembered: OrderedDict[tuple[Range, int], tuple[Figures, int]] = connection.remembered  # longest unused first
    found: dict[int, int] = {}
    for operation_id, each in figures.items():
        known = remembered.get((cells, operation_id))
        if known is not None and known[0] == each:
            found[operation_id] = known[1]
            remembered.move_to_end((cells, operation_id))
    missing = [operation_id for operation_id in figures if operation_id not in found]
    if missing:
        for operation_id, packed in _packed_histograms(connection, cells, missing).items():
            found[operation_id] = lanes_of(packed)
            remembered[cells, operation_id] = figures[operation_id], found[operation_id]
            remembered.move_to_end((cells, operation_id))
        while len(remembered) > _REMEMBERED_MAX:
            remembered.popitem(last=False)
    return found


def _packed_histograms(
    connection: sqlite3.Connection, cells: Range, operation_ids: list[int]
) -> dict[int, list[bytes]]:
    """The histograms of each operation's cells in the range."""
    lengths, packed = connection.execute(_HISTOGRAMS, (json.dumps(operation_ids), *cells)).fetchone()
    found: dict[int, list[bytes]] = {operation_id: [] for operation_id in operation_ids}
    start = 0
    for operation_id, length in json.loads(lengths):
        found[operation_id].append(packed[start : start + length])
        start += length
    return found
