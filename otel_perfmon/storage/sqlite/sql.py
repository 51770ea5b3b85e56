"""Questions in SQL: one statement that only reads, for a bounded time."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from otel_perfmon.errors import QueryError, StoreError
from otel_perfmon.records import SqlRows

_STEPS: Final = 10_000
"""The clock is looked at once in so many steps of SQLite's machine, which takes it about a tenth of a millisecond."""
_VALUE_MAX_BYTES: Final = 64 * 1024 * 1024
"""A longer text or blob cannot be made: zeroblob() would fill the memory in one step."""
_READING: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_DESCRIBING: Final = frozenset(("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"))
_LENGTH: Final = 0  # SQLITE_LIMIT_LENGTH
_OF_THE_FILE: Final = ("malformed", "corrupt", "locked", "busy", "disk", "not a database", "unable to open", "decode")
"""What SQLite says when the file is to blame, and not the question."""


def query_sql(connection: sqlite3.Connection, sql: str, *, rows_max: int, seconds_max: float) -> SqlRows:
    """Run one statement on a read-only connection, which is to be closed afterwards.

    Raises `QueryError` when it is none, wrong, or wants more than to read, `StoreError` when it takes longer than
    ``seconds_max``.
    """
    deadline = time.monotonic() + seconds_max
    if hasattr(connection, "setlimit"):  # from Python 3.11 on
        connection.setlimit(_LENGTH, _VALUE_MAX_BYTES)
    # Views use json_each() and its kind, which SQLite 3.40 calls unsafe there; the authorizer allows only to read.
    connection.execute("PRAGMA trusted_schema = ON")
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        cursor = connection.execute(sql)
        rows = cursor.fetchmany(rows_max + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
        if any(word in str(error) for word in _OF_THE_FILE):
            raise
        if "interrupted" in str(error):
            message = f"The question took longer than {seconds_max:g} s; ask for less, or give it more time."
            raise StoreError(message) from error
        raise QueryError(_sentence(error)) from error
    if cursor.description is None:
        message = "There is no statement to answer; ask with SELECT."
        raise QueryError(message)
    columns = tuple(column[0] for column in cursor.description)
    return SqlRows(columns, tuple(rows[:rows_max]), is_complete=len(rows) <= rows_max)


def _authorize(action: int, subject: str | None, *_: str | None) -> int:
    is_allowed = action in _READING or (action == sqlite3.SQLITE_PRAGMA and subject in _DESCRIBING)
    is_allowed = is_allowed and not (action == sqlite3.SQLITE_FUNCTION and subject == "load_extension")
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _sentence(error: Exception) -> str:
    text = str(error)
    if "not authorized" in text or "prohibited" in text:
        return "Only questions are answered here: the statement wants more than to read."
    if "one statement at a time" in text:
        return "One statement at a time is answered."
    return f"SQLite does not understand the question: {text}."
