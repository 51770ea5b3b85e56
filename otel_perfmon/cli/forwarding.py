"""``otel-perfmon forward``: what is stored goes on to an OTLP receiver, from any process, on any day."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from otel_perfmon.account import DestinationHealth
from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import escape
from otel_perfmon.cli.progress import Progress, show_progress
from otel_perfmon.cli.report import printable
from otel_perfmon.config import parse_setting, resolve_setting
from otel_perfmon.errors import ForwardError, QueryError, SchemaError, StoreError
from otel_perfmon.json_form import as_json
from otel_perfmon.otlp.destination import COMPRESSIONS, PROTOCOLS, Destination, parse_destination, parse_header
from otel_perfmon.otlp.forwarder import STEP_SECONDS_MAX, Forwarder, State, Step
from otel_perfmon.otlp.forwarding import STORE_PAUSE_SECONDS, open_forwarder
from otel_perfmon.quantities import count, counted
from otel_perfmon.storage.outbox import ForwardPolicy
from otel_perfmon.storage.suppression import suppressed

_FINDINGS: Final = 1
_COUNTS: Final = {
    "sent_count": "",
    "refused_count": "refused",
    "parked_count": "parked",
    "left_out_count": "not chosen",
    "pruned_count": "pruned before their turn",
}
_TROUBLES: Final = ("refused_count", "parked_count", "pruned_count")
_EPILOG: Final = """\
examples:
  otel-perfmon forward --to http://collector:4318          until Ctrl-C
  otel-perfmon forward --to http://collector:4318 --once   what is there now
  otel-perfmon forward --to env --once --since 24h
  otel-perfmon forward --to grpc://collector:4317 --once --sample-rate 0.05

The file remembers for each destination how far it has come: what was sent is
not sent again, and a destination that was away gets what it missed, as long as
it is kept. It is known by its URL, without user, password and query, and by its
--label. With --sample-rate below 1, traces with a slow or a failed span are
sent whole, and that share of the others. 'env' is what OpenTelemetry's own
OTEL_EXPORTER_OTLP_... variables name; without it none of them is read.

