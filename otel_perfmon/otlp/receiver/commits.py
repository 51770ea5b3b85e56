"""Commits what was received, on one thread: what came while a transaction ran goes into the next one together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from copy import copy
from typing import Any, Final, NamedTuple

from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.storage.at_once import OnCommit

ROWS_AT_ONCE: Final = 4_096
_PATIENCE_SECONDS: Final = 4.0
"""How long after it came a request is tried with a file that others hold: senders wait ten seconds for an answer."""
_STOP_SECONDS: Final = 5.0
_logger = logging.getLogger("otel_perfmon")

WriteFirst = Callable[[Sequence[Any], OnCommit], object]
"""Commits the first of the rows, as many as one transaction may hold, and tells how many; or raises a `StoreError`."""


class _Request(NamedTuple):
    """What waits to be committed, and since when."""

    rows: Sequence[Any]
    future: Future[None]
    submitted: float


class Commits:
    """A queue of requests, each acknowledged once all of it is committed. Any number of threads.

    When ``write_first`` raises a `StoreError`, who sent the rows is to send them again. Of a request that needs several
    transactions the first ones may be committed by then, and the error says how many rows: spans are known when they
    come again, points and log records are stored twice.
    """

    def __init__(self, write_first: WriteFirst, now: Callable[[], float] = time.monotonic) -> None:
        self._write_first = write_first
        self._now = now
        self._waiting: deque[_Request] = deque()
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
                self._waiting.append(_Request(rows, future, self._now()))
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
            self._write(_Group(waiting))

    def _next_group(self) -> list[_Request]:
        """What waits, up to so many rows; nothing when it is time to end."""
        with self._arrived:
            while not (self._waiting or self._is_stopping):
                self._arrived.wait()
            group: list[_Request] = []
            count = 0
            while self._waiting and (not group or count + len(self._waiting[0].rows) <= ROWS_AT_ONCE):
                group.append(self._waiting.popleft())
                count += len(group[-1].rows)
            return group

    def _write(self, group: _Group) -> None:
        """Commit the rows of a group, each sender told at once; or told what prevents it."""
        while rows := group.next_rows():
            error = self._write_some(rows, group.note_commit)
            if error is None:
                continue
            if isinstance(error, StoreBusyError) and not self._is_stopping:
                self._refuse_overdue(group, error)
            else:
                group.refuse(error)

    def _refuse_overdue(self, group: _Group, error: StoreError) -> None:
        """Tell who has waited long enough, here or for a group of its own, which would be tried in vain as well."""
        until = self._now() - _PATIENCE_SECONDS
        group.refuse(error, until)
        while True:
            with self._arrived:
                if not self._waiting or self._waiting[0].submitted > until:
                    return
                request = self._waiting.popleft()
            _settle(request.future, error)

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

    def __init__(self, waiting: Iterable[_Request]) -> None:
        self._waiting = deque(waiting)
        self._rows = [row for request in self._waiting for row in request.rows]
        self._done_count = 0  # committed, or refused
        self._unanswered_count = 0  # of the rows that are committed: those of the first request not answered
        self.note_commit(0)

    def next_rows(self) -> Sequence[Any]:
        """The first rows that are neither committed nor refused."""
        return self._rows[self._done_count : self._done_count + ROWS_AT_ONCE]

    def note_commit(self, count: int) -> None:
        """So many more are; whose rows all are is told."""
        self._done_count += count
        self._unanswered_count += count
        while self._waiting and len(self._waiting[0].rows) <= self._unanswered_count:
            request = self._waiting.popleft()
            self._unanswered_count -= len(request.rows)
            _settle(request.future)

    def refuse(self, error: StoreError, until: float = math.inf) -> None:
        """Tell the others that theirs are not, those that were submitted until then."""
        while self._waiting and self._waiting[0].submitted <= until:
            request = self._waiting.popleft()
            self._done_count += len(request.rows) - self._unanswered_count
            _settle(request.future, error, self._unanswered_count)
            self._unanswered_count = 0
            self.note_commit(0)  # of nothing all is stored


def _settle(future: Future[None], error: StoreError | None = None, stored_count: int = 0) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(None)
    else:
        own = copy(error)  # several requests share it
        own.stored_count = stored_count
        future.set_exception(own)
