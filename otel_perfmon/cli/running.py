"""``otel-perfmon running``: what is open now, in every process, and what was when a process died."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import shown
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.report import Column, duration, name_text, print_heading, print_table, printable
from otel_perfmon.cli.span_view import print_span
from otel_perfmon.frames import place_of
from otel_perfmon.moments import ago
from otel_perfmon.quantities import count
from otel_perfmon.records import OpenSpanRecord

_EPILOG: Final = """\
examples:
  otel-perfmon running
  otel-perfmon running --full      with attributes, and the stacks of slow ones
  otel-perfmon running --json | jq -r '.items[] | .span.name'

A span is shown when it is open for longer than a second. What a process was doing
when it died is shown until the next one records into the file: then it becomes
a span that carries perfmon.interrupted."""


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``running``."""
    parser.epilog = _EPILOG
    options.add_operation_argument(parser, is_optional=True, text="only spans of this operation")
    options.add_service_option(parser)
    parser.add_argument(
        "--limit", metavar="N", type=options.count_at_least_1, default=100, help="spans of each kind (default: 100)"
    )
    parser.add_argument("--full", action="store_true", help="with attributes, and the stacks of slow ones")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_running)


def _run_running(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        found = [each for each in answer.store.find_open_spans() if _is_asked(each, arguments)]
        running = [each for each in found if not each.is_interrupted]
        interrupted = [each for each in found if each.is_interrupted]
        if answer.is_json:
            items = running[: arguments.limit] + interrupted[: arguments.limit]
            answer.print_json(items, is_complete=len(items) == len(found))
        elif not found:
            check_names(answer.store, operation=arguments.operation, service=arguments.service)
            answer.print_nothing("span is open for longer than a second", None)
        else:
            _print(answer, arguments, "Running", "", running)
            note = "what was running when its process ended"
            _print(answer, arguments, "Interrupted", note, interrupted)
    return 0


def _is_asked(record: OpenSpanRecord, arguments: argparse.Namespace) -> bool:
    span = record.span
    return arguments.operation in (None, span.name) and arguments.service in (None, span.service)


def _print(
    answer: Answer, arguments: argparse.Namespace, title: str, note: str, records: Sequence[OpenSpanRecord]
) -> None:
    if not records:
        return
    chosen = records[: arguments.limit]
    if arguments.full:
        for record in chosen:
            facts = [("state", record.state), ("process", str(record.pid)), ("thread", record.thread_name)]
            print_span(answer.console, record.span, facts, moment=_moment(record))
    else:
        print_heading(answer.console, title, note)
        print_table(answer.console, _columns(), chosen)
    if len(chosen) < len(records):
        answer.console.print(f"and {count(len(records) - len(chosen))} more (--limit {arguments.limit * 5})")


def _moment(record: OpenSpanRecord) -> tuple[str, int]:
    if record.is_interrupted:
        return "last seen", record.span.end_unix_nano
    return "started", record.span.start_unix_nano


def _columns() -> list[Column[OpenSpanRecord]]:
    now = time.time()
    return [
        Column("Open for", lambda each: Text(duration(each.span.duration_ms), "yellow" if each.span.is_slow else "")),
        Column("Operation", lambda each: name_text(each.span.name), is_text=True),
        Column("Where it became slow", lambda each: printable(place_of(each.span.stack_trace)), rank=2, is_text=True),
        Column("Started", lambda each: Text(ago(each.span.start_unix_nano / 1e9, now)), rank=5),
        Column("Process", lambda each: Text(str(each.pid)), rank=1),
        Column("Thread", lambda each: Text(shown(each.thread_name)), rank=4, is_text=True),
        Column("Service", lambda each: printable(each.span.service), rank=3, is_text=True),
        Column("Trace", lambda each: Text(each.span.trace_id[:12]), rank=3),
    ]
