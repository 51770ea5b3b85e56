"""``otel-perfmon check``: which operations are over their thresholds, one line each, for cron and CI.

The rule for error rates is that of the alarm in the running program: the same figures, each service for itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.text import Text

from otel_perfmon.alerts import WINDOW_SECONDS, AlertRule, CallCounts, is_too_slow
from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.report import duration, name_text, printable
from otel_perfmon.config import resolve_setting
from otel_perfmon.moments import spread
from otel_perfmon.quantities import count, counted, share
from otel_perfmon.query import Window
from otel_perfmon.records import OperationStats

FINDINGS: Final = 1
"""The exit status that says so."""
_NAME_WIDTH_MAX: Final = 40
"""Names are padded to one width; longer ones stand out of it."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_NEAR_NOW_SECONDS: Final = 60
_EPILOG: Final = """\
examples:
  otel-perfmon check                                   the last hour's errors
  otel-perfmon check --error-rate 5% --p95 200ms       and durations
  otel-perfmon check checkout --p95 1s --window 15m    one operation's durations
  otel-perfmon check --json | jq '.items[].operation'  for a program
  otel-perfmon check > over.txt || mail -s shop ops < over.txt

Without --error-rate and --p95 the error rate is checked against
$OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD, else 10 %. An operation of several
services is checked for each of them.

exit status: 0 nothing is over, 1 something is, 2 wrong usage, 3 the store could not answer"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One operation over one threshold; ``value`` and ``threshold`` are a share, or milliseconds for ``p95_ms``."""

    operation: str
    service: str | None
    measure: Literal["error_rate", "p95_ms"]
    value: float
    threshold: float
    count: int
    error_count: int


@dataclass(frozen=True, slots=True)
class _Thresholds:
    rule: AlertRule | None
    p95_ms: float | None
    min_count: int


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    parser.epilog = _EPILOG
    options.add_operation_argument(parser, is_optional=True, text="only this one")
    parser.add_argument(
        "--error-rate", metavar="SHARE", type=_share, help="more than this part of the calls failed: 0.1 or 10%%"
    )
    parser.add_argument(
        "--p95", metavar="TIME", type=options.duration_ms, help="one in twenty calls took longer: 200ms, 1.5s"
    )
    parser.add_argument(
        "--min-count", metavar="N", type=options.count_at_least_1, help="of at least so many calls (default: 20)"
    )
    options.add_window_option(parser)
    options.add_service_option(parser)
    options.add_store_options(parser)
    parser.set_defaults(run=_run_check)


def _run_check(arguments: argparse.Namespace) -> int:
    thresholds = _thresholds(arguments)
    window = arguments.window or Window.last(WINDOW_SECONDS)
    with open_answer(arguments) as answer:
        stats = answer.store.summarize_operations(
            operation=arguments.operation, service=arguments.service, window=window, is_by_service=True
        )
        if not stats:
            check_names(answer.store, operation=arguments.operation, service=arguments.service)
        found = find_over(stats, thresholds)
        if answer.is_json:
            answer.print_json(found, window=stats[0].window if stats else window)
        elif found:
            _print_findings(answer, found, window, is_service_told=len({each.service for each in stats}) > 1)
        else:
            _print_fine(answer, stats, thresholds, window)
    return FINDINGS if found else 0


def find_over(stats: Sequence[OperationStats], thresholds: _Thresholds) -> list[Finding]:
    """What is over its threshold: error rates, then durations, the highest first."""
    return [*_over_error_rate(stats, thresholds), *_over_p95(stats, thresholds)]


def _over_error_rate(stats: Sequence[OperationStats], thresholds: _Thresholds) -> list[Finding]:
    rule = thresholds.rule
    if rule is None:
        return []
    return _highest_first(
        Finding(
            each.operation,
            each.service,
            "error_rate",
            each.error_rate,
            rule.error_rate_threshold,
            each.count,
            each.error_count,
        )
        for each in stats
        if rule.is_failing(CallCounts(each.count, each.error_count))
    )


