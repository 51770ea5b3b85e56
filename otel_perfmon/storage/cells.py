"""The cells of time in which rollups count, how long each kind is kept, and how a window is made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from otel_perfmon.query import Window

RESOLUTIONS_S: Final = (10, 60, 3600)
KEEP_SECONDS: Final = {10: 3_600, 60: 86_400, 3600: 90 * 86_400}
ALIGNED_TO_S: Final = {10: 60, 60: 3_600, 3600: 3_600}
"""Questions use fine cells from the last bound of the next coarser ones on: so much longer they are kept."""
UNIX_S_MAX: Final = 2**62
_NANO: Final = 1_000_000_000


def align_window(window: Window, now_unix_s: int) -> Window:
    """The window, widened to the finest cells that are still kept where it starts and where it ends."""
    start_s = window.start_unix_nano // _NANO
    end_s = -(-window.end_unix_nano // _NANO)
    kept, widest = _kept_since(now_unix_s), RESOLUTIONS_S[-1]
    start_width = next((width for width, since in kept if start_s >= since), widest)
    end_width = next((width for width, since in kept if end_s > since), widest)
    return Window(start_s // start_width * start_width * _NANO, -(-end_s // end_width) * end_width * _NANO)


def _kept_since(now_unix_s: int) -> list[tuple[int, int]]:
    """From when on cells of each resolution are kept, finest first; on a bound of the next coarser ones."""
    kept: list[tuple[int, int]] = []
    for finer, coarser in pairwise(RESOLUTIONS_S):
        oldest = now_unix_s - KEEP_SECONDS[finer]
        kept.append((finer, oldest // coarser * coarser))
    return kept


def cover(window: Window) -> list[tuple[int, int, int]]:
    """The fewest cells that make up an aligned window, as (resolution, start, end) in seconds, end excluded."""
    ranges: list[tuple[int, int, int]] = []
    _cover(window.start_unix_nano // _NANO, window.end_unix_nano // _NANO, len(RESOLUTIONS_S) - 1, ranges)
    return ranges


def _cover(start: int, end: int, level: int, ranges: list[tuple[int, int, int]]) -> None:
    """Whole cells of this level in the middle, the finer ones at both edges."""
    if start >= end:
        return
    width = RESOLUTIONS_S[level]
    first, last = -(-start // width) * width, end // width * width
    if level == 0 or first < last:
        ranges.append((width, first, last))
    if level == 0:
        return
    if first < last:
        _cover(start, first, level - 1, ranges)
        _cover(last, end, level - 1, ranges)
    else:
        _cover(start, end, level - 1, ranges)
