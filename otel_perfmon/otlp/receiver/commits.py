"""Commits what was received, on one thread: what came while a transaction ran goes into the next one together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from copy import copy
from typing import Any, Final

from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.storage.at_once import OnCommit

ROWS_AT_ONCE: Final = 4_096
_PATIENCE_SECONDS: Final = 4.0
"""How long a file that others hold is tried for: senders wait ten seconds for an answer."""
_STOP_SECONDS: Final = 5.0
_logger = logging.getLogger("otel_perfmon")

_Waiting = tuple[Sequence[Any], "Future[None]"]
WriteFirst = Callable[[Sequence[Any], OnCommit], object]
"""Commits the first of the rows, as many as one transaction may hold, and tells how many; or raises a `StoreError`."""


class Commits:
    """A queue of requests, each acknowledged once all of it is committed. Any number of threads.

    When ``write_first`` raises a `StoreError`, who sent the rows is to send them again. Of a request that needs several
    transactions the first ones may be committed by then, and the error says how many rows: spans are known when they
    come again, points and log records are stored twice.
    """

    def __init__(self, write_first: WriteFirst) -> None:
        self._write_first = write_first
        self._waiting: deque[_Waiting] = deque()
        self._is_stopping = False
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="otel-perfmon-commits", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Any]) -> Future[None]:
        """Have the rows stored; the future is done when they are committed, or has a `StoreError`."""
        future: Future[None] = Future()
        with self._arrived:
            if self._is_stopping:
                future.set_exception(StoreError("The receiver is stopping."))
            else:
                self._waiting.append((rows, future))
                self._arrived.notify()
        return future

    def stop(self) -> None:
        """Commit what waits, and end."""
        with self._arrived:
            self._is_stopping = True
            self._arrived.notify()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while waiting := self._next_group():
            group = _Group(waiting)
            if error := self._write(group):
                group.refuse(error)

    def _next_group(self) -> list[_Waiting]:
        """What waits, up to so many rows; nothing when it is time to end."""
        with self._arrived:
            while not (self._waiting or self._is_stopping):
                self._arrived.wait()
            group: list[_Waiting] = []
            count = 0
            while self._waiting and (not group or count + len(self._waiting[0][0]) <= ROWS_AT_ONCE):
                group.append(self._waiting.popleft())
                count += len(group[-1][0])
            return group

    def _write(self, group: _Group) -> StoreError | None:
        """Commit the rows of a group, each sender told at once; what prevents the last ones of it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while rows := group.next_rows():
            error = self._write_some(rows, group.note_commit)
            is_over = time.monotonic() > deadline or self._is_stopping
            if error is not None and (is_over or not isinstance(error, StoreBusyError)):
                return error
        return None

    def _write_some(self, rows: Sequence[Any], on_commit: OnCommit) -> StoreError | None:
        try:
            self._write_first(rows, on_commit)
        except StoreError as error:
            return error
        except BaseException as error:  # the outer rim: the thread must live, and each sender be answered
            _logger.exception("What was received could not be stored, or the store not be tidied up after that.")
            return StoreError(f"It could not be stored: {error!r:.200}")
        return None


class _Group:
    """Requests that are written together, and answered in their order."""

    def __init__(self, waiting: Iterable[_Waiting]) -> None:
        self._waiting = deque(waiting)
        self._rows = [row for rows, _ in self._waiting for row in rows]
        self._done_count = 0
        self._unanswered_count = 0  # of the rows that are committed: those of the first request not answered
        self.note_commit(0)

    def next_rows(self) -> Sequence[Any]:
        """The first rows that are not committed."""
        return self._rows[self._done_count : self._done_count + ROWS_AT_ONCE]

    def note_commit(self, count: int) -> None:
        """So many more are; whose rows all are is told."""
        self._done_count += count
        self._unanswered_count += count
        while self._waiting and len(self._waiting[0][0]) <= self._unanswered_count:
            rows, future = self._waiting.popleft()
            self._unanswered_count -= len(rows)
            _settle(future)

    def refuse(self, error: StoreError) -> None:
        """Tell the others that theirs are not."""
        while self._waiting:
            _, future = self._waiting.popleft()
            _settle(future, error, self._unanswered_count)
            self._unanswered_count = 0


def _settle(future: Future[None], error: StoreError | None = None, stored_count: int = 0) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(None)
    else:
        own = copy(error)  # several requests share it
        own.stored_count = stored_count
        future.set_exception(own)
