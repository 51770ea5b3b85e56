"""Commits what was received, on one thread: what came while a transaction ran goes into the next one together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from typing import Any, Final

from otel_perfmon.errors import StoreBusyError, StoreError

ROWS_AT_ONCE: Final = 4_096
_PATIENCE_SECONDS: Final = 4.0
"""How long a file that others hold is tried for: senders wait ten seconds for an answer."""
_STOP_SECONDS: Final = 5.0
_logger = logging.getLogger("otel_perfmon")

_Waiting = tuple[Sequence[Any], "Future[None]"]


class Commits:
    """A queue of requests, each acknowledged once all of it is committed. Any number of threads.

    ``write_first`` commits the first rows, as many as one transaction may hold, and says how many; or it raises a
    `StoreError`, and who sent them is to send them again. Of a request that needs several transactions the first ones
    may be committed by then, and the error says how many rows: spans are known when they come again, points and log
    records are stored twice.
    """

    def __init__(self, write_first: Callable[[Sequence[Any]], int]) -> None:
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
        while group := self._next_group():
            done_count, error = self._write([row for rows, _ in group for row in rows])
            for rows, future in group:
                _settle(future, error if done_count < len(rows) else None, done_count)
                done_count = max(0, done_count - len(rows))

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

    def _write(self, rows: Sequence[Any]) -> tuple[int, StoreError | None]:
        """Commit the rows; how many of the first ones are, and what prevents the others."""
        deadline, done_count, error = time.monotonic() + _PATIENCE_SECONDS, 0, None
        while done_count < len(rows):
            written_count, error = self._write_some(rows[done_count : done_count + ROWS_AT_ONCE])
            done_count += written_count
            is_over = time.monotonic() > deadline or self._is_stopping
            if error is not None and (is_over or not isinstance(error, StoreBusyError)):
                break
        return done_count, error

    def _write_some(self, rows: Sequence[Any]) -> tuple[int, StoreError | None]:
        try:
            return self._write_first(rows), None
        except StoreError as error:
            return 0, error
        except BaseException as error:  # the outer rim: the thread must live, and each sender be answered
            _logger.exception("What was received could not be stored.")
            return 0, StoreError(f"It could not be stored: {error!r:.200}")


def _settle(future: Future[None], error: StoreError | None, stored_count: int) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(None)
    else:
        own = copy(error)  # several requests share it
        own.stored_count = stored_count
        future.set_exception(own)
