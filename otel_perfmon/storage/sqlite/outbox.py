"""The `Outbox` of one file and destination: a cursor, a lease, and the verdicts on traces that are sent by choice.

A lease counts by the clock that runs since the boot, and goes with its process: who finds that the holder is gone, or
stood still for longer than it lasts, takes it over.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from otel_perfmon.records import SpanRecord
from otel_perfmon.storage import fork, process
from otel_perfmon.storage.outbox import (
    LEASE_SECONDS,
    LEASE_SECONDS_MAX,
    ForwardPolicy,
    LeaseLostError,
    OutboxSpans,
    Settlement,
    Stretch,
)
from otel_perfmon.storage.sampling import is_sampled
from otel_perfmon.storage.sqlite.answers import read_spans
from otel_perfmon.storage.sqlite.arrivals import boot_seconds, last_id, last_id_arrived_before
from otel_perfmon.storage.sqlite.connection import (
    SteppedConnection,
    check_ours,
    check_readable,
    check_version,
    translated,
)
from otel_perfmon.storage.sqlite.destinations import is_lease_held
from otel_perfmon.storage.sqlite.outbox_rows import read_ids, read_outbox_spans, read_trace_ids, within_bytes
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.sent_traces import SentTraces
from otel_perfmon.storage.sqlite.stepped import add_pool
from otel_perfmon.storage.sqlite.writer import SqliteWriter

_KEPT_SHARE: Final = 2 / 3
_FORK_SECONDS: Final = 2.0
FAILURE_MAX: Final = 500
"""Characters of a sentence about a failure, and of a reply."""
_LOOKED_AT_MAX: Final = 4_096
"""Rows that are looked at for one stretch, where not all of them are sent."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A destination, as far as sending goes by it."""

    id: int
    span_cursor: int
    gone_count: int
    judged_from: int
    failure: str
    lease_owner: str
    lease_pid: int
    lease_started: str
    lease_boot_id: str
    lease_pid_namespace: str
    lease_until_s: float


_COLUMNS: Final = ", ".join(_Row.__slots__)


class _OutboxReader(SqliteReader):
    """Reads what is to be sent."""

    @contextmanager
    def transaction(self) -> Iterator[SteppedConnection]:
        """A connection in a transaction."""
        with self._transaction() as connection:
            yield connection


class _OutboxWriter(SqliteWriter):
    """Writes what becomes of spans, beside the recorders that write spans."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction under the file lock."""
        with self._held():
            connection = self._open_connection()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                check_version(connection, self.path)
                yield connection
            self._checkpoint_if_large()

    def leave_lost_file(self) -> None:
        """Close a file or a log that the path does not lead to any more; for who holds the file lock, on any thread.

        Another writer of this process cannot open what is there by now while this one has the other open.
        """
        if self._connection is None or self._is_open():
            return
        with suppress(sqlite3.Error):
            if self._is_file_there():
                self._companions.leave_lost_log(self._checkpoint, self._drop_connection)
            else:
                self._companions.leave_moved_file(self._drop_connection)


