"""Statistics of operations from their rollups: a question takes the coarsest cells that fit its window."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from otel_perfmon.query import Window
from otel_perfmon.records import (
    CountSeries,
    Distribution,
    DurationBucket,
    Heatmap,
    OperationSeries,
    OperationStats,
)
from otel_perfmon.storage.cells import (
    DAY_S,
    RESOLUTIONS_S,
    UNIX_S_MAX,
    Grid,
    Kept,
    align_window,
    choose_grid,
    cover,
)
from otel_perfmon.storage.histogram import add_coarsely, bounds_nano, buckets_of_lanes, coarse_bucket, lanes_of
from otel_perfmon.storage.sqlite.connection import SteppedConnection
from otel_perfmon.storage.sqlite.rollup import COLUMNS, GIVEN_UP, Cell
from otel_perfmon.storage.sqlite.sums import Range, SummedCell, sum_cells

_FIGURES: Final = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(",")[3:-1])
_SHARES: Final = (0.5, 0.9, 0.95, 0.99)
_ROLLUPS_OF_ONE_MAX: Final = 3_000
_ROLLUPS_OF_EACH_MAX: Final = 400
"""What a question over time reads of an operation; reading a cell takes about 6 µs."""
_CELLS_READ_MAX: Final = 50_000
"""What a question about all operations reads: of many operations, coarser cells, and the answer's window says so."""
_DAY_NANO: Final = DAY_S * 10**9
_ALL_TIME: Final = (DAY_S, -UNIX_S_MAX, UNIX_S_MAX)


def summarize(
    connection: SteppedConnection,
    *,
    operation: str | None,
    service: str | None,
    window: Window | None,
    is_by_service: bool,
    now_unix_s: float,
) -> list[OperationStats]:
    """The figures of each operation with a call in the window, most total time first."""
    aligned, ranges = _ranges(connection, window, operation, now_unix_s)
    is_split = is_by_service or service is not None
    cells = sum_cells(connection, ranges, operation=operation, service=service, is_split=is_split)
    stats = [stats_of(name, each, cell, aligned) for (name, each), cell in cells.items()]
    return sorted(stats, key=lambda each: (-each.total_ms, each.operation, each.service or ""))


def summarize_series(
    connection: sqlite3.Connection, grid: Grid, *, operation: str | None, service: str | None
) -> OperationSeries:
    """The figures in each cell of the grid."""
    cells = _grid_cells(connection, grid, operation, service)
    points = tuple(stats_of(operation or "", service, cells[i], grid.cell(i)) for i in range(grid.count))
    return OperationSeries(operation, service, grid.window, grid.width_s, points)


def summarize_counts(
    connection: sqlite3.Connection, grid: Grid, *, operations: Sequence[str], service: str | None
) -> list[CountSeries]:
    """Calls and errors of each operation in each cell of the grid."""
    condition, parameters = ("", ()) if service is None else (" AND v.name = ?", (service,))
    sql = (
        "SELECT k.key, r.start_unix_s, r.count, r.error_count"
        " FROM json_each(?) k CROSS JOIN _operations o ON o.name = k.value"
        " CROSS JOIN _services v ON v.id = o.service_id"
        " CROSS JOIN _rollups r ON r.resolution_s = ? AND r.operation_id = o.id"
        f" AND r.start_unix_s >= ? AND r.start_unix_s < ?{condition}"
    )
    counts = [[0] * grid.count for _ in operations]
    error_counts = [[0] * grid.count for _ in operations]
    for number, start, count, errors in connection.execute(sql, (json.dumps(operations), *_range(grid), *parameters)):
        cell = (start - grid.start_unix_s) // grid.width_s
        counts[number][cell] += count
        error_counts[number][cell] += errors
    return [
        CountSeries(name, grid.window, grid.width_s, tuple(counts[i]), tuple(error_counts[i]))
        for i, name in enumerate(operations)
    ]


