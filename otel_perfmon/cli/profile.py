"""All about one operation: its figures, how its durations spread, how they went over time, who calls whom."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli import charts
from otel_perfmon.cli.answer import Answer
from otel_perfmon.cli.report import (
    Column,
    duration,
    ink,
    name_text,
    print_heading,
    print_table,
    round_duration,
    separate,
    sparkline,
)
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import period, spread
from otel_perfmon.quantities import count, counted, rate, share
from otel_perfmon.query import Window
from otel_perfmon.records import CallEdge, Distribution, DurationBucket, OperationSeries, OperationStats
from otel_perfmon.storage.base import Store

_ROWS_MAX: Final = 16
_CELLS_MAX: Final = 96
_LABEL_WIDTH: Final = 9
_FIGURE_WIDTH: Final = 18
"""Beside the lines over time: what their top means."""
_BAR_MAX: Final = 100
_CELL_WIDTH_MAX: Final = 4
_CALLS_MAX: Final = 10
_ALL: Final = 0.999
_FIGURES: Final = (
    ("Avg", "avg_ms"),
    ("Min", "min_ms"),
    ("p50", "p50_ms"),
    ("p90", "p90_ms"),
    ("p95", "p95_ms"),
    ("p99", "p99_ms"),
    ("Max", "max_ms"),
)


def profile_as_json(store: Store, stats: OperationStats, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures, with ``distribution``, ``series``, ``callers`` and ``callees`` beside them."""
    asked = {"service": arguments.service, "window": arguments.window}
    edges = store.summarize_calls(operation=stats.operation, **asked)
    return {
        **as_json(stats),
        "distribution": as_json(store.summarize_distribution(stats.operation, **asked)),
        "series": as_json(store.summarize_series(stats.operation, **asked)),
        "callers": [as_json(edge) for edge in edges if edge.callee == stats.operation],
        "callees": [as_json(edge) for edge in edges if edge.caller == stats.operation],
    }


def print_profile(answer: Answer, stats: OperationStats, arguments: argparse.Namespace, threshold: float) -> None:
    """Print everything the store's statistics tell of one operation."""
    asked = {"service": arguments.service, "window": arguments.window}
    console, name = answer.console, stats.operation
    chars = charts.glyphs(is_ascii=console.options.ascii_only)
    _print_figures(console, stats, threshold)
    _print_distribution(console, stats, answer.store.summarize_distribution(name, **asked), chars)
    cells_max = max(1, min(_CELLS_MAX, _room(console)))
    _print_series(console, answer.store.summarize_series(name, cells_max=cells_max, **asked), chars)
    _print_edges(answer, stats, arguments)


# --- figures


def _print_figures(console: Console, stats: OperationStats, threshold: float) -> None:
    seen = [int(each * 1e9) for each in (stats.first_seen, stats.last_seen) if each is not None]
    window = stats.window or (Window(seen[0], seen[-1]) if seen else None)
    title = name_text(stats.operation)
    title.stylize("bold")
    separate(console)
    console.print(Text.assemble(title, f"  {spread(window)}" if window else ""))
    console.print(_counts(stats, threshold))
    print_table(console, [_figure(*each) for each in _FIGURES], [stats])
    console.print(_own_time(stats))


def _own_time(stats: OperationStats) -> str:
    if stats.self_ms >= _ALL * stats.total_ms:
        return f"{duration(stats.total_ms)} together, all of it its own"
    own = f"{duration(stats.self_ms)} of it ({share(stats.self_ms / stats.total_ms)}) its own"
    return f"{duration(stats.total_ms)} together, {own}, the rest in what it called"


def _figure(heading: str, field: str) -> Column[OperationStats]:
    return Column(heading, lambda stats: Text(duration(getattr(stats, field))))


def _counts(stats: OperationStats, threshold: float) -> Text:
    text = Text(f"{counted(stats.count, 'call')} ({rate(stats.rate_per_second)}), ")
    if stats.error_count:
        is_over = stats.error_rate > threshold
        failed = f"{'! ' if is_over else ''}{count(stats.error_count)} failed ({share(stats.error_rate)})"
        text.append(failed, "bold red" if is_over else "red")
    else:
        text.append("none failed")
    return text.append(", ").append(f"{count(stats.slow_count)} slow", "yellow" if stats.slow_count else "")


# --- durations


def _print_distribution(
    console: Console, stats: OperationStats, distribution: Distribution, chars: charts.Glyphs
) -> None:
    rows = charts.regroup(distribution, _ROWS_MAX)
    if not rows:
        return
    print_heading(console, "Durations", "how many calls took so long or longer, up to the next line")
    most = max(row.count for row in rows)
    width = min(_BAR_MAX, console.width - _LABEL_WIDTH - len(f"{most:,}") - len(" p50 p90 p95 p99") - 4)
    for row in rows:
        line = Text(f"{round_duration(row.lower_ms):>{_LABEL_WIDTH}}  ")
        line.append(charts.bar(row.count, most, width, chars), ink(console))
        line.append(f" {count(row.count)}" if row.count else "", "dim").append(_marks(stats, row), "bold")
        line.rstrip()
        console.print(line)


