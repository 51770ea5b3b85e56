"""``otel-perfmon stats``: what every operation takes, fails and costs; or all about one of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli import charts, options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import can_show
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.profile import print_profile, profile_as_json
from otel_perfmon.cli.report import (
    NO_NAME,
    Column,
    duration,
    ink,
    name_text,
    print_heading,
    print_table,
    printable,
    sparkline,
)
from otel_perfmon.config import resolve_setting
from otel_perfmon.errors import QueryError
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import clock, spread
from otel_perfmon.quantities import count, counted, rate, share
from otel_perfmon.query import Window
from otel_perfmon.records import CountSeries, OperationStats

SORTS: Final[dict[str, Callable[[OperationStats], Any]]] = {
    "self": lambda stats: -stats.self_ms,
    "total": lambda stats: -stats.total_ms,
    "count": lambda stats: -stats.count,
    "rate": lambda stats: -stats.rate_per_second,
    "failed": lambda stats: -stats.error_count,
    "errors": lambda stats: -stats.error_rate,
    "avg": lambda stats: -(stats.avg_ms or 0),
    "min": lambda stats: -(stats.min_ms or 0),
    "p50": lambda stats: -(stats.p50_ms or 0),
    "p95": lambda stats: -(stats.p95_ms or 0),
    "p99": lambda stats: -(stats.p99_ms or 0),
    "max": lambda stats: -(stats.max_ms or 0),
    "slow": lambda stats: -stats.slow_count,
    "name": lambda stats: stats.operation,
}
_EPILOG: Final = """\
examples:
  otel-perfmon stats                           everything that is kept
  otel-perfmon stats --window 1h --sort p95    the last hour, slowest first
  otel-perfmon stats --window 09:30/10:00      half an hour of today
  otel-perfmon stats checkout                  all about one operation
  otel-perfmon stats --json | jq '.items[0]'   for a program

Self is the time of an operation without the operations it called, and share
its part of all self time: where the time goes. Percentiles are within 1.1 %.
Of failing operations, ! marks those over
$OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD, else 10 %."""
_LITTLE_PERCENT: Final = 0.1
_ONE_DIGIT_PERCENT: Final = 9.95


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation, its part of the self time of all, and its calls over time."""

    stats: OperationStats
    self_share: float
    calls: CountSeries | None = None


