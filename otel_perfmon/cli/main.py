"""The ``otel-perfmon`` command: which group of commands an argument means, and which exit code an error."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from importlib.metadata import version
from typing import Final

from otel_perfmon.cli import demo
from otel_perfmon.errors import ConfigError, NotFoundError, PerfmonError, QueryError, StoreError

WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as a shell would say it."""
PIPE_CLOSED: Final = 1
EXIT_CODES: Final[tuple[tuple[type[PerfmonError], int], ...]] = (
    (ConfigError, WRONG_USAGE),
    (QueryError, WRONG_USAGE),
    (NotFoundError, 1),
    (StoreError, 1),
    (PerfmonError, 1),
)
"""The first that fits holds."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code. An error of ours is one sentence on standard error."""
    _prepare_output()
    try:
        return _run(arguments)
    except PerfmonError as error:
        print(f"otel-perfmon: {error}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer would fail again at exit (docs.python.org/3/library/signal.html, SIGPIPE).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def exit_code_of(error: PerfmonError) -> int:
    """The exit code of a command that ended with ``error``."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def _run(arguments: list[str] | None) -> int:
    parser = _make_parser()
    try:
        parsed = parser.parse_args(arguments)
        if parsed.run is None:
            parser.print_help(sys.stderr)
            return WRONG_USAGE
        code = int(parsed.run(parsed))
    except SystemExit as end:  # argparse after --help and a wrong argument, rich after a closed pipe
        code = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    return code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-perfmon", description="A local performance monitor for OpenTelemetry: see where the time goes."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('otel-perfmon')}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    demo.add_command(commands)
    return parser


def _prepare_output() -> None:
    """Escape what the terminal's encoding lacks, lest data end a command with a UnicodeEncodeError; keep the log quiet.

    A command says itself what went wrong, and the account it prints what was lost: the log would say it again.
    """
    logging.getLogger("otel_perfmon").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
