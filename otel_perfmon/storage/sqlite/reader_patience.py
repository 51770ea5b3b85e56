"""How long a checkpoint of the log waits for who reads, with the lock held, and when one that they held up goes again.

A reader in mid-question holds it up, and we come back later. But where there is always one, as of many pages that are
live, we would never get through, and the log would grow for ever. So the further it has grown beyond what it should
have, the longer readers are waited for. Those that begin meanwhile see the newest state, and hold nothing up.
"""

from __future__ import annotations

import time
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""One that was held up is tried again after so long, or when the log has grown as much again as it may have at all."""
_LEAST_MS: Final = 20
_MOST_MS: Final = 2_000
"""The others that write wait too; their queues hold more than that."""


class ReaderPatience:
    """That of one writer, whose log should have no more than ``log_max_bytes``."""

    def __init__(self) -> None:
        self._next_moment = self._next_bytes = 0.0

    def is_over(self, log_bytes: float) -> bool:
        """Whether it is time for a checkpoint again, at such a size of the log."""
        return time.monotonic() >= self._next_moment or log_bytes >= self._next_bytes

    def timeout_ms(self, log_bytes: float, log_max_bytes: float) -> int:
        """How long the checkpoint of a log of that size may wait."""
        excess = max(1.0, log_bytes / log_max_bytes)
        return min(_MOST_MS, round(_LEAST_MS * excess**3))

    def note(self, log_bytes: float, log_max_bytes: float, *, is_held_up: bool) -> None:
        """A checkpoint has got through, or was held up."""
        self._next_moment = time.monotonic() + PAUSE_SECONDS if is_held_up else 0.0
        self._next_bytes = log_bytes + log_max_bytes