def add_stats(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``stats``."""
    parser.epilog = _EPILOG
    options.add_operation_argument(parser, is_optional=True, text="all about this one")
    options.add_window_option(parser)
    options.add_service_option(parser)
    parser.add_argument("--by-service", action="store_true", help="each service's operations for themselves")
    parser.add_argument(
        "--sort", metavar="KEY", choices=SORTS, default="self", help=f"most first: {', '.join(SORTS)} (default: self)"
    )
    parser.add_argument(
        "--limit", metavar="N", type=options.count_at_least_0, default=50, help="rows; 0 shows all (default: 50)"
    )
    options.add_store_options(parser)
    parser.set_defaults(run=_run_stats)


def _run_stats(arguments: argparse.Namespace) -> int:
    if arguments.by_service and arguments.operation is not None:
        raise QueryError("--by-service is for all operations; of one, --service NAME shows that of a service.")
    with open_answer(arguments) as answer:
        found = answer.store.summarize_operations(
            operation=arguments.operation,
            service=arguments.service,
            window=arguments.window,
            is_by_service=arguments.by_service,
        )
        if not found:
            check_names(answer.store, operation=arguments.operation, service=arguments.service)
        if arguments.operation is not None:
            return _answer_one(answer, arguments, found)
        rows = operation_rows(found, arguments.sort)[: arguments.limit or None]
        if answer.is_json:
            items = [{**as_json(row.stats), "self_share": row.self_share} for row in rows]
            window = found[0].window if found else arguments.window
            answer.print_json(items, window=window, is_complete=len(rows) == len(found))
        elif not found:
            answer.print_nothing("operation ran", arguments.window)
        else:
            _print_operations(answer, arguments, found, rows)
    return 0


def _answer_one(answer: Answer, arguments: argparse.Namespace, found: Sequence[OperationStats]) -> int:
    if answer.is_json:
        items = [profile_as_json(answer.store, stats, arguments) for stats in found]
        answer.print_json(items, window=found[0].window if found else arguments.window)
    elif not found:
        answer.print_nothing(f"call of {arguments.operation or NO_NAME} ended", arguments.window)
    else:
        print_profile(answer, found[0], arguments, resolve_setting("error_rate_threshold"))
    return 0


def operation_rows(found: Sequence[OperationStats], sort: str = "self") -> list[OperationRow]:
    """The operations with their shares, by one of `SORTS`."""
    self_ms = sum(stats.self_ms for stats in found)
    in_order = sorted(found, key=SORTS[sort])
    return [OperationRow(stats, stats.self_ms / self_ms if self_ms else 0.0) for stats in in_order]


def print_operation_table(
    console: Console, rows: Sequence[OperationRow], *, sort: str = "self", is_by_service: bool = False
) -> None:
    """Print the table of operations, and what the marks in it mean that occur; calls over time where they differ."""
    threshold = resolve_setting("error_rate_threshold")
    print_table(console, _columns(threshold, console, rows, sort=sort, is_by_service=is_by_service), rows)
    if any(row.stats.error_rate > threshold for row in rows):
        console.print(Text(f"! more than {share(threshold)} of the calls failed", "bold red"))


def _print_operations(
    answer: Answer, arguments: argparse.Namespace, found: Sequence[OperationStats], rows: list[OperationRow]
) -> None:
    console = answer.console
    if not arguments.by_service:
        rows = _with_calls(answer, arguments, rows)
    print_heading(console, "Operations", _covered(found))
    console.print(_summary(found))
    print_operation_table(console, rows, sort=arguments.sort, is_by_service=arguments.by_service)
    if len(rows) < len(found):
        console.print(f"and {count(len(found) - len(rows))} more (--limit 0 shows all)")


def _with_calls(answer: Answer, arguments: argparse.Namespace, rows: Sequence[OperationRow]) -> list[OperationRow]:
    """The rows with their calls over time, in as many cells as there is room for."""
    cells_max = max(12, min(24, answer.console.width // 8))
    window = arguments.window or _seen([row.stats for row in rows])
    names = [row.stats.operation for row in rows]
    series = answer.store.summarize_counts(names, service=arguments.service, window=window, cells_max=cells_max)
    return [replace(row, calls=calls) for row, calls in zip(rows, series, strict=True)]


def _seen(found: Sequence[OperationStats]) -> Window | None:
    """From the first call of any to the last."""
    first = min((stats.first_seen for stats in found if stats.first_seen is not None), default=None)
    last = max((stats.last_seen for stats in found if stats.last_seen is not None), default=None)
    return None if first is None or last is None else Window(int(first * 1e9), int(last * 1e9) + 1)


def _covered(found: Sequence[OperationStats]) -> str:
    if found[0].window is not None:
        return spread(found[0].window)
    seen = _seen(found)
    return f"since {clock(seen.start_unix_nano)}, which is all that is kept" if seen else "all that is kept"


def _summary(found: Sequence[OperationStats]) -> Text:
    calls, failed = sum(stats.count for stats in found), sum(stats.error_count for stats in found)
    text = Text(f"{counted(calls, 'call')} of {counted(len(found), 'operation')}, ")
    return text.append(f"{count(failed)} failed" if failed else "none failed", "red" if failed else "")


def _columns(
    threshold: float, console: Console, rows: Sequence[OperationRow], *, sort: str, is_by_service: bool
) -> list[Column[OperationRow]]:
    """All of them; the one that is sorted by is marked, and the last to go."""
    chars, style = charts.glyphs(is_ascii=console.options.ascii_only), ink(console)
    columns: list[tuple[str, Column[OperationRow]]] = [
        ("name", Column("Operation", lambda row: name_text(row.stats.operation), is_text=True)),
        ("", Column("Service", lambda row: printable(row.stats.service), rank=1, is_text=True)),
        ("count", Column("Calls", lambda row: Text(count(row.stats.count)))),
        ("rate", Column("Rate", lambda row: Text(rate(row.stats.rate_per_second)), rank=11)),
        ("failed", Column("Failed", lambda row: _failed(row.stats), rank=15)),
        ("errors", Column("Errors", lambda row: _error_rate(row.stats, threshold))),
        ("avg", _duration_column("Avg", "avg_ms", 12)),
        ("min", _duration_column("Min", "min_ms", 13)),
        ("p50", _duration_column("p50", "p50_ms", 5)),
        ("p95", _duration_column("p95", "p95_ms", 2)),
        ("p99", _duration_column("p99", "p99_ms", 10)),
        ("max", _duration_column("Max", "max_ms", 8)),
        ("slow", Column("Slow", lambda row: _slow(row.stats), rank=6)),
        ("total", _duration_column("Total", "total_ms", 14)),
        ("self", _duration_column("Self", "self_ms", 4)),
        ("", Column("Share", lambda row: Text(_part(row.self_share)), rank=3)),
        ("", Column("Calls over time", lambda row: _calls(row.calls, threshold, chars, style), rank=7, is_text=True)),
    ]
    left_out: tuple[str, ...] = () if is_by_service else ("Service",)
    left_out += () if _is_over_time(rows) else ("Calls over time",)
    mark = " ↓" if can_show("↓") else ""
    return [
        replace(column, heading=column.heading + mark, rank=0) if key == sort and key != "name" else column
        for key, column in columns
        if column.heading not in left_out
    ]


def _is_over_time(rows: Sequence[OperationRow]) -> bool:
    """Whether there were calls in more than one cell."""
    all_calls = [row.calls.counts for row in rows if row.calls is not None]
    return len({place for counts in all_calls for place, number in enumerate(counts) if number}) > 1


def _duration_column(heading: str, field: str, rank: int) -> Column[OperationRow]:
    return Column(heading, lambda row: Text(duration(getattr(row.stats, field))), rank=rank)


def _part(self_share: float) -> str:
    """As `share`, but one below the other: below 10 % with one digit behind the point."""
    percent = self_share * 100
    if 0 < percent < _LITTLE_PERCENT:
        return f"<{_LITTLE_PERCENT}%"
    return f"{percent:.0f}%" if percent >= _ONE_DIGIT_PERCENT or not percent else f"{percent:.1f}%"


def _failed(stats: OperationStats) -> Text:
    return Text(count(stats.error_count), "red" if stats.error_count else "dim")


def _slow(stats: OperationStats) -> Text:
    return Text(count(stats.slow_count), "yellow" if stats.slow_count else "dim")


def _error_rate(stats: OperationStats, threshold: float) -> Text:
    if not stats.error_count:
        return Text("0%", "dim")
    is_over = stats.error_rate > threshold
    return Text(f"{'! ' if is_over else ''}{share(stats.error_rate)}", "bold red" if is_over else "red")


def _calls(calls: CountSeries | None, threshold: float, chars: charts.Glyphs, style: str) -> Text:
    """Red where more of the calls failed than may."""
    if calls is None:
        return Text("")
    text = sparkline(calls.counts, chars, style)
    for place, (number, failed) in enumerate(zip(calls.counts, calls.error_counts, strict=True)):
        if failed and failed > threshold * number:
            text.stylize("red", place, place + 1)
    return text
