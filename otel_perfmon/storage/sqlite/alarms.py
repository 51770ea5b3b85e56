"""Which operations fail too often: evaluated over the last hour's rollups, and remembered in the file.

What is raised stands in the file and not in the process: of eight workers that record into it one tells, and a restart
tells nothing twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from otel_perfmon.alerts import Alert, AlertRule, CallCounts, OperationKey, evaluate
from otel_perfmon.query import Window
from otel_perfmon.storage.cells import HOUR_S, cover
from otel_perfmon.storage.sqlite.statements import run_multirow
from otel_perfmon.storage.sqlite.statistics import align

_FORGET_SECONDS: Final = 90 * 86_400
"""What was raised by a threshold that no process has any more goes after that time, as figures do."""
_NANO: Final = 1_000_000_000


def evaluate_alarms(connection: sqlite3.Connection, rule: AlertRule, now: float) -> list[Alert]:
    """What has changed since any process last asked, and is noted in the file now; ``now`` in Unix seconds.

    The caller holds the file lock, so that nobody comes between the look and the note. Without a change nothing is
    written.
    """
    window = align(connection, Window.last(rule.window_seconds, now_unix_nano=int(now * _NANO)), now)
    counts = _read_counts(connection, rule, window)
    alerts = evaluate(rule, counts, _read_firing(connection, rule), window=window, now=int(now))
    if alerts:
        _note(connection, alerts, int(now))
    return alerts


def _read_counts(connection: sqlite3.Connection, rule: AlertRule, window: Window) -> dict[OperationKey, CallCounts]:
    """The calls of each operation that has failed of late, or whose alarm is raised.

    Most operations never fail. The hour cells around the window count all that the finer ones do, and tell which could
    have: only of those every cell is read (of 10,000 operations 20,000 cells, not 700,000).
    """
    ranges = cover(window)
    hours = (window.start_unix_nano // _NANO // HOUR_S * HOUR_S, window.end_unix_nano // _NANO)
    parameters: list[float] = [value for each in ranges for value in each]
    parameters += (HOUR_S, *hours, rule.error_rate_threshold)
    rows = _read_json(connection, _counts_sql(len(ranges)), parameters)
    return {(service, operation): CallCounts(count, errors) for service, operation, count, errors in rows}


@lru_cache(maxsize=16)
def _counts_sql(range_count: int) -> str:
    return f"""
    WITH ranges (resolution_s, first, last) AS (VALUES {", ".join(["(?, ?, ?)"] * range_count)}),
    candidates (id) AS MATERIALIZED (
        SELECT o.id FROM _operations o CROSS JOIN _rollups r
        WHERE r.resolution_s = ? AND r.operation_id = o.id AND r.start_unix_s >= ? AND r.start_unix_s < ?
        GROUP BY o.id HAVING sum(r.error_count) > 0
        UNION
        SELECT o.id FROM _alarms a CROSS JOIN _services v CROSS JOIN _operations o
        WHERE a.error_rate_threshold = ? AND v.name = a.service AND o.service_id = v.id AND o.name = a.operation),
    alike (id) AS MATERIALIZED (  -- in every version and environment of the service
        SELECT DISTINCT o.id FROM candidates c CROSS JOIN _operations a ON a.id = c.id
            CROSS JOIN _services s ON s.id = a.service_id CROSS JOIN _services v ON v.name = s.name
            CROSS JOIN _operations o ON o.service_id = v.id AND o.name = a.name),
    counts (id, count, error_count) AS (
        SELECT c.id, sum(r.count), sum(r.error_count) FROM alike c CROSS JOIN ranges w CROSS JOIN _rollups r
        WHERE r.resolution_s = w.resolution_s AND r.operation_id = c.id
            AND r.start_unix_s >= w.first AND r.start_unix_s < w.last
        GROUP BY c.id),
    named (service, operation, count, error_count) AS (
        SELECT v.name, o.name, sum(c.count), sum(c.error_count)
        FROM counts c CROSS JOIN _operations o CROSS JOIN _services v WHERE o.id = c.id AND v.id = o.service_id
        GROUP BY v.name, o.name)
    SELECT json_group_array(json_array(service, operation, count, error_count)) FROM named
    """


def _read_firing(connection: sqlite3.Connection, rule: AlertRule) -> dict[OperationKey, float]:
    sql = (
        "SELECT json_group_array(json_array(service, operation, since_unix_s)) FROM _alarms"
        " WHERE error_rate_threshold = ?"
    )
    rows = _read_json(connection, sql, (rule.error_rate_threshold,))
    return {(service, operation): since for service, operation, since in rows}


def _read_json(connection: sqlite3.Connection, sql: str, parameters: Iterable[Any]) -> list[list[Any]]:
    """The rows, fetched as one of JSON: one step, one wait for the GIL, however many."""
    rows: list[list[Any]] = json.loads(connection.execute(sql, tuple(parameters)).fetchone()[0])
    return rows


def _note(connection: sqlite3.Connection, alerts: list[Alert], now_unix_s: int) -> None:
    raised: list[Any] = []
    cleared: list[Any] = []
    for alert in alerts:
        key = (alert.service, alert.operation, alert.error_rate_threshold)
        if alert.is_firing:
            raised += (*key, now_unix_s)
        else:
            cleared += key
    columns = "service, operation, error_rate_threshold"
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        run_multirow(connection, f"INSERT OR REPLACE INTO _alarms ({columns}, since_unix_s)", 4, raised)
        run_multirow(connection, f"DELETE FROM _alarms WHERE ({columns}) IN (", 3, cleared, ")")
        connection.execute(
            "DELETE FROM _alarms WHERE error_rate_threshold <> ? AND since_unix_s < ?",
            (alerts[0].error_rate_threshold, now_unix_s - _FORGET_SECONDS),
        )
