"""Spans: by any mark of theirs, followed as they end, and taken along as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from otel_perfmon.records import SpanRecord
from otel_perfmon.visible import visible
from otel_perfmon.web.api.parameters import Parameter, truth
from otel_perfmon.web.pages.address import PASSING
from otel_perfmon.web.pages.choices import choices
from otel_perfmon.web.pages.export import SPANS_MAX
from otel_perfmon.web.pages.page import Asked, Page
from otel_perfmon.web.pages.span_columns import COLUMNS, Cell, offered_columns
from otel_perfmon.web.pages.span_filters import LABELS, SPAN_FILTERS, query_of, told_filter
from otel_perfmon.web.pages.span_search import search

_ROWS_MAX: Final = 100
_SUGGESTIONS_MAX: Final = 200
_SUGGESTION_LENGTH_MAX: Final = 200
ORDERS: Final = {"newest": "newest first", "slowest": "slowest first", "oldest": "oldest first"}
FILTER_NAMES: Final = ("service", *LABELS)
_FURTHER: Final = {"newest": "Older", "slowest": "Faster", "oldest": "Newer", "arrival": "Later"}
"""What comes on the next page, by the order of the spans."""


@dataclass(frozen=True, slots=True)
class Row:
    """One span: its own id on the page, its share of the longest duration there, and the chosen attributes."""

    id: str
    span: SpanRecord
    share: float
    cells: tuple[Cell, ...]


def _answer(asked: Asked) -> Mapping[str, Any]:
    query = query_of(asked.values, asked.range.window, limit=_ROWS_MAX)
    found = search(asked.store, query, reached=asked.get("reached"), is_patient=asked.get("patient", False))
    columns = asked.get("columns", ())
    offered = offered_columns(found.spans, columns)
    return {
        "rows": _rows(found.spans, columns),
        "found": found,
        "order": query.order,
        "orders": ORDERS,
        "further": _FURTHER[query.order],
        "columns": columns,
        "offered": offered,
        "filter_names": FILTER_NAMES,
        "told_filter": told_filter,
        "is_first_page": not any(asked.get(name) for name in PASSING),
        "is_filtered": any(asked.get(name) is not None for name in FILTER_NAMES),
        "export_max": SPANS_MAX,
        "services": choices(asked.store.list_services(), asked.get("service")),
        "suggested": _suggested(asked.store.list_operations(service=asked.get("service"))),
        "suggested_types": _suggested(sorted({span.error_type for span in found.spans if span.error_type})),
        "suggested_keys": _suggested(each.key for each in offered),
    }


def _rows(spans: Sequence[SpanRecord], columns: Sequence[str]) -> list[Row]:
    longest = max((span.duration_nano for span in spans), default=0)
    seen: Counter[str] = Counter()
    rows = []
    for span in spans:
        key = f"s-{span.trace_id}-{span.span_id}-{span.start_unix_nano}"
        seen[key] += 1  # equal ids are no proof of the same span
        row_id = f"{key}-{seen[key]}" if seen[key] > 1 else key
        cells = tuple(Cell.of(span, column) for column in columns)
        rows.append(Row(row_id, span, span.duration_nano / longest if longest else 0.0, cells))
    return rows


def _suggested(names: Iterable[str]) -> list[str]:
    """Those that a browser can offer: short ones that are wholly seen."""
    short = (name for name in names if 0 < len(name) <= _SUGGESTION_LENGTH_MAX)
    return list(islice((name for name in short if visible(name) == name), _SUGGESTIONS_MAX))


PAGES: Final = (
    Page(
        "/spans",
        "spans.html",
        _answer,
        (
            *SPAN_FILTERS,
            COLUMNS,
            Parameter("reached", "The moment at which an earlier page stopped, in ns since 1970.", int),
            truth("patient", "Search for longer."),
        ),
        "Spans",
    ),
)
