"""Where spans are sent on to, read: how far each destination has come, and what keeps it."""

from __future__ import annotations

import sqlite3
from typing import Any

from otel_perfmon.account import DestinationHealth
from otel_perfmon.storage import process
from otel_perfmon.storage.outbox import LEASE_SECONDS_MAX
from otel_perfmon.storage.sqlite.arrivals import boot_seconds, last_id


def list_destinations(connection: sqlite3.Connection) -> list[DestinationHealth]:
    """Every destination that was ever named, by name; of files of an older schema none."""
    if not _is_there(connection):
        return []
    cursor = connection.execute("SELECT * FROM _destinations ORDER BY name")
    names = [each[0] for each in cursor.description]
    last = last_id(connection)
    return [_health(connection, dict(zip(names, row, strict=True)), last) for row in cursor.fetchall()]


def count_sent(connection: sqlite3.Connection) -> int:
    """The spans that destinations have taken, all together; of files of an older schema none."""
    if not _is_there(connection):
        return 0
    return int(connection.execute("SELECT coalesce(sum(sent_count), 0) FROM _destinations").fetchone()[0])


def _is_there(connection: sqlite3.Connection) -> bool:
    sql = "SELECT count(*) FROM sqlite_master WHERE name = '_destinations'"
    return bool(connection.execute(sql).fetchone()[0])


def is_lease_held(row: dict[str, Any]) -> bool:
    """Whether somebody holds the lease on a destination: who lives, and has not stood still for too long."""
    remaining = row["lease_until_s"] - boot_seconds()
    if not row["lease_owner"] or not 0 < remaining <= LEASE_SECONDS_MAX:
        return False
    parts = (row[f"lease_{name}"] for name in ("pid", "started", "boot_id", "pid_namespace"))
    return process.is_alive(process.ProcessIdentity(*parts)) is not False


def _health(connection: sqlite3.Connection, row: dict[str, Any], last: int) -> DestinationHealth:
    cursor = row["span_cursor"]
    waiting = int(connection.execute("SELECT count(*) FROM _spans WHERE id > ?", (cursor,)).fetchone()[0])
    pruned_ahead = max(0, last - cursor - waiting - row["gone_count"])
    return DestinationHealth(
        name=row["name"],
        sent_count=row["sent_count"],
        refused_count=row["refused_count"],
        parked_count=row["parked_count"],
        left_out_count=row["left_out_count"],
        pruned_count=row["pruned_count"] + pruned_ahead,
        waiting_count=waiting,
        oldest_waiting=_arrival(connection, cursor) if waiting else None,
        sent=row["sent_unix_s"] or None,
        failing_since=row["failing_since_unix_s"] or None,
        failure=row["failure"],
        sender_pid=row["lease_pid"] if is_lease_held(row) else None,
    )


def _arrival(connection: sqlite3.Connection, cursor: int) -> float | None:
    """About when the first span behind the cursor arrived."""
    found = connection.execute(
        "SELECT unix_s FROM _arrivals WHERE first_span_id <= (SELECT min(id) FROM _spans WHERE id > ?)"
        " ORDER BY first_span_id DESC LIMIT 1",
        (cursor,),
    ).fetchone()
    return None if found is None else float(found[0])
