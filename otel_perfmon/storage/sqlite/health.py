"""The account of each process, read: what became of its spans, how its queue stands, and whether it still runs."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.account import Health, ProcessHealth
from otel_perfmon.storage.loss import AFTER_COUNTING
from otel_perfmon.storage.process import is_alive
from otel_perfmon.storage.sqlite.account import identity_of

PAST: Final = "past"
"""The row into which those of silent processes are folded."""
_COUNTS: Final = ("ended", "counted", "stored", "sampled_out", "pruned", "forwarded", "altered", "interrupted")


def read_processes(connection: sqlite3.Connection) -> list[ProcessHealth]:
    """The account of each process, the latest to write first; of files of an older schema, too."""
    drops: dict[str, Counter[str]] = {}
    for process, reason, count in connection.execute("SELECT process, reason, count FROM _drops ORDER BY reason"):
        drops.setdefault(process, Counter())[reason] += count
    cursor = connection.execute("SELECT * FROM _health ORDER BY updated_unix_s DESC, process")
    names = [each[0] for each in cursor.description]
    rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    return [_process_health(row, drops.get(row["process"], Counter())) for row in rows]


def summed(processes: Sequence[ProcessHealth]) -> Health:
    """All of them together."""
    counts = {name: sum(getattr(each.health, name) for each in processes) for name in (*_COUNTS, "queued", "held")}
    dropped: Counter[str] = Counter()
    not_kept: Counter[str] = Counter()
    for each in processes:
        dropped.update(each.health.dropped)
        not_kept.update(each.health.not_kept)
    return Health(**counts, dropped=dict(sorted(dropped.items())), not_kept=dict(sorted(not_kept.items())))


def _process_health(row: dict[str, Any], drops: Counter[str]) -> ProcessHealth:
    dropped = {reason: count for reason, count in drops.items() if reason not in AFTER_COUNTING}
    not_kept = {reason: count for reason, count in drops.items() if reason in AFTER_COUNTING}
    counts = {name: int(row.get(name, 0)) for name in _COUNTS}
    queued, held = int(row.get("queued", 0)), int(row.get("held", 0))
    if "queued" not in row:  # schema 1, which knew nothing of spans while they were held
        counts["sampled_out"] = counts["counted"] - counts["stored"]
        counts["ended"] = counts["counted"] + sum(dropped.values())
    counts["ended"] += queued
    return ProcessHealth(
        process=row["process"],
        pid=int(row["pid"]),
        is_alive=False if row["process"] == PAST else is_alive(identity_of(row)),
        is_closed=bool(row.get("is_closed", 0)),
        updated=float(row["updated_unix_s"]),
        oldest_queued=row.get("oldest_queued_unix_nano", 0) / 1e9 or None,
        failure_count=row.get("failure_count", 0),
        failed=float(row.get("failed_unix_s", 0)) or None,
        failure=row.get("failure", ""),
        health=Health(**counts, queued=queued, held=held, dropped=dropped, not_kept=not_kept),
    )
