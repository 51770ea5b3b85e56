"""``otel-perfmon info`` and ``prune``: the file itself, and what stays in it."""

from __future__ import annotations

import argparse
import time
from typing import Final

from rich.text import Text

from otel_perfmon.account import DestinationHealth, Health, StoreSummary
from otel_perfmon.cli import options
from otel_perfmon.cli.answer import open_answer
from otel_perfmon.cli.escaping import escape
from otel_perfmon.cli.report import printable
from otel_perfmon.cli.span_view import print_labeled
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import ago, period, spread
from otel_perfmon.quantities import count, counted, size
from otel_perfmon.query import Window
from otel_perfmon.storage.base import RetentionPolicy

_PRUNE_EPILOG: Final = """\
examples:
  otel-perfmon prune                    by the settings of what recorded last
  otel-perfmon prune --retention 15m    ordinary spans stay for 15 minutes
  otel-perfmon prune --size-max 100MB

Ordinary spans go after --retention, slow and failed ones with their traces
after --keep, and whatever is needed to stay below --size-max. Statistics stay.
Time counts from a span's arrival in the file."""

_INFO_EPILOG: Final = """\
examples:
  otel-perfmon info
  otel-perfmon info --db /var/lib/shop/metrics.db --json

The account is over all processes that recorded: ended = stored + sampled out +
dropped + queued. 'otel-perfmon doctor' has it for each of them."""


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``prune``."""
    parser.epilog = _PRUNE_EPILOG
    parser.add_argument(
        "--retention", metavar="TIME", type=options.duration_seconds, help="how long ordinary spans stay, such as 1h"
    )
    parser.add_argument(
        "--keep", metavar="TIME", type=options.duration_seconds, help="how long slow and failed spans stay, such as 7d"
    )
    parser.add_argument(
        "--size-max", metavar="SIZE", type=options.size_bytes, help="how large the file may be, 64MB or more"
    )
    options.add_store_options(parser)
    parser.set_defaults(run=_run_prune)


def _run_prune(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        before = answer.store.summarize_store()
        removed_count = answer.store.prune(_policy(arguments, before))
        after = answer.store.summarize_store()
    before_bytes, after_bytes = (each.file_bytes + each.wal_bytes for each in (before, after))
    if answer.is_json:
        answer.print_json([{"removed_count": removed_count, "before_bytes": before_bytes, "after_bytes": after_bytes}])
        return 0
    sizes = f"it was {size(before_bytes)} and is {size(after_bytes)} now"
    removed = f"{counted(removed_count, 'span')} removed from {answer.path}"
    answer.console.print(printable(f"{removed}; {sizes}. {count(after.span_count)} remain."), soft_wrap=True)
    return 0


def _policy(arguments: argparse.Namespace, summary: StoreSummary) -> RetentionPolicy | None:
    """The store's own, with what the arguments change of it; None when they change nothing."""
    if arguments.retention is None and arguments.keep is None and arguments.size_max is None:
        return None
    return RetentionPolicy(
        retention_seconds=summary.retention_seconds if arguments.retention is None else arguments.retention,
        keep_seconds=summary.keep_seconds if arguments.keep is None else arguments.keep,
        size_max_bytes=summary.size_max_bytes if arguments.size_max is None else arguments.size_max,
    )


# --- info


def add_info(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``info``."""
    parser.epilog = _INFO_EPILOG
    options.add_store_options(parser)
    parser.set_defaults(run=_run_info)


def _run_info(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        summary, health = answer.store.summarize_store(), answer.store.get_health()
        sent_to = answer.store.list_destinations()
        if answer.is_json:
            answer.print_json(
                [{**as_json(summary), "health": as_json(health), "destinations": list(map(as_json, sent_to))}]
            )
            return 0
        told = {
            "size": Text(_size(summary)),
            "spans": Text(_spans(summary)),
            "operations": Text(f"{count(summary.operation_count)}, of {counted(summary.service_count, 'service')}"),
            "errors": Text(counted(summary.error_group_count, "group")),
            "metric points": Text(count(summary.point_count)),
            "log records": Text(count(summary.log_count)),
            "kept": Text("\n".join(_kept(summary))),
            "account": _account(health),
            **({"forwarded": Text("\n".join(map(_forwarded, sent_to)))} if sent_to else {}),
            "format": Text(f"schema {summary.schema_version}, read by SQLite {summary.sqlite_version}"),
        }
        title = printable(summary.path)
        title.stylize("bold")
        answer.console.print(title, soft_wrap=True)  # in one piece, to be copied
        print_labeled(answer.console, told, is_folded=answer.console.is_terminal)
    return 0


def _size(summary: StoreSummary) -> str:
    whole = summary.file_bytes + summary.wal_bytes
    log = f", {size(summary.wal_bytes)} of it write-ahead log" if summary.wal_bytes else ""
    return f"{size(whole)}{log}; at most {size(summary.size_max_bytes)}"


def _spans(summary: StoreSummary) -> str:
    if summary.first_end is None or summary.last_end is None:
        return count(summary.span_count)
    ended = spread(Window(int(summary.first_end * 1e9), int(summary.last_end * 1e9)))
    return f"{count(summary.span_count)}, ended {ended}, {ago(summary.last_end, time.time())}"


def _kept(summary: StoreSummary) -> list[str]:
    cells = sorted(summary.rollup_keep_seconds.items())
    return [
        f"{period(summary.retention_seconds)}  ordinary spans",
        f"{period(summary.keep_seconds)}  slow and failed spans with their traces, metric points",
        *(f"{period(kept)}  statistics in cells of {period(width)}" for width, kept in cells),
        *(f"{period(kept)}  calls and error groups" for _, kept in cells[-1:]),
    ]


def _forwarded(destination: DestinationHealth) -> str:
    """How far one destination is, and what keeps it."""
    text = f"{count(destination.sent_count)} to {escape(destination.name)}"
    for number, what in (
        (destination.refused_count, "refused"),
        (destination.parked_count, "parked"),
        (destination.left_out_count, "not chosen"),
        (destination.pruned_count, "pruned before their turn"),
        (destination.waiting_count, "waiting"),
    ):
        text += f", {count(number)} {what}" if number else ""
    if destination.waiting_count and destination.oldest_waiting is not None:
        text += f", the oldest from {ago(destination.oldest_waiting, time.time())}"
    return text + (f"; it {escape(destination.failure)}" if destination.failing_since is not None else "")


def _account(health: Health) -> Text:
    """What became of every span that ended: whether something was dropped can be seen here."""
    text = Text(f"{count(health.ended)} ended, {count(health.stored)} stored")
    for number, what in (
        (health.sampled_out, "sampled out"),
        (sum(health.not_kept.values()), "of them of kept traces"),
        (health.queued, "queued"),
        (health.pruned, "pruned since"),
        (health.altered, "cut or replaced in part"),
        (health.forwarded, "forwarded"),
    ):
        text.append(f", {count(number)} {what}" if number else "")
    dropped = ", ".join(f"{count(number)} {escape(reason)}" for reason, number in health.dropped.items() if number)
    return text.append(f", dropped: {dropped}" if dropped else ", none dropped", "red" if dropped else "")
