"""The tables and views of a file: made, brought up to date, and known again.

A new file runs through every migration, as an old one does, so that both end as the same.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from otel_perfmon.errors import SchemaError, StoreCorruptError, StoreFullError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

APPLICATION_ID: Final = 0x50464D4E  # "PFMN"
SCHEMA_VERSION: Final = 6
_ROOM_SHARE: Final = 1.5
"""Free space that a migration wants, in sizes of the file: of 36 MB the log took 0.8, and the file grew by 0.4."""


def user_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration that ran on the file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Run the migrations that are due, all in one transaction; the caller holds the file lock.

    Raises `SchemaError` for a file of a format that no version ever had, and leaves it as it is.
    """
    connection.execute("PRAGMA legacy_alter_table = ON")  # else a view of the user's keeps a table from being renamed
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = user_version(connection)
        if version:
            _check_known(connection, path, version)
            _check_room(path)
        _run(connection, version, SCHEMA_VERSION)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError) and "user-defined" in str(error):
            message = f"{path} holds a value that was never written so and cannot be brought up to date: it is damaged."
            raise StoreCorruptError(message) from error
        raise
    connection.execute("PRAGMA legacy_alter_table = OFF")


def _run(connection: sqlite3.Connection, version: int, last_version: int) -> None:
    """Every statement of the migrations after ``version``, up to ``last_version``."""
    for number, name in _migrations():
        if version < number <= last_version:
            _create_functions(connection, number)
            for statement in _statements(_folder().joinpath(name).read_text(encoding="utf-8")):
                connection.execute(statement)


def _create_functions(connection: sqlite3.Connection, number: int) -> None:
    """What the SQL of a migration calls that SQLite does not have."""
    if number == 2:  # noqa: PLR2004
        from otel_perfmon.storage.sqlite.migrations import schema_1  # noqa: PLC0415 - once in the life of a file

        schema_1.create_functions(connection)


def is_known(connection: sqlite3.Connection) -> bool:
    """Whether the file has every object that the migrations up to its version make, just so."""
    with closing(sqlite3.Connection(":memory:", isolation_level=None)) as model:
        _run(model, 0, user_version(connection))
        return objects_of(model).items() <= objects_of(connection).items()


def _check_known(connection: sqlite3.Connection, path: str, version: int) -> None:
    if not is_known(connection):
        raise unknown_format(path, version)


def unknown_format(path: str, version: int) -> SchemaError:
    """What is to be said of a file whose tables no version made."""
    return SchemaError(
        f"{path} says schema {version} but its tables are not those of any released otel-perfmon; it is left as it is."
        " Move it away, or choose another path, and a new one is begun."
    )


def objects_of(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The statement that made each table, index and view, by kind and name."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): sql for kind, name, sql in rows}


def _check_room(path: str) -> None:
    needed = int(os.stat(path).st_size * _ROOM_SHARE)
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
    if free < needed:
        message = (
            f"{path} is of an older otel-perfmon and must be brought up to date, for which {needed >> 20} MiB must be"
            f" free on its disk; {free >> 20} are."
        )
        raise StoreFullError(message)


def _migrations() -> list[tuple[int, str]]:
    names = sorted(each.name for each in _folder().iterdir() if each.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), name) for name in names]


def _folder() -> Traversable:
    from importlib import resources  # noqa: PLC0415 - 12 ms, of which who only asks needs none

    return resources.files("otel_perfmon.storage.sqlite").joinpath("migrations")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
