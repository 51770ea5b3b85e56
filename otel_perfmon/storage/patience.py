"""How long those wait who find the queue full, while nothing is written.

Where a thousand threads keep the interpreter busy, a millisecond's sleep takes a second, and so does each step of the
one that writes: that is no time in which it could have written. So what counts is not the clock but what those who help
say that they spent; only a store that is known to fail goes by the clock.
"""

from __future__ import annotations

import time


class Patience:
    """That with one store. It is there again as soon as something goes on."""

    def __init__(self) -> None:
        self.note_progress()

    def note_progress(self) -> None:
        """A piece of work was done."""
        self._since = time.monotonic()
        self._spent_seconds = 0.0

    def spend(self, seconds: float) -> None:
        """Somebody waited for so long in vain, as far as the one who writes could have gone on meanwhile."""
        self._spent_seconds += seconds

    @property
    def stalled_seconds(self) -> float:
        """How long nothing has gone on."""
        return time.monotonic() - self._since

    def is_over(self, limit_seconds: float, *, is_failing: bool) -> bool:
        """Whether one should wait no more."""
        return self._spent_seconds > limit_seconds or (is_failing and self.stalled_seconds > limit_seconds)
