"""Writing batches: one transaction each, under our file lock, in as few SQLite steps as can be."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from otel_perfmon.alerts import Alert, AlertRule
from otel_perfmon.errors import StoreBusyError, StoreCorruptError, StoreError
from otel_perfmon.storage import process
from otel_perfmon.storage.base import Batch, RetentionPolicy
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.loss import AFTER_COUNTING, NOT_KEPT
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.account import note_state
from otel_perfmon.storage.sqlite.alarms import evaluate_alarms
from otel_perfmon.storage.sqlite.batch_size import BatchSize
from otel_perfmon.storage.sqlite.companions import Companions
from otel_perfmon.storage.sqlite.edges import add_edges
from otel_perfmon.storage.sqlite.error_groups import ErrorGroups
from otel_perfmon.storage.sqlite.file_lock import PATIENT_FROM_SECONDS, FileLock
from otel_perfmon.storage.sqlite.file_system import check_local
from otel_perfmon.storage.sqlite.free_space import FreeSpace
from otel_perfmon.storage.sqlite.halving import parts_of
from otel_perfmon.storage.sqlite.log_rows import insert_logs, with_logged_exceptions
from otel_perfmon.storage.sqlite.names import BYTES_MAX as NAMES_BYTES_MAX
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.open_spans import OpenSpanRows
from otel_perfmon.storage.sqlite.path_status import inode_of, size_bytes
from otel_perfmon.storage.sqlite.points import insert_points
from otel_perfmon.storage.sqlite.reader_patience import ReaderPatience
from otel_perfmon.storage.sqlite.retention import ARRIVAL_CELL_SECONDS, HIGH_WATER, Retention
from otel_perfmon.storage.sqlite.rollup import Rollup
from otel_perfmon.storage.sqlite.seal import was_ours
from otel_perfmon.storage.sqlite.soundness import Soundness
from otel_perfmon.storage.sqlite.span_rows import SPANS_AT_ONCE, count_spans, insert_spans
from otel_perfmon.storage.sqlite.statements import run_multirow
from otel_perfmon.storage.sqlite.summary import note_policy, noted_policy

_logger = logging.getLogger("otel_perfmon")

WAL_MAX_BYTES: Final = 4 * 1024 * 1024
_PRUNING_WAL_MAX_BYTES: Final = 1024 * 1024
"""The same after a step of pruning, which touches pages all over the file: the lock was held for at most 45 ms while a
tenth of ten million spans went, and 60 with 4 MiB, or 95 with step and checkpoint under one hold (measured)."""
_WAL_SHARE_MAX: Final = 1 / 32  # of what the file may have: above it, or the bytes, the log is checkpointed
_NAMES_IN_LIMIT: Final = 16


class SqliteWriter:
    """The `SpanWriter` of one file. Opens it on first use, and anew when the path leads to another file."""

    def __init__(self, path: str, policy: RetentionPolicy | None = None) -> None:
        self.path = path
        self.on_progress: Callable[[], None] = lambda: None
        self.now: Callable[[], float] = lambda: time.time()  # noqa: PLW0108 - the clock of the moment, as tests set it
        self._policy = policy or RetentionPolicy()
        self._lock = FileLock(path + ".lock", self._tell_of_others)
        self._soundness = Soundness(path, self._lock)
        self._companions = Companions(path, self._lock)
        self._connection: connections.SteppedConnection | None = None
        self._inode: tuple[int, int] | None = None
        self._begin_account()
        self._is_policy_noted, self._begun_anew = False, 0
        self._patience = ReaderPatience()
        self._free_space = FreeSpace(path)
        self._batch_size = BatchSize()

    def write(self, batch: Batch, *, timeout_seconds: float) -> int:
        """Keep the batch in one transaction; how many spans could never be kept. See `SpanWriter`."""
        try:
            return self._companions.patiently(lambda: self._write(batch, timeout_seconds), timeout_seconds)
        except StoreCorruptError:
            if self._connection is not None or timeout_seconds < PATIENT_FROM_SECONDS:
                raise
        return 0 if batch.is_written else self._write(batch, timeout_seconds)  # into a new file

    def _write(self, batch: Batch, timeout_seconds: float) -> int:
        with connections.translated(self.path):
            self._free_space.check()
        with self._held(timeout_seconds):
            log_bytes = size_bytes(self.path + "-wal")
            refused = self._write_batch(batch)
            self._batch_size.fit(size_bytes(self.path + "-wal") - log_bytes, self._policy.size_max_bytes)
            self._store_interrupted()
            self._checkpoint_if_large()
        return refused

    def maintain(self) -> bool:
        """One step of retention; True when more is waiting."""
        return self._prune(self._policy, self.now())[1]

    def evaluate_alarms(self, rule: AlertRule, now: float) -> list[Alert]:
        """Which alarms are raised and which are over since any process last asked. See `SpanWriter`."""
        with self._held():
            return evaluate_alarms(self._open_connection(), rule, now)

    @property
    def batch_bytes_max(self) -> int:
        """What a batch may hold; see `SpanWriter`."""
        return self._batch_size.max_bytes(self._policy.size_max_bytes)

    @property
    def is_over_size(self) -> bool:
        """Whether the file with its log is about to be larger than the policy allows."""
        size = size_bytes(self.path) + size_bytes(self.path + "-wal")
        return size > self._policy.size_max_bytes * HIGH_WATER

    def delete_spans_before(self, end_unix_nano: int) -> tuple[int, bool]:
        """Remove a bounded number of the spans that ended before that moment; how many, and if more wait."""
        with self._held():
            deleted, is_more = self._retention.delete_before(end_unix_nano, self._process)
        self._checkpoint_apart(is_due=not is_more)
        return deleted, is_more

    def prune(self, policy: RetentionPolicy | None = None) -> tuple[int, bool]:
        """One step of retention, by ``policy`` or the one the file tells; how many spans went, and if more wait."""
        return self._prune(policy, time.time())

    def _prune(self, policy: RetentionPolicy | None, now_unix_s: float) -> tuple[int, bool]:
        if self._is_open():
            with connections.translated(self.path):
                self._retention.look_ahead(policy or noted_policy(self._open_connection()), now_unix_s)
        with self._held():
            policy = policy or noted_policy(self._open_connection())
            before = self._retention.pruned_count(self._process)
            is_more = self._retention.step(policy, now_unix_s, self._process)
            self._names.clear()
            self._error_groups.forget()  # some may be pruned, by another process too
            pruned = self._retention.pruned_count(self._process) - before
        self._checkpoint_apart(is_due=not is_more)
        return pruned, is_more

    def set_retention(self, policy: RetentionPolicy) -> None:
        """What `maintain` keeps from now on."""
        self._policy = policy
        self._is_policy_noted = False

    def close(self) -> None:
        """Checkpoint and close; a later write opens the file again."""
        if self._connection is not None:
            try:
                with connections.translated(self.path), self._lock.held(connections.BUSY_TIMEOUT_MS / 1000):
                    if not self._is_file_there() or self._companions.are_there():
                        self._checkpoint()
                        with self._soundness.changing():
                            self._drop_connection()  # SQLite checkpoints again when the last connection is closed
                        self._companions.closed()
                    else:
                        self._companions.leave_lost_log(self._checkpoint, self._drop_connection)
            except StoreError:
                pass  # nothing is lost: the log stays beside the file
        self._drop_connection()
        self._lock.close()

    def hurry(self, *, is_hurried: bool) -> None:
        """Let a write that waits for other processes give up at once; called from another thread."""
        self._lock.is_hurried = is_hurried

    def abandon(self) -> None:
        """In a forked child: forget the parent's connection without closing it (sqlite.org/howtocorrupt.html, 2.6)."""
        if self._connection is not None:
            _abandoned.append(self._connection)
            self._connection = None
        self._lock.close()  # else a parent that dies while it holds the lock would leave it to this child
        self._lock = FileLock(self.path + ".lock", self._tell_of_others)
        self._soundness = Soundness(self.path, self._lock)
        self._companions.release()
        self._companions = Companions(self.path, self._lock)
        self._begin_account()

    # --- opening

    def _begin_account(self) -> None:
        self._process, self._identity = uuid.uuid4().hex, process.current()

    def _is_open(self) -> bool:
        return self._is_file_there() and self._companions.are_there()

    def _is_file_there(self) -> bool:
        return self._connection is not None and self._inode == inode_of(self.path)

    def _open_connection(self) -> connections.SteppedConnection:
        assert self._connection is not None
        return self._connection

    @contextmanager
    def _held(self, timeout_seconds: float = connections.BUSY_TIMEOUT_MS / 1000) -> Iterator[None]:
        """Hold the file lock with the file open. A file that is found damaged is moved aside, and the error raised."""
        is_patient = timeout_seconds >= PATIENT_FROM_SECONDS
        with connections.translated(self.path):
            self._check_ours()
            with self._lock.held(timeout_seconds):
                try:
                    with connections.translated(self.path):
                        self._open_if_needed(is_patient=is_patient)
                        self._open_connection().set_busy_timeout(int(timeout_seconds * 1000))
                        self._soundness.note_log()
                        yield
                except (StoreCorruptError, connections.NotADatabaseError) as error:
                    if is_patient and (self._connection is None or self._is_open()):
                        is_moved = self._soundness.set_aside_if_damaged()
                        self._drop_connection()
                        if is_moved:
                            raise StoreCorruptError(str(error)) from error
                    raise

    def _check_ours(self) -> None:
        """Before anything is made beside a file that is not ours, or where no store can be: our lock file above all."""
        if not self._is_file_there():
            check_local(self.path)
            if not was_ours(self.path):
                connections.check_ours(self.path)

    def _open_if_needed(self, *, is_patient: bool = True) -> None:
        """Open the file, or what the path leads to by now; the caller holds the file lock."""
        is_sure = self._soundness.is_sure()
        if not self._is_open():
            with self._soundness.changing():
                self._open(is_patient=is_patient)
        elif is_sure:
            return
        if not is_sure:
            self._soundness.check(is_patient=is_patient)
        self._soundness.note()
        self._soundness.tell_of_alteration()

    def _open(self, *, is_patient: bool) -> None:
        if not self._is_file_there():
            self._leave_moved_file()
        elif not self._companions.leave_lost_log(self._checkpoint, self._drop_connection):
            return
        self._companions.check_free()
        connection = connections.open_writer(self.path, self._tell_of_progress, is_patient=is_patient)
        try:
            self._companions.note(connection)
            self._inode = inode_of(self.path)
            self._names = Names(connection, min(NAMES_BYTES_MAX, self._policy.size_max_bytes // _NAMES_IN_LIMIT))
            self._retention = Retention(connection, self.path)
            self._error_groups = ErrorGroups(connection)
            self._open_spans = OpenSpanRows(connection, self._process)
        except BaseException:  # else it would be closed some time, and SQLite would carry over what is in the log
            connection.close()
            raise
        self._noted_arrival, self._is_policy_noted = 0, False
        self._connection = connection

    def _leave_moved_file(self) -> None:
        """The path leads to another file: the log's pages belong into the old one, and must never meet the new one."""
        if self._connection is None:
            return
        self._begun_anew = int(self.now())
        _logger.warning("%s was moved, replaced or removed; recording goes on in a file at that path.", self.path)
        with suppress(sqlite3.Error):
            self._open_spans.delete_all()
            self._checkpoint()
        self._companions.leave_moved_file(self._drop_connection)

    def _tell_of_progress(self) -> None:
        self._lock.touch()
        self.on_progress()

    def _tell_of_others(self) -> None:
        """Another process writes: the file is busy, not stuck."""
        self.on_progress()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- one transaction

    def _write_batch(self, batch: Batch) -> int:
        """Write the batch in one transaction, without the spans whose values break it; how many those are."""
        try:
            with self._transaction(batch):
                self._apply(batch)
        except Exception as error:
            if not connections.is_row_error(error):
                raise
        else:
            return 0
        if not (batch.spans or batch.kept or batch.counted):
            if batch.open_spans is not None:  # one of them is to blame, and tells of itself when it ends
                batch.open_spans = None
                return self._write_batch(batch)
            raise StoreError(f"A metric point or log record could not be stored in {self.path}.")
        with self._transaction(batch):
            refused = self._apply_or_halve(batch)
            self._apply(Batch(dropped=refused))
            batch.unstorable_count = refused["unstorable"]
        return refused.total()

    def _apply_or_halve(self, batch: Batch) -> Counter[str]:
        """A value in the batch is to blame: keep all but the row that has it; how many spans go, by reason."""
        connection = self._open_connection()
        connection.execute("SAVEPOINT part")
        try:
            self._apply(batch)
            connection.execute("RELEASE part")
        except Exception as error:
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
            self._forget_ids()
            if not connections.is_row_error(error):
                raise
        else:
            return Counter()
        if parts := parts_of(batch):
            return sum(map(self._apply_or_halve, parts), Counter())
        return Counter({"unstorable": batch.span_count, NOT_KEPT: len(batch.kept)})

    @contextmanager
    def _transaction(self, batch: Batch) -> Iterator[None]:
        connection = self._open_connection()
        self._names.begin(int(time.time()))
        is_complete = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            connections.check_version(connection, self.path)
            if self._names.follow():
                self._error_groups.forget()
            yield
            is_complete = True
            connection.execute("COMMIT")
            batch.is_written = True
        except BaseException as error:
            self._forget_ids()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            elif is_complete and not isinstance(error, sqlite3.Error):
                batch.is_written = True  # a signal handler raised just after the commit
            raise
        batch.on_written()

    def _apply(self, batch: Batch) -> None:
        connection = self._open_connection()
        if batch.spans or batch.kept or batch.counted:
            self._insert_spans(connection, batch)
        if batch.open_spans is not None:
            self._open_spans.replace(self._names, batch.open_spans)
        add_edges(connection, self._names, batch.edges)
        insert_points(connection, self._names, batch.points)
        insert_logs(connection, self._names, self._error_groups, batch.logs)
        self._add_health(connection, batch)
        if not self._is_policy_noted:
            note_policy(connection, self._policy, self._begun_anew)
            self._is_policy_noted = True

    def _forget_ids(self) -> None:
        """What was learnt in a transaction that is rolled back is not true."""
        self._names.clear()
        self._names.lost_count = 0
        self._error_groups.forget()
        self._open_spans.forget()
        self._noted_arrival, self._is_policy_noted = 0, False

    def _insert_spans(self, connection: sqlite3.Connection, batch: Batch) -> None:
        rollup = Rollup()
        spans, kept = (with_logged_exceptions(connection, each) for each in (batch.spans, batch.kept))
        errors: list[tuple[int, SpanRow]] = []
        for start in range(0, len(spans), SPANS_AT_ONCE):
            self._tell_of_progress()
            rows = spans[start : start + SPANS_AT_ONCE]
            own = batch.self_nano[start : start + SPANS_AT_ONCE]
            operation_ids = insert_spans(connection, self._names, rows, rollup, own)
            errors += ((operation_ids[number], rows[number]) for number in rows.failed())
        for start in range(0, len(kept), SPANS_AT_ONCE):
            self._tell_of_progress()
            insert_spans(connection, self._names, kept[start : start + SPANS_AT_ONCE])
        if batch.counted:
            count_spans(self._names, rollup, SpanColumns.of(batch.counted), batch.counted_self_nano)
        self._note_arrival(len(spans) + len(kept))
        rollup.save(connection)
        if errors:
            self._error_groups.add(errors)
        self._open_spans.remove_ended(spans, kept, SpanColumns.of(batch.counted))

    def _store_interrupted(self) -> None:
        """What was open in processes that are gone by now becomes a span."""
        if not self._open_spans.is_look_due():
            return
        with self._transaction(Batch()):
            count = self._open_spans.store_interrupted()
            if count:
                self._note_arrival(count)
                self._retention.add_health(self._process, os.getpid(), self._names.now_unix_s, (0,) * 7 + (count,))

    def _note_arrival(self, count: int) -> None:
        cell = self._names.now_unix_s // ARRIVAL_CELL_SECONDS * ARRIVAL_CELL_SECONDS
        if cell != self._noted_arrival:
            self._retention.note_arrival(count, cell)
            self._noted_arrival = cell

    def _add_health(self, connection: sqlite3.Connection, batch: Batch) -> None:
        stored, counted = len(batch.spans) + len(batch.kept), batch.span_count
        dropped = sum(count for reason, count in batch.dropped.items() if reason not in AFTER_COUNTING)
        altered = SpanColumns.of(batch.spans).altered_count + SpanColumns.of(batch.kept).altered_count
        altered += self._names.lost_count
        self._names.lost_count = 0
        figures = (counted + dropped, counted, stored, counted - stored, 0, 0, altered, 0)
        self._retention.add_health(self._process, os.getpid(), self._names.now_unix_s, figures)
        run_multirow(
            connection,
            "INSERT INTO _drops",
            3,
            [value for reason, count in batch.dropped.items() if count for value in (self._process, reason, count)],
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )
        if batch.state is not None:
            note_state(connection, self._process, self._identity, batch.state)

    # --- the write-ahead log

    def _checkpoint_apart(self, *, is_due: bool) -> None:
        """After a step of pruning: the lock is let go in between, so that other processes wait for one of the two."""
        with suppress(StoreBusyError), self._held():
            self._checkpoint_if_large(_PRUNING_WAL_MAX_BYTES, is_due=is_due)

    def _checkpoint_if_large(self, largest_bytes: float = float("inf"), *, is_due: bool = False) -> None:
        log_bytes = size_bytes(self.path + "-wal")
        is_large = log_bytes > min(largest_bytes, self._log_max_bytes())
        if is_due or (is_large and self._patience.is_over(log_bytes)):
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Carry the log over into the file."""
        connection = self._open_connection()
        sizes = size_bytes(self.path + "-wal"), self._log_max_bytes()
        connection.set_busy_timeout(self._patience.timeout_ms(*sizes))
        with self._soundness.changing():
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._patience.note(*sizes, is_held_up=bool(is_busy))

    def _log_max_bytes(self) -> float:
        return min(WAL_MAX_BYTES, self._policy.size_max_bytes * _WAL_SHARE_MAX)


_abandoned: list[connections.SteppedConnection] = []
"""What a forked child must neither use nor close."""
