"""``otel-perfmon logs``: log records, the newest first."""

from __future__ import annotations

import argparse
from typing import Final

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import open_answer
from otel_perfmon.cli.log_view import log_line, print_log
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.traces import find_trace_id
from otel_perfmon.records import SEVERITY_NAMES

_EPILOG: Final = """\
examples:
  otel-perfmon logs
  otel-perfmon logs --severity warn --window 1h
  otel-perfmon logs --trace 0199c1d2 --full    with attributes and stack traces
  otel-perfmon logs --json | jq '.items[] | {severity, body}'

Records come from OTEL_LOGS_EXPORTER=sqlite, and from other programs as OTLP.
'otel-perfmon trace TRACE' shows those of a trace beside its spans."""


def add_logs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``logs``."""
    parser.epilog = _EPILOG
    names = [name.lower() for name in SEVERITY_NAMES]
    parser.add_argument("--severity", choices=names, help="only of this severity or a worse one")
    parser.add_argument("--trace", metavar="TRACE", help="only of this trace: its id, or the first 4 digits or more")
    options.add_window_option(parser)
    options.add_service_option(parser)
    parser.add_argument("--limit", metavar="N", type=options.count_at_least_1, default=50, help="(default: 50)")
    parser.add_argument("--full", action="store_true", help="all there is of each record")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_logs)


def _run_logs(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        store = answer.store
        # One more than is shown tells whether there are more.
        found = store.find_logs(
            trace_id=find_trace_id(store, arguments.trace) if arguments.trace is not None else None,
            service=arguments.service,
            severity_min=_number_of(arguments.severity),
            window=arguments.window,
            limit=arguments.limit + 1,
        )
        logs, is_complete = found[: arguments.limit], len(found) <= arguments.limit
        if not logs:
            check_names(store, operation=None, service=arguments.service)
        if answer.is_json:
            answer.print_json(logs, window=arguments.window, is_complete=is_complete)
            return 0
        if not logs:
            answer.print_nothing("log record matches", arguments.window)
        for log in logs:
            if arguments.full:
                print_log(answer.console, log, is_full=True)
            else:
                answer.console.print(log_line(log, answer.console.width))
        if not is_complete:
            answer.console.print(f"and more (--limit {arguments.limit * 5})")
    return 0


def _number_of(severity: str | None) -> int:
    """The least severity number of a word; 0 without one."""
    return 0 if severity is None else 4 * SEVERITY_NAMES.index(severity.upper()) + 1
