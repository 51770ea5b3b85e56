"""Figures as people compare them at a glance: three significant digits, and the unit that suits them."""

from __future__ import annotations

from typing import Final

_HOURS_FROM_MS: Final = 1e7
_UNITS_MS: Final = (("s", 1e3), ("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6))
_LAPSES: Final = (("d", 86_400), ("h", 3_600), ("min", 60))
_RATE_UNITS: Final = (("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400))
_SIZE_UNITS: Final = (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024))


def duration(milliseconds: float) -> str:
    """Three significant digits and the unit that suits them: ``1.64 s``, ``420 µs``; ``0 µs`` for nothing."""
    rounded = float(f"{milliseconds:.3g}")
    if rounded >= _HOURS_FROM_MS:
        return f"{_three_digits(rounded / 3.6e6)} h"
    for unit, size_ms in _UNITS_MS:
        if rounded >= size_ms:
            return f"{_three_digits(rounded / size_ms)} {unit}"
    return f"{rounded * 1e6:.3g} ns" if rounded else "0 µs"


def round_duration(milliseconds: float) -> str:
    """As `duration`, of a round number: without zeros behind the point."""
    number, _, unit = duration(milliseconds).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def lapse(seconds: float) -> list[tuple[str, str]]:
    """How long something goes on already, in whole seconds and two units at most: ``12 s``, ``3 min 05 s``."""
    whole = max(0, int(seconds))
    place = next((place for place, (_, size) in enumerate(_LAPSES) if whole >= size), None)
    if place is None:
        return [(count(whole), "s")]
    (unit, size), (less, part) = (*_LAPSES, ("s", 1))[place : place + 2]
    return [(count(whole // size), unit), (f"{whole % size // part:02}", less)]


def signed_duration(nano: int) -> str:
    """Nanoseconds as `duration`, with their sign."""
    return f"{'-' if nano < 0 else '+'}{duration(abs(nano) / 1e6)}"


def count(number: int) -> str:
    """All digits, in groups of three."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """So many of something: ``1 call``, ``1,204 calls``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def share(part: float) -> str:
    """A share between 0 and 1 in percent, with two significant digits below ten."""
    percent = float(f"{part * 100:.2g}")
    return f"{part * 100:.0f}%" if percent >= 10 else f"{percent:g}%"  # noqa: PLR2004 - two digits left of the point


def rate(per_second: float) -> str:
    """How often, with three significant digits, in a second, a minute, an hour or a day, whichever suits it."""
    for unit, seconds in _RATE_UNITS:
        number = float(f"{per_second * seconds:.3g}")
        if number >= 1 or unit == "d":
            return f"{_three_digits(number)}/{unit}" if number else "0/s"
    raise AssertionError


def size(size_bytes: float) -> str:
    """Bytes with three significant digits; a kilobyte has 1024."""
    for unit, factor in _SIZE_UNITS:
        if size_bytes >= 0.9995 * factor:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:,.0f} bytes"


def _three_digits(value: float) -> str:
    for limit, places in ((10.0, 2), (100.0, 1)):
        if value < limit:
            return f"{value:.{places}f}"
    return f"{value:,.0f}"
