"""Arguments that several commands take, and what their text means."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from otel_perfmon.cli.completion import complete_operations, complete_services
from otel_perfmon.config import parse_setting
from otel_perfmon.errors import ConfigError, QueryError
from otel_perfmon.query import Window, parse_duration_nano

_T = TypeVar("_T")


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """``--db``, ``--json`` and ``--no-color``; what `otel_perfmon.cli.answer.open_answer` goes by."""
    group = parser.add_argument_group("store and output")
    add_db_option(group)
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("--no-color", action="store_true", help="use no colours (as does NO_COLOR=1)")


def add_db_option(parser: argparse._ActionsContainer) -> None:
    """``--db``: ``arguments.db`` is the path of a store, or None."""
    parser.add_argument("--db", metavar="FILE", help="the store (default: $OTEL_PYTHON_PERFMON_PATH, else metrics.db)")


def add_window_option(parser: argparse.ArgumentParser) -> None:
    """``--window``: ``arguments.window`` is a `Window`, or None when not given."""
    parser.add_argument(
        "--window",
        metavar="WHEN",
        type=_checked(Window.parse),
        help="the last 15m, 1h, 7d, or from START/END, such as 09:30/10:00 or 2026-01-31T09:30/",
    )


def add_service_option(parser: argparse.ArgumentParser) -> None:
    """``--service``: ``arguments.service`` is a name or None."""
    option = parser.add_argument("--service", metavar="NAME", help="only spans of this service")
    option.completer = complete_services  # type: ignore[attr-defined] # which is how argcomplete is told


def add_operation_argument(
    parser: argparse.ArgumentParser, *, is_optional: bool, text: str = "the name of an operation"
) -> None:
    """The positional ``OPERATION``: ``arguments.operation`` is a name, or None where it may be left out."""
    argument = parser.add_argument("operation", metavar="OPERATION", nargs="?" if is_optional else None, help=text)
    argument.completer = complete_operations  # type: ignore[attr-defined] # which is how argcomplete is told


def duration_ms(text: str) -> float:
    """An argparse type: ``200ms``, ``1.5s`` as milliseconds."""
    return _checked(parse_duration_nano)(text) / 1e6


def duration_seconds(text: str) -> float:
    """An argparse type: ``1h``, ``7d`` as seconds."""
    return _checked(parse_duration_nano)(text) / 1e9


def size_bytes(text: str) -> int:
    """An argparse type: what the setting ``size_max_bytes`` takes, such as ``512MB``, as bytes."""
    size: int = _checked(lambda text: parse_setting("size_max_bytes", text))(text)
    return size


def count_at_least_0(text: str) -> int:
    """An argparse type: a whole number of 0 or more."""
    return _whole_number(text, 0)


def count_at_least_1(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    return _whole_number(text, 1)


def _whole_number(text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
        message = f"a whole number of {least} or more is wanted; {text!r:.100} is none"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """``parse`` as an argparse type: what it refuses is wrong usage, told below the usage line."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except (ConfigError, QueryError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