exit status: 0 all of it is there, 1 some spans were refused, parked (the
destination takes requests, not these spans) or pruned before their turn, 3 it
was not reached, or another process sends to it."""


def add_forward(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forward``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--to",
        metavar="URL",
        help="such as http://collector:4318, grpc://collector:4317 or env"
        " (default: $OTEL_PYTHON_PERFMON_FORWARD_TO, if it is one)",
    )
    parser.add_argument("--once", action="store_true", help="end when all that is there is sent")
    parser.add_argument(
        "--since", metavar="TIME", type=options.duration_seconds, help="leave out what arrived longer ago, such as 24h"
    )
    parser.add_argument(
        "--sample-rate",
        metavar="SHARE",
        type=float,
        default=1.0,
        help="of traces with nothing slow or failed in them; 0 to 1 (default: 1)",
    )
    parser.add_argument(
        "--decision-wait",
        metavar="TIME",
        type=options.duration_seconds,
        default=30.0,
        help="how long a trace has to arrive before that is decided (default: 30s)",
    )
    group = parser.add_argument_group("destination")
    group.add_argument("--protocol", choices=PROTOCOLS, help="(default: by the URL, else http/protobuf)")
    group.add_argument("--compression", choices=COMPRESSIONS, help="(default: none)")
    group.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help="may be given several times")
    group.add_argument(
        "--label", metavar="NAME", help="tells it from others at the same URL, such as another tenant: each is sent all"
    )
    group.add_argument("--timeout", metavar="TIME", type=options.duration_seconds, help="of one request (default: 10s)")
    group.add_argument(
        "--max-elapsed-time",
        metavar="TIME",
        type=options.duration_seconds,
        default=30.0,
        help="with --once, how long a destination is tried that takes nothing, and a file that is held (default: 30s)",
    )
    options.add_store_options(parser)
    parser.set_defaults(run=_run_forward)


def _run_forward(arguments: argparse.Namespace) -> int:
    destination = _destination_of(arguments)
    rate = parse_setting("forward_sample_rate", arguments.sample_rate)
    policy = ForwardPolicy(rate, arguments.decision_wait)
    since = None if arguments.since is None else time.time() - arguments.since
    with open_answer(arguments) as answer:
        before = _found(answer, destination)
        total = before.waiting_count if before is not None else answer.store.summarize_store().span_count
        forwarder = open_forwarder(answer.path, destination, policy, since_unix_s=since)
        try:
            with suppressed(), show_progress("spans", total) as progress:
                _forward(forwarder, destination, arguments, progress)
        finally:
            with suppress(StoreError):  # nothing is lost: the lease goes with this process
                forwarder.release()
        return _tell(answer, destination, before)


def _destination_of(arguments: argparse.Namespace) -> Destination:
    addresses = resolve_setting("forward_to", arguments.to)
    if len(addresses) != 1:
        message = "One destination is wanted: --to URL, such as --to http://localhost:4318."
        raise QueryError(message)
    destination = parse_destination(
        str(addresses[0]),
        protocol=arguments.protocol,
        headers=map(parse_header, arguments.header),
        compression=arguments.compression,
        timeout_seconds=arguments.timeout,
        environ=os.environ,
    )
    return replace(destination, name=f"{destination.name} ({arguments.label})") if arguments.label else destination


def _forward(
    forwarder: Forwarder,
    destination: Destination,
    arguments: argparse.Namespace,
    progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Send until there is nothing left, with ``--once``, or for ever. Raises `ForwardError`, and `StoreError`."""
    last_success = time.monotonic()
    done_count, told = 0, ""
    while True:
        step, error = _step(forwarder)
        settled = forwarder.sent_count + forwarder.refused_count + forwarder.parked_count
        progress.advance(settled - done_count)
        if settled > done_count or step.state is State.IDLE:
            last_success = time.monotonic()
        done_count, pause = settled, min(step.pause_seconds, STEP_SECONDS_MAX)
        if arguments.once:
            if step.state is State.IDLE:
                return
            if step.state is State.ELSEWHERE:
                message = f"Another process sends to {destination.name}, for every process on this file."
                raise ForwardError(message)
            remaining = arguments.max_elapsed_time - (time.monotonic() - last_success)
            if step.state is State.FAILING and remaining <= 0:
                if error is not None:
                    raise error
                message = f"{destination.name} {forwarder.trouble}; what is not sent waits in the store."
                raise ForwardError(message, retryable=True)
            pause = max(0.0, min(pause, remaining))
        told = _tell_of_trouble(destination, error or forwarder.trouble, told)
        sleep(pause)


def _step(forwarder: Forwarder) -> tuple[Step, StoreError | None]:
    """One step; or what kept it from the file, which others may just hold for long, and a pause."""
    try:
        return forwarder.step(), None
    except SchemaError:  # that does not pass
        raise
    except StoreError as error:
        return Step(State.FAILING, STORE_PAUSE_SECONDS), error


def _tell_of_trouble(destination: Destination, cause: str | StoreError, told: str) -> str:
    """Say on standard error what keeps spans from a destination, when that has changed; what was said."""
    trouble = str(cause)
    if trouble != told:
        sentence = f"{destination.name} {trouble}; spans wait." if trouble else f"Spans go to {destination.name} again."
        if isinstance(cause, StoreError):
            sentence = f"{trouble} Spans wait."
        print(f"otel-perfmon: {escape(sentence)}", file=sys.stderr, flush=True)
    return trouble


def _found(answer: Answer, destination: Destination) -> DestinationHealth | None:
    return next((each for each in answer.store.list_destinations() if each.name == destination.name), None)


def _tell(answer: Answer, destination: Destination, before: DestinationHealth | None) -> int:
    """Say what became of the spans; the exit status."""
    after = _found(answer, destination)
    counts = {name: getattr(after, name, 0) - getattr(before, name, 0) for name in _COUNTS}
    if answer.is_json:
        answer.print_json([{**counts, "destination": as_json(after)}])
    else:
        sentence = f"{counted(counts['sent_count'], 'span')} sent to {destination.name}"
        for name, what in _COUNTS.items():
            sentence += f", {count(counts[name])} {what}" if what and counts[name] else ""
        if after is not None and after.waiting_count:
            sentence += f", {count(after.waiting_count)} not due yet"
        answer.console.print(printable(f"{sentence}."), soft_wrap=True)
    return _FINDINGS if any(counts[name] for name in _TROUBLES) else 0
