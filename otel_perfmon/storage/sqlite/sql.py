"""Questions in SQL: one statement that only reads, for a bounded time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from otel_perfmon.errors import QueryError, StoreTimeoutError
from otel_perfmon.records import SqlRows
from otel_perfmon.storage.sqlite.bounded_functions import bounded_functions
from otel_perfmon.storage.sqlite.time_limit import time_limit

_VALUE_MAX_BYTES: Final = 16 * 1024 * 1024
"""A longer text or blob cannot be made, such as by replace() of what replace() made (from Python 3.11 on)."""
_ANSWER_MAX_BYTES: Final = 64 * 1024 * 1024
_ROW_BYTES: Final = 64
_CELL_BYTES: Final = 24
"""What a row and each of its values take beside the text."""
_COLUMNS_MAX: Final = 200
_PATTERN_MAX_BYTES: Final = 200
"""Of LIKE and GLOB, which compare all of it with each place of a text, in one step."""
_DENIED: Final = frozenset(("load_extension", "fts3_tokenizer", "printf", "format", "json_patch", "unhex"))
"""Functions that reach out of the file, or take seconds in one step, which nothing can interrupt, as
``printf('%.*c', 1000000000, 'x')`` does."""
_READING: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_DESCRIBING: Final = frozenset(("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"))
_VIEWS: Final = "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name"
_COLUMNS: Final = "PRAGMA table_info({})"
_LENGTH, _COLUMN, _LIKE_PATTERN_LENGTH = 0, 2, 8  # SQLITE_LIMIT_*
_OF_THE_FILE: Final = ("malformed", "corrupt", "locked", "busy", "disk", "not a database", "unable to open", "decode")
"""What SQLite says when the file is to blame, and not the question."""


def query_sql(connection: sqlite3.Connection, sql: str, *, rows_max: int, seconds_max: float) -> SqlRows:
    """Run one statement on a read-only connection, which is to be closed afterwards.

    Raises `QueryError` when it is none, wrong, or wants more than to read, `StoreTimeoutError` when it takes longer
    than ``seconds_max``.
    """
    if hasattr(connection, "setlimit"):  # from Python 3.11 on
        connection.setlimit(_LENGTH, _VALUE_MAX_BYTES)
        connection.setlimit(_COLUMN, _COLUMNS_MAX)
        connection.setlimit(_LIKE_PATTERN_LENGTH, _PATTERN_MAX_BYTES)
    connection.text_factory = _text
    _let_read(connection)
    # Steps that handle long values take milliseconds each: the clock is looked at from outside as well.
    watch = threading.Timer(seconds_max, connection.interrupt)
    watch.daemon = True
    watch.start()
    try:
        with bounded_functions(connection, _VALUE_MAX_BYTES), time_limit(connection, seconds_max):
            cursor = connection.execute(sql)
            rows = _bounded_rows(cursor, rows_max + 1)
    except (QueryError, StoreTimeoutError):
        raise
    except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
        if any(word in str(error) for word in _OF_THE_FILE) and "malformed JSON" not in str(error):
            raise
        raise QueryError(_sentence(error)) from error
    finally:
        watch.cancel()
        watch.join()  # it must not meet a connection that is closed
    if cursor.description is None:
        message = "There is no statement to answer; ask with SELECT."
        raise QueryError(message)
    columns = tuple(column[0] for column in cursor.description)
    return SqlRows(columns, tuple(rows[:rows_max]), is_complete=len(rows) <= rows_max)


def list_views(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The views of the file by name, and the columns of each; on a connection that is to be closed afterwards.

    Those that somebody made for themselves are among them, unless they ask for what is not there.
    """
    _let_read(connection)
    views: dict[str, tuple[str, ...]] = {}
    for (name,) in connection.execute(_VIEWS).fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        with suppress(sqlite3.OperationalError):
            views[name] = tuple(row[1] for row in connection.execute(_COLUMNS.format(quoted)))
    return views


def _let_read(connection: sqlite3.Connection) -> None:
    """Views use json_each() and its kind, which SQLite 3.40 calls unsafe there; the authorizer allows only to read."""
    connection.execute("PRAGMA trusted_schema = ON")
    # SQLite makes these when they are first named, and asks the authorizer for leave to write to its list of tables.
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()
    connection.set_authorizer(_authorize)


def _bounded_rows(cursor: sqlite3.Cursor, rows_max: int) -> list[tuple[Any, ...]]:
    """The rows, as long as they are no more than that and fit the memory."""
    rows: list[tuple[Any, ...]] = []
    room = _ANSWER_MAX_BYTES
    for row in islice(cursor, rows_max):
        room -= (
            sum(len(value) for value in row if isinstance(value, (str, bytes))) + _CELL_BYTES * len(row) + _ROW_BYTES
        )
        if room < 0:
            message = f"The answer is larger than {_ANSWER_MAX_BYTES >> 20} MiB; ask for less of it."
            raise QueryError(message)
        rows.append(row)
    return rows


def _text(value: bytes) -> str:
    """A text of the answer: what the question has made of bytes need be none."""
    return value.decode(errors="backslashreplace")


def _authorize(action: int, subject: str | None, function: str | None, *_: str | None) -> int:
    is_allowed = action in _READING or (action == sqlite3.SQLITE_PRAGMA and subject in _DESCRIBING)
    is_allowed = is_allowed and not (action == sqlite3.SQLITE_FUNCTION and str(function).lower() in _DENIED)
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _sentence(error: Exception) -> str:
    text = str(error)
    if "user-defined function" in text:
        return "A text is too long for what the question does with it; ask for less of it."
    if "not authorized" in text or "prohibited" in text:
        return "Only questions are answered here: the statement wants more than to read."
    if "one statement at a time" in text:
        return "One statement at a time is answered."
    return f"SQLite does not understand the question: {text}."
