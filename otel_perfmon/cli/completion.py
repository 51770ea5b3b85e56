"""Completion of commands, options and operation names in a shell, by argcomplete where it is installed.

The shell runs the program itself, with ``_ARGCOMPLETE`` in its environment. Whatever fails here leaves the line as it
is and says nothing: an error would land in the middle of what somebody types.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from otel_perfmon.storage.base import Store

_SHOWN_MAX: Final = 500
"""Names that are offered at once; more are no help to anybody."""

TRACE_WORDS: Final = ("last", "slowest")


def is_asked() -> bool:
    """Whether a shell asks what could come next."""
    return "_ARGCOMPLETE" in os.environ


def words() -> list[str]:
    """The words of the line that is typed, without the program's own."""
    return os.environ.get("COMP_LINE", "").split()[1:]


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process; do nothing where argcomplete is missing."""
    with suppress(ImportError):
        argcomplete = import_module("argcomplete")
        argcomplete.autocomplete(
            parser, always_complete_options=False, default_completer=argcomplete.completers.SuppressCompleter()
        )


def complete_operations(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The store's operations that begin with ``prefix``; of one service where the line names it."""
    return _ask(prefix, parsed_args, lambda store: store.list_operations(service=parsed_args.service or None))


def complete_traces(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The words that stand for a trace; after ``slowest`` the store's operations."""
    line = os.environ.get("COMP_LINE", "")
    before = words() if line.endswith(" ") else words()[:-1]
    if "slowest" in before:
        return complete_operations(prefix, parsed_args)
    return [word for word in TRACE_WORDS if word.startswith(prefix)]


def complete_services(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The store's services that begin with ``prefix``."""
    return _ask(prefix, parsed_args, lambda store: store.list_services())


def _ask(prefix: str, parsed_args: argparse.Namespace, names: Callable[[Store], Iterable[str]]) -> list[str]:
    try:
        with import_module("otel_perfmon.cli.answer").open_store_of(parsed_args) as store:
            fitting = [name for name in names(store) if name.startswith(prefix) and name.isprintable()]
    except Exception:  # see the module's docstring
        return []
    return fitting[:_SHOWN_MAX]
