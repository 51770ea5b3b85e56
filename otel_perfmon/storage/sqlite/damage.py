"""Damage to a file: looked for where there is reason to, and what is damaged moved out of the way."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from glob import escape as escape_glob
from glob import glob
from typing import Final

from otel_perfmon.errors import StoreCorruptError
from otel_perfmon.storage.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION, is_known, unknown_format, user_version
from otel_perfmon.storage.sqlite.seal import was_ours

_STEPS: Final = 10_000
_COMPANIONS: Final = ("-wal", "-shm", "")
"""The file last: a log that is left behind would be carried over into the next file of that name."""


class UnfinishedError(Exception):
    """The time was over before the whole file was gone through; nothing was found so far."""


def find_damage(
    connection: sqlite3.Connection, path: str, seconds_max: float, on_step: Callable[[], None] = lambda: None
) -> str | None:
    """What is found first when the whole file is gone through; None when nothing is wrong.

    Takes about 10 ms for each MB (measured), and raises `UnfinishedError` after ``seconds_max``. ``on_step`` is called
    all the while. Raises `SchemaError` for a file that says it is ours and is sound, with tables that no version made.
    """
    try:
        found = _check_integrity(connection, seconds_max, on_step)
        if found is not None or _is_as_made(connection):
            return found
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not _tells_of_damage(error):
            raise  # locked, or not to be read: says nothing of what it holds
        return str(error)
    except UnicodeDecodeError:
        return "it holds a text that is none"
    if not was_ours(path):
        raise unknown_format(path, user_version(connection))
    return "its tables are not as they were made"


def _is_as_made(connection: sqlite3.Connection) -> bool:
    """Whether the tables are those of their version, seen at one moment: another process may be migrating the file."""
    is_ours_to_begin = not connection.in_transaction
    if is_ours_to_begin:
        connection.execute("BEGIN")
    try:
        return not _says_it_is_ours(connection) or is_known(connection)
    finally:
        if is_ours_to_begin:
            connection.execute("ROLLBACK")


def _says_it_is_ours(connection: sqlite3.Connection) -> bool:
    """Whether its tables should be known: those of a newer version, and of other programs, are their own affair."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    return bool(application_id == APPLICATION_ID and user_version(connection) <= SCHEMA_VERSION)


def _tells_of_damage(error: Exception) -> bool:
    return any(word in str(error) for word in ("malformed", "decode"))


def _check_integrity(connection: sqlite3.Connection, seconds_max: float, on_step: Callable[[], None]) -> str | None:
    deadline = time.monotonic() + seconds_max

    def is_over() -> bool:
        on_step()
        return time.monotonic() > deadline

    connection.set_progress_handler(is_over, _STEPS)
    try:
        # As bytes: what it says may hold a name that is no text any more.
        found = connection.execute("SELECT CAST(integrity_check AS BLOB) FROM pragma_integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise UnfinishedError from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    text = found[0].decode(errors="replace").strip() if found else ""
    return None if text == "ok" else text.rpartition("\n")[2] or "nothing can be read"


def damage_error(path: str, what: str) -> StoreCorruptError:
    """What is to be said, and done, about a damaged file."""
    return StoreCorruptError(
        f"{path} is damaged ({what}). The next process that records moves it aside and begins a new one; 'sqlite3"
        f" {path} .recover' may save what is left."
    )


def files_set_aside(path: str) -> list[str]:
    """The damaged files that once were the file at ``path``, their logs and indexes among them."""
    return sorted(glob(f"{escape_glob(path)}.corrupt-*"))


def set_aside(path: str) -> str:
    """Give a damaged file, with its log, a name that says so; which one. The caller holds the file lock.

    While a connection is open: SQLite, when it closes one whose file was moved, leaves the names to the next file.
    """
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target, number = f"{path}.corrupt-{when}", 1
    while any(os.path.lexists(target + each) for each in _COMPANIONS):
        number += 1
        target = f"{path}.corrupt-{when}-{number}"
    for each in _COMPANIONS:
        if os.path.lexists(path + each):
            os.rename(path + each, target + each)
    return target
