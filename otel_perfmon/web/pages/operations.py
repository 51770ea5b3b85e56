"""Operations: where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_perfmon.records import CountSeries, OperationStats
from otel_perfmon.web.api.parameters import choice, text, truth
from otel_perfmon.web.pages.box import BOX
from otel_perfmon.web.pages.choices import choices
from otel_perfmon.web.pages.page import Asked, Page

_SPARK_CELLS: Final = 40
_ROWS_MAX: Final = 500
"""More rows than that nobody reads; the filter finds the others."""
_SORTS: Final[dict[str, Callable[[OperationStats], Any]]] = {
    "operation": lambda stats: stats.operation,
    "count": lambda stats: stats.count,
    "errors": lambda stats: stats.error_rate,
    "p50": lambda stats: stats.p50_ms or 0,
    "p95": lambda stats: stats.p95_ms or 0,
    "p99": lambda stats: stats.p99_ms or 0,
    "max": lambda stats: stats.max_ms or 0,
    "slow": lambda stats: stats.slow_count,
    "time": lambda stats: stats.self_ms,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One operation: its figures, its share of all self time, and its calls over time."""

    stats: OperationStats
    share: float
    calls: CountSeries
    is_live: bool

    @property
    def counts(self) -> Sequence[int]:
        """The calls over time, but for the last cell of a time that goes on: that one is not over."""
        return self.calls.counts[:-1] if self.is_live else self.calls.counts


def _answer(asked: Asked) -> Mapping[str, Any]:
    found = asked.store.summarize_operations(**asked.scope)
    whole_ms = sum(stats.self_ms for stats in found)
    most = max((stats.self_ms for stats in found), default=0.0)
    word = asked.get("find", "").casefold()
    matching = [stats for stats in found if word in stats.operation.casefold()]
    sort = asked.get("sort", "time")
    is_ascending = asked.get("ascending", sort == "operation")
    matching.sort(key=_SORTS[sort], reverse=not is_ascending)
    shown = matching[:_ROWS_MAX]
    calls = asked.store.summarize_counts([stats.operation for stats in shown], cells_max=_SPARK_CELLS, **asked.scope)
    rows = [
        Row(stats, stats.self_ms / whole_ms if whole_ms else 0.0, series, asked.range.is_live)
        for stats, series in zip(shown, calls, strict=True)
    ]
    return {
        "rows": rows,
        "most_share": most / whole_ms if whole_ms else 0.0,
        "found_count": len(found),
        "matching_count": len(matching),
        "services": choices(asked.store.list_services(), asked.get("service")),
        "running_count": 0 if found else len(asked.store.find_open_spans()),
        "sort": sort,
        "is_ascending": is_ascending,
    }


PAGES: Final = (
    Page(
        "/",
        "operations.html",
        _answer,
        (
            text("find", "Operations whose name has this in it."),
            choice("sort", "The column they are sorted by.", tuple(_SORTS)),
            truth("ascending", "Least first."),
            BOX,
        ),
        "Operations",
    ),
)
