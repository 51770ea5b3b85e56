# PYTHON_ARGCOMPLETE_OK
"""The ``otel-perfmon`` command: which module a command means, and which exit status an error.

Only the module of the chosen command is imported: starting is most of what a quick answer takes.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from typing import Any, Final

from otel_perfmon.cli import completion
from otel_perfmon.cli.escaping import escape
from otel_perfmon.errors import ConfigError, PerfmonError, QueryError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("launching", "run a program under the monitor, without a line of code"),
    "stats": ("operations", "where the time goes: all operations, or one of them"),
    "heatmap": ("heatmap", "how the durations of an operation spread over time"),
    "slow": ("spans", "the newest or the slowest of the slow spans"),
    "errors": ("errors", "what failed, alike errors together"),
    "spans": ("spans", "spans by any mark: duration, error, attribute, time"),
    "trace": ("traces", "one trace as a tree, with its critical path"),
    "logs": ("logs", "log records, the newest first"),
    "tail": ("tail", "follow spans as they end, in any process"),
    "running": ("running", "what is open now, in every process, and what was when one died"),
    "check": ("checks", "which operations are over their thresholds; for cron and CI"),
    "doctor": ("doctor", "whether the file is sound and something was lost, and what to do"),
    "export": ("exporting", "spans for OpenTelemetry's pipelines and for other tools"),
    "import": ("importing", "spans from files of OpenTelemetry's pipelines and of other tools"),
    "forward": ("forwarding", "send spans on to OpenTelemetry's receivers, now or later"),
    "ui": ("serving", "the store on pages in the browser, live"),
    "serve": ("serving", "the same, and receive spans of programs in any language over the network"),
    "prune": ("files", "do now what retention does each minute"),
    "scan": ("scan", "find secrets that are stored, and take them out"),
    "info": ("files", "what the file holds, and what is kept how long"),
    "sql": ("sql", "ask in SQL, read only"),
    "demo": ("demo", "measure something real, and show what can be asked"),
    "bench": ("bench", "what monitoring costs on this machine"),
}
"""For each command its module here, which offers ``add_<command>(parser)``, and its line of help."""

WRONG_USAGE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as a shell would say it."""
PIPE_CLOSED: Final = 141
"""128 and the number of SIGPIPE."""
_OWN_OPTIONS: Final = ("-h", "--help", "--version")
_EPILOG: Final = """\
examples:
  otel-perfmon stats --window 1h           where the last hour went
  otel-perfmon trace last                  the trace that ended last
  otel-perfmon tail --error                errors, as they happen
  otel-perfmon COMMAND --help              more examples, and every option

exit status: 0 fine, 1 findings (check, doctor, scan), 2 wrong usage, 3 the store could not answer

Operation names complete in bash, zsh and fish:
  pip install argcomplete
  eval "$(register-python-argcomplete otel-perfmon)"               bash, zsh
  register-python-argcomplete --shell fish otel-perfmon | source   fish"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. An error is one sentence on standard error, never a traceback."""
    _prepare_output()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except PerfmonError as error:
        return _fail(error, exit_status_of(error))
    except KeyboardInterrupt:
        _forget_output()
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return PIPE_CLOSED
    except OSError as error:
        _forget_output()
        what = error.filename or "The output"
        return _fail(f"{what} cannot be written or read: {error.strerror or error}.", FAILED)
    except Exception as error:  # the outer rim: a person at a terminal is told what to report
        if sys.flags.dev_mode:
            raise
        return _fail(_describe(error), FAILED)


def exit_status_of(error: PerfmonError) -> int:
    """The exit status of a command that ended with ``error``."""
    return WRONG_USAGE if isinstance(error, (ConfigError, QueryError)) else FAILED


def _run(arguments: Sequence[str]) -> int:
    words = completion.words() if completion.is_asked() else arguments
    parser = _make_parser(next((word for word in words if not word.startswith("-")), None))
    _check_order(words)
    if completion.is_asked():
        completion.complete(parser)
    try:
        parsed, more = parser.parse_known_args(arguments)
        if unknown := parsed.take_words(parsed, more) if parsed.take_words else more:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if parsed.run is None:
            parser.print_help(sys.stderr)
            return WRONG_USAGE
        status = int(parsed.run(parsed))
    except SystemExit as end:  # argparse after --help and a wrong argument
        status = end.code if isinstance(end.code, int) else WRONG_USAGE
    sys.stdout.flush()
    return status


def _check_order(words: Sequence[str]) -> None:
    """Raise `QueryError` for options that no command stands before."""
    if words and words[0].startswith("-") and words[0] not in _OWN_OPTIONS and not completion.is_asked():
        command = next((word for word in words if word in COMMANDS), "stats")
        message = f"Options come after the command: otel-perfmon {command} {words[0]} ..."
        raise QueryError(message)


def _make_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole parser; of the commands only the chosen one knows its arguments."""
    parser = _Parser(
        prog="otel-perfmon",
        description="A local performance monitor for OpenTelemetry: see where the time goes.",
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.set_defaults(run=None, take_words=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        if name == chosen:
            getattr(import_module(f"otel_perfmon.cli.{module}"), f"add_{name}")(command)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that notices when its help reaches nobody."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:  # what cannot be written there has an exit status
            file.write(message)
        else:
            super()._print_message(message, file)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs; lines that are indented, such as examples, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for is_raw, group in groupby(text.splitlines(), key=lambda line: not line or line.startswith(" ")):
            part = list(group)
            lines += part if is_raw else textwrap.wrap(" ".join(part), width)
        return "\n".join(f"{indent}{line}" for line in lines)


class _Version(argparse.Action):
    """Prints the version; looking it up takes longer than all else here, so only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        version = import_module("importlib.metadata").version("otel-perfmon")
        print(f"{parser.prog} {version}")
        parser.exit()


def _prepare_output() -> None:
    """Escape what the terminal's encoding lacks, lest data end a command with a UnicodeEncodeError; keep the log quiet.

    A command says itself what went wrong, and the account it prints what was lost: the log would say it again.
    """
    logging.getLogger("otel_perfmon").addHandler(logging.NullHandler())
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (>&-)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Let what is still in the buffer go: it would fail again at exit (docs.python.org, signal, SIGPIPE)."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _fail(what: object, status: int) -> int:
    try:
        print(f"otel-perfmon: {escape(what)}", file=sys.stderr)
    except OSError:  # nobody reads that either
        return status
    return status


def _describe(error: Exception) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else ""
    return (
        f"This is a fault of otel-perfmon itself: {type(error).__name__}: {error!s:.300}{where}."
        " 'python -X dev -m otel_perfmon' with the same arguments shows all of it."
    )
