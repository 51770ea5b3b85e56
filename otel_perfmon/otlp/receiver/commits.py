"""Commits what was received, on one thread: what came while a transaction ran goes into the next one together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from otel_perfmon.errors import StoreBusyError, StoreError

ROWS_AT_ONCE: Final = 4_096
_PATIENCE_SECONDS: Final = 4.0
"""How long a file that others hold is tried for: senders wait ten seconds for an answer."""
_STOP_SECONDS: Final = 5.0
_logger = logging.getLogger("otel_perfmon")

_Waiting = tuple[Sequence[Any], "Future[None]"]


class Commits:
    """A queue of requests, each stored whole or refused whole. Any number of threads.

    ``write`` commits rows, or raises a `StoreError`; then who sent them is to send them again.
    """

    def __init__(self, write: Callable[[Sequence[Any]], None]) -> None:
        self._write_rows = write
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
            _settle(group, self._write([row for rows, _ in group for row in rows]))

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

    def _write(self, rows: Sequence[Any]) -> StoreError | None:
        """Commit the rows; what prevents it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (error := self._try_to_write(rows)) is not None:
            is_over = time.monotonic() > deadline or self._is_stopping
            if is_over or not isinstance(error, StoreBusyError):
                break
        return error

    def _try_to_write(self, rows: Sequence[Any]) -> StoreError | None:
        try:
            self._write_rows(rows)
        except StoreError as error:
            return error
        except BaseException as error:  # the outer rim: the thread must live, and each sender be answered
            _logger.exception("What was received could not be stored.")
            return StoreError(f"It could not be stored: {error!r:.200}")
        return None


def _settle(group: Sequence[_Waiting], error: StoreError | None = None) -> None:
    for _, future in group:
        if not future.set_running_or_notify_cancel():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
