"""Functions of SQLite's that take hours in one step, which nothing interrupts, in ways that do not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

_WORK_MAX: Final = 100_000_000
"""The product of the lengths of two values that SQLite itself may compare: a tenth of a second."""


@contextmanager
def bounded_functions(connection: sqlite3.Connection, value_bytes_max: int) -> Iterator[None]:
    """Have ``instr``, ``replace`` and the ``trim`` family of a connection in the place of SQLite's own, for a block."""
    # Exact also for numbers and blobs, which are rare: SQLite is asked, on a connection without a file.
    with closing(sqlite3.Connection(":memory:", check_same_thread=False)) as own:
        _put(connection, own, value_bytes_max)
        yield


def _put(connection: sqlite3.Connection, own: sqlite3.Connection, value_bytes_max: int) -> None:
    def ask(name: str, *given: Any) -> Any:
        work = _length(given[0]) * _length(given[1])
        if work > _WORK_MAX:
            message = f"{name}() was given too much"
            raise ValueError(message)
        places = ", ".join("?" * len(given))
        return own.execute(f"SELECT {name}({places})", given).fetchone()[0]

    def instr(text: Any, part: Any) -> Any:
        return text.find(part) + 1 if _are_texts(text, part) else ask("instr", text, part)

    def replace(text: Any, part: Any, new: Any) -> Any:
        if not (_are_texts(text, part, new) and part):
            return ask("replace", text, part, new)
        growth = len(new.encode()) - len(part.encode())
        if growth > 0 and len(text.encode()) + growth * text.count(part) > value_bytes_max:
            raise ValueError("string or blob too big")
        return text.replace(part, new)

    connection.create_function("instr", 2, instr, deterministic=True)
    connection.create_function("replace", 3, replace, deterministic=True)
    for name in ("trim", "ltrim", "rtrim"):

        def trim(text: Any, chars: Any, name: str = name) -> Any:
            return ask(name, text, chars)

        connection.create_function(name, 2, trim, deterministic=True)


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 1
