"""Statistics of operations from their rollups: a question takes the coarsest cells that fit its window."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from otel_perfmon.query import Window
from otel_perfmon.records import OperationStats
from otel_perfmon.storage.cells import RESOLUTIONS_S, UNIX_S_MAX, align_window, cover
from otel_perfmon.storage.histogram import percentile_nano
from otel_perfmon.storage.sqlite.rollup import COLUMNS, Cell

_FIGURES: Final = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(",")[3:-1])


def summarize(
    connection: sqlite3.Connection,
    *,
    operation: str | None,
    service: str | None,
    window: Window | None,
    is_by_service: bool,
    now_unix_s: float,
) -> list[OperationStats]:
    """The figures of each operation with a call in the window, most total time first."""
    aligned = align_window(window, int(now_unix_s)) if window is not None else None
    ranges = cover(aligned) if aligned is not None else [(RESOLUTIONS_S[-1], -UNIX_S_MAX, UNIX_S_MAX)]
    is_split = is_by_service or service is not None
    cells: dict[tuple[str, str | None], Cell] = {}
    for name, service_name, *figures in _stored_cells(connection, ranges, operation, service):
        key = (name, service_name if is_split else None)
        cells.setdefault(key, Cell()).add_stored(figures)
    stats = [stats_of(name, each, cell, aligned) for (name, each), cell in cells.items()]
    return sorted(stats, key=lambda each: (-each.total_ms, each.operation, each.service or ""))


def stats_of(operation: str, service: str | None, cell: Cell, window: Window | None) -> OperationStats:
    """The answer for one cell, which is not empty."""
    p50, p90, p95, p99 = (
        percentile_nano(cell.buckets, share, cell.minimum, cell.maximum) / 1e6 for share in (0.5, 0.9, 0.95, 0.99)
    )
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


def _stored_cells(
    connection: sqlite3.Connection, ranges: list[tuple[int, int, int]], operation: str | None, service: str | None
) -> list[tuple[Any, ...]]:
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
        f"SELECT json_group_array(json_array(o.name, v.name, {_FIGURES}, hex(r.histogram)))"
        " FROM _services v CROSS JOIN _operations o CROSS JOIN _rollups r"
        f" WHERE o.service_id = v.id AND {' AND '.join(conditions)}"
    )
    return [row for each in ranges for row in json.loads(connection.execute(sql, (*each, *extra)).fetchone()[0])]
