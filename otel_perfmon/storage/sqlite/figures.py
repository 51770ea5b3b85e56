"""Pruning what is not spans: rollups, calls, error groups, data points, and names that nothing refers to any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from otel_perfmon.storage.cells import ALIGNED_TO_S, COARSE_RESOLUTIONS_S, DAY_S, KEEP_SECONDS, RESOLUTIONS_S
from otel_perfmon.storage.sqlite.names import GENERATION

ROWS_AT_ONCE: Final = 10_000
"""So many rows of one kind go in one transaction."""
_KEEP_SECONDS: Final = KEEP_SECONDS[DAY_S]
_GRACE_SECONDS: Final = 120
_NANO: Final = 1_000_000_000

# An index search for each operation: the start stands behind it in the key.
_OLD_ROLLUPS: Final = """
DELETE FROM _rollups WHERE (resolution_s, operation_id, start_unix_s) IN (
    SELECT r.resolution_s, r.operation_id, r.start_unix_s FROM _operations o
    CROSS JOIN _rollups r ON r.resolution_s = ? AND r.operation_id = o.id AND r.start_unix_s < ? LIMIT ?)
"""
_OLD_EDGES: Final = """
DELETE FROM _edges WHERE (resolution_s, start_unix_s, caller_id, callee_id) IN (
    SELECT resolution_s, start_unix_s, caller_id, callee_id FROM _edges
    WHERE resolution_s = ? AND start_unix_s < ? LIMIT ?)
"""
_OLD_ERROR_CELLS: Final = """
DELETE FROM _error_cells WHERE (group_id, resolution_s, start_unix_s) IN (
    SELECT c.group_id, c.resolution_s, c.start_unix_s FROM _error_groups g
    CROSS JOIN _error_cells c ON c.group_id = g.id AND c.resolution_s = ? AND c.start_unix_s < ? LIMIT ?)
"""
# Without a cell in which anything occurred: those went before.
_OLD_GROUPS: Final = """
DELETE FROM _error_groups WHERE id IN (
    SELECT g.id FROM _error_groups g WHERE g.last_unix_nano < ?
    AND NOT EXISTS (SELECT 1 FROM _error_cells c WHERE c.group_id = g.id) LIMIT ?)
"""
_OLD_POINTS: Final = """
DELETE FROM _points WHERE id IN (SELECT id FROM _points WHERE time_unix_nano < ? LIMIT ?)
"""
_UNUSED_RESOURCES: Final = """
DELETE FROM _resources WHERE id IN (
    SELECT r.id FROM _resources r WHERE r.last_used_unix_s < ?
    AND NOT EXISTS (SELECT 1 FROM _instruments i WHERE i.resource_id = r.id)
    AND r.id NOT IN (SELECT resource_id FROM _open_spans) LIMIT ?)
"""
_UNUSED_INSTRUMENTS: Final = """
DELETE FROM _instruments WHERE id IN (
    SELECT i.id FROM _instruments i
    WHERE NOT EXISTS (SELECT 1 FROM _points p WHERE p.instrument_id = i.id) LIMIT ?)
"""
_UNUSED_OPERATIONS: Final = f"""
DELETE FROM _operations WHERE id IN (
    SELECT o.id FROM _operations o
    WHERE NOT EXISTS (SELECT 1 FROM _rollups r
            WHERE r.resolution_s IN ({", ".join(map(str, RESOLUTIONS_S))}) AND r.operation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM _spans s WHERE s.operation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM _edges e WHERE e.caller_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM _edges e WHERE e.callee_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM _error_groups g WHERE g.operation_id = o.id)
        AND o.id NOT IN (SELECT operation_id FROM _open_spans)
    LIMIT ?)
"""
_UNUSED_SERVICES: Final = """
DELETE FROM _services WHERE id IN (
    SELECT v.id FROM _services v WHERE v.id NOT IN (SELECT service_id FROM _operations)
    AND v.id NOT IN (SELECT service_id FROM _resources) LIMIT ?)
