"""Questions as values: what can be asked of a store, checked when it is made."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final, Literal, get_args

from otel_perfmon.errors import QueryError

Order = Literal["newest", "oldest", "slowest", "arrival"]
INT64_MAX = 2**63 - 1

_NANO: Final = 10**9
_NANO_OF_UNIT: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "\u03bcs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": _NANO,
    "m": 60 * _NANO,
    "h": 3_600 * _NANO,
    "d": 86_400 * _NANO,
    "w": 7 * 86_400 * _NANO,
}
_TIME_OF_DAY: Final = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_DURATION: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-zµ\u03bc]{1,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, ``start_unix_nano`` included, ``end_unix_nano`` not; both in nanoseconds since 1970."""

    start_unix_nano: int
    end_unix_nano: int

    def __post_init__(self) -> None:
        for name in ("start_unix_nano", "end_unix_nano"):
            if not _is_whole(getattr(self, name)):
                message = f"{name} must be a whole number of nanoseconds; it is {getattr(self, name)!r:.100}."
                raise QueryError(message)
        if self.start_unix_nano > self.end_unix_nano:
            raise QueryError("A window must not end before it starts.")

    @classmethod
    def last(cls, seconds: float, *, now_unix_nano: int | None = None) -> Window:
        """The last ``seconds`` until now. Raises `QueryError` unless ``seconds`` is a number of 0 or more."""
        seconds = check_seconds("window_seconds", seconds)
        now = time.time_ns() if now_unix_nano is None else now_unix_nano
        width = now if seconds >= now / 1e9 else int(seconds * 1e9)
        return cls(now - width, now + 1)

    @classmethod
    def parse(cls, text: str, *, now_unix_nano: int | None = None) -> Window:
        """The window that ``text`` means: the last ``15m``, ``1h``, ``7d``, or two times, ``START/END``.

        A time is ISO 8601 (``2026-01-31``, ``2026-01-31T09:30``, with or without an offset; without one it is local),
        a time of today (``09:30``), or left out: ``START/`` is from then until now. ``23:30/00:30`` started yesterday.
        Raises `QueryError`.
        """
        now = time.time_ns() if now_unix_nano is None else now_unix_nano
        start, slash, end = text.partition("/") if isinstance(text, str) else ("", "", "")
        if not slash:
            return cls.last(parse_duration_nano(text) / _NANO, now_unix_nano=now)
        first = _parse_time(start, now) if start.strip() else 0
        last = _parse_time(end, now) if end.strip() else now + 1
        if first > last and all(_TIME_OF_DAY.fullmatch(each.strip()) for each in (start, end)):
            first = _parse_time(start, now, days_back=1)
        return cls(first, last)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_unix_nano - self.start_unix_nano) / _NANO


@dataclass(frozen=True, slots=True)
class SpanQuery:
    """Which spans, in which order, how many at most.

    Every filter left at None lets everything pass. ``window`` goes by the moment a span ended. ``attributes`` asks for
    equality of value and type. ``order`` is by end (``newest``, ``oldest``), by duration (``slowest``), or as the spans
    came into the store (``arrival``), by which they can be followed. ``limit`` is at least 1. ``page_token``, from the
    `SpanPage` before, asks for what comes after it. Raises `QueryError` when a filter makes no sense.
    """

    operation: str | None = None
    service: str | None = None
    window: Window | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    is_slow: bool | None = None
    is_error: bool | None = None
    error_type: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
    order: Order = "newest"
    limit: int = 100
    page_token: str | None = None

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            message = f"order must be one of {', '.join(get_args(Order))}; it is {self.order!r:.100}."
            raise QueryError(message)
        check_count("limit", self.limit)
        check_window(self.window)
        for name in ("operation", "service", "error_type", "page_token"):
            check_text(name, getattr(self, name))
        if not isinstance(self.attributes, Mapping):
            message = f"attributes must be a mapping of keys to values; it is {self.attributes!r:.100}."
            raise QueryError(message)
        for name in ("min_duration_ms", "max_duration_ms"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                message = f"{name} must be a number of milliseconds; it is {value!r:.100}."
                raise QueryError(message)
        if self.trace_id is not None:
            parse_id(self.trace_id, 16)


def int64(value: int) -> int:
    """What comes nearest in 64 bits, the same distance on both sides of 0."""
    return max(-INT64_MAX, min(INT64_MAX, value))


def check_count(name: str, value: object) -> int:
    """``value`` as it is when it is a whole number of 1 or more; else `QueryError`."""
    if not _is_whole(value) or value < 1:  # type: ignore[operator]
        message = f"{name} must be a whole number of 1 or more; it is {value!r:.100}."
        raise QueryError(message)
    return value  # type: ignore[return-value]


def check_window(value: object) -> Window | None:
    """``value`` as it is when it is a `Window` or None; else `QueryError`."""
    if value is None or isinstance(value, Window):
        return value
    message = f"window must be a Window, such as Window.parse('1h'); it is {value!r:.100}."
    raise QueryError(message)


def check_text(name: str, value: object) -> str | None:
    """``value`` as it is when it is text or None; else `QueryError`."""
    if value is None or isinstance(value, str):
        return value
    message = f"{name} must be text; it is {value!r:.100}."
    raise QueryError(message)


def check_seconds(name: str, value: object) -> float:
    """``value`` as it is when it is a number of seconds, 0 or more, infinity included; else `QueryError`."""
    if not _is_number(value) or value < 0:  # type: ignore[operator]
        message = f"{name} must be a number of seconds, 0 or more; it is {value!r:.100}."
        raise QueryError(message)
    return value  # type: ignore[return-value]


def parse_duration_nano(text: str) -> int:
    """Nanoseconds of a number with a unit: ``200ms``, ``1.5s``, ``15m``, ``1h``, ``7d``, ``2w``, ``30us``, ``1ns``.

    Raises `QueryError` for anything else.
    """
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    size = _NANO_OF_UNIT.get(match[2]) if match else None
    if match is None or size is None:
        message = f"A number with a unit is wanted, such as 200ms, 1.5s, 15m, 1h or 7d; {text!r:.100} is none."
        raise QueryError(message)
    return round(Fraction(match[1]) * size)


def _parse_time(text: str, now_unix_nano: int, *, days_back: int = 0) -> int:
    text = text.strip().replace("Z", "+00:00")  # which Python 3.10 does not know
    if text == "now":
        return now_unix_nano
    if _TIME_OF_DAY.fullmatch(text):
        day = datetime.fromtimestamp(now_unix_nano / _NANO).astimezone() - timedelta(days=days_back)
        text = f"{day:%Y-%m-%d}T{'0' if text[1] == ':' else ''}{text}"
    try:
        moment = datetime.fromisoformat(text).astimezone()
        return round(moment.timestamp() * 10**6) * 1000
    except (ValueError, OverflowError, OSError):
        message = f"A time such as 2026-01-31T09:30 or 09:30 is wanted; {text!r:.100} is none."
        raise QueryError(message) from None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - no NaN


def parse_id(text: str, size_bytes: int) -> bytes:
    """The bytes of a hex id, upper or lower case, with or without ``0x``. Raises `QueryError` when it is none."""
    digits = text.removeprefix("0x") if isinstance(text, str) else ""
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != size_bytes or len(digits) != 2 * size_bytes:
        message = f"An id of {2 * size_bytes} hex digits is wanted; {text!r:.100} is none."
        raise QueryError(message)
    return value