def summarize_heatmap(
    connection: sqlite3.Connection, grid: Grid, *, operation: str | None, service: str | None, rows_max: int
) -> Heatmap:
    """Time against duration, in at most ``rows_max`` rows of equal width on a logarithmic scale."""
    cells = _grid_cells(connection, grid, operation, service)
    found = [buckets_of_lanes(cell.lanes) for cell in cells]
    coarseness, lowest, height = _choose_rows([each for each in found if each[1]], rows_max)
    counts = [[0] * height for _ in cells]
    for row, buckets in zip(counts, found, strict=True):
        if buckets[1]:
            add_coarsely(*buckets, coarseness, row, lowest)
    bounds = [bounds_nano(lowest, coarseness)[0]] if height else []
    bounds += [bounds_nano(lowest + i, coarseness)[1] for i in range(height)]
    return Heatmap(
        operation,
        service,
        grid.window,
        grid.width_s,
        tuple(bound / 1e6 for bound in bounds),
        tuple(map(tuple, counts)),
        tuple(cell.errors for cell in cells),
    )


def summarize_distribution(
    connection: sqlite3.Connection,
    *,
    operation: str | None,
    service: str | None,
    window: Window | None,
    now_unix_s: float,
) -> Distribution:
    """How the durations spread over the buckets of the histogram."""
    aligned, ranges = _ranges(connection, window, operation, now_unix_s)
    cell = Cell()
    for _name, _service, _start, *figures in _stored_cells(connection, ranges, operation, service):
        cell.add_stored(figures)
    buckets = []
    for key in sorted(cell.buckets):
        low, high = bounds_nano(key)
        buckets.append(DurationBucket(low / 1e6, high / 1e6, cell.buckets[key]))
    return Distribution(operation, service, aligned, tuple(buckets))


