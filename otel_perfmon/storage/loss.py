"""What was lost, by reason: counted for the account, and logged at most once a minute for each reason."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

LOG_SECONDS: Final = 60.0
_logger = logging.getLogger("otel_perfmon")


class Losses:
    """Counts of dropped spans by reason. Any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a finaliser or a signal handler may lose a span while we count
        self._pending: dict[str, int] = {}
        self._unlogged: dict[str, int] = {}
        self._logged_at: dict[str, float] = {}

    def add(self, reason: str, count: int, why: str) -> None:
        """Count ``count`` dropped spans; ``why`` is a sentence for the log."""
        with self._lock:
            self._pending[reason] = self._pending.get(reason, 0) + count
            self._unlogged[reason] = self._unlogged.get(reason, 0) + count
        if self._is_due(reason):
            with self._lock:
                total = self._unlogged.pop(reason, 0)
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
        with self._lock:
            pending, self._pending = self._pending, {}
        return pending

    def put_back(self, pending: Mapping[str, int]) -> None:
        """Return what could not be written down."""
        with self._lock:
            for reason, count in pending.items():
                self._pending[reason] = self._pending.get(reason, 0) + count

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(kind, -LOG_SECONDS) < LOG_SECONDS:
            return False
        self._logged_at[kind] = now
        return True


def _log(sentence: str) -> None:
    with suppress(Exception):  # a handler or filter of the program's that fails
        _logger.warning("%s", sentence)
