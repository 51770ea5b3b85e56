"""The recorder: a bounded queue and one writer thread, one for each process and file.

The caller appends to a deque and goes on; turning a span into a row, counting it and writing it belong to the writer
thread. A span is in the file 200 ms after it ended (or when the queue has drained, in a burst). When the queue is full
the caller helps to write, or waits for room, at most one second since a write last went on; after that spans are
dropped at once, and counted, until a write succeeds again. So a tight loop loses nothing, be the machine ever so busy,
and a dead disk costs the program one second.

A signal handler, a finaliser or a logger may record on the very thread that is writing: nothing on that path waits for
a lock that its own thread could hold.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.storage import fork
from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.base import Batch, RetentionPolicy, SpanWriter
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.rows import PointRow, SpanRow

QUEUE_MAX: Final = 16_384
BATCH_MAX: Final = 4_096
HELP_BATCH_MAX: Final = 512
LINGER_SECONDS: Final = 0.1
"""How long the writer gathers before it writes."""
WAIT_FOR_ROOM_SECONDS: Final = 1.0
HELP_TIMEOUT_SECONDS: Final = 0.02
WRITE_TIMEOUT_SECONDS: Final = 1.0
FLUSH_TIMEOUT_SECONDS: Final = 5.0
FINISH_TIMEOUT_SECONDS: Final = 2.0
MAINTAIN_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = (0.05, 1.0)
"""The first and the longest pause after a write that failed."""
_RECENT_MAX: Final = 65_536
_SHRINK_STEPS_MAX: Final = 100
_SHRINK_PAUSE_SECONDS: Final = 1.0
"""Pause after all was pruned that can be, and the file is still too large."""


class Door(Protocol):
    """Where spans come in: turns what it put into the queue into a row, on the writer's thread."""

    def encode(self, payload: Any, slow_threshold_nano: int) -> SpanRow:
        """The row of one payload; ``slow_threshold_nano`` is what it was when the span ended."""


class _ContendedError(StoreBusyError):
    """Another thread of this process is writing: no trouble of the store's."""


