"""Errors by their type: how many, and what share of all errors they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_perfmon.records import ErrorGroup


@dataclass(frozen=True, slots=True)
class ErrorType:
    """The errors of one type; ``message`` is the latest one's, ``share`` that of all errors, between 0 and 1."""

    name: str
    count: int
    share: float
    last_seen: float
    message: str
    last_trace_id: str
    last_span_id: str


def error_types(groups: Sequence[ErrorGroup]) -> list[ErrorType]:
    """The types of these groups, most errors first."""
    of_types: dict[str, list[ErrorGroup]] = {}
    for group in groups:
        of_types.setdefault(group.error_type, []).append(group)
    whole = sum(group.count for group in groups)
    found = [_error_type(name, each, whole) for name, each in of_types.items()]
    return sorted(found, key=lambda each: (-each.count, each.name))


def _error_type(name: str, groups: Sequence[ErrorGroup], whole: int) -> ErrorType:
    count = sum(group.count for group in groups)
    latest = max(groups, key=lambda group: group.last_seen)
    return ErrorType(
        name,
        count,
        count / whole if whole else 0.0,
        latest.last_seen,
        latest.last_message,
        latest.last_trace_id,
        latest.last_span_id,
    )
