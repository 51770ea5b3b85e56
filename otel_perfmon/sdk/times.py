"""Times as 64 bits hold them, whatever a program gave for one."""

from __future__ import annotations

import math
from typing import Any

from otel_perfmon.query import INT64_MAX


def nearest_time(value: Any, cut: list[str]) -> int:
    """A time as it is, if it fits 64 bits; else what comes nearest, which is noted."""
    is_number = isinstance(value, (int, float))
    time_unix_nano = int64(value) if is_number else 0
    if not (is_number and time_unix_nano == value) and value is not None and "times" not in cut:
        cut.append("times")
    return time_unix_nano


def may_be_time(value: Any) -> bool:
    """Whether that is a number, or no time at all; what is neither tells nothing."""
    return value is None or isinstance(value, (int, float))


def int64(value: Any) -> int:
    """The nearest integer that fits 64 bits; 0 for none."""
    if type(value) is int and -INT64_MAX <= value <= INT64_MAX:
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0
    return int(max(-INT64_MAX, min(INT64_MAX, value)))
