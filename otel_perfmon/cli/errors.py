"""``otel-perfmon errors``: what failed, errors that differ only in the variable parts of their message together."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import shown
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.report import cropped, name_text, print_heading, printable, separate
from otel_perfmon.cli.span_view import print_labeled, print_stack_trace, short_trace_id, stack_trace
from otel_perfmon.errors import NotFoundError, QueryError
from otel_perfmon.moments import ago, clock, spread
from otel_perfmon.quantities import count
from otel_perfmon.records import ErrorGroup, SpanRecord
from otel_perfmon.storage.base import Store

_COUNT_WIDTH: Final = 7
_MARGIN: Final = " " * (_COUNT_WIDTH + 2)
_EPILOG: Final = """\
examples:
  otel-perfmon errors
  otel-perfmon errors --window 1h
  otel-perfmon errors checkout --full          with exact times and stack traces
  otel-perfmon errors --json | jq '.items[] | {count, error_type, message}'

Errors of one operation and type are one group when their messages differ only
in numbers, ids and the like. How often is that of the window, to the hour;
first and last seen are those of the group."""


def add_errors(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``errors``."""
    parser.epilog = _EPILOG
    options.add_operation_argument(parser, is_optional=True, text="only errors in this operation")
    options.add_window_option(parser)
    options.add_service_option(parser)
    parser.add_argument("--limit", metavar="N", type=options.count_at_least_1, default=20, help="groups (default: 20)")
    parser.add_argument("--full", action="store_true", help="with exact times and the latest stack trace")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_errors)


def _run_errors(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        # One more than is shown tells whether there are more.
        found = answer.store.summarize_errors(
            operation=arguments.operation,
            service=arguments.service,
            window=arguments.window,
            limit=arguments.limit + 1,
        )
        groups, is_complete = found[: arguments.limit], len(found) <= arguments.limit
        if not groups:
            check_names(answer.store, operation=arguments.operation, service=arguments.service)
        if answer.is_json:
            answer.print_json(groups, window=groups[0].window if groups else arguments.window, is_complete=is_complete)
        elif not groups:
            answer.print_nothing("error", arguments.window)
        else:
            _print_groups(answer, groups, is_full=arguments.full)
            if not is_complete:
                answer.console.print(f"and more (--limit {arguments.limit * 5})")
    return 0


def _print_groups(answer: Answer, groups: Sequence[ErrorGroup], *, is_full: bool) -> None:
    console, window = answer.console, groups[0].window
    print_heading(console, "Errors", spread(window) if window else "all that are kept, the most recent first")
    for group in groups:
        _print_title(console, group)
        if is_full:
            _print_full(answer, group)
        else:
            _print_brief(answer, group)


def _print_title(console: Console, group: ErrorGroup) -> None:
    """How often, which type, where; and when last, at the right."""
    when = ago(group.last_seen, time.time())
    title = Text().append(f"{count(group.count):>{_COUNT_WIDTH}}", "bold red").append("  ")
    title.append(shown(group.error_type or "error"), "red").append(" in ")
    title.append(name_text(group.operation).plain, "bold")
    title = cropped(title, console.width - len(when) - 2, is_padded=True)
    separate(console)
    console.print(title.append(f"  {when}"), no_wrap=True)


def _print_brief(answer: Answer, group: ErrorGroup) -> None:
    """The pattern of the messages, the last of them, and since when; with the last trace to see, and the first."""
    console, room = answer.console, answer.console.width - len(_MARGIN)
    if group.message or group.last_message:
        pattern = cropped(printable(group.message or group.last_message), room)
        console.print(Text(_MARGIN).append_text(pattern), no_wrap=True)
    trace = f"trace {short_trace_id(answer.store, group.last_trace_id)}" if group.last_trace_id else ""
    last = Text(
        group.last_message and shown(group.last_message) if group.message not in ("", group.last_message) else ""
    )
    if last.plain:
        last = cropped(last, room - len("last: ") - (len(trace) + 2 if trace else 0))
        last.append(", " if trace else "", "dim")
    if last.plain or trace:
        console.print(Text(_MARGIN).append("last: ", "dim").append_text(last).append(trace, "dim"), no_wrap=True)
    is_other = group.first_trace_id not in ("", group.last_trace_id)
    first = f", trace {short_trace_id(answer.store, group.first_trace_id)}" if is_other else ""
    console.print(Text(f"{_MARGIN}first {ago(group.first_seen, time.time())}{first}", "dim"))


def _print_full(answer: Answer, group: ErrorGroup) -> None:
    now = time.time()
    print_labeled(
        answer.console,
        {
            "messages": printable(group.message),
            "last": printable(group.last_message),
            "first seen": Text(f"{_clock(group.first_seen)}, {ago(group.first_seen, now)}"),
            "first trace": printable(group.first_trace_id),
            "last seen": Text(f"{_clock(group.last_seen)}, {ago(group.last_seen, now)}"),
            "last trace": printable(group.last_trace_id),
        },
    )
    span = _latest_example(answer.store, group)
    if span is None:
        answer.console.print("  The trace of the latest example is pruned by now.")
    elif stack_trace(span):
        print_stack_trace(answer.console, stack_trace(span))
    else:
        answer.console.print("  The latest example has no stack trace.")


def _latest_example(store: Store, group: ErrorGroup) -> SpanRecord | None:
    try:
        spans = store.get_trace(group.last_trace_id).with_logged_exceptions().spans
    except (NotFoundError, QueryError):  # pruned, or from a file that never knew
        return None
    return next((span for span in spans if span.span_id == group.last_span_id), None)


def _clock(unix_seconds: float) -> str:
    return clock(int(unix_seconds * 1e9), digits=3)
