"""The recorder: a bounded queue and one writer thread, one for each process and file.

The caller appends to a deque and goes on; turning a span into a row, counting it and writing it belong to the writer
thread. A span is in the file 200 ms after it ended (or when the queue has drained, in a burst). When that is full the
caller helps to write, or waits for room, at most one second since a write last went on; after that spans are dropped
at once, and counted, until a write succeeds again. So a tight loop loses nothing, nor do two thousand threads, and a
dead disk costs one second.

A signal handler, a finaliser or a logger may record on the very thread that is writing: nothing on that path waits for
a lock that its own thread could hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final

from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.storage import at_once, fork
from otel_perfmon.storage.alarm import Alarm
from otel_perfmon.storage.base import Batch, RetentionPolicy, SpanWriter
from otel_perfmon.storage.crowd import Crowd
from otel_perfmon.storage.flight import FlightRecorder
from otel_perfmon.storage.gated_thread import GatedThread
from otel_perfmon.storage.intake import WIDTH, Door, Entry, Intake, opaque
from otel_perfmon.storage.ledger import Ledger
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.maintenance import Maintenance, remove_in_steps
from otel_perfmon.storage.patience import Patience
from otel_perfmon.storage.redactor import Redactor
from otel_perfmon.storage.rows import LogRow, PointRow
from otel_perfmon.storage.sampling import SamplingChoice
from otel_perfmon.storage.turn import ContendedError, Turn

QUEUE_MAX: Final = 16_384
BATCH_MAX: Final = 4_096
HELP_BATCH_MAX: Final = 512
LINGER_SECONDS: Final = 0.1  # how long the writer gathers before it writes
WAIT_FOR_ROOM_SECONDS: Final = 1.0
HELP_TIMEOUT_SECONDS: Final = 0.02
WRITE_TIMEOUT_SECONDS: Final = 1.0
FLUSH_TIMEOUT_SECONDS: Final = 5.0
FINISH_TIMEOUT_SECONDS: Final = 2.0
_WAIT_LONGEST_SECONDS: Final = 30.0  # whatever keeps the one that helps, as a signal handler can
_FORK_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = (0.05, 1.0)  # the first and the longest pause after a write that failed


class Recorder:
    """Queue and writer of one store. Made by `recorder_for`, which sees to it that there is one for each file."""

    def __init__(self, path: str, writer: SpanWriter) -> None:
        self.path, self._writer = path, writer
        self._writer.on_progress = self._note_progress
        self._is_finished = False
        self.alarm = Alarm(path, writer)
        self.sampling = SamplingChoice()
        self.flight = FlightRecorder()
        self.redactor = Redactor()
        self.maintenance = Maintenance(path, writer, self.alarm)
        self._start_afresh()
        fork.tell_of_forks(self)
        fork.finish_with_process(self)

    def _start_afresh(self) -> None:
        self._losses = Losses()
        self.alarm.start_afresh(self._losses)
        self.maintenance.start_afresh(self._losses)
        self._intake = Intake(self._losses, self._note_progress, self.sampling, self.redactor)
        self.ledger = Ledger(self._intake, self._losses)
        self._pending: Batch | None = None
        self._crowd = Crowd()
        self.turn = Turn(self.path)
        self._thread = GatedThread(self._run, "otel-perfmon-writer")
        self._open_gate = self._thread.open_gate
        self._flushing_threads: set[int] = set()
        self._is_awake = self._is_stopping = self._is_paused = False
        self._patience = Patience()
        self._error: StoreError | None = None
        self.flight.start_afresh()

    # --- the way in

    def record(self, door: Door, payload: Any, slow_threshold_nano: int = 0) -> bool:
        """Take one ended span; False when it was dropped, which is counted. Never raises, never waits for long."""
        return self.take(opaque(payload, door, slow_threshold_nano))

    def take(self, entry: Entry) -> bool:
        """The same, of an entry for the queue."""
        intake = self._intake
        queue = intake.queue
        waiting = len(queue)
        try:
            has_room = waiting < intake.room or self._make_room()
        except Exception:  # at the limit of recursion
            has_room = waiting < 2 * QUEUE_MAX * WIDTH
        except BaseException:  # Ctrl-C while we help or wait: the span has ended all the same
            queue.extend(entry)
            raise
        if not has_room:
            why = f"the queue is full and {self.path} cannot be written: {self._error or 'not as fast as spans end'}"
            self._losses.add("queue_full", 1, why)
            return False
        queue.extend(entry)
        if not self._is_awake or waiting == BATCH_MAX * WIDTH:
            self._wake()
        return True

    def open_door(self, door: Door) -> None:
        """As `Intake.open_door`."""
        self._intake.open_door(door)

    def write_points(self, points: Sequence[PointRow], on_commit: at_once.OnCommit = at_once.ignore) -> int:
        """Write now the first of those points, as many as one transaction may hold; how many. Raises `StoreError`."""
        return len(self.write_now(partial(at_once.first_points, points, on_commit)).points)

    def write_logs(self, logs: Sequence[LogRow], on_commit: at_once.OnCommit = at_once.ignore) -> int:
        """The same of log records."""
        return len(self.write_now(partial(at_once.first_logs, logs, on_commit)).logs)

    def write_now(self, make_batch: Callable[[int], Batch]) -> Batch:
        """Write past the queue what ``make_batch`` makes, told how many bytes it may hold. Raises `StoreError`."""
        if not self._is_finished:
            self._thread.begin()  # it prunes each minute, which may be what makes room for this
        with self.turn.held(WRITE_TIMEOUT_SECONDS):
            return at_once.write(make_batch, self._writer, self.redactor, self.maintenance, WRITE_TIMEOUT_SECONDS)

    def lose(self, reason: str, count: int, why: str) -> None:
        """Count spans that a door could not even hand over."""
        self._losses.add(reason, count, why)
        if not self._is_awake:
            self._wake()

    def look_at_open_spans(self) -> None:
        """Have the rows of the open spans brought up to date soon."""
        self.flight.is_due = True
        if not self._is_awake and not self._is_finished:
            self._wake()

    # --- the way out

    def flush(self, timeout_seconds: float = FLUSH_TIMEOUT_SECONDS) -> bool:
        """Write, on this thread, everything recorded before the call; whether that was done in time."""
        deadline = time.monotonic() + timeout_seconds
        return self._flush(timeout_seconds, lambda: time.monotonic() > deadline)

    def commit(self) -> None:
        """Write now what was just recorded; waits for a file that others hold only as long as writes succeed."""
        self.flush(WRITE_TIMEOUT_SECONDS if self._error is None else 0.0)

    def flush_or_raise(self) -> None:
        """Write everything recorded before the call, or raise the `StoreError` that keeps us from it.

        However much there is: it gives up only when nothing went on for `FLUSH_TIMEOUT_SECONDS`.
        """

        def is_stuck() -> bool:
            return self._patience.stalled_seconds > FLUSH_TIMEOUT_SECONDS

        if self.turn.is_mine():
            return  # a signal handler asks within a write: it sees what is committed
        self._note_progress()
        while not self._flush(FLUSH_TIMEOUT_SECONDS, is_stuck):
            if self._error is not None or is_stuck():
                raise self._error or StoreBusyError(f"{self.path} is busy; try again.")

    def _flush(self, lock_timeout_seconds: float, is_over: Callable[[], bool]) -> bool:
        if self.turn.is_mine():
            return False
        if self._is_idle() and self._is_idle():  # twice: a batch may be between the queue and its writer
            return True
        self._flushing_threads.add(threading.get_ident())
        try:
            with self.turn.held(lock_timeout_seconds):
                remaining = self._intake.waiting_count + 1
                while remaining > 0 and self._has_spans():
                    if is_over():
                        return False
                    remaining -= self._drain(BATCH_MAX, min(WRITE_TIMEOUT_SECONDS, lock_timeout_seconds))
                    self.maintenance.shrink_if_over_size()
                self._write_account()
        except Exception as error:  # the outer rim: our own failure is not the program's
            self._note_failure(error)
            self._open_gate()  # the writer may have looked while all was in our hands, and gone to sleep
            return False
        finally:
            self._flushing_threads.discard(threading.get_ident())
        return True

    def delete_spans_before(self, end_unix_nano: int) -> int:
        """Remove stored spans that ended before that moment; how many."""
        return self._in_steps(partial(self._writer.delete_spans_before, end_unix_nano))

    def prune(self, policy: RetentionPolicy | None = None) -> int:
        """Do now what retention does each minute; how many stored spans went."""
        return self._in_steps(partial(self._writer.prune, policy))

    def _in_steps(self, step: Callable[[], tuple[int, bool]]) -> int:
        self.flush_or_raise()
        return remove_in_steps(step, partial(self.turn.held, FLUSH_TIMEOUT_SECONDS), self._keep_up)

    def set_retention(self, policy: RetentionPolicy) -> None:
        """What is kept from now on, and for how long."""
        self._writer.set_retention(policy)

    def maintain(self) -> None:
        """Do now, on this thread, what is done each minute: raise alarms, and prune. Raises `StoreError`."""
        self.flush_or_raise()
        self._maintain()

    def finish(self, *, is_exit: bool = True) -> None:
        """Write what there is and close, in bounded time; what comes later is written on the thread that records it.

        For the end of the process, ``is_exit``, whose open spans stay written down, and for the last user of this
        recorder. What could not be written is counted in the log.
        """
        self._is_finished = self._is_stopping = True
        self._thread.stop(FINISH_TIMEOUT_SECONDS)
        self._is_stopping = self._is_awake = False
        is_flushed = self.flush(FINISH_TIMEOUT_SECONDS)
        try:
            with self.turn.held(FINISH_TIMEOUT_SECONDS), closing(self._writer):
                if not is_flushed:
                    self.ledger.give_up(self._pending, f"{self.path} could not be written at the end: {self._error}")
                    self._pending = None
                self._intake.give_up_held()
                self._write_account(is_told=self.ledger.counted_count > 0, is_exit=is_exit)
        except Exception as error:  # the outer rim: the end of the program is not ours to spoil
            self._losses.warn("finish", f"{self.path} could not be closed: {error}")

    @property
    def queued_count(self) -> int:
        """How many spans wait to be written."""
        return self.ledger.queued_count(self._pending)

    # --- fork

    def before_fork(self) -> None:
        """Hold the write lock over the fork, with the file closed; give up after a second."""
        self._writer.hurry(is_hurried=True)
        self._is_paused = not self.turn.is_mine() and self.turn.lock.acquire(timeout=_FORK_SECONDS)
        if self._is_paused:
            with suppress(Exception):  # a hook at fork has nobody to raise to
                self._writer.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._writer.hurry(is_hurried=False)
        if self._is_paused:
            self._is_paused = False
            self.turn.lock.release()

    def after_fork_in_child(self) -> None:
        """An empty queue, no thread, no connection: all of those are the parent's. The doors stay."""
        intake = self._intake
        self._writer.abandon()
        self._start_afresh()
        self._intake.open_doors_of(intake)

    # --- inside

    def _wake(self) -> None:
        """Have somebody write; if that fails, as at the limit of recursion, the next one who records does it."""
        self._is_awake = True
        try:
            self._patience.note_progress()
            if self._is_finished or not self._thread.wake():
                self._write_late()
        except Exception:  # what was recorded waits in the queue: no reason to call it lost
            self._is_awake = False
        except BaseException:  # Ctrl-C
            self._is_awake = False
            raise

    def _write_late(self) -> None:
        """Write on this thread and close again: nobody comes after us."""
        self.commit()
        with suppress(StoreError), self.turn.held(0):
            self._writer.close()
        self._is_awake = False
        if self._intake.queue and self._error is None:  # another thread recorded while we wrote
            self.commit()

    def _run(self) -> None:
        pause, longest = _RETRY_SECONDS
        while not (self._is_stopping or self._is_finished):  # nor one that was just being started at the end
            if self._thread.wait_at_gate(self.maintenance.seconds_until_due) and not self._is_stopping:
                self._thread.wait_at_gate(LINGER_SECONDS)
            try:
                self._write_queued()
                if not self.maintenance.seconds_until_due:
                    self._maintain()
                pause = _RETRY_SECONDS[0]
            except ContendedError:
                self._open_gate()  # another thread is writing for us
            except StoreError as error:
                self._note_failure(error)
                self._losses.warn("write_failed", f"Spans wait to be written: {error}")
                time.sleep(pause)
                pause = min(2 * pause, longest)
                self._open_gate()
            except BaseException as error:  # the outer rim: the thread must live, whatever a span's values raise
                self._losses.warn("writer", f"The writer of {self.path} failed: {error!r}")
                time.sleep(pause)
                self._open_gate()

    def _write_queued(self) -> None:
        while not self._is_stopping and self._has_spans():
            if self._flushing_threads:
                time.sleep(0.001)
            with self.turn.held(WRITE_TIMEOUT_SECONDS):
                if not self._has_spans():
                    break  # written by another thread meanwhile
                self._drain(BATCH_MAX, WRITE_TIMEOUT_SECONDS)
                if self.flight.is_due:
                    self._write_account()
                self.maintenance.shrink_if_over_size()
        self._is_awake = False
        if self._intake.queue:  # recorded just before we said that we sleep
            self._is_awake = True
            self._open_gate()
        elif self._losses.has_pending or self.flight.is_due:
            with self.turn.held(WRITE_TIMEOUT_SECONDS):
                self._write_account()

    def _maintain(self) -> None:
        self.maintenance.run(partial(self.turn.held, WRITE_TIMEOUT_SECONDS), self._keep_up)
        with self.turn.held(WRITE_TIMEOUT_SECONDS):
            self._write_account(is_told=True)

    def _keep_up(self) -> bool:
        """Between two steps of maintenance: spans go first. False when we are to stop."""
        if self._intake.waiting_count >= BATCH_MAX:
            self._write_queued()
        return not self._is_stopping

    def _drain(self, count_max: int, timeout_seconds: float) -> int:
        """Write one batch; how many were taken from the queue for it. The caller holds the right to write."""
        taken = 0
        self._settle_written()
        if self._pending is None:
            if self._intake.unfinished is None:
                taken = self._intake.take_batch(count_max, self._writer.batch_bytes_max)
            self._crowd.make_room(taken)
            self._pending, self._intake.unfinished = self._intake.unfinished, None
            self._note_progress()
        batch = self._pending
        assert batch is not None
        try:
            refused = self._write(batch, timeout_seconds)
        finally:
            self._settle_written()  # what fails in spite of that came after the commit
        self._error = None
        self._patience.note_progress()
        if refused:
            self._losses.warn("unstorable", f"{refused} spans had values that {self.path} cannot hold.")
        return taken

    def _settle_written(self) -> None:
        """Let the batch that was written go, once it is booked."""
        if self._pending is not None and self._pending.is_written:
            self.ledger.settle(self._pending)
            self._pending = None

    def _note_failure(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            error = StoreError(f"{self.path} could not be written: {error!r:.200}")
        if not isinstance(error, ContendedError):
            self._error = error
            self.ledger.note_failure(error)

    def _note_progress(self) -> None:
        """A piece of work was done. After a failure only a write that succeeds counts as progress."""
        if self._error is None:
            self._patience.note_progress()

    def _has_spans(self) -> bool:
        return bool(self._intake.queue or self._intake.unfinished or self._pending)

    def _is_idle(self) -> bool:
        return not (self._has_spans() or self._losses.has_pending or self.flight.is_due or self.turn.thread)

    def _make_room(self) -> bool:
        """Help to write, or wait; False when nothing was written for too long."""
        if self.turn.is_mine():
            return self._intake.waiting_count < 2 * QUEUE_MAX  # we are inside a write: it must not wait for itself
        is_full = partial(self._intake.is_full, QUEUE_MAX)
        deadline = time.monotonic() + _WAIT_LONGEST_SECONDS
        while is_full():
            if self._is_given_up() or time.monotonic() > deadline:
                return False
            if self._crowd.lead():
                try:
                    if self._help_until_room(is_full):
                        return True
                finally:
                    self._crowd.follow()
            elif self._crowd.wait(WAIT_FOR_ROOM_SECONDS, is_full):
                return True
        return True

    def _is_given_up(self) -> bool:
        return self._patience.is_over(WAIT_FOR_ROOM_SECONDS, is_failing=self._error is not None)

    def _help_until_room(self, is_full: Callable[[], bool]) -> bool:
        """Help to write, or wait, until there is room or nothing was written for too long; whether we made room."""
        while is_full() and not self._is_given_up():
            began = time.monotonic()
            self._crowd.go_on()
            if not self._flushing_threads and self._help():
                return True
            time.sleep(0.001)  # who flushes goes first: Python's locks are not fair
            self._patience.spend(min(time.monotonic() - began, HELP_TIMEOUT_SECONDS))
        return False

    def _help(self) -> bool:
        """Write one small batch if nobody else is writing; whether one was written."""
        try:
            with self.turn.held(0):
                self._drain(HELP_BATCH_MAX, HELP_TIMEOUT_SECONDS)
        except Exception as error:  # the writer thread meets it too, and reports it
            self._note_failure(error)
            return False
        return True

    def _write_account(self, *, is_told: bool = False, is_exit: bool | None = None) -> None:
        """Write down what was lost, and what is open; if ``is_told``, how things stand in any case: a sign of life."""
        self._settle_written()
        self.ledger.lose_missing(self._pending)
        open_spans = self.flight.take(self._has_spans, self.redactor.redact_spans, is_exit=is_exit)
        if is_told or self._losses.has_pending or open_spans is not None:
            self._write(Batch(open_spans=open_spans), WRITE_TIMEOUT_SECONDS)

    def _write(self, batch: Batch, timeout_seconds: float) -> int:
        """Write a batch with what was lost since the last one, and how things stand."""
        batch.dropped, batch.state = self._losses.take(), self.ledger.state(is_closed=self._is_finished)
        try:
            return self._writer.write(batch, timeout_seconds=timeout_seconds)
        finally:
            if batch.is_written:
                self.flight.note_written(batch.open_spans)
            else:
                self._losses.put_back(batch.dropped)
                self.flight.put_back(batch.open_spans)
