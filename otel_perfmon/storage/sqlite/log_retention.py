"""What of the log records goes when: they stay as long as the spans they stand beside.

An ordinary record goes as an ordinary span does. One of a trace that is kept, and one of severity ERROR or worse, stays
as long as that trace. All by arrival; ids ascend with it.
"""

from __future__ import annotations

import sqlite3
from typing import Final

SEVERE: Final = 17
"""OpenTelemetry's number of ERROR: from here on a record is worth keeping."""
_PRUNED_TO: Final = "logs_pruned_to"
_DELETE_ORDINARY: Final = f"""
DELETE FROM _logs WHERE id BETWEEN ? AND ? AND severity_number < {SEVERE} AND (trace_id = x'' OR NOT EXISTS (
    SELECT 1 FROM _spans k INDEXED BY _spans_worth_keeping
    WHERE k.trace_id = _logs.trace_id AND k.is_error + k.is_slow > 0))
"""
_DELETE_ALL: Final = "DELETE FROM _logs WHERE id IN (SELECT id FROM _logs WHERE id <= ? ORDER BY id LIMIT ?)"
_DELETE_BEFORE: Final = """
DELETE FROM _logs WHERE id IN (SELECT id FROM _logs WHERE moment_unix_nano < ? ORDER BY moment_unix_nano LIMIT ?)
"""
_NEXT: Final = "SELECT min(id), max(id) FROM (SELECT id FROM _logs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)"
_LAST_BEFORE: Final = """
SELECT id FROM _logs WHERE arrived_unix_s < ? ORDER BY arrived_unix_s DESC, id DESC LIMIT 1
"""
_ARRIVAL: Final = "SELECT arrived_unix_s FROM _logs WHERE id > ? ORDER BY id LIMIT 1"


class LogRetention:
    """Prunes the log records of one file. The caller holds the file lock; each removal is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def prune_by_age(self, ordinary_unix_s: float, kept_unix_s: float, rows_max: int) -> bool:
        """Remove some that arrived before; whether there may be more."""
        ordinary, kept = (self.last_id_before(moment) for moment in (ordinary_unix_s, kept_unix_s))
        return self.prune_ordinary(rows_max, ordinary) or self.prune_all(rows_max, kept)

    def prune_ordinary(self, rows_max: int, last_id: int) -> bool:
        """Go on over at most ``rows_max`` records from where the last step ended; whether there was one."""
        first, last = self._connection.execute(_NEXT, (self._pruned_to(), last_id, rows_max)).fetchone()
        if first is None:
            return False
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_DELETE_ORDINARY, (first, last))
            self._connection.execute("INSERT OR REPLACE INTO _facts VALUES (?, ?)", (_PRUNED_TO, last))
        return True

    def prune_all(self, rows_max: int, last_id: int) -> bool:
        """Remove the oldest records, whatever they are; whether there was one."""
        return self._delete(_DELETE_ALL, (last_id, rows_max)) > 0

    def delete_before(self, unix_nano: int, rows_max: int) -> bool:
        """Remove some of what happened before that moment; whether there may be more."""
        return self._delete(_DELETE_BEFORE, (unix_nano, rows_max)) == rows_max

    def next_arrival(self, *, is_ordinary: bool) -> int | None:
        """When the record arrived that would go next, in Unix seconds; None without any."""
        after = self._pruned_to() if is_ordinary else -1
        row = self._connection.execute(_ARRIVAL, (after,)).fetchone()
        return int(row[0]) if row else None

    def last_id_before(self, unix_s: float) -> int:
        """A row id such that it and all below had arrived by then; 0 where there is none."""
        row = self._connection.execute(_LAST_BEFORE, (int(max(0, unix_s)),)).fetchone()
        return int(row[0]) if row else 0

    def ids_span(self) -> int:
        """About how many records there are: from the first id to the last."""
        ends = "SELECT (SELECT min(id) FROM _logs), (SELECT max(id) FROM _logs)"
        first, last = self._connection.execute(ends).fetchone()
        return 0 if first is None else last - first + 1

    def _delete(self, sql: str, parameters: tuple[int, int]) -> int:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return int(self._connection.execute(sql, parameters).rowcount)

    def _pruned_to(self) -> int:
        row = self._connection.execute("SELECT value FROM _facts WHERE name = ?", (_PRUNED_TO,)).fetchone()
        return int(row[0]) if row else 0
