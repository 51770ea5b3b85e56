"""Pictures made of characters: sparklines, bars, histograms and heatmaps.

Only foreground characters, so that they look the same on dark and light terminals; where the output has no Unicode,
plain ASCII ones. A scale is linear and begins at zero, unless it says that it is logarithmic.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from otel_perfmon.moments import local
from otel_perfmon.records import Distribution, DurationBucket

_NANO: Final = 10**9
_STEPS_OF_DECADE: Final = (1, 3, 6, 12, 24, 48, 96)
"""How finely a decade is divided: the standard series of resistors (IEC 60063), since they round well."""
_COARSE: Final = 3
_FINE: Final = 24
"""Up to so many steps, one digit and two tell a bound from the next one."""
_TICK_GAP: Final = 3
_TICKS_SECONDS: Final = (
    *(10, 20, 30, 60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
)
_DAY_SECONDS: Final = 86_400
_WEEK_SECONDS: Final = 604_800
_DAYS_SHOWN_FROM: Final = 14
_SECONDS_SHOWN: Final = 600
"""In a shorter picture the labels tell seconds too."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of one kind of terminal; each list from little to much, ``levels`` without nothing.

    ``eighths`` are the parts of ``full``, from one eighth to seven, and empty where there are none.
    """

    levels: str
    shades: str
    full: str
    eighths: str
    nothing: str
    line: str
    tick: str


UNICODE: Final = Glyphs("▁▂▃▄▅▆▇█", "░▒▓█", "█", "▏▎▍▌▋▊▉", "·", "─", "┴")
ASCII: Final = Glyphs("_.-=+*%#", ".+*#", "#", "", " ", "-", "+")


def glyphs(*, is_ascii: bool) -> Glyphs:
    """Those that an output can show."""
    return ASCII if is_ascii else UNICODE


def sparkline(values: Iterable[float | None], chars: Glyphs = UNICODE) -> str:
    """One character a value, from zero to the largest; a value of None or 0 is ``chars.nothing``."""
    numbers = [value or 0 for value in values]
    most = max(numbers, default=0)
    return "".join(_level(value / most, chars) if value > 0 else chars.nothing for value in numbers)


def _level(part: float, chars: Glyphs) -> str:
    return chars.levels[max(0, math.ceil(part * len(chars.levels)) - 1)]


def bar(value: float, most: float, width: int, chars: Glyphs = UNICODE) -> str:
    """A bar as long as ``value`` is of ``most``, which takes ``width`` characters; more than nothing always shows."""
    if value <= 0 or most <= 0:
        return ""
    parts = len(chars.eighths) + 1
    units = max(1, round(min(1.0, value / most) * width * parts))
    whole, part = divmod(units, parts)
    return chars.full * whole + (chars.eighths[part - 1] if part else "")


def shade(value: int, most: int, chars: Glyphs = UNICODE) -> int:
    """Which of the shades, from 0, a count of 1 or more has; logarithmic."""
    if most <= 1:
        return len(chars.shades) - 1
    return min(len(chars.shades) - 1, int(math.log(value) / math.log(most) * len(chars.shades)))


def shade_starts(most: int, chars: Glyphs = UNICODE) -> list[int]:
    """For each shade the least count that has it; a shade that none has repeats the next one's."""
    starts = {shade(count, most, chars): count for count in reversed(range(1, min(most, 1_000) + 1))}
    number = len(chars.shades)
    return [starts.get(index) or _shade_start(index, most, chars) for index in range(number)]


def _shade_start(index: int, most: int, chars: Glyphs) -> int:
    """The least count of a shade; of which `shade` has the last word where a power is rounded."""
    near = math.ceil(math.pow(most, index / len(chars.shades)))
    return next((count for count in (near - 1, near) if count and shade(count, most, chars) >= index), near + 1)


# --- a histogram


def regroup(distribution: Distribution, rows_max: int) -> list[DurationBucket]:
    """The calls in at most ``rows_max`` rows with round bounds, shortest first, without gaps; or one for each decade.

    As finely as that allows. A bucket counts where its middle is, so a call may stand 1.1 % over a row's bound.
    """
    buckets = [bucket for bucket in distribution.buckets if bucket.upper_ms > 0]
    instant_count = distribution.count - sum(bucket.count for bucket in buckets)
    rows = [DurationBucket(0.0, 0.0, instant_count)] if instant_count else []
    if not buckets:
        return rows
    middles = [math.sqrt(max(bucket.lower_ms, bucket.upper_ms / 2) * bucket.upper_ms) for bucket in buckets]
    bounds: list[float] = []
    for steps in _STEPS_OF_DECADE:
        finer = _round_bounds(min(middles), max(middles), steps)
        if bounds and len(finer) - 1 > rows_max - len(rows):
            break
        bounds = finer
    counts = [0] * (len(bounds) - 1)
    for bucket, middle in zip(buckets, middles, strict=True):
        counts[bisect_right(bounds, middle) - 1] += bucket.count
    return rows + [DurationBucket(*ends, number) for ends, number in zip(pairwise(bounds), counts, strict=True)]


def _round_bounds(least: float, most: float, steps: int) -> list[float]:
    """Round numbers, ``steps`` of them to a decade, from the last at or below ``least`` to the first above ``most``."""
    digits = 1 if steps <= _COARSE else 2 if steps <= _FINE else 3
    places = range(math.floor(math.log10(least) * steps) - 1, math.ceil(math.log10(most) * steps) + 3)
    bounds = [float(f"{10 ** (place / steps):.{digits}g}") for place in places]
    return bounds[bisect_right(bounds, least) - 1 : bisect_right(bounds, most) + 1]


# --- time across


def time_axis(
    start_unix_nano: int, cell_seconds: int, cells: int, *, cell_width: int = 1, chars: Glyphs = UNICODE
) -> tuple[str, str]:
    """The line below a picture of ``cells`` cells, each ``cell_width`` wide, and below that the times at its ticks.

    Ticks stand at round local times, as many as their labels leave room for.
    """
    width, seconds = cells * cell_width, cells * cell_seconds
    template = _label_template(seconds)
    first = start_unix_nano // _NANO
    room = (len(f"{local(start_unix_nano):{template}}") + _TICK_GAP) * cell_seconds / cell_width
    step = next((each for each in _TICKS_SECONDS if each >= room), math.ceil(room / _WEEK_SECONDS) * _WEEK_SECONDS)
    offset = local(start_unix_nano).utcoffset()
    shift = int(offset.total_seconds()) if offset else 0  # round times are round here, not in UTC
    line, labels = [chars.line] * width, [" "] * width
    for moment in range(first + -(first + shift) % step, first + seconds, step):
        column = (moment - first) // cell_seconds * cell_width
        label = f"{local(moment * _NANO):{template}}"
        if column + len(label) <= width:
            line[column] = chars.tick
            labels[column : column + len(label)] = label
    return "".join(line), "".join(labels).rstrip()


def _label_template(seconds: int) -> str:
    """As much of a moment as a picture of that length needs."""
    if seconds > _DAYS_SHOWN_FROM * _DAY_SECONDS:
        return "%m-%d"
    return "%m-%d %H:%M" if seconds > _DAY_SECONDS else "%H:%M:%S" if seconds < _SECONDS_SHOWN else "%H:%M"
