"""One operation: how its durations spread and changed, its slowest spans, its errors, and who calls whom."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import OperationStats, SpanPage, SpanRecord
from otel_perfmon.web.api.parameters import text
from otel_perfmon.web.pages.address import window_text
from otel_perfmon.web.pages.box import BOX, Box
from otel_perfmon.web.pages.choices import choices
from otel_perfmon.web.pages.error_types import error_types
from otel_perfmon.web.pages.page import Asked, Page
from otel_perfmon.web.pages.relatives import find_relatives
from otel_perfmon.web.pages.telling import telling_attributes

_SLOWEST_MAX: Final = 10
_BOXED_MAX: Final = 25
_ERROR_GROUPS_MAX: Final = 1_000
_NEAREST_MAX: Final = 8
_COMPARED_MAX: Final = 2_000
_COMPARED_CHARS: Final = 200
"""To compare two long names takes long."""
_LIKENESS: Final = 0.4
_HOUR_NANO: Final = 3_600 * 10**9
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class SpanList:
    """Spans as a table shows them, each with the attributes that tell it from the others; ``page`` is all of them."""

    page: SpanPage
    attributes: list[list[tuple[str, str]]]

    @classmethod
    def of(cls, page: SpanPage) -> SpanList:
        """The list of a page of spans."""
        return cls(page, telling_attributes(page.spans))

    @property
    def rows(self) -> list[tuple[SpanRecord, list[tuple[str, str]]]]:
        """Each span with its attributes."""
        return list(zip(self.page.spans, self.attributes, strict=True))

    @property
    def has_services(self) -> bool:
        """Whether they are of more than one service."""
        return len({span.service for span in self.page.spans}) > 1


def _answer(asked: Asked) -> Mapping[str, Any]:
    name = asked.get("operation", "")  # an address without one means the operation whose name is empty
    found = asked.store.summarize_operations(operation=name, **asked.scope)
    if not found:
        return _answer_absent(asked, name)
    stats, box = found[0], asked.get("box")
    by_service = asked.store.summarize_operations(operation=name, window=asked.range.window, is_by_service=True)
    slowest = SpanQuery(operation=name, order="slowest", limit=_SLOWEST_MAX, **asked.scope)
    return {
        "name": name,
        "stats": stats,
        "services": choices(sorted(each.service or "" for each in by_service), asked.get("service")),
        "boxed": SpanList.of(_find_boxed(asked, name, box)) if box else None,
        "slowest": SpanList.of(asked.store.find_spans(slowest)),
        "errors": _errors(asked, name) if stats.error_count else [],
        "relatives": find_relatives(asked, stats),
    }


def _errors(asked: Asked, name: str) -> Sequence[Any]:
    return error_types(asked.store.summarize_errors(operation=name, limit=_ERROR_GROUPS_MAX, **asked.scope))


def _find_boxed(asked: Asked, name: str, box: Box) -> SpanPage:
    query = SpanQuery(
        operation=name,
        service=asked.get("service"),
        window=box.window,
        min_duration_ms=box.min_ms or None,
        max_duration_ms=box.max_ms,
        order="slowest",
        limit=_BOXED_MAX,
    )
    return asked.store.find_spans(query)


# --- what is not there


def _answer_absent(asked: Asked, name: str) -> Mapping[str, Any]:
    """It did not run in this time, or not in this service, or is unknown."""
    ever = asked.store.summarize_operations(operation=name)
    names = asked.store.list_operations()
    is_known = bool(ever) or name in names
    nearest = [] if is_known else _nearest(name, names)
    absent = {"ever": ever[0] if ever else None, "last_window": _last_window(ever), "nearest": nearest}
    return {"name": name, "stats": None, "is_known": is_known, **absent, "status": 200 if is_known else _NOT_FOUND}


def _last_window(ever: Sequence[OperationStats]) -> str:
    """The hour that ends when it last ran, as an address has it; empty if nobody knows."""
    if not ever or ever[0].last_seen is None:
        return ""
    end = round(ever[0].last_seen * 1e9) + 10**9
    return window_text(Window(end - _HOUR_NANO, end))


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """Names that have this one in them, or it them, and then those that are most like it."""
    wanted = name.casefold()[:_COMPARED_CHARS]
    folded = {each.casefold()[:_COMPARED_CHARS]: each for each in names}
    having = [key for key in folded if wanted and key and (wanted in key or key in wanted)]
    alike = difflib.get_close_matches(wanted, list(folded)[:_COMPARED_MAX], _NEAREST_MAX, _LIKENESS)
    return [folded[key] for key in dict.fromkeys([*sorted(having, key=len), *alike])][:_NEAREST_MAX]


PAGES: Final = (Page("/operation", "operation.html", _answer, (text("operation", "Its name."), BOX)),)