def _marks(stats: OperationStats, row: DurationBucket) -> str:
    percentiles = {"p50": stats.p50_ms, "p90": stats.p90_ms, "p95": stats.p95_ms, "p99": stats.p99_ms}
    there = [name for name, value in percentiles.items() if value is not None and _holds(row, value)]
    return " " + " ".join(there) if there else ""


def _holds(row: DurationBucket, milliseconds: float) -> bool:
    return row.lower_ms <= milliseconds < row.upper_ms or milliseconds == row.upper_ms == 0


# --- time


def _print_series(console: Console, series: OperationSeries, chars: charts.Glyphs) -> None:
    points = series.points
    if len(points) <= 1:
        return
    print_heading(console, "Over time", f"each place is {period(series.cell_seconds)}")
    cell_width = max(1, min(_CELL_WIDTH_MAX, _CELLS_MAX // len(points), _room(console) // len(points)))
    calls, errors = [point.count for point in points], [point.error_count for point in points]
    p95 = [point.p95_ms for point in points]
    slowest = max((value for value in p95 if value is not None), default=None)
    for label, values, top, style in (
        ("calls", calls, count(max(calls)), ink(console)),
        ("errors", errors, count(max(errors)), "red"),
        ("p95", p95, duration(slowest), ink(console)),
    ):
        picture = sparkline(values, chars, style, cell_width=cell_width)
        console.print(Text(f"{label:>{_LABEL_WIDTH}}  ").append_text(picture).append(f"  up to {top}", "dim"))
    axis = charts.time_axis(
        series.window.start_unix_nano, series.cell_seconds, len(points), cell_width=cell_width, chars=chars
    )
    for line in axis:
        console.print(Text(f"{'':{_LABEL_WIDTH}}  {line}".rstrip(), "dim"))


def _room(console: Console) -> int:
    return console.width - _LABEL_WIDTH - _FIGURE_WIDTH - 4


# --- callers and callees


@dataclass(frozen=True, slots=True)
class _Edge:
    name: Text
    count: int
    total_ms: float
    share: float


def _print_edges(answer: Answer, stats: OperationStats, arguments: argparse.Namespace) -> None:
    name, service = stats.operation, arguments.service
    edges = answer.store.summarize_calls(operation=name, service=service, window=arguments.window)
    if not edges:
        return
    base, note = stats, ""
    if edges[0].window != stats.window and edges[0].window is not None:  # by the hour, where the figures are finer
        found = answer.store.summarize_operations(operation=name, service=service, window=edges[0].window)
        base, note = (found[0] if found else stats), spread(edges[0].window)
    callers = _rows(((edge.caller, edge) for edge in edges if edge.callee == name), base)
    began = base.count - sum(row.count for row in callers)
    if callers and began > 0:
        rest_ms = max(0.0, base.total_ms - sum(row.total_ms for row in callers))
        callers.append(_Edge(Text("nobody here", "dim"), began, rest_ms, _part(rest_ms, base)))
    _print_rows(answer.console, "Called by", note, "Share", callers)
    callees = _rows(((edge.callee, edge) for edge in edges if edge.caller == name), base)
    _print_rows(answer.console, "Calls", note, "Of its time", callees)


def _rows(edges: Iterable[tuple[str, CallEdge]], base: OperationStats) -> list[_Edge]:
    return [_Edge(name_text(name), edge.count, edge.total_ms, _part(edge.total_ms, base)) for name, edge in edges]


def _part(total_ms: float, base: OperationStats) -> float:
    return total_ms / base.total_ms if base.total_ms else 0.0


def _print_rows(console: Console, heading: str, note: str, share_heading: str, rows: Sequence[_Edge]) -> None:
    if not rows:
        return
    columns: list[Column[_Edge]] = [
        Column("Operation", lambda row: row.name, is_text=True),
        Column("Times", lambda row: Text(count(row.count))),
        Column("Total", lambda row: Text(duration(row.total_ms))),
        Column("Each", lambda row: Text(duration(row.total_ms / row.count)), rank=1),
        Column(share_heading, lambda row: Text(share(row.share))),
    ]
    print_heading(console, heading, note)
    print_table(console, columns, rows[:_CALLS_MAX])
    if len(rows) > _CALLS_MAX:
        console.print(f"and {count(len(rows) - _CALLS_MAX)} more (--json has them all)")