def _over_p95(stats: Sequence[OperationStats], thresholds: _Thresholds) -> list[Finding]:
    threshold = thresholds.p95_ms
    if threshold is None:
        return []
    return _highest_first(
        Finding(each.operation, each.service, "p95_ms", each.p95_ms or 0.0, threshold, each.count, each.error_count)
        for each in stats
        if is_too_slow(each.count, each.p95_ms, p95_threshold_ms=threshold, min_count=thresholds.min_count)
    )


def _highest_first(findings: Iterator[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: (-each.value, each.operation, each.service or ""))


def _thresholds(arguments: argparse.Namespace) -> _Thresholds:
    min_count = resolve_setting("error_rate_min_count", arguments.min_count)
    rule = None
    if arguments.error_rate is not None or arguments.p95 is None:
        rule = AlertRule(resolve_setting("error_rate_threshold", arguments.error_rate), min_count)
    return _Thresholds(rule, arguments.p95, min_count)


def _share(text: str) -> float:
    """An argparse type: ``0.1`` or ``10%`` as a share between 0 and 1."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        message = f"a share such as 0.1 or 10% is wanted; {text!r:.100} is none"
        raise argparse.ArgumentTypeError(message)
    return number


# --- as text


def _print_findings(answer: Answer, found: Sequence[Finding], window: Window, *, is_service_told: bool) -> None:
    names = [name_text(each.operation) for each in found]
    width = min(_NAME_WIDTH_MAX, max(name.cell_len for name in names))
    for finding, name in zip(found, names, strict=True):
        name.stylize("bold")
        padding = " " * max(0, width - name.cell_len)
        line = Text.assemble(name, padding, "  ", _comparison(finding), "  ")
        line.append_text(_circumstances(finding, window, is_service_told=is_service_told))
        answer.console.print(line, soft_wrap=True)


def _comparison(finding: Finding) -> Text:
    """``error rate 23% > 10%``, in as many digits as it takes to tell the two apart."""
    if finding.measure == "error_rate":
        value, limit = share(finding.value), _exact_share(finding.threshold)
        if value in (limit, share(finding.threshold)):
            value = _exact_share(finding.value)
        return Text.assemble("error rate ", (value, "bold red"), f" > {limit}")
    value, limit = duration(finding.value), duration(finding.threshold)
    if value == limit:
        value, limit = f"{finding.value:.10g} ms", f"{finding.threshold:.10g} ms"
    return Text.assemble("p95 ", (value, "bold yellow"), f" > {limit}")


def _circumstances(finding: Finding, window: Window, *, is_service_told: bool) -> Text:
    failed = f"{count(finding.error_count)} of " if finding.measure == "error_rate" else ""
    text = Text(f"({failed}{count(finding.count)} calls, {_when(window)}", "dim")
    if is_service_told:
        text.append(", service ").append_text(printable(finding.service or "-"))
    return text.append(")")


def _print_fine(answer: Answer, stats: Sequence[OperationStats], thresholds: _Thresholds, window: Window) -> None:
    checked = sum(1 for each in stats if each.count >= thresholds.min_count)
    if not checked:
        few = f"no operation has {counted(thresholds.min_count, 'call')}" if stats else "no operation ran"
        answer.console.print(f"Nothing was checked: {few}, {_when(window)}.", soft_wrap=True)
        return
    limits = []
    if thresholds.rule is not None:
        limits.append(f"error rate > {_exact_share(thresholds.rule.error_rate_threshold)}")
    if thresholds.p95_ms is not None:
        limits.append(f"p95 > {duration(thresholds.p95_ms)}")
    rest = f"; {count(len(stats) - checked)} more with fewer than {thresholds.min_count} calls"
    line = f"ok: {counted(checked, 'operation')} checked for {', '.join(limits)}, {_when(window)}"
    answer.console.print(line + (rest if checked < len(stats) else ""), soft_wrap=True)


def _exact_share(part: float) -> str:
    """A threshold as it was given, and what a share is told apart from it by."""
    return f"{part * 100:.10g}%"


def _when(window: Window) -> str:
    """``last 1 h`` for a window that ends now, else its two ends."""
    seconds = round(window.seconds)
    if not seconds or abs(time.time() - window.end_unix_nano / 1e9) > _NEAR_NOW_SECONDS:
        return spread(window)
    size, unit = next(each for each in _UNITS if seconds % each[0] == 0)
    return f"last {seconds // size:,} {unit}"