class SqliteOutbox:
    """See `Outbox`. ``since_unix_s`` is when the spans arrived that a destination gets first, the oldest by default."""

    def __init__(
        self,
        path: str,
        name: str,
        policy: ForwardPolicy | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
        since_unix_s: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.name = name
        self._policy = policy or ForwardPolicy()
        self._lease_seconds = min(lease_seconds, LEASE_SECONDS_MAX)
        self._since_unix_s = since_unix_s
        self._now = now
        self._reader = _OutboxReader(path)
        self._writer = _OutboxWriter(path)
        self._start_afresh()
        fork.tell_of_forks(self)
        add_pool(self)

    def _start_afresh(self) -> None:
        self._turn = threading.Lock()
        self._is_paused = False
        self._owner = uuid.uuid4().hex
        self._row: _Row | None = None
        self._lease_until_s = 0.0

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._turn, self._writer.transaction() as connection:
                yield connection
        except BaseException:
            self._lease_until_s = 0.0  # what was noted of it was not
            raise

    def close_idle(self) -> None:
        """Let go of a file that is not at its path any more, unless it is being written: see `stepped.add_pool`."""
        if self._turn.acquire(blocking=False):
            try:
                self._writer.leave_lost_file()
            finally:
                self._turn.release()

    # --- fork

    def finish(self) -> None:
        """What is left in the queue is sent by whoever comes next."""

    def before_fork(self) -> None:
        """Hold no connection over a fork; wait for a write that is under way, for a second or two."""
        self._writer.hurry(is_hurried=True)
        self._is_paused = self._turn.acquire(timeout=_FORK_SECONDS)
        if self._is_paused:
            with suppress(Exception):  # a hook at fork has nobody to raise to
                self._writer.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._writer.hurry(is_hurried=False)
        if self._is_paused:
            self._is_paused = False
            self._turn.release()

    def after_fork_in_child(self) -> None:
        """The lease and the connections are the parent's."""
        self._writer.abandon()
        self._start_afresh()

    # --- the lease

    def acquire(self) -> bool:
        """Take the lease, or keep it; see `Outbox`."""
        with translated(self.path):
            check_readable(self.path)
            check_ours(self.path)
        with self._reader.transaction() as connection:  # most of the time that tells enough
            found = _find(connection, self.name)
        if found is not None and self._is_held_by_other(found):
            return False
        with self._writing() as connection:
            found = _find(connection, self.name) or self._create(connection)
            if self._is_held_by_other(found):
                return False
            found = self._begin(connection, found)
            self._row = found
            self._take_lease(connection, found.id)
        return True

    def keep_lease(self) -> None:
        """Have it for longer; see `Outbox`."""
        if self._lease_until_s - boot_seconds() < self._lease_seconds * _KEPT_SHARE:
            with self._writing() as connection:
                self._take_lease(connection, self._mine(connection).id)

    def release(self) -> None:
        """Give the lease back, and every resource; see `Outbox`."""
        row, self._row = self._row, None
        try:
            if row is not None and os.path.exists(self.path):  # else it would be made anew
                with self._writing() as connection:
                    connection.execute(
                        "UPDATE _destinations SET lease_owner = '', lease_until_s = 0 WHERE id = ? AND lease_owner = ?",
                        (row.id, self._owner),
                    )
        finally:
            with self._turn:
                self._writer.close()
            self._reader.close_idle()

    def _take_lease(self, connection: sqlite3.Connection, destination_id: int) -> None:
        me = process.current()
        self._lease_until_s = boot_seconds() + self._lease_seconds
        connection.execute(
            "UPDATE _destinations SET lease_owner = ?, lease_pid = ?, lease_started = ?, lease_boot_id = ?,"
            " lease_pid_namespace = ?, lease_until_s = ? WHERE id = ?",
            (self._owner, me.pid, me.started, me.boot_id, me.pid_namespace, self._lease_until_s, destination_id),
        )

    def _is_held_by_other(self, row: _Row) -> bool:
        return row.lease_owner != self._owner and is_lease_held(asdict(row))

    def _mine(self, connection: sqlite3.Connection) -> _Row:
        """The destination, for who still holds the lease."""
        found = _find(connection, self.name)
        if found is None or self._row is None or found.lease_owner != self._owner:
            self._row = None
            message = f"Another process sends to {self.name} by now, or another file took the place of {self.path}."
            raise LeaseLostError(message)
        return found

    # --- the cursor

    def _create(self, connection: sqlite3.Connection) -> _Row:
        cursor = self._first_cursor(connection)
        last = last_id(connection)
        gone = last - cursor - _count_above(connection, cursor)
        connection.execute(
            "INSERT INTO _destinations (name, span_cursor, gone_count, judged_from) VALUES (?, ?, ?, ?)",
            (self.name, cursor, gone, -1),
        )
        found = _find(connection, self.name)
        assert found is not None
        return found

    def _first_cursor(self, connection: sqlite3.Connection) -> int:
        oldest = connection.execute("SELECT min(id) - 1 FROM _spans").fetchone()[0]
        cursor = last_id(connection) if oldest is None else int(oldest)
        if self._since_unix_s is None:
            return cursor
        return max(cursor, last_id_arrived_before(connection, self._since_unix_s))

    def _begin(self, connection: sqlite3.Connection, found: _Row) -> _Row:
        """What holds from when the lease is taken: where judging traces begins, and what is too old to be sent."""
        judged_from = found.judged_from
        if self._policy.is_sampling and judged_from < 0:
            judged_from = found.span_cursor
        elif not self._policy.is_sampling:
            judged_from = -1
        cursor, gone = found.span_cursor, found.gone_count
        left_out = 0
        if self._since_unix_s is not None:
            first = max(cursor, last_id_arrived_before(connection, self._since_unix_s))
            there = _count_above(connection, cursor) - _count_above(connection, first)
            left_out, gone = there, max(0, gone - (first - cursor - there))
            cursor = first
        connection.execute(
            "UPDATE _destinations SET judged_from = ?, span_cursor = ?, gone_count = ?,"
            " left_out_count = left_out_count + ? WHERE id = ?",
            (judged_from, cursor, gone, left_out, found.id),
        )
        return replace(found, judged_from=judged_from, span_cursor=cursor, gone_count=gone)

    def next_stretch(self, count_max: int) -> Stretch | None:
        """What comes next, of a size that memory has room for; see `Outbox`."""
        if self._row is None or (stretch := self._next_stretch(count_max)) is None:
            return None
        with self._reader.transaction() as connection:
            count = within_bytes(connection, stretch.row_ids)
        if count >= len(stretch.row_ids):
            return stretch
        row_ids, last = stretch.row_ids[:count], stretch.row_ids[count - 1]
        found_ids = stretch.found_ids[: bisect_right(stretch.found_ids, last)]
        return stretch._replace(last_id=last, found_ids=found_ids, row_ids=row_ids)

    def _next_stretch(self, count_max: int) -> Stretch | None:
        with self._reader.transaction() as connection:
            row = self._mine(connection)  # another file may be there by now, to which the cursor means nothing
            if not self._policy.is_sampling:
                ids = read_ids(connection, _IDS_ABOVE, (row.span_cursor, count_max))
                return Stretch(row.span_cursor, ids[-1], ids, ids) if ids else None
            traces = SentTraces(connection, row.id)
            if unfinished := traces.find_unfinished():
                trace_id, first, last = unfinished
                ids = traces.find_span_ids(trace_id, first, last, count_max)
                end = ids[-1] if len(ids) == count_max else last
                return Stretch(first - 1, end, ids, ids, trace_id)
            judged, is_new = self._judge(connection, traces, row, count_max)
        if judged is not None and is_new:
            with self._writing() as connection:
                self._mine(connection)
                traces = SentTraces(connection, row.id)
                left_behind = traces.note(is_new, int(self._now()), row.judged_from, row.span_cursor)
            if left_behind:
                return self._next_stretch(count_max)
        return judged

    def _judge(
        self, connection: sqlite3.Connection, traces: SentTraces, row: _Row, count_max: int
    ) -> tuple[Stretch | None, list[bytes]]:
        """The rows whose traces are sent, of those that waited for long enough; and traces that were found slow."""
        until = last_id_arrived_before(connection, self._now() - self._policy.decision_wait_seconds)
        found_ids, trace_ids = read_trace_ids(connection, row.span_cursor, until, _LOOKED_AT_MAX)
        if not found_ids:
            return None, []
        known, worth = traces.find_worth_sending(row.span_cursor, found_ids[-1])
        sampled = {each for each in set(trace_ids) if is_sampled(each, self._policy.sample_rate)}
        chosen = sampled | known | worth
        ids = [each for each, trace_id in zip(found_ids, trace_ids, strict=True) if trace_id in chosen]
        if len(ids) > count_max:
            ids = ids[:count_max]
            found_ids = found_ids[: bisect_right(found_ids, ids[-1])]
        return Stretch(row.span_cursor, found_ids[-1], found_ids, ids), list(worth - known - sampled)

    def read_spans(self, row_ids: Sequence[int]) -> OutboxSpans:
        """Those rows, as far as they are there; see `Outbox`."""
        with self._reader.transaction() as connection:
            return read_outbox_spans(connection, row_ids)

    def read_records(self, row_ids: Sequence[int]) -> tuple[Sequence[int], Sequence[SpanRecord]]:
        """The same as records, with their row ids; see `Outbox`."""
        with self._reader.transaction() as connection:
            sql = "SELECT s.id FROM json_each(?) k CROSS JOIN _spans s ON s.id = k.value"
            there = read_ids(connection, sql, (json.dumps(list(row_ids)),))
            return there, read_spans(connection, there)

    # --- what became of them

    def settle(self, stretch: Stretch, settlement: Settlement) -> Stretch | None:
        """Write down what became of the first rows of a stretch; see `Outbox`."""
        last = settlement.last_id
        with self._writing() as connection:
            row = self._mine(connection)
            found = bisect_right(stretch.found_ids, last)
            taken = bisect_right(stretch.row_ids, last)
            self._add_counts(connection, row, stretch, settlement, found - taken)
            if stretch.trace_id:
                SentTraces(connection, row.id).advance(stretch.trace_id, last)
            else:
                row = self._advance(connection, row, stretch.after_id, last, found)
            self._take_lease(connection, row.id)
        self._row = row
        if last >= stretch.last_id:
            return None
        return stretch._replace(after_id=last, found_ids=stretch.found_ids[found:], row_ids=stretch.row_ids[taken:])

    def _add_counts(
        self, connection: sqlite3.Connection, row: _Row, stretch: Stretch, settlement: Settlement, left_out: int
    ) -> None:
        now, parked = self._now(), settlement.parked
        is_taken = settlement.sent_count + settlement.refused_count > 0
        if stretch.trace_id:  # counted as left out when its turn was
            left_out = -(settlement.sent_count + settlement.refused_count + len(parked))
        connection.execute(
            "UPDATE _destinations SET sent_count = sent_count + ?, refused_count = refused_count + ?,"
            " parked_count = parked_count + ?, left_out_count = max(0, left_out_count + ?),"
            " sent_unix_s = iif(?, ?, sent_unix_s), failing_since_unix_s = iif(?, 0, failing_since_unix_s),"
            " failure = iif(?, '', failure) WHERE id = ?",
            (
                *(settlement.sent_count, settlement.refused_count, len(parked), left_out),
                *(is_taken, now, is_taken, is_taken, row.id),
            ),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO _parked_spans VALUES (?, ?, ?, ?)",
            [(row.id, row_id, now, reply[:FAILURE_MAX]) for row_id, reply in parked.items()],
        )

    def _advance(self, connection: sqlite3.Connection, row: _Row, after: int, last: int, found: int) -> _Row:
        """Move the cursor; ids without a row are of spans that were pruned before their turn."""
        missing = last - after - found
        gone = min(row.gone_count, missing)
        connection.execute(
            "UPDATE _destinations SET span_cursor = ?, gone_count = gone_count - ?, pruned_count = pruned_count + ?"
            " WHERE id = ?",
            (last, gone, missing - gone, row.id),
        )
        return replace(row, span_cursor=last, gone_count=row.gone_count - gone)

    def note_failure(self, sentence: str) -> None:
        """Write down that the destination takes nothing just now; see `Outbox`."""
        now = self._now()
        with self._writing() as connection:
            row = self._mine(connection)
            connection.execute(
                "UPDATE _destinations SET failure = ?, failed_unix_s = ?,"
                " failing_since_unix_s = iif(failing_since_unix_s = 0, ?, failing_since_unix_s) WHERE id = ?",
                (sentence[:FAILURE_MAX], now, now, row.id),
            )
            self._take_lease(connection, row.id)


_IDS_ABOVE: Final = "SELECT id FROM _spans WHERE id > ? ORDER BY id LIMIT ?"


def _find(connection: sqlite3.Connection, name: str) -> _Row | None:
    found: tuple[Any, ...] | None = connection.execute(
        f"SELECT {_COLUMNS} FROM _destinations WHERE name = ?", (name,)
    ).fetchone()
    return None if found is None else _Row(*found)


def _count_above(connection: sqlite3.Connection, row_id: int) -> int:
    return int(connection.execute("SELECT count(*) FROM _spans WHERE id > ?", (row_id,)).fetchone()[0])
