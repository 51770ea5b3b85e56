"""The cells of time in which rollups count, how long each kind is kept, and how a window is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from otel_perfmon.query import Window

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
RESOLUTIONS_S: Final = (10, 60, HOUR_S, DAY_S)
KEEP_SECONDS: Final = {10: HOUR_S, 60: DAY_S, HOUR_S: 90 * DAY_S, DAY_S: 90 * DAY_S}
ALIGNED_TO_S: Final = {10: 60, 60: HOUR_S, HOUR_S: DAY_S, DAY_S: DAY_S}
"""Questions use fine cells from the last bound of the next coarser ones on: so much longer they are kept."""
COARSE_RESOLUTIONS_S: Final = (HOUR_S, DAY_S)
"""Calls and errors are counted in these alone."""
CELLS_MAX: Final = 10_000
"""Cells of one answer over time."""
_SERIES_WIDTHS_S: Final = (
    *(10, 20, 30, 60, 120, 300, 600, 900, 1_800),
    *(HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S),
    *(DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S),
)
UNIX_S_MAX: Final = 2**62
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """Which cells there are: by their age at ``now_unix_s``, and by what was given up before its time for want of room.

    ``given_up`` tells for a resolution the time, in Unix seconds, before which its cells are gone. Cells finer than
    ``finest_s`` are left alone: there would be too many.
    """

    now_unix_s: int
    given_up: Mapping[int, int] = field(default_factory=dict)
    finest_s: int = RESOLUTIONS_S[0]

    def since(self) -> list[tuple[int, int]]:
        """From when on cells of each resolution can be used, finest first; on a bound of the next coarser ones."""
        kept: list[tuple[int, int]] = []
        for finer, coarser in pairwise(RESOLUTIONS_S):
            oldest = (self.now_unix_s - KEEP_SECONDS[finer]) // coarser * coarser
            given_up = -(-self.given_up.get(finer, oldest) // coarser) * coarser
            if finer >= self.finest_s:
                kept.append((finer, max(oldest, given_up)))
        return kept


def align_window(window: Window, kept_cells: Kept) -> Window:
    """The window, widened to the finest cells that are still kept where it starts and where it ends."""
    start_s = window.start_unix_nano // _NANO
    end_s = -(-window.end_unix_nano // _NANO)
    kept, widest = kept_cells.since(), RESOLUTIONS_S[-1]
    start_width = next((width for width, since in kept if start_s >= since), widest)
    end_width = next((width for width, since in kept if end_s > since), widest)
    return Window(start_s // start_width * start_width * _NANO, -(-end_s // end_width) * end_width * _NANO)


def cover(window: Window, resolutions_s: Sequence[int] = RESOLUTIONS_S) -> list[tuple[int, int, int]]:
    """The fewest cells that make up an aligned window, as (resolution, start, end) in seconds, end excluded."""
    ranges: list[tuple[int, int, int]] = []
    _cover(window.start_unix_nano // _NANO, window.end_unix_nano // _NANO, resolutions_s, ranges)
    return ranges


def cover_coarsely(window: Window | None) -> tuple[Window | None, list[tuple[int, int, int]]]:
    """The window, widened to hours, and the fewest cells of hours and days that make it up; all there are, for None."""
    if window is None:
        return None, [(DAY_S, -UNIX_S_MAX, UNIX_S_MAX)]
    width = HOUR_S * _NANO
    start, end = window.start_unix_nano // width * width, -(-window.end_unix_nano // width) * width
    aligned = Window(start, end)
    return aligned, cover(aligned, COARSE_RESOLUTIONS_S)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of equal width that follow each other: ``count`` of ``width_s`` seconds from ``start_unix_s`` on.

    ``resolution_s`` is the width of the coarsest rollups that they can be made of.
    """

    start_unix_s: int
    width_s: int
    count: int
    resolution_s: int

    @property
    def window(self) -> Window:
        """What all cells cover together."""
        return Window(self.start_unix_s * _NANO, (self.start_unix_s + self.count * self.width_s) * _NANO)

    def cell(self, number: int) -> Window:
        """What one cell covers; the first is number 0."""
        start = self.start_unix_s + number * self.width_s
        return Window(start * _NANO, (start + self.width_s) * _NANO)


def choose_grid(window: Window, cells_max: int, rollups_max: int, kept: Kept) -> Grid:
    """The finest grid over a window, of at most ``cells_max`` cells made of at most ``rollups_max`` rollups in all.

    Long windows may need a few more: a cell is no wider than 28 days as long as there can be two.
    """
    start_s, end_s = window.start_unix_nano // _NANO, -(-window.end_unix_nano // _NANO)
    finest = next((width for width, since in kept.since() if start_s >= since), RESOLUTIONS_S[-1])
    for width in _SERIES_WIDTHS_S:
        count = _cell_count(start_s, end_s, width)
        if width % finest == 0 and count <= cells_max and count * width // _coarsest_in(width) <= rollups_max:
            break
    else:  # years: as many of the widest as are needed
        widest = _SERIES_WIDTHS_S[-1]
        width = widest * -(-_cell_count(start_s, end_s, widest) // max(1, cells_max - 1))
    return Grid(start_s // width * width, width, max(1, _cell_count(start_s, end_s, width)), _coarsest_in(width))


def _coarsest_in(width: int) -> int:
    return max(each for each in RESOLUTIONS_S if width % each == 0)


def _cell_count(start_s: int, end_s: int, width: int) -> int:
    return -(-end_s // width) - start_s // width


def _cover(start: int, end: int, resolutions_s: Sequence[int], ranges: list[tuple[int, int, int]]) -> None:
    """Whole cells of the last resolution in the middle, the finer ones at both edges."""
    if start >= end:
        return
    finer, width = resolutions_s[:-1], resolutions_s[-1]
    first, last = -(-start // width) * width, end // width * width
    if not finer or first < last:
        ranges.append((width, first, last))
    if not finer:
        return
    if first < last:
        _cover(start, first, finer, ranges)
        _cover(last, end, finer, ranges)
    else:
        _cover(start, end, finer, ranges)
