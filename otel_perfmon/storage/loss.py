"""What was lost, by reason: counted for the account, and logged at most once a minute for each reason."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

LOG_SECONDS: Final = 60.0
NOT_HELD: Final = "not_held"
NOT_KEPT: Final = "not_kept"
AFTER_COUNTING: Final = (NOT_HELD, NOT_KEPT)
"""Reasons for which a span that is counted could not be stored though its trace is kept: to the account it is sampled
out, and no drop, since the statistics have it."""
_COUNTED_MAX: Final = 1_000
"""Single counts that are kept before they are summed up."""
_logger = logging.getLogger("otel_perfmon")


class Losses:
    """Counts of dropped spans by reason. Any number of threads."""

    def __init__(self) -> None:
        # Appended to and taken from in single steps: a finaliser or a signal handler may lose a span while we count.
        self._pending: deque[tuple[str, int]] = deque()
        self._unlogged: deque[tuple[str, int]] = deque()
        self._logged_at: dict[str, float] = {}
        self._taken: Counter[str] = Counter()

    def add(self, reason: str, count: int, why: str) -> None:
        """Count ``count`` dropped spans; ``why`` is a sentence for the log."""
        for counted in (self._pending, self._unlogged):
            counted.append((reason, count))
            if len(counted) > _COUNTED_MAX:
                counted.extend(_sums(counted).items())
        if self._is_due(reason):
            unlogged = _sums(self._unlogged)
            total = unlogged.pop(reason, 0)
            self._unlogged.extend(unlogged.items())
            _log(f"{total} spans were not kept: {why}")

    def warn(self, kind: str, why: str) -> None:
        """Log a sentence about trouble that lost nothing so far, at most once a minute for each kind."""
        if self._is_due(kind):
            _log(why)

    @property
    def has_pending(self) -> bool:
        """Whether something was counted that is not written down yet."""
        return bool(self._pending)

    def take(self) -> dict[str, int]:
        """What was counted since the last time, to be written down."""
        taken = _sums(self._pending)
        self._taken.update(taken)
        return taken

    def put_back(self, pending: Mapping[str, int]) -> None:
        """Return what could not be written down."""
        self._taken.subtract(pending)
        self._pending.extend(pending.items())

    def note_written(self, reason: str, count: int) -> None:
        """What a writer found out, and has written down already."""
        self._taken[reason] += count

    def totals(self) -> dict[str, int]:
        """What was counted so far, written down or not."""
        totals = self._taken.copy()
        for reason, count in self._pending.copy():
            totals[reason] += count
        return {reason: count for reason, count in totals.items() if count}

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(kind, -LOG_SECONDS) < LOG_SECONDS:
            return False
        self._logged_at[kind] = now
        return True


def _log(sentence: str) -> None:
    with suppress(Exception):  # a handler or filter of the program's that fails
        _logger.warning("%s", sentence)


def _sums(counts: deque[tuple[str, int]]) -> dict[str, int]:
    """Take what is there, summed by reason."""
    sums: dict[str, int] = {}
    for _ in range(len(counts)):
        try:
            reason, count = counts.popleft()
        except IndexError:  # another thread sums up as well, and has taken the rest
            break
        sums[reason] = sums.get(reason, 0) + count
    return sums
