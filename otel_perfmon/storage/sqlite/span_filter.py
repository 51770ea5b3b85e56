"""What of a question an index answers, and what is looked at row by row."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.query import INT64_MAX, SpanQuery, Window, int64
from otel_perfmon.storage.attributes import decode_attributes, storable_text
from otel_perfmon.storage.rows import OPERATION_NAME_MAX, STATUS_ERROR
from otel_perfmon.storage.sqlite.details import decode_details, has_error_type

Row = tuple[Any, ...]
COLUMNS: Final = (
    "s.id, s.end_unix_nano, s.duration_nano, s.operation_id, s.status_code, s.is_slow, s.attributes, {details}"
)
ID, END, DURATION, OPERATION, STATUS, IS_SLOW, ATTRIBUTES, DETAILS = range(8)
"""Their places in a row; one that nothing is looked at in has the first three."""
_DURATIONS_NANO: Final = range(INT64_MAX)


def stored_name(name: str | None) -> str | None:
    """The name under which an operation is stored: what is too long is cut, what is no Unicode escaped."""
    return None if name is None else storable_text(name, OPERATION_NAME_MAX)[0]


def ends_of(window: Window | None) -> tuple[int, int]:
    """The first and the last moment of a window, both included."""
    return (
        (-INT64_MAX, INT64_MAX) if window is None else (int64(window.start_unix_nano), int64(window.end_unix_nano - 1))
    )


def durations_of(query: SpanQuery) -> tuple[int, int]:
    """The shortest and the longest duration that is asked for, both included, in nanoseconds; (1, 0) for none."""
    least, most = 0, INT64_MAX
    if query.min_duration_ms is not None:
        if query.min_duration_ms > _in_ms(INT64_MAX):
            return 1, 0
        least = bisect_left(_DURATIONS_NANO, query.min_duration_ms, key=_in_ms)
    if query.max_duration_ms is not None and query.max_duration_ms < _in_ms(INT64_MAX):
        most = bisect_right(_DURATIONS_NANO, query.max_duration_ms, key=_in_ms) - 1
    return least, most


def _in_ms(nano: int) -> float:
    return nano / 1e6


def indexed_conditions(query: SpanQuery, branch: int | None) -> tuple[str, list[Any]]:
    """What an index answers, to be followed by a condition on what the rows are ordered by."""
    if query.order == "arrival":
        return "", []
    conditions = "" if branch is None else "s.operation_id = ? AND "
    # A literal: a partial index is not used for a parameter.
    if query.is_slow and query.order == "slowest":
        conditions += "s.is_slow = 1 AND"
    elif query.is_error or query.error_type is not None:  # which only a failed span has
        conditions += "s.is_error = 1 AND"
    elif query.is_slow:
        conditions += "s.is_slow = 1 AND"
    return conditions, [] if branch is None else [branch]


class SpanFilter:
    """What of a question no index answered."""

    def __init__(self, query: SpanQuery, operation_ids: set[int] | None, *, is_named: bool) -> None:
        self._query = query
        self._operation_ids = operation_ids
        self._name = stored_name(query.operation) if is_named else None
        self._error_type = stored_name(query.error_type)
        self._first, self._last = ends_of(query.window)
        self._least_nano, self._most_nano = durations_of(query)

    def matches(self, row: Row) -> bool:
        """Whether a row is wanted; what is cheap to tell first."""
        query = self._query
        return (
            (query.is_error is None or (row[STATUS] == STATUS_ERROR) == query.is_error)
            and (query.is_slow is None or bool(row[IS_SLOW]) == query.is_slow)
            and self._first <= row[END] <= self._last
            and self._least_nano <= row[DURATION] <= self._most_nano
            and (self._operation_ids is None or row[OPERATION] in self._operation_ids)
            and (self._error_type is None or has_error_type(row[DETAILS], self._error_type))
            and (self._name is None or decode_details(row[DETAILS]).get("name", self._name) == self._name)
            and (not query.attributes or _has_attributes(decode_attributes(row[ATTRIBUTES]), query.attributes))
        )


def _has_attributes(attributes: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in attributes and _is_same(attributes[key], value) for key, value in wanted.items())


def _is_same(stored: Any, wanted: Any) -> bool:
    """Equal in value and type, all the way down: 1, 1.0 and True are three things."""
    if isinstance(wanted, (list, tuple)):
        return isinstance(stored, tuple) and len(stored) == len(wanted) and all(map(_is_same, stored, wanted))
    if isinstance(wanted, Mapping):
        return isinstance(stored, dict) and len(stored) == len(wanted) and _has_attributes(stored, wanted)
    return type(stored) is type(wanted) and bool(stored == wanted)
