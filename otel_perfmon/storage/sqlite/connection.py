"""Opening the file: who may write it, who may read it, and whether it is ours at all.

The database and its ``-shm`` are never opened by anything but SQLite here: closing any other descriptor of them would
drop SQLite's own locks (sqlite.org/howtocorrupt.html, 2.2). `sqlite3.Connection` is called directly, because
instrumentations of the sqlite3 module wrap ``sqlite3.connect``.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_perfmon.errors import (
    PerfmonError,
    SchemaError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

APPLICATION_ID: Final = 0x50464D4E  # "PFMN"
SCHEMA_VERSION: Final = 2
SQLITE_VERSION_MIN: Final = (3, 37, 0)
BUSY_TIMEOUT_MS: Final = 1_000
_CACHED_STATEMENTS: Final = 256
_PAGE_BYTES_MIN: Final = 512
_NOT_A_DATABASE: Final = "file is not a database"
_INCREMENTAL: Final = 2


class SteppedConnection(sqlite3.Connection):
    """A connection that tells of each statement it has run."""

    on_step: Callable[[], None] | None = None
    is_immutable = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.remembered: OrderedDict[Any, Any] = OrderedDict()
        """What questions remember of this file: it goes with the connection, since another file may take the path."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`."""
        cursor = super().execute(*arguments)
        if self.on_step is not None:
            self.on_step()
        return cursor


def inode_of(path: str) -> tuple[int, int] | None:
    """What tells one file from another that took its path; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_row_error(error: BaseException) -> bool:
    """Whether a value in the batch is to blame, so that trying again cannot help."""
    if isinstance(error, sqlite3.ProgrammingError):
        return "binding parameter" in str(error)
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return True
    return isinstance(error, Exception) and not isinstance(error, (sqlite3.Error, PerfmonError, OSError, MemoryError))


def open_writer(path: str, on_step: Callable[[], None] | None = None) -> sqlite3.Connection:
    """A connection that may write, to a file that is ours and of this version; the caller holds the file lock.

    ``on_step`` is called after each statement. Creates the file (mode 0600) and its tables. Raises `SchemaError` for a
    foreign or newer file, leaving it as it is.
    """
    _create_if_missing(path)
    connection = _connect(path, "rw")
    connection.on_step = on_step
    try:
        _prepare_writer(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: str) -> SteppedConnection:
    """A read-only connection. Raises `SchemaError` for a foreign or newer file, `StoreError` for a missing one."""
    check_readable(path)
    check_ours(path)
    connection = _connect_readonly(path)
    try:
        is_ours = _is_ours(connection, path)
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    if not is_ours:
        connection.close()
        message = f"{path} is empty: nothing has been recorded into it."
        raise StoreError(message)
    return connection


def open_untouched(path: str) -> SteppedConnection:
    """A connection that changes nothing, and makes no file beside the store's. Raises as `open_reader`.

    SQLite makes ``-wal`` and ``-shm`` even for who only reads. Without both, what is in the database itself is read as
    it stands, and a log is not looked into: `SteppedConnection.is_immutable` says so.
    """
    is_live = all(os.path.exists(path + suffix) for suffix in ("-wal", "-shm"))
    connection = _connect(path, "ro" if is_live else "ro&immutable=1")
    connection.is_immutable = not is_live
    try:
        is_ours = _is_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    if not is_ours:
        connection.close()
        message = f"{path} is empty: nothing has been recorded into it."
        raise StoreError(message)
    return connection


def check_readable(path: str) -> None:
    """Raise a `StoreError` that says so when ``path`` is missing, a directory, or not for us to read."""
    _check_regular(path)
    try:
        os.stat(path)
    except FileNotFoundError:
        message = f"There is no store at {path}: nothing has been recorded into it."
        raise StoreError(message) from None
    if not os.access(path, os.R_OK):
        message = f"{path} is not readable for this user."
        raise StoreError(message)


def check_ours(path: str) -> None:
    """Raise `StoreError` when what is at ``path`` is not a store of ours, before anything is made beside it."""
    _check_regular(path)
    try:
        size = os.stat(path).st_size
    except OSError:
        return
    with translated(path):
        if 0 < size < _PAGE_BYTES_MIN:
            raise sqlite3.DatabaseError(_NOT_A_DATABASE)
        # Immutable: no locks, and no -wal and -shm made beside a file that may be somebody else's. What stands in a log
        # is not seen that way, so only what is foreign for certain is refused here.
        with closing(_connect(path, "ro&immutable=1")) as connection:
            try:
                _is_ours(connection, path)
            except sqlite3.DatabaseError as error:
                if _NOT_A_DATABASE in str(error):
                    raise


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn what SQLite and the system raise into `StoreError` and its kind."""
    try:
        yield
    except PerfmonError:
        raise
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = f"No room left on the disk for {path}."
            raise StoreFullError(message) from error
        message = f"{path} cannot be opened: {error.strerror or error}."
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message += " This user needs the right to it and to the folder it is in."
        raise StoreError(message) from error


