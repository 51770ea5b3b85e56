"""Threads that wait for room in the queue: one of them may help to write, the others sleep until room was made.

A thousand threads that each look again every millisecond would keep the interpreter to themselves, and who writes
would wait a second for its turn to run (seen: 2,000 threads, 19,000 spans dropped).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_LEAD_SECONDS: Final = 0.1
"""So long does one lead without saying so again: a signal handler may keep it, or Ctrl-C have taken it out."""


class _Place:
    """Where one waits: at its gate, until it is called; and whether it has room then."""

    __slots__ = ("gate", "has_room")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.has_room = False


class Crowd:
    """Those who wait, the first to come first. It has no lock that an interrupt could leave held."""

    def __init__(self) -> None:
        self._led_until = 0.0
        self._waiting: deque[_Place] = deque()

    def lead(self) -> bool:
        """Whether this thread is now the one that helps, for a moment; two that ask at once may both be."""
        now = time.monotonic()
        if now < self._led_until:
            return False
        self._led_until = now + _LEAD_SECONDS
        return True

    def go_on(self) -> None:
        """Lead for another moment."""
        self._led_until = time.monotonic() + _LEAD_SECONDS

    def follow(self) -> None:
        """Let the first of those who wait lead."""
        self._led_until = 0.0
        self._call(1, has_room=False)

    def wait(self, timeout_seconds: float, is_full: Callable[[], bool]) -> bool:
        """Sleep until called; whether there is room for this thread, whoever else came meanwhile."""
        place = _Place()
        try:
            self._waiting.append(place)
            if not is_full():  # room was made just before we came
                return True
            place.gate.acquire(timeout=timeout_seconds)
            return place.has_room
        finally:
            with suppress(ValueError):  # called already
                self._waiting.remove(place)

    def make_room(self, count: int) -> None:
        """There is room for so many: it is theirs."""
        self._call(count, has_room=True)

    def _call(self, count: int, *, has_room: bool) -> None:
        with suppress(IndexError):
            for _ in range(count):
                place = self._waiting.popleft()
                place.has_room = has_room
                place.gate.release()
