"""How unusual a span's duration is among those of its operation: its rank, and a small picture with its place."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from otel_perfmon import quantities
from otel_perfmon.query import Window
from otel_perfmon.records import Distribution, DurationBucket
from otel_perfmon.storage.base import Store

_DAY_SECONDS: Final = 86_400
_BARS: Final = 44
_WIDTH, _HEIGHT, _GAP = 340.0, 44.0, 1.5
_NEARLY_ALL: Final = 0.99
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Rank:
    """What is told: ``text`` is a sentence's end, ``picture`` an SVG from the shortest to the longest call.

    The picture of a single call is empty.
    """

    text: str
    picture: Markup
    shortest_ms: float
    longest_ms: float
    call_count: int


def rank_of(store: Store, operation: str, service: str, duration_ms: float, end_unix_nano: int) -> Rank | None:
    """The rank among the calls of the last day, or of all that is kept if it ended before; None without any call."""
    now = time.time_ns()
    is_recent = now - _DAY_SECONDS * 10**9 <= end_unix_nano
    window = Window(now - _DAY_SECONDS * 10**9, max(now, end_unix_nano) + 10**9) if is_recent else None
    found = store.summarize_distribution(operation, service=service or None, window=window)
    rank = found.percentile_rank(duration_ms)
    if rank is None:
        return None
    when = "in the last 24\N{NO-BREAK SPACE}h" if is_recent else "that are kept"
    shortest, longest = _ends(found.buckets)
    picture = _picture(found, duration_ms) if found.count > 1 else Markup("")
    return Rank(f"{_told(rank, found)} {when}", picture, shortest, longest, found.count)


def _told(rank: float, found: Distribution) -> str:
    calls = quantities.counted(found.count, "call")
    if found.count == 1:
        return "the only call"
    if rank >= _HALF:
        return f"slower than {_percent(rank)} of {calls}"
    slower = sum(bucket.count for bucket in found.buckets) * (1 - rank)
    return f"faster than {_percent(max(0.0, (slower - 1) / found.count))} of {calls}"


def _percent(part: float) -> str:
    """Never more than it is: 99.97 of a hundred are not all."""
    digits = 2 if part >= _NEARLY_ALL else 0
    return f"{math.floor(part * 100 * 10**digits) / 10**digits:g}%"


def _ends(buckets: tuple[DurationBucket, ...]) -> tuple[float, float]:
    low = next((bucket.lower_ms for bucket in buckets if bucket.lower_ms > 0), buckets[-1].upper_ms or 1e-6)
    return low, max(buckets[-1].upper_ms, low * 1.5)


def _picture(found: Distribution, duration_ms: float) -> Markup:
    """Bars on a logarithmic scale; that of the span is marked."""
    low, high = _ends(found.buckets)
    span_log = math.log(high / low)

    def bar_of(ms: float) -> int:
        return min(_BARS - 1, max(0, int(math.log(ms / low) / span_log * _BARS))) if ms > low else 0

    heights, own = [0] * _BARS, bar_of(duration_ms)
    for bucket in found.buckets:
        bar = bar_of(math.sqrt(max(bucket.lower_ms, 1e-9) * max(bucket.upper_ms, 1e-9)))
        heights[bar] += bucket.count
        if bucket.lower_ms < duration_ms <= bucket.upper_ms:
            own = bar
    step = _WIDTH / _BARS
    bars = Markup("").join(
        Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            "own" if bar == own else "", bar * step, _HEIGHT - tall, step - _GAP, tall
        )
        for bar, tall in enumerate(_tall(heights, own))
        if tall
    )
    picture = Markup(
        '<svg class="rank" viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    )
    return picture.format(_WIDTH, _HEIGHT, bars)


def _tall(heights: list[int], own: int) -> list[float]:
    """How tall the bars are: what is there at all can be seen, and so can the span's own."""
    most = max(heights) or 1
    return [
        max(2.0 if count else 0.0, (_HEIGHT - 2) * count / most, 5.0 if bar == own else 0.0)
        for bar, count in enumerate(heights)
    ]
