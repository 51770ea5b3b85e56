"""Questions as values: what can be asked of a store, checked when it is made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from otel_perfmon.errors import QueryError

Order = Literal["newest", "oldest", "slowest"]
INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, ``start_unix_nano`` included, ``end_unix_nano`` not; both in nanoseconds since 1970."""

    start_unix_nano: int
    end_unix_nano: int

    def __post_init__(self) -> None:
        if self.start_unix_nano > self.end_unix_nano:
            raise QueryError("A window must not end before it starts.")

    @classmethod
    def last(cls, seconds: float, *, now_unix_nano: int | None = None) -> Window:
        """The last ``seconds`` until now. Raises `QueryError` unless ``seconds`` is a number of 0 or more."""
        seconds = check_seconds("window_seconds", seconds)
        now = time.time_ns() if now_unix_nano is None else now_unix_nano
        width = now if seconds >= now / 1e9 else int(seconds * 1e9)
        return cls(now - width, now + 1)


@dataclass(frozen=True, slots=True)
class SpanQuery:
    """Which spans, in which order, how many at most.

    Every filter left at None lets everything pass. ``window`` goes by the moment a span ended. ``attributes`` asks for
    equality of value and type. ``limit`` is at least 1. Raises `QueryError` when a filter makes no sense.
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

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            message = f"order must be one of {', '.join(get_args(Order))}; it is {self.order!r:.100}."
            raise QueryError(message)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            message = f"limit must be a whole number of 1 or more; it is {self.limit!r:.100}."
            raise QueryError(message)
        for name in ("min_duration_ms", "max_duration_ms"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                message = f"{name} must be a number of milliseconds; it is {value!r:.100}."
                raise QueryError(message)
        if self.trace_id is not None:
            parse_id(self.trace_id, 16)


def check_seconds(name: str, value: object) -> float:
    """``value`` as it is when it is a number of seconds, 0 or more, infinity included; else `QueryError`."""
    if not _is_number(value) or value < 0:  # type: ignore[operator]
        message = f"{name} must be a number of seconds, 0 or more; it is {value!r:.100}."
        raise QueryError(message)
    return value  # type: ignore[return-value]


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
