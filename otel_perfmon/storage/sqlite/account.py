"""What a process writes of itself, and what others write of it when it has died."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.storage.base import RecorderState
from otel_perfmon.storage.process import ProcessIdentity, is_alive

DIED: Final = "process_died"
"""The reason for which those spans are dropped that a process had in its queue when it died."""
SLOW_THRESHOLD: Final = "slow_threshold_nano"
"""The fact from when on spans are slow, by the process that wrote last."""
_UNKNOWN_IS_DEAD_SECONDS: Final = 86_400
"""A process of another container that was silent for so long is taken for dead."""


def note_state(connection: sqlite3.Connection, process: str, identity: ProcessIdentity, state: RecorderState) -> None:
    """Write down how a recorder stands, into the row of its process; the caller holds a transaction."""
    connection.execute(
        "UPDATE _health SET started = ?, boot_id = ?, pid_namespace = ?, queued = ?, oldest_queued_unix_nano = ?,"
        " held = ?, failure_count = ?, failed_unix_s = ?, failure = ?, is_closed = ? WHERE process = ?",
        (
            *(identity.started, identity.boot_id, identity.pid_namespace),
            *(state.queued_count, state.oldest_unix_nano, state.held_count),
            *(state.failure_count, state.failed_unix_s, state.failure, int(state.is_closed), process),
        ),
    )
    if state.slow_threshold_nano:
        connection.execute(
            "INSERT INTO _facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
            " WHERE value <> excluded.value",  # as a rule it is the same, and no page is written
            (SLOW_THRESHOLD, state.slow_threshold_nano),
        )


def bury_dead(connection: sqlite3.Connection, now_unix_s: int) -> None:
    """Count as dropped what was in the queues of processes that have died; the caller holds a transaction."""
    cursor = connection.execute("SELECT * FROM _health WHERE queued > 0")
    names = [each[0] for each in cursor.description]
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        alive = is_alive(identity_of(row))
        if alive or (alive is None and row["updated_unix_s"] > now_unix_s - _UNKNOWN_IS_DEAD_SECONDS):
            continue
        connection.execute(
            "INSERT INTO _drops VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (row["process"], DIED, row["queued"]),
        )
        connection.execute(
            "UPDATE _health SET ended = ended + queued, queued = 0, oldest_queued_unix_nano = 0 WHERE process = ?",
            (row["process"],),
        )


def identity_of(row: Mapping[str, Any]) -> ProcessIdentity:
    """Which process a row of the account is of."""
    return ProcessIdentity(row["pid"], row.get("started", ""), row.get("boot_id", ""), row.get("pid_namespace", ""))
