"""Call edges: which operation called which, how often and for how long together, by hour and by day."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.query import Window
from otel_perfmon.records import CallEdge
from otel_perfmon.storage.cells import COARSE_RESOLUTIONS_S, cover_coarsely
from otel_perfmon.storage.rows import EdgeRow
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.statements import run_multirow

_NANO: Final = 1_000_000_000
_ADD: Final = (
    "ON CONFLICT DO UPDATE SET count = count + excluded.count, "
    "sum_s = sum_s + excluded.sum_s + (sum_nano + excluded.sum_nano) / 1000000000, "
    "sum_nano = (sum_nano + excluded.sum_nano) % 1000000000"
)
_RANGE: Final = "e.resolution_s = ? AND e.start_unix_s >= ? AND e.start_unix_s < ?"
_SUMS: Final = "sum(e.count) AS count, total(e.sum_s) * 1e3 + total(e.sum_nano) / 1e6 AS total_ms"


def add_edges(connection: sqlite3.Connection, names: Names, edges: Sequence[EdgeRow]) -> None:
    """Count calls; the caller holds a transaction."""
    values: list[Any] = []
    for edge in edges:
        caller, _ = names.operation(edge.caller_resource, edge.caller)
        callee, _ = names.operation(edge.callee_resource, edge.callee)
        for resolution in COARSE_RESOLUTIONS_S:
            values += (resolution, edge.hour_unix_s // resolution * resolution, caller, callee, edge.call_count)
            values += divmod(edge.duration_sum_nano, _NANO)
    run_multirow(connection, "INSERT INTO _edges", 7, values, _ADD)


def summarize_calls(
    connection: sqlite3.Connection, *, operation: str | None, service: str | None, window: Window | None
) -> list[CallEdge]:
    """The edges of the window, most time first; with an ``operation`` those that lead to it or from it.

    With a ``service``, that of the operation, or else of either end.
    """
    aligned, ranges = cover_coarsely(window)
    sums: dict[tuple[str, str], list[float]] = {}
    for each in ranges:
        for caller, callee, count, total_ms in _edges_in(connection, each, operation, service):
            entry = sums.setdefault((caller, callee), [0, 0.0])
            entry[0] += count
            entry[1] += total_ms
    edges = [CallEdge(*ends, int(count), total_ms, aligned) for ends, (count, total_ms) in sums.items()]
    return sorted(edges, key=lambda edge: (-edge.total_ms, edge.caller, edge.callee))


def _edges_in(
    connection: sqlite3.Connection, cells: tuple[int, int, int], operation: str | None, service: str | None
) -> list[tuple[Any, ...]]:
    if operation is None and service is None:
        edges = f"SELECT e.caller_id, e.callee_id, {_SUMS} FROM _edges e WHERE {_RANGE} GROUP BY 1, 2"
        return _named(connection, edges, cells)
    ids = "SELECT o.id FROM _services v CROSS JOIN _operations o ON o.service_id = v.id"
    wanted = {"o.name = ?": operation, "v.name = ?": service}
    ids += " WHERE " + " AND ".join(condition for condition, value in wanted.items() if value is not None)
    names = [value for value in wanted.values() if value is not None]
    # Each edge once: those from the operation, and those to it that do not come from it as well.
    edges = (
        f"SELECT caller_id, callee_id, {_SUMS} FROM ("
        f"SELECT e.* FROM ({ids}) k CROSS JOIN _edges e ON e.caller_id = k.id AND {_RANGE}"
        f" UNION ALL SELECT e.* FROM ({ids}) k CROSS JOIN _edges e ON e.callee_id = k.id AND {_RANGE}"
        f" AND e.caller_id NOT IN ({ids})) e GROUP BY 1, 2"
    )
    return _named(connection, edges, (*names, *cells, *names, *cells, *names))


def _named(connection: sqlite3.Connection, edges: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    sql = (
        f"SELECT caller.name, callee.name, s.count, s.total_ms FROM ({edges}) s"
        " JOIN _operations caller ON caller.id = s.caller_id JOIN _operations callee ON callee.id = s.callee_id"
    )
    return connection.execute(sql, parameters).fetchall()
