"""How often errors of some groups occurred over time: of the hours, and of the days, in which they are counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from otel_perfmon.query import Window
from otel_perfmon.records import CountSeries, ErrorGroup
from otel_perfmon.storage.cells import DAY_S, HOUR_S, KEEP_SECONDS

_WIDTHS_S: Final = (
    *(HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S),
    *(DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S),
)
_NANO: Final = 1_000_000_000
_COUNTS: Final = (
    "SELECT c.start_unix_s, sum(c.count) FROM _operations o"
    " CROSS JOIN _error_groups g ON g.operation_id = o.id AND g.error_type = ? AND g.message = ?"
    " CROSS JOIN _services v ON v.id = o.service_id"
    " CROSS JOIN _error_cells c ON c.group_id = g.id AND c.resolution_s = ?"
    " AND c.start_unix_s >= ? AND c.start_unix_s < ?"
    " WHERE o.name = ? {} GROUP BY c.start_unix_s"
)


def summarize_error_counts(
    connection: sqlite3.Connection,
    groups: Sequence[ErrorGroup],
    *,
    service: str | None,
    window: Window | None,
    cells_max: int,
) -> list[CountSeries]:
    """The counts of each group, in cells of hours or days that are the same for all of them."""
    if not groups:
        return []
    first_s, last_s = _ends(groups, window)
    width = _width(first_s, last_s, cells_max)
    start = first_s // width * width
    cell_count = max(1, -(-last_s // width) - start // width)
    covered = Window(start * _NANO, (start + cell_count * width) * _NANO)
    condition, named = ("", ()) if service is None else ("AND v.name = ?", (service,))
    resolution = DAY_S if width % DAY_S == 0 else HOUR_S
    found = []
    for group in groups:
        parameters = (group.error_type, group.message, resolution, start, start + cell_count * width, group.operation)
        counts = [0] * cell_count
        for cell_start, count in connection.execute(_COUNTS.format(condition), (*parameters, *named)):
            counts[(cell_start - start) // width] += count
        found.append(CountSeries(group.operation, covered, width, tuple(counts), tuple(counts)))
    return found


def _ends(groups: Sequence[ErrorGroup], window: Window | None) -> tuple[int, int]:
    """From when until when, in Unix seconds: the window, but for what is not kept; or the first and the last error."""
    first_s = int(min(group.first_seen for group in groups))
    last_s = int(max(group.last_seen for group in groups)) + 1
    if window is None:
        return first_s, last_s
    start_s, end_s = window.start_unix_nano // _NANO, -(-window.end_unix_nano // _NANO)
    return max(start_s, min(end_s, last_s) - KEEP_SECONDS[DAY_S]), end_s


def _width(first_s: int, last_s: int, cells_max: int) -> int:
    for width in _WIDTHS_S:
        if -(-last_s // width) - first_s // width <= cells_max:
            return width
    widest = _WIDTHS_S[-1]
    return widest * -(-(last_s - first_s) // (widest * max(1, cells_max - 1)))
