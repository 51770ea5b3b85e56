"""Errors: what failed, alike ones together, with where it happened last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_perfmon.query import SpanQuery
from otel_perfmon.records import CountSeries, ErrorGroup, SpanRecord
from otel_perfmon.storage.base import Store
from otel_perfmon.trace import Trace
from otel_perfmon.web.api.parameters import choice, text, truth
from otel_perfmon.web.pages.choices import choices
from otel_perfmon.web.pages.filters import as_id
from otel_perfmon.web.pages.page import Asked, Page, TimeRange
from otel_perfmon.web.pages.stack import Stack

_GROUPS_MAX: Final = 1_000
_ROWS_MAX: Final = 100
"""More rows than that nobody reads; the filter finds the others."""
_SPARK_CELLS: Final = 48
_HOURS_MIN_SECONDS: Final = 8 * 3_600
"""Groups are counted by the hour: in a shorter time their operations' failures tell more."""
_EXAMPLES_MAX: Final = 1_000
_STACK_CHARACTERS_MAX: Final = 60_000
_SORTS: Final[dict[str, Callable[[ErrorGroup], Any]]] = {
    "error": lambda group: (group.error_type, group.message),
    "operation": lambda group: group.operation,
    "count": lambda group: group.count,
    "first": lambda group: group.first_seen,
    "last": lambda group: group.last_seen,
}
_RISING: Final = ("error", "operation")
"""Columns that are read from A on."""


@dataclass(frozen=True, slots=True)
class Example:
    """The latest error of a group, as its span tells of it.

    The ``stack_trace`` is what ``teller`` tells: the span itself, or another one of the trace that the error went
    through. Without one it is empty.
    """

    span: SpanRecord
    message: str
    teller: SpanRecord | None
    stack_trace: str

    @property
    def stack(self) -> Stack | None:
        """The same, as it is shown; None where it is empty."""
        return Stack.of(self.stack_trace[:_STACK_CHARACTERS_MAX])


@dataclass(frozen=True, slots=True)
class Row:
    """One group: its name in addresses, whether it is new, how often over time, and its example if it is open."""

    key: str
    group: ErrorGroup
    is_new: bool
    counts: Sequence[int]
    is_open: bool
    example: Example | None


def _answer(asked: Asked) -> Mapping[str, Any]:
    found = asked.store.summarize_errors(operation=asked.get("operation"), limit=_GROUPS_MAX, **asked.scope)
    word = asked.get("find", "").casefold()
    matching = [group for group in found if _has(group, word)]
    sort = asked.get("sort", "last")
    is_ascending = asked.get("ascending", sort in _RISING)
    matching.sort(key=_SORTS[sort], reverse=not is_ascending)
    shown = matching[:_ROWS_MAX]
    is_by_hour = _seconds(asked.range, shown) >= _HOURS_MIN_SECONDS
    counts = (_counts_of_groups if is_by_hour else _counts_of_operations)(asked, shown)
    rows = [_row(asked, group, series) for group, series in zip(shown, counts, strict=True)]
    return {
        "rows": rows,
        "found_count": len(found),
        "matching_count": len(matching),
        "new_count": sum(_is_new(group, asked.range) for group in matching),
        "is_by_hour": is_by_hour,
        "sort": sort,
        "is_ascending": is_ascending,
        "services": choices(asked.store.list_services(), asked.get("service")),
    }


def _seconds(time_range: TimeRange, groups: Sequence[ErrorGroup]) -> float:
    """How long the time is: the window, or from the first error to the last."""
    if time_range.window is not None:
        return time_range.window.seconds
    last = max((group.last_seen for group in groups), default=0.0)
    return last - min((group.first_seen for group in groups), default=0.0)


def _has(group: ErrorGroup, word: str) -> bool:
    texts = (group.operation, group.error_type, group.message, group.last_message)
    return any(word in each.casefold() for each in texts)


def _is_new(group: ErrorGroup, time_range: TimeRange) -> bool:
    """Whether it occurred in this time for the first time."""
    return time_range.window is not None and group.first_seen >= time_range.window.start_unix_nano / 1e9


def key_of(group: ErrorGroup) -> str:
    """The group as it stands in an address, however long its message is."""
    return as_id(f"{group.operation}\0{group.error_type}\0{group.message}")


def _counts_of_groups(asked: Asked, groups: Sequence[ErrorGroup]) -> list[CountSeries]:
    return asked.store.summarize_error_counts(groups, cells_max=_SPARK_CELLS, **asked.scope)


def _counts_of_operations(asked: Asked, groups: Sequence[ErrorGroup]) -> list[CountSeries]:
    names = list(dict.fromkeys(group.operation for group in groups))
    found = asked.store.summarize_counts(names, cells_max=_SPARK_CELLS, **asked.scope)
    series = dict(zip(names, found, strict=True))
    return [series[group.operation] for group in groups]


def _row(asked: Asked, group: ErrorGroup, series: CountSeries) -> Row:
    key = key_of(group)
    is_open = asked.get("group") == key
    example = _example(asked.store, group) if is_open else None
    return Row(key, group, _is_new(group, asked.range), series.error_counts, is_open, example)


def _example(store: Store, group: ErrorGroup) -> Example | None:
    """The latest error; None where its trace is pruned, or comes from a file that never knew."""
    if not group.last_trace_id:
        return None
    query = SpanQuery(trace_id=group.last_trace_id, is_error=True, limit=_EXAMPLES_MAX)
    logs = tuple(store.find_logs(trace_id=group.last_trace_id))
    failed = Trace(group.last_trace_id, store.find_spans(query).spans, True, logs).with_logged_exceptions().spans
    span = next((span for span in failed if span.span_id == group.last_span_id), None)
    if span is None:
        return None
    message = _told(span, "message") or span.status_message or group.last_message
    # Who lets an exception pass has no stack trace of it; who raised it has.
    teller = next((each for each in (span, *failed) if _told(each, "stacktrace") and _is_alike(each, span)), None)
    return Example(span, message, teller, _told(teller, "stacktrace") if teller else "")


def _told(span: SpanRecord, what: str) -> str:
    """What a span tells of its exception: its ``message``, its ``stacktrace``."""
    return str(span.exception.attributes.get(f"exception.{what}", "")) if span.exception else ""


def _is_alike(span: SpanRecord, other: SpanRecord) -> bool:
    return span is other or (span.error_type == other.error_type and span.status_message == other.status_message)


PAGES: Final = (
    Page(
        "/errors",
        "errors.html",
        _answer,
        (
            text("operation", "Of this operation alone."),
            text("find", "Groups whose operation, type or message has this in it."),
            text("group", "The group that is open."),
            choice("sort", "The column they are sorted by.", tuple(_SORTS)),
            truth("ascending", "Least first."),
        ),
        "Errors",
    ),
)