def grid_over(
    connection: sqlite3.Connection, window: Window | None, cells_max: int, *, is_of_one: bool, now_unix_s: float
) -> Grid:
    """The grid for a question about ``window``; without one, over all calls that are kept.

    Of one operation, or of all: then it may be coarser, since each of its cells is made of those of every operation.
    """
    rollups_max = _ROLLUPS_OF_ONE_MAX
    if not is_of_one:
        rollups_max = min(_ROLLUPS_OF_EACH_MAX, _CELLS_READ_MAX // max(1, _operation_count(connection)))
    kept = kept_cells(connection, now_unix_s)
    return choose_grid(window or _all_time(connection, now_unix_s), cells_max, rollups_max, kept)


def stats_of(operation: str, service: str | None, cell: Cell, window: Window | None) -> OperationStats:
    """The answer for one cell."""
    if not cell.count:
        return OperationStats.of_no_calls(operation, service, window)
    percentiles = cell.percentiles_nano(_SHARES)
    p50, p90, p95, p99 = (value / 1e6 for value in percentiles)
    return OperationStats(
        operation=operation,
        service=service,
        count=cell.count,
        error_count=cell.errors,
        error_rate=cell.errors / cell.count,
        slow_count=cell.slow,
        avg_ms=cell.total / cell.count / 1e6,
        min_ms=cell.minimum / 1e6,
        max_ms=cell.maximum / 1e6,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        total_ms=cell.total / 1e6,
        self_ms=cell.own / 1e6,
        first_seen=cell.first / 1e9,
        last_seen=cell.last / 1e9,
        window=window,
    )


def kept_cells(connection: sqlite3.Connection, now_unix_s: float) -> Kept:
    """Which cells the file holds."""
    facts = dict(connection.execute("SELECT name, value FROM _facts"))
    given_up = {width: facts[GIVEN_UP.format(width)] for width in RESOLUTIONS_S if GIVEN_UP.format(width) in facts}
    return Kept(int(now_unix_s), given_up)


def align(connection: sqlite3.Connection, window: Window, now_unix_s: float, *, operation_count: int = 1) -> Window:
    """The window, aligned to cells of which so many operations have few enough together."""
    kept = kept_cells(connection, now_unix_s)
    for finest in RESOLUTIONS_S:
        aligned = align_window(window, replace(kept, finest_s=finest))
        cells = sum((last - first) // width for width, first, last in cover(aligned))
        if cells * operation_count <= _CELLS_READ_MAX:
            break
    return aligned


def _ranges(
    connection: sqlite3.Connection, window: Window | None, operation: str | None, now_unix_s: float
) -> tuple[Window | None, list[Range]]:
    """The window, aligned, and the cells that make it up."""
    if window is None:
        return None, [_ALL_TIME]
    count = 1 if operation is not None else _operation_count(connection)
    aligned = align(connection, window, now_unix_s, operation_count=count)
    return aligned, cover(_widen_over_nothing(connection, aligned, operation))


def _widen_over_nothing(connection: sqlite3.Connection, window: Window, operation: str | None) -> Window:
    """The window, widened to days at an end beyond which no call of that day is: fewer cells, the same calls.

    So a window that ends now needs no minutes of this hour and no hours of today.
    """
    start, end = window.start_unix_nano, window.end_unix_nano
    first_day, last_day = start // _DAY_NANO, (end - 1) // _DAY_NANO
    condition, names = ("", ()) if operation is None else (" AND o.name = ?", (operation,))
    sql = (
        "SELECT min(r.first_unix_nano), max(r.last_unix_nano) FROM _services v"
        " CROSS JOIN _operations o ON o.service_id = v.id CROSS JOIN _rollups r"
        f" ON r.resolution_s = ? AND r.operation_id = o.id AND r.start_unix_s = ?{condition}"
    )
    if start % _DAY_NANO:
        first = connection.execute(sql, (DAY_S, first_day * DAY_S, *names)).fetchone()[0]
        if first is None or first >= start:
            start = first_day * _DAY_NANO
    if end % _DAY_NANO:
        last = connection.execute(sql, (DAY_S, last_day * DAY_S, *names)).fetchone()[1]
        if last is None or last < end:
            end = (last_day + 1) * _DAY_NANO
    return Window(start, end)


def _operation_count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM _operations").fetchone()[0])


def _range(grid: Grid) -> Range:
    return grid.resolution_s, grid.start_unix_s, grid.start_unix_s + grid.count * grid.width_s


def _all_time(connection: sqlite3.Connection, now_unix_s: float) -> Window:
    """From the first call that is counted to the last one."""
    sql = "SELECT min(first_unix_nano), max(last_unix_nano) FROM _rollups WHERE resolution_s = ?"
    first, last = connection.execute(sql, (DAY_S,)).fetchone()
    now = int(now_unix_s * 1e9)
    return Window(now, now + 1) if first is None else Window(first, last + 1)


def _grid_cells(
    connection: sqlite3.Connection, grid: Grid, operation: str | None, service: str | None
) -> list[SummedCell]:
    cells = [SummedCell() for _ in range(grid.count)]
    histograms: list[list[bytes]] = [[] for _ in cells]
    for _name, _service, start, *figures, packed in _stored_cells(connection, [_range(grid)], operation, service):
        place = (start - grid.start_unix_s) // grid.width_s
        cells[place].add_figures(figures)
        histograms[place].append(bytes.fromhex(packed))
    for cell, each in zip(cells, histograms, strict=True):
        cell.lanes = lanes_of(each)
    return cells


def _choose_rows(buckets: Sequence[tuple[int, Sequence[int]]], rows_max: int) -> tuple[int, int, int]:
    """How coarse the rows must be, so that there are few enough; the bucket of the lowest one; how many there are."""
    if not buckets:
        return 0, 0, 0
    lowest, highest = min(key for key, _ in buckets), max(key + len(counts) - 1 for key, counts in buckets)
    coarseness = 1  # 4.4 %: finer than any picture
    while coarse_bucket(highest, coarseness) - coarse_bucket(lowest, coarseness) >= rows_max:
        coarseness += 1
    first = coarse_bucket(lowest, coarseness)
    return coarseness, first, coarse_bucket(highest, coarseness) - first + 1


def _stored_cells(
    connection: sqlite3.Connection, ranges: Sequence[Range], operation: str | None, service: str | None
) -> list[tuple[Any, ...]]:
    """Operation, service, start and figures of each cell in the ranges."""
    conditions = ["r.resolution_s = ? AND r.operation_id = o.id AND r.start_unix_s >= ? AND r.start_unix_s < ?"]
    extra: list[str] = []
    if operation is not None:
        conditions.append("o.name = ?")
        extra.append(operation)
    if service is not None:
        conditions.append("v.name = ?")
        extra.append(service)
    # One row of JSON: one step, one wait for the GIL, however many cells.
    sql = (
        f"SELECT json_group_array(json_array(o.name, v.name, r.start_unix_s, {_FIGURES}, hex(r.histogram)))"
        " FROM _services v CROSS JOIN _operations o CROSS JOIN _rollups r"
        f" WHERE o.service_id = v.id AND {' AND '.join(conditions)}"
    )
    return [row for each in ranges for row in json.loads(connection.execute(sql, (*each, *extra)).fetchone()[0])]
