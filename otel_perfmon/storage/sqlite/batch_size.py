"""How large a transaction may be for the file to stay within its limit: it is in the log, and then in the file too."""

from __future__ import annotations

from typing import Final

_BATCHES_IN_LIMIT: Final = 64
_SMALLEST_BYTES: Final = 8 * 1024
_LARGEST_BYTES: Final = 2 * 1024 * 1024
_LOG_GROWTH_SHARE: Final = 1 / 24
"""Batches become smaller when one makes the log grow by more than this share of what the file may have: thousands of
different calls or errors lie in as many pages, each of which goes to the log whole."""


class BatchSize:
    """Follows how much the log grew with the last batch."""

    def __init__(self) -> None:
        self._size_bytes = _LARGEST_BYTES

    def max_bytes(self, size_max_bytes: int) -> int:
        """What a batch may hold for a file that may have so many bytes."""
        return min(self._size_bytes, size_max_bytes // _BATCHES_IN_LIMIT)

    def fit(self, log_growth_bytes: int, size_max_bytes: int) -> None:
        """The log has grown by so much with a batch."""
        growth_max_bytes = size_max_bytes * _LOG_GROWTH_SHARE
        if log_growth_bytes > growth_max_bytes:
            self._size_bytes = max(_SMALLEST_BYTES, self.max_bytes(size_max_bytes) // 2)
        elif log_growth_bytes < growth_max_bytes / 4:
            self._size_bytes = min(_LARGEST_BYTES, 2 * self._size_bytes)
