"""The clock that retention goes by: the wall clock, except that it does not leap ahead.

A wall clock that is 400 days ahead for one moment (a virtual machine that wakes, a wrong time server) would make all
that is kept look old. So a leap against the monotonic clock is only followed when it has stood for a while. Back it is
followed at once: that deletes less.
"""

from __future__ import annotations

import time
from typing import Final

LEAP_SECONDS: Final = 120.0
"""So far the wall clock may get ahead of the monotonic one between two readings and still be followed at once."""
STANDING_SECONDS: Final = 900.0
"""So long a leap ahead must have stood."""


class SteadyClock:
    """One for each recorder; one thread at a time."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._leapt_at: float | None = None
        self._leapt_to = 0.0

    def now(self) -> float:
        """Unix seconds."""
        monotonic = time.monotonic()
        offset = time.time() - monotonic
        if offset - self._offset <= LEAP_SECONDS:
            self._offset, self._leapt_at = offset, None
        elif self._leapt_at is None or abs(offset - self._leapt_to) > LEAP_SECONDS:
            self._leapt_at, self._leapt_to = monotonic, offset
        elif monotonic - self._leapt_at >= STANDING_SECONDS:
            self._offset, self._leapt_at = offset, None
        return monotonic + self._offset
