"""Threads that wait for room in the queue: one of them may help to write, the others sleep until room was made.

A thousand threads that each look again every millisecond would keep the interpreter to themselves, and who writes
would wait a second for its turn to run (seen: 2,000 threads, 19,000 spans dropped).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Crowd:
    """Those who wait, the first to come first. No lock is held while another is taken, so a signal handler may wait."""

    def __init__(self) -> None:
        self._lead = threading.Lock()
        self._waiting: deque[Any] = deque()

    @property
    def waiting_count(self) -> int:
        """How many sleep."""
        return len(self._waiting)

    def lead(self) -> bool:
        """Whether this thread is now the one that helps; it says `follow` when it has done so."""
        return self._lead.acquire(blocking=False)

    def follow(self) -> None:
        """Let another one lead."""
        self._lead.release()
        self.call(1)

    def wait(self, timeout_seconds: float, is_full: Callable[[], bool]) -> None:
        """Sleep until room was made for this thread, if there is none already."""
        gate = threading.Lock()
        gate.acquire()
        self._waiting.append(gate)
        try:
            if is_full():  # or room was made just before we came
                gate.acquire(timeout=timeout_seconds)
        finally:
            with suppress(ValueError):  # called already
                self._waiting.remove(gate)

    def call(self, count: int) -> None:
        """There is room for so many."""
        with suppress(IndexError):
            for _ in range(count):
                self._waiting.popleft().release()
