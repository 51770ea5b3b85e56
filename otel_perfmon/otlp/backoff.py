"""How long to wait before the next try: longer each time, and never all at the same moment.

The Collector's ``retry_on_failure``: ``initial_interval`` 5 s, ``multiplier`` 1.5, ``randomization_factor`` 0.5,
``max_interval`` 30 s; without a ``max_elapsed_time``, since what waits is safe in the store.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MULTIPLIER: Final = 1.5
_RANDOMIZATION: Final = 0.5
_AFTER_SHARE: Final = 0.1
"""So much longer than asked for is waited at most, lest all senders of a destination come back at once."""


@dataclass(slots=True)
class Backoff:
    """The pauses between tries; times in seconds. ``rng`` gives numbers from 0 to 1."""

    initial_interval: float = 5.0
    max_interval: float = 30.0
    rng: Callable[[], float] = field(default=random.Random().random)  # noqa: S311 - it guards nothing
    _interval: float = 0.0

    def reset(self) -> None:
        """After a success."""
        self._interval = 0.0

    def next_pause(self, retry_after_seconds: float | None = None) -> float:
        """The pause after one more failure; at least what the destination asked for.

        Who asks for none (``Retry-After: 0``, a date that is over by a clock that is late) is not asked without end.
        """
        longer = self._interval * _MULTIPLIER if self._interval else self.initial_interval
        self._interval = min(longer, self.max_interval)
        own = self._interval * (1 - _RANDOMIZATION + 2 * _RANDOMIZATION * self.rng())
        if retry_after_seconds is None:
            return own
        return max(own, retry_after_seconds * (1 + _AFTER_SHARE * self.rng()))
