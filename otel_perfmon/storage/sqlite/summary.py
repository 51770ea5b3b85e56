"""What a store is and holds, told without going through its spans."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from otel_perfmon.account import StoreSummary
from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.cells import KEEP_SECONDS
from otel_perfmon.storage.sqlite.account import SLOW_THRESHOLD
from otel_perfmon.storage.sqlite.path_status import size_bytes

BEGUN_ANEW: Final = "begun_anew_unix_s"
_FILE_ID: Final = "file_id"
"""The fact that tells a file from another at its path: the number of its inode may be given to that one."""
_MS: Final = 1_000
_NANO_OF_MS: Final = 1_000_000
_LONGEST_MS: Final = 2**62
_LOGS_SINCE: Final = 5
"""The schema in which log records have a table; the doctor looks into files of older ones."""


def note_policy(connection: sqlite3.Connection, policy: RetentionPolicy, begun_anew_unix_s: int = 0) -> None:
    """Write down what is kept how long, for whoever asks; the caller holds a transaction.

    ``begun_anew_unix_s`` is when a process came to this file since another one at its path was moved or removed.
    """
    facts = {
        "retention_ms": round(min(_LONGEST_MS, policy.retention_seconds * _MS)),
        "keep_ms": round(min(_LONGEST_MS, policy.keep_seconds * _MS)),
        "size_max_bytes": min(INT64_MAX, policy.size_max_bytes),
    }
    if begun_anew_unix_s:
        facts[BEGUN_ANEW] = begun_anew_unix_s
    connection.executemany("INSERT OR REPLACE INTO _facts VALUES (?, ?)", facts.items())
    connection.execute("INSERT OR IGNORE INTO _facts VALUES (?, random())", (_FILE_ID,))


def read_file_id(connection: sqlite3.Connection) -> int | None:
    """A number that no other file has but its copies; None before a process of this version recorded."""
    row = connection.execute("SELECT value FROM _facts WHERE name = ?", (_FILE_ID,)).fetchone()
    return None if row is None else int(row[0])


def facts_of(connection: sqlite3.Connection) -> dict[str, int]:
    """What is noted of the file as a whole, by name."""
    return dict(connection.execute("SELECT name, value FROM _facts"))


def noted_policy(connection: sqlite3.Connection) -> RetentionPolicy:
    """What the process that recorded last keeps; the default where none has said so."""
    facts = facts_of(connection)
    default = RetentionPolicy()
    return RetentionPolicy(
        facts["retention_ms"] / _MS if "retention_ms" in facts else default.retention_seconds,
        facts["keep_ms"] / _MS if "keep_ms" in facts else default.keep_seconds,
        facts.get("size_max_bytes", default.size_max_bytes),
    )


def summarize_store(connection: sqlite3.Connection, path: str) -> StoreSummary:
    """Sizes, counts and times; spans are counted by the account, which each write and each pruning keeps."""

    def one(sql: str) -> Any:
        return connection.execute(sql).fetchone()[0]

    policy, schema_version = noted_policy(connection), one("PRAGMA user_version")
    first, last = (one(f"SELECT {each}(end_unix_nano) FROM _spans") for each in ("min", "max"))
    threshold_nano = facts_of(connection).get(SLOW_THRESHOLD)
    return StoreSummary(
        path=path,
        schema_version=schema_version,
        sqlite_version=sqlite3.sqlite_version,
        file_bytes=size_bytes(path),
        wal_bytes=size_bytes(path + "-wal"),
        span_count=one("SELECT coalesce(sum(stored) - sum(pruned), 0) FROM _health"),
        operation_count=one("SELECT count(*) FROM _operations"),
        service_count=one("SELECT count(DISTINCT name) FROM _services"),
        error_group_count=one("SELECT count(*) FROM _error_groups"),
        point_count=one("SELECT count(*) FROM _points"),  # data points are few: one a series and collection
        log_count=one("SELECT count(*) FROM _logs") if schema_version >= _LOGS_SINCE else 0,
        first_end=None if first is None else first / 1e9,
        last_end=None if last is None else last / 1e9,
        retention_seconds=policy.retention_seconds,
        keep_seconds=policy.keep_seconds,
        size_max_bytes=policy.size_max_bytes,
        rollup_keep_seconds=KEEP_SECONDS,
        slow_threshold_ms=None if threshold_nano is None else threshold_nano / _NANO_OF_MS,
    )