class Recorder:
    """Queue and writer of one store. Made by `recorder_for`, which sees to it that there is one for each file."""

    def __init__(self, path: str, writer: SpanWriter) -> None:
        self.path = path
        self._writer = writer
        self._writer.on_progress = self._note_progress
        self._is_finished = False
        self._start_afresh()
        fork.tell_of_forks(self)
        fork.finish_with_multiprocessing(self)

    def _start_afresh(self) -> None:
        self._queue: deque[tuple[Door, Any, int]] = deque()
        self._pending: Batch | None = None
        self._interrupted: tuple[Door, Any, int] | None = None
        self._losses = Losses()
        self._lineage = Lineage()
        self._recent: Generations[tuple[bytes, bytes, int, int], Door] = Generations(_RECENT_MAX)
        self._doors: weakref.WeakSet[Door] = weakref.WeakSet()
        self._write_lock = threading.Lock()
        self._thread_lock = threading.Lock()
        self._writing_thread = 0
        self._gate = threading.Lock()
        self._gate.acquire()
        self._thread: threading.Thread | None = None
        self._is_awake = False
        self._is_stopping = False
        self._progress_at = time.monotonic()
        self._error: StoreError | None = None
        self._next_maintenance = time.monotonic() + MAINTAIN_SECONDS
        self._next_shrink = 0.0
        self._is_paused = False

    # --- the way in

    def record(self, door: Door, payload: Any, slow_threshold_nano: int = 0) -> bool:
        """Take one ended span; False when it was dropped, which is counted. Never raises, never waits for long."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= QUEUE_MAX and not self._make_room():
            why = f"the queue is full and {self.path} cannot be written: {self._error or 'the disk is too slow'}"
            self._losses.add("queue_full", 1, why)
            return False
        queue.append((door, payload, slow_threshold_nano))
        if not self._is_awake:
            self._wake()
        elif waiting == BATCH_MAX:
            self._open_gate()
        return True

    def open_door(self, door: Door) -> None:
        """Say that spans may come through ``door``. One that two doors bring in is kept once."""
        self._doors.add(door)

    def write_points(self, points: Sequence[PointRow]) -> None:
        """Write metric points now; raises `StoreError` when they could not be kept."""
        with self._writing(WRITE_TIMEOUT_SECONDS):
            self._writer.write(Batch(points=points), timeout_seconds=WRITE_TIMEOUT_SECONDS)

    def lose(self, reason: str, count: int, why: str) -> None:
        """Count spans that a door could not even hand over."""
        self._losses.add(reason, count, why)
        if not self._is_awake:
            self._wake()

    # --- the way out

    def flush(self, timeout_seconds: float = FLUSH_TIMEOUT_SECONDS) -> bool:
        """Write, on this thread, everything recorded before the call; whether that was done in time."""
        deadline = time.monotonic() + timeout_seconds
        if self._writing_thread == threading.get_ident():
            return False  # called from within a write: a signal handler, a finaliser
        if not (self._queue or self._pending is not None or self._writing_thread or self._losses.has_pending):
            return True
        try:
            with self._writing(timeout_seconds):
                remaining = len(self._queue) + 1
                while remaining > 0 and (self._queue or self._pending is not None):
                    remaining -= self._drain(BATCH_MAX, max(0.0, deadline - time.monotonic()))
                self._write_account()
        except _ContendedError:
            return False
        except StoreError as error:
            self._error = error
            return False
        except Exception as error:  # the outer rim: our own failure is not the program's
            self._error = StoreError(f"{self.path} could not be written: {error!r:.200}")
            return False
        return True

    def flush_or_raise(self) -> None:
        """Write everything recorded before the call, or raise the `StoreError` that keeps us from it."""
        if not self.flush():
            raise self._error or StoreBusyError(f"{self.path} was busy for {FLUSH_TIMEOUT_SECONDS:g} s; try again.")

    def delete_spans_before(self, end_unix_nano: int) -> int:
        """Remove stored spans that ended before that moment; how many."""
        self.flush_or_raise()
        with self._writing(FLUSH_TIMEOUT_SECONDS):
            return self._writer.delete_spans_before(end_unix_nano)

    def set_retention(self, policy: RetentionPolicy) -> None:
        """What is kept from now on, and for how long."""
        self._writer.set_retention(policy)

    def finish(self) -> None:
        """Write what there is and close, in bounded time; what comes later is written on the thread that records it.

        For the end of the process, and for the last user of this recorder. What could not be written is counted in
        the log.
        """
        self._is_finished = True
        self._stop_thread()
        is_flushed = self.flush(FINISH_TIMEOUT_SECONDS)
        try:
            with self._writing(FINISH_TIMEOUT_SECONDS):
                if not is_flushed:
                    self._give_up_queue()
                self._write_account()
                self._writer.close()
        except StoreError as error:
            self._losses.warn("finish", f"{self.path} could not be closed: {error}")

    @property
    def queued_count(self) -> int:
        """How many spans wait to be written."""
        pending = self._pending
        return len(self._queue) + (len(pending.spans) if pending is not None else 0)

    # --- fork

    def before_fork(self) -> None:
        """Hold the write lock over the fork, with the file closed; give up after a second."""
        self._is_paused = self._write_lock.acquire(timeout=1.0)
        if self._is_paused:
            with suppress(Exception):  # a hook at fork has nobody to raise to
                self._writer.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_paused:
            self._write_lock.release()

    def after_fork_in_child(self) -> None:
        """An empty queue, no thread, no connection: all of those are the parent's. The doors stay."""
        doors = self._doors
        self._writer.abandon()
        self._start_afresh()
        self._doors = doors

    # --- inside

    def _wake(self) -> None:
        self._is_awake = True
        self._progress_at = time.monotonic()
        if self._is_finished or not self._ensure_thread():
            self.flush(WRITE_TIMEOUT_SECONDS)
            self._is_awake = False
            return
        self._open_gate()

    def _open_gate(self) -> None:
        with suppress(RuntimeError):  # open already
            self._gate.release()  # unlike an Event's lock, safe from a signal handler

    def _ensure_thread(self) -> bool:
        if self._thread is not None:
            return True
        if not self._thread_lock.acquire(blocking=False):
            return True  # another caller is starting it
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="otel-perfmon-writer", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:  # the interpreter is going down
            return False
        finally:
            self._thread_lock.release()
        return True

    def _stop_thread(self) -> None:
        thread, self._is_stopping = self._thread, True
        self._open_gate()
        if thread is not None and thread is not threading.current_thread():
            thread.join(FINISH_TIMEOUT_SECONDS)
        self._thread = None
        self._is_stopping = False
        self._is_awake = False

    def _run(self) -> None:
        pause, longest = _RETRY_SECONDS
        while not self._is_stopping:
            idle = max(0.0, self._next_maintenance - time.monotonic())
            if self._gate.acquire(timeout=idle) and not self._is_stopping:
                self._gate.acquire(timeout=LINGER_SECONDS)
            try:
                self._write_queued()
                self._maintain_if_due()
                pause = _RETRY_SECONDS[0]
            except _ContendedError:
                self._open_gate()  # another thread is writing for us
            except StoreError as error:
                self._error = error
                self._losses.warn("write_failed", f"Spans wait to be written: {error}")
                time.sleep(pause)
                pause = min(2 * pause, longest)
                self._open_gate()
            except BaseException as error:  # the outer rim: the thread must live, whatever a span's values raise
                self._losses.warn("writer", f"The writer of {self.path} failed: {error!r}")
                time.sleep(pause)
                self._open_gate()

    def _write_queued(self) -> None:
        while not self._is_stopping and (self._queue or self._pending is not None):
            with self._writing(WRITE_TIMEOUT_SECONDS):
                self._drain(BATCH_MAX, WRITE_TIMEOUT_SECONDS)
        self._is_awake = False
        if self._queue:  # recorded just before we said that we sleep
            self._is_awake = True
            self._open_gate()
        elif self._losses.has_pending:
            with self._writing(WRITE_TIMEOUT_SECONDS):
                self._write_account()

    def _maintain_if_due(self) -> None:
        if time.monotonic() < self._next_maintenance:
            return
        self._next_maintenance = time.monotonic() + MAINTAIN_SECONDS
        is_more = True
        while is_more and not self._is_stopping:
            with self._writing(WRITE_TIMEOUT_SECONDS):
                is_more = self._writer.maintain()
            if len(self._queue) >= BATCH_MAX:
                self._write_queued()

    @contextmanager
    def _writing(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the right to write; `_ContendedError` when another thread keeps it for longer."""
        is_held = self._writing_thread != threading.get_ident() and self._write_lock.acquire(timeout=timeout_seconds)
        if not is_held:
            message = f"{self.path} is being written by another thread for more than {timeout_seconds:g} s."
            raise _ContendedError(message)
        try:
            self._writing_thread = threading.get_ident()
            with _suppressed():
                yield
        finally:
            self._writing_thread = 0
            self._write_lock.release()

    def _drain(self, count_max: int, timeout_seconds: float) -> int:
        """Write one batch; how many were taken from the queue for it. The caller holds the right to write."""
        taken = 0
        if self._pending is None:
            items = self._take(count_max)
            taken = len(items)
            self._pending = self._prepare(items)
        batch = self._pending
        batch.dropped = self._losses.take()
        try:
            refused = self._writer.write(batch, timeout_seconds=timeout_seconds)
        except BaseException:
            if batch.is_written:  # what failed came after the commit
                self._pending = None
            else:
                self._losses.put_back(batch.dropped)
            raise
        self._pending = None
        self._error = None
        self._progress_at = time.monotonic()
        if refused:
            self._losses.warn(
                "unstorable", f"{refused} spans had values that {self.path} cannot hold; they are counted."
            )
        self._shrink_if_over_size()
        return taken

    def _take(self, count_max: int) -> list[tuple[Door, Any, int]]:
        popleft = self._queue.popleft
        return [popleft() for _ in range(min(count_max, len(self._queue)))]

    def _prepare(self, items: list[tuple[Door, Any, int]]) -> Batch:
        rows: list[SpanRow] = []
        own: list[int] = []
        is_shared = len(self._doors) > 1
        done_count = 0
        try:
            for item in items:
                self._prepare_one(item, rows, own, is_shared=is_shared)
                done_count += 1
        except BaseException:  # Ctrl-C in a program that helps to write: what is done is kept, the others come again
            self._put_back(items[done_count:])
            self._pending = Batch(rows, own, self._lineage.take_edges())
            raise
        self._note_progress()
        return Batch(rows, own, self._lineage.take_edges())

    def _prepare_one(
        self, item: tuple[Door, Any, int], rows: list[SpanRow], own: list[int], *, is_shared: bool
    ) -> None:
        door, payload, threshold = item
        try:
            row = door.encode(payload, threshold)
            if is_shared and self._came_before(row, door):
                return
            self_nano = self._lineage.self_nano(row)
        except Exception as error:  # a span that cannot even be read; the others are kept
            self._losses.add(
                "unreadable", 1, f"a span could not be read: {type(error).__name__}: {safe_str(error)[:200]}"
            )
            return
        rows.append(row)
        own.append(self_nano)

    def _put_back(self, items: list[tuple[Door, Any, int]]) -> None:
        if items and items[0] is self._interrupted:  # not Ctrl-C: the span itself does that, each time
            self._losses.add("unreadable", 1, "reading a span ends the thread that reads it")
            items = items[1:]
        self._interrupted = items[0] if items else None
        self._queue.extendleft(reversed(items))

    def _came_before(self, row: SpanRow, door: Door) -> bool:
        key = (row.trace_id, row.span_id, row.start_unix_nano, row.end_unix_nano)
        first = self._recent.get(key)
        if first is None:
            self._recent.set(key, door)
        return first is not None and first is not door

    def _shrink_if_over_size(self) -> None:
        """The file outgrew its limit: prune now, not in a minute."""
        if not self._writer.is_over_size or time.monotonic() < self._next_shrink:
            return
        for _ in range(_SHRINK_STEPS_MAX):
            if not self._writer.maintain():
                self._next_shrink = time.monotonic() + _SHRINK_PAUSE_SECONDS
                return

    def _note_progress(self) -> None:
        """A piece of work was done. After a failure only a write that succeeds counts as progress."""
        if self._error is None:
            self._progress_at = time.monotonic()

    def _make_room(self) -> bool:
        """Help to write, or wait; False when nothing was written for too long."""
        if self._writing_thread == threading.get_ident():
            return len(self._queue) < 2 * QUEUE_MAX  # we are inside a write: it must not wait for itself
        while len(self._queue) >= QUEUE_MAX:
            if time.monotonic() - self._progress_at > WAIT_FOR_ROOM_SECONDS:
                return False
            if not self._help():
                time.sleep(0.001)
        return True

    def _help(self) -> bool:
        """Write one small batch if nobody else is writing; whether one was written."""
        try:
            with self._writing(0):
                self._drain(HELP_BATCH_MAX, HELP_TIMEOUT_SECONDS)
        except _ContendedError:
            return False
        except StoreError as error:
            self._error = error
            return False
        except Exception:  # the writer thread meets it too, and reports it
            return False
        return True

    def _write_account(self) -> None:
        dropped = self._losses.take()
        if dropped:
            try:
                self._writer.write(Batch(dropped=dropped), timeout_seconds=WRITE_TIMEOUT_SECONDS)
            except StoreError:
                self._losses.put_back(dropped)
                raise

    def _give_up_queue(self) -> None:
        count = self.queued_count
        self._queue.clear()
        self._pending = None
        if count:
            self._losses.add("not_written", count, f"{self.path} could not be written at the end: {self._error}")


@contextmanager
def _suppressed() -> Iterator[None]:
    """No instrumentation makes spans of what the store itself does."""
    token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        otel_context.detach(token)


# --- one recorder for each file


class _Registry:
    def __init__(self) -> None:
        self.recorders: dict[str, Recorder] = {}
        self.user_counts: dict[str, int] = {}
        self.lock = threading.Lock()
        fork.tell_of_forks(self)

    def finish(self) -> None:
        """The recorders see to themselves."""

    def before_fork(self) -> None:
        """Nothing of ours is open."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Another thread of the parent may have held the lock."""
        self.lock = threading.Lock()


_registry = _Registry()


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # the working directory is gone
        return path


def recorder_for(path: str, make_writer: Callable[[str], SpanWriter]) -> Recorder:
    """The recorder of this process for the file at ``path``; give it back with `release_recorder`."""
    key = _real_path(path)
    with _registry.lock:
        recorder = _registry.recorders.get(key)
        if recorder is None:
            recorder = _registry.recorders[key] = Recorder(key, make_writer(key))
        _registry.user_counts[key] = _registry.user_counts.get(key, 0) + 1
        return recorder


def release_recorder(recorder: Recorder) -> None:
    """Say that one user is done; the last one's leaving writes everything and closes the file."""
    key = recorder.path
    with _registry.lock:
        if _registry.recorders.get(key) is not recorder:
            return
        _registry.user_counts[key] -= 1
        is_last = _registry.user_counts[key] <= 0
        if is_last:
            del _registry.recorders[key], _registry.user_counts[key]
    if is_last:
        recorder.finish()


def find_recorder(path: str) -> Recorder | None:
    """The recorder of this process for that file, if it records into it."""
    return _registry.recorders.get(_real_path(path))


def flush_before_reading(path: str) -> None:
    """Make what this process recorded visible to a question; raises the `StoreError` that prevents it."""
    recorder = find_recorder(path)
    if recorder is not None:
        recorder.flush_or_raise()


def _finish_all() -> None:
    for recorder in list(_registry.recorders.values()):
        recorder.finish()


atexit.register(_finish_all)
