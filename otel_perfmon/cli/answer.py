"""What every reading command stands on: the store that is asked, the console, and the one shape of ``--json``."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console

from otel_perfmon.cli.report import open_console, printable
from otel_perfmon.config import PREFIX, resolve_setting
from otel_perfmon.errors import StoreError
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import ago, during
from otel_perfmon.query import Window
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.url import open_store

_PATH_VARIABLE: Final = f"{PREFIX}PATH"


@dataclass(frozen=True, slots=True)
class Answer:
    """A store to ask, and where the answer goes: to ``console``, or, if ``is_json``, through `print_json`."""

    command: str
    path: str
    store: Store
    console: Console
    is_json: bool

    def print_json(
        self,
        items: Iterable[Any],
        *,
        window: Window | None = None,
        is_complete: bool = True,
        next_page_token: str | None = None,
    ) -> None:
        """Print one JSON object with the items, which are records or mappings; see `otel_perfmon.json_form`."""
        answer = {
            "command": self.command,
            "store": self.path,
            "window": as_json(window),
            "items": [as_json(item) for item in items],
            "is_complete": is_complete,
            "next_page_token": next_page_token,
        }
        self.print_line(json.dumps(answer, indent=2 if self.console.is_terminal else None))

    def print_nothing(self, what: str, window: Window | None, hint: str = "") -> None:
        """Say that nothing of the kind was found, and where there is something; ``what``: ``operation ran``.

        ``hint``, a sentence after a blank, says what may have been meant.
        """
        summary = self.store.summarize_store()
        when = f" {during(window)}" if window is not None else ""
        if summary.last_end is None:
            sentence = f"No {what}{when}: {self.path} holds no spans."
        elif window is not None:
            sentence = f"No {what}{when}. The last span ended {ago(summary.last_end, time.time())}."
        else:
            sentence = f"No {what}."
        self.console.print(printable(sentence + hint), soft_wrap=True)

    def print_line(self, text: str) -> None:
        """One line as it is, however long, and at once."""
        self.console.file.write(f"{text}\n")
        self.console.file.flush()


@contextmanager
def open_answer(arguments: argparse.Namespace) -> Iterator[Answer]:
    """Open what `otel_perfmon.cli.options.add_store_options` names.

    Raises `StoreError` when there is no file, `ConfigError` when its path is none.
    """
    with open_store_of(arguments) as store:
        yield Answer(
            command=arguments.command,
            path=_path_of(arguments),
            store=store,
            console=open_console(is_colored=not arguments.no_color),
            is_json=arguments.json,
        )


def open_store_of(arguments: argparse.Namespace) -> Store:
    """The store that ``arguments.db`` or the environment names. Raises as `open_answer`."""
    path = _path_of(arguments)
    if not _is_something_at(path):
        raise StoreError(_nothing_at(path, is_named=arguments.db is not None or bool(os.environ.get(_PATH_VARIABLE))))
    return open_store(path)


def _path_of(arguments: argparse.Namespace) -> str:
    """Absolute."""
    path: str = resolve_setting("path", arguments.db)
    return path


def _is_something_at(path: str) -> bool:
    """Whether there is a file, or one that only the store can say what is wrong with."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _nothing_at(path: str, *, is_named: bool) -> str:
    if is_named:
        return f"There is no store at {path}: nothing has been recorded into it; --db FILE names another one."
    return (
        f"There is no {os.path.basename(path)} in {os.path.dirname(path)}: name the store with --db FILE, or record"
        ' into this one with three lines: import otel_perfmon; monitor = otel_perfmon.configure("metrics.db");'
        ' with monitor.monitor("load_cart"): ...'
    )