"""
_OLDEST_GROUPS: Final = """
DELETE FROM _error_groups WHERE id IN (SELECT id FROM _error_groups ORDER BY last_unix_nano LIMIT ?)
"""
_AT_ONCE: Final = {_OLD_ROLLUPS: 5_000, _OLD_EDGES: 500, _OLD_ERROR_CELLS: 2_000, _OLDEST_GROUPS: 500}
"""Fewer where each row lies in pages of its own: 10,000 calls, with their two indexes, took 60 MB of the log."""
_OF_IDS: Final = frozenset((_OLD_GROUPS, _UNUSED_RESOURCES, _UNUSED_INSTRUMENTS, _UNUSED_OPERATIONS, _UNUSED_SERVICES))


def delete_cells(connection: sqlite3.Connection, resolution: int, before_unix_s: int) -> bool:
    """Remove a bounded number of the cells of a resolution that are older; whether there were any."""
    statements = [(_OLD_ROLLUPS, _AT_ONCE[_OLD_ROLLUPS])]
    if resolution in COARSE_RESOLUTIONS_S:
        statements += [(sql, _AT_ONCE[sql]) for sql in (_OLD_EDGES, _OLD_ERROR_CELLS)]
    return any(_delete(connection, sql, (resolution, before_unix_s), limit) for sql, limit in statements)


def middle_of_cells(connection: sqlite3.Connection, resolution: int) -> int | None:
    """The middle of the time that cells of a resolution are from, on a bound of the next coarser; None without any."""
    width = ALIGNED_TO_S[resolution]
    for table in ("_rollups", "_edges", "_error_cells"):
        sql = f"SELECT avg(start_unix_s) FROM {table} WHERE resolution_s = ?"
        mean = connection.execute(sql, (resolution,)).fetchone()[0]
        if mean is not None:
            return (int(mean) // width + 1) * width
    return None


def delete_oldest_groups(connection: sqlite3.Connection) -> bool:
    """Remove a bounded number of error groups, those that did not occur for longest; whether there were any."""
    is_any = _delete(connection, _OLDEST_GROUPS, (), _AT_ONCE[_OLDEST_GROUPS]) > 0
    if is_any:
        begin_generation(connection)
    return is_any


def _delete(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...], limit: int) -> int:
    connection.execute(sql, (*parameters, limit))
    return int(connection.execute("SELECT changes()").fetchone()[0])


def prune_figures(connection: sqlite3.Connection, now_unix_s: int, keep_seconds: float, *, with_names: bool) -> bool:
    """Remove a bounded number of what is due; True when there may be more. The caller holds a transaction.

    ``with_names``: operations and services that nothing refers to, too, which takes a look at each of them.
    """
    is_more = False
    for sql, parameters in _due(now_unix_s, keep_seconds, with_names=with_names):
        limit = min(ROWS_AT_ONCE, _AT_ONCE.get(sql, ROWS_AT_ONCE))
        count = _delete(connection, sql, parameters, limit)
        if count and sql in _OF_IDS:
            begin_generation(connection)
        is_more = is_more or count == limit
    return is_more


def begin_generation(connection: sqlite3.Connection) -> None:
    """Ids were given up: whatever any process has cached of them is not good any more."""
    connection.execute(
        "INSERT INTO _facts VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + excluded.value", (GENERATION,)
    )


def _due(now_unix_s: int, keep_seconds: float, *, with_names: bool) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for resolution, seconds in KEEP_SECONDS.items():
        yield _OLD_ROLLUPS, (resolution, now_unix_s - seconds - ALIGNED_TO_S[resolution] - _GRACE_SECONDS)
    since = now_unix_s - _KEEP_SECONDS
    for resolution in COARSE_RESOLUTIONS_S:
        yield _OLD_EDGES, (resolution, since - ALIGNED_TO_S[resolution])
        yield _OLD_ERROR_CELLS, (resolution, since - ALIGNED_TO_S[resolution])
    yield _OLD_GROUPS, ((since - DAY_S) * _NANO,)
    oldest = int(max(0, now_unix_s - keep_seconds))
    yield _OLD_POINTS, (oldest * _NANO,)
    yield _UNUSED_RESOURCES, (oldest - DAY_S,)
    if with_names:
        yield _UNUSED_INSTRUMENTS, ()
        yield _UNUSED_OPERATIONS, ()
        yield _UNUSED_SERVICES, ()