def _translate(error: sqlite3.Error, path: str) -> StoreError:
    text = str(error)
    if _NOT_A_DATABASE in text:
        return SchemaError(f"{path} is not an SQLite database; choose another path, it is left as it is.")
    if "locked" in text or "busy" in text:
        return StoreBusyError(f"{path} is locked by another program ({text}).")
    if "full" in text:
        return StoreFullError(f"No room left on the disk for {path} ({text}).")
    if "malformed" in text or "corrupt" in text:
        return StoreCorruptError(f"{path} is damaged ({text}); 'sqlite3 {path} .recover' may save what is left.")
    return StoreError(f"{path} cannot be used: {text}.")


def _check_regular(path: str) -> None:
    """Raise `StoreError` for a directory, and for what SQLite would wait for when it opens it, such as a pipe."""
    if os.path.isdir(path):
        message = f"{path} is a directory; the path of a file is wanted."
        raise StoreError(message)
    if os.path.exists(path) and not os.path.isfile(path):
        message = f"{path} is no regular file; the path of one is wanted."
        raise StoreError(message)


def _create_if_missing(path: str) -> None:
    if not os.path.exists(path):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return


def _prepare_writer(connection: sqlite3.Connection, path: str) -> None:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        message = f"SQLite {wanted} or newer is needed; this Python has {sqlite3.sqlite_version}."
        raise StoreError(message)
    is_ours = _is_ours(connection, path)
    if not is_ours:
        _check_encoding(connection, path)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has no effect once a table exists
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
            connection.execute("VACUUM")  # nor in a database that somebody emptied
        connection.execute("PRAGMA journal_mode = WAL")
    for pragma in ("synchronous = NORMAL", "wal_autocheckpoint = 0", "trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA journal_size_limit = 4194304")
    # Debian's SQLite overwrites what it deletes: pruning 2,000 spans of 20 KB wrote 40 MB to the log (measured).
    connection.execute("PRAGMA secure_delete = FAST")
    if not is_ours or _user_version(connection) < SCHEMA_VERSION:
        _migrate(connection)


def _check_encoding(connection: sqlite3.Connection, path: str) -> None:
    """Raise `SchemaError` for a database that somebody made in UTF-16 and emptied: its encoding stays."""
    encoding = connection.execute("PRAGMA encoding").fetchone()[0]
    if encoding != "UTF-8":
        message = f"{path} is an emptied SQLite database in {encoding}, not UTF-8; remove it, or choose another path."
        raise SchemaError(message)


def _is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """True for a store of ours, False for a file without any table; anything else raises."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = _user_version(connection)
    if application_id == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            message = (
                f"{path} was written by a newer otel-perfmon (schema {version}, this one knows {SCHEMA_VERSION});"
                " update this one to ask it."
            )
            raise SchemaError(message)
        return True
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id or version or tables:
        message = f"{path} is an SQLite database of another program; choose another path, it is left as it is."
        raise SchemaError(message)
    return False


def _user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    for name in sorted(each.name for each in _migrations().iterdir() if each.name.endswith(".sql")):
        number = int(name.partition("_")[0])
        if number <= _user_version(connection):
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(_migrations().joinpath(name).read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _migrations() -> Traversable:
    from importlib import resources  # noqa: PLC0415 - 12 ms, of which who only asks needs none

    return resources.files("otel_perfmon.storage.sqlite").joinpath("migrations")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _connect_readonly(path: str) -> SteppedConnection:
    connection = _connect(path, "ro")
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        connection.close()
        if os.access(os.path.dirname(path), os.W_OK):
            raise
        # WAL needs a -shm beside the file. Where we can make none, somebody else may: good for one question only.
        connection = _connect(path, "ro&immutable=1")
        connection.is_immutable = True
        return connection
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str, mode: str) -> SteppedConnection:
    return SteppedConnection(
        _uri(path, mode),
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def _uri(path: str, mode: str) -> str:
    return f"{Path(path).absolute().as_uri()}?mode={mode}"
