"""Moments as people read them: local clock times, as short as they are clear, and how long ago."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from otel_perfmon.query import Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST: Final = -62_135_510_400
_LAST: Final = 253_402_214_400
"""Unix seconds a day inside the years 1 to 9999, which is what `datetime` holds in any time zone."""
_AGO: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_NOW_SECONDS: Final = 1.0


def iso(unix_nano: int) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return f"{_utc(unix_nano):%Y-%m-%dT%H:%M:%S.%f}Z".zfill(27)


def local(unix_nano: int) -> datetime:
    """That moment here."""
    return _utc(unix_nano).astimezone()


def clock(unix_nano: int, *, is_dated: bool = True, digits: int = 0) -> str:
    """Date and time of day here, with ``digits`` (0 to 6) of the second's fraction."""
    moment = local(unix_nano)
    fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    return f"{f'{moment:%Y-%m-%d} ' if is_dated else ''}{moment:%H:%M:%S}{fraction}"


def stamp(unix_nano: int, now_unix_nano: int) -> str:
    """As much of a moment as tells it from others near now: with milliseconds of today, with the date of other days."""
    moment, now = local(unix_nano), local(now_unix_nano)
    if moment.date() == now.date():
        return clock(unix_nano, is_dated=False, digits=3)
    return f"{moment:%m-%d %H:%M:%S}" if moment.year == now.year else f"{moment:%Y-%m-%d %H:%M}"


def spread(window: Window) -> str:
    """A window in words: ``2026-01-31 09:00:00 to 10:00:00``, the date said twice only where it changes."""
    start, end = local(window.start_unix_nano), local(window.end_unix_nano)
    if start.year <= 1970:  # noqa: PLR2004 - a window without a start
        return f"everything until {clock(window.end_unix_nano)}"
    return f"{clock(window.start_unix_nano)} to {clock(window.end_unix_nano, is_dated=start.date() != end.date())}"


def during(window: Window) -> str:
    """As `spread`, behind what happened: ``from 2026-01-31 09:00:00 to 10:00:00``, ``until 2026-01-31 10:00:00``."""
    text = spread(window)
    return text.removeprefix("everything ") if text.startswith("everything ") else f"from {text}"


def ago(unix_seconds: float, now_unix_seconds: float) -> str:
    """How long before now, in one unit: ``now``, ``12 s ago``, ``3 min ago``; ``in 5 min`` where clocks disagree."""
    seconds = now_unix_seconds - unix_seconds
    if abs(seconds) < _NOW_SECONDS:
        return "now"
    text = period(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def period(seconds: float) -> str:
    """A length of time in one unit, rounded down: ``45 s``, ``3 min``, ``2 h``, ``7 d``."""
    for size, unit in _AGO:
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return f"{int(seconds)} s"


def _utc(unix_nano: int) -> datetime:
    seconds, nano = divmod(unix_nano, 10**9)
    return _EPOCH + timedelta(seconds=max(_FIRST, min(_LAST, seconds)), microseconds=nano // 1000)
