"""The lowest slow threshold of the process: what takes no longer is slow to nobody, and is not looked at twice."""

from __future__ import annotations

from typing import Final

from otel_perfmon.query import INT64_MAX

lowest_threshold_nano: Final = [INT64_MAX]
"""The lowest threshold that any monitor or door of the process ever had; calls with one of their own look for it."""


def note_threshold(slow_threshold_nano: int) -> int:
    """Keep `lowest_threshold_nano` the lowest; the same threshold."""
    lowest_threshold_nano[0] = min(lowest_threshold_nano[0], slow_threshold_nano)
    return slow_threshold_nano
