"""Writing the rows of open spans; those of a process that is gone become spans."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from operator import add
from typing import Any, Final

from otel_perfmon.storage import process as processes
from otel_perfmon.storage.base import OpenSpans
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.process import ProcessIdentity
from otel_perfmon.storage.rows import OpenSpanRow
from otel_perfmon.storage.sqlite.details import encode_details
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.statements import run_multirow

_LOOK_SECONDS: Final = 60.0
INTERRUPTED_AT_ONCE: Final = 1_000
"""Spans that are made of rows of gone processes in one transaction."""
_LOST_NANO: Final = 120 * 10**9
"""A process of which nobody can say whether it runs, such as one in another container, and that has not looked at its
open spans for so long, is taken for gone."""

_COLUMNS: Final = (
    "process, trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags, start_unix_nano, "
    "status_code, attributes, details, slow_threshold_nano, thread_id, thread_name"
)
_WIDTH: Final = _COLUMNS.count(",") + 1
PROCESS_COLUMNS: Final = "process, pid, started, boot_id, pid_namespace, seen_unix_nano"

# The mark goes in as text: SQLite's own way to change JSON would have to read all of it.
_STORE_INTERRUPTED: Final = """
INSERT INTO _spans (trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags, end_unix_nano,
    duration_nano, status_code, is_slow, attributes, details)
SELECT trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags, start_unix_nano + open_nano,
    open_nano, status_code, open_nano > slow_threshold_nano,
    '{"perfmon.interrupted":true' || iif(attributes IN ('', '{}'), '}', ',' || substr(attributes, 2)), details
FROM (SELECT *, max(0, :seen - start_unix_nano) AS open_nano FROM _open_spans
    WHERE process = :process ORDER BY trace_id, span_id LIMIT :limit)
ORDER BY start_unix_nano
"""
_DELETE_INTERRUPTED: Final = """
DELETE FROM _open_spans WHERE process = :process AND (trace_id, span_id) IN (
    SELECT trace_id, span_id FROM _open_spans WHERE process = :process ORDER BY trace_id, span_id LIMIT :limit)
"""


class OpenSpanRows:
    """The rows of this process, as one connection knows them; the caller holds a transaction."""

    def __init__(self, connection: sqlite3.Connection, process: str) -> None:
        self._connection = connection
        self._process = process
        self._identity = processes.current()
        self._next_look = 0.0
        self.forget()

    def forget(self) -> None:
        """What was learnt in a transaction that is rolled back is not true."""
        self._written: dict[bytes, Any] | None = None

    def replace(self, names: Names, open_spans: OpenSpans) -> None:
        """Have the rows of these spans, and no others if they are all; what has not changed is not written again."""
        if self._written and not self._is_listed():  # taken for dead by another process, which made spans of them
            self._written = {}
        written = self._known()
        rows = {row.span.trace_id + row.span.span_id: row for row in open_spans.rows}
        if open_spans.is_all:
            self._delete(written.keys() - rows.keys())
        values: list[Any] = []
        for key, row in rows.items():
            content = self._values_of(names, row)
            if written.get(key) != content:
                values += content
                written[key] = content
        run_multirow(self._connection, f"INSERT OR REPLACE INTO _open_spans ({_COLUMNS})", _WIDTH, values)
        self._note_seen()

    def remove_ended(self, *parts: SpanColumns) -> None:
        """These spans have ended: they are stored or counted in this very transaction."""
        written = self._known()
        if written:
            for spans in parts:
                trace_ids, span_ids, *_ = spans.columns
                self._delete(written.keys() & set(map(add, trace_ids, span_ids)))

    def is_look_due(self) -> bool:
        """Whether to look for rows of processes that are gone: when the file was opened, and each minute."""
        return time.monotonic() >= self._next_look

    def store_interrupted(self) -> int:
        """Make spans of the rows of a process that is gone, of a bounded number; how many.

        Such a span ends when its process last looked at it, and carries ``perfmon.interrupted``.
        """
        sql = f"SELECT {PROCESS_COLUMNS} FROM _open_processes WHERE process <> ?"
        for process, *parts, seen in self._connection.execute(sql, (self._process,)).fetchall():
            if state_of(ProcessIdentity(*parts), seen, time.time_ns()) == "interrupted":
                return self._store_rows_of(process, seen)
        self._next_look = time.monotonic() + _LOOK_SECONDS
        return 0

    def _store_rows_of(self, process: str, seen_unix_nano: int) -> int:
        parameters = {"process": process, "seen": seen_unix_nano, "limit": INTERRUPTED_AT_ONCE}
        self._connection.execute(_STORE_INTERRUPTED, parameters)
        count = int(self._connection.execute("SELECT changes()").fetchone()[0])
        self._connection.execute(_DELETE_INTERRUPTED, parameters)
        if count < INTERRUPTED_AT_ONCE:
            self._connection.execute("DELETE FROM _open_processes WHERE process = ?", (process,))
        return count

    def _known(self) -> dict[bytes, Any]:
        """What stands in the file, by trace and span id."""
        if self._written is None:
            sql = "SELECT trace_id, span_id FROM _open_spans WHERE process = ?"
            self._written = {bytes(t) + bytes(s): None for t, s in self._connection.execute(sql, (self._process,))}
        return self._written

    def _values_of(self, names: Names, row: OpenSpanRow) -> tuple[Any, ...]:
        span = row.span
        place = names.places[span.name, span.resource, span.scope]
        return (
            self._process,
            *(span.trace_id, span.span_id, span.parent_span_id),
            *(place.operation_id, place.resource_id, place.scope_id),
            *(span.kind, span.flags, span.start_unix_nano, span.status_code, span.attributes),
            encode_details(span.details, place.own.name if place.own is not None else ""),
            *(row.slow_threshold_nano, row.thread_id, row.thread_name),
        )

    def _delete(self, keys: Iterable[bytes]) -> None:
        sql = "DELETE FROM _open_spans WHERE process = ? AND trace_id = ? AND span_id = ?"
        assert self._written is not None
        for key in list(keys):
            self._connection.execute(sql, (self._process, key[:16], key[16:]))
            del self._written[key]

    def delete_all(self) -> None:
        """The file is left behind by a process that lives on."""
        self._connection.execute("DELETE FROM _open_spans WHERE process = ?", (self._process,))
        self._connection.execute("DELETE FROM _open_processes WHERE process = ?", (self._process,))
        self.forget()

    def _is_listed(self) -> bool:
        sql = "SELECT 1 FROM _open_processes WHERE process = ?"
        return self._connection.execute(sql, (self._process,)).fetchone() is not None

    def _note_seen(self) -> None:
        """Say that we live, as long as we have rows."""
        if not self._written:
            self._connection.execute("DELETE FROM _open_processes WHERE process = ?", (self._process,))
            return
        self._connection.execute(
            f"INSERT OR REPLACE INTO _open_processes ({PROCESS_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (self._process, *_parts_of(self._identity), time.time_ns()),
        )


def state_of(identity: ProcessIdentity, seen_unix_nano: int, now_unix_nano: int) -> str:
    """``running``, or ``interrupted`` when the process is gone that looked at its open spans last at that moment."""
    is_alive = processes.is_alive(identity)
    if is_alive is None:
        is_alive = now_unix_nano - seen_unix_nano <= _LOST_NANO
    return "running" if is_alive else "interrupted"


def _parts_of(identity: ProcessIdentity) -> tuple[Any, ...]:
    return identity.pid, identity.started, identity.boot_id, identity.pid_namespace
