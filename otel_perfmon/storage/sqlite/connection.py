"""Opening the file: who may write it, who may read it, and whether it is ours at all.

The database and its ``-shm`` are never opened by anything but SQLite here: closing any other descriptor of them would
drop SQLite's own locks (sqlite.org/howtocorrupt.html, 2.2). `sqlite3.Connection` is called directly, because
instrumentations of the sqlite3 module wrap ``sqlite3.connect``.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from otel_perfmon.errors import (
    PerfmonError,
    SchemaError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from otel_perfmon.storage.sqlite.damage import UnfinishedError, damage_error, find_damage
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.path_status import inode_of
from otel_perfmon.storage.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION, migrate, user_version
from otel_perfmon.storage.sqlite.seal import (
    Seal,
    State,
    current_alteration,
    is_sealed,
    read_seal,
    seal_unchanged,
    state_of,
    tell_of_alteration,
    was_ours,
)
from otel_perfmon.storage.sqlite.stepped import SteppedConnection as SteppedConnection  # noqa: PLC0414 - theirs too
from otel_perfmon.storage.sqlite.stepped import opened

SQLITE_VERSION_MIN: Final = (3, 37, 0)
BUSY_TIMEOUT_MS: Final = 1_000
_CACHED_STATEMENTS: Final = 256
_PAGE_BYTES_MIN: Final = 512
_NOT_A_DATABASE: Final = "file is not a database"
_NO_TEXT: Final = "it holds a text that is none"
_INCREMENTAL: Final = 2
_LOOK_AGAIN_SECONDS: Final = (0.005, 0.05)
_READERS_CHECK_SECONDS_MAX: Final = 1.0
"""So long a question waits for the file to be gone through; what SQLite meets later it says all the same."""
_known_sound: Final[dict[tuple[int, str], State]] = {}
_LEFT_ALONE_SECONDS: Final = 60
"""A file of an older version into which somebody recorded so recently is not brought up to date just to be read."""


class NotADatabaseError(SchemaError):
    """What is there is no SQLite database: somebody else's file, or one of ours without its header."""


Inodes = tuple["tuple[int, int] | None", ...]


def inodes_of(path: str) -> Inodes:
    """Those of the file, of its log and of the index of that."""
    return inode_of(path), inode_of(path + "-wal"), inode_of(path + "-shm")


def is_row_error(error: BaseException) -> bool:
    """Whether a value in the batch is to blame, so that trying again cannot help."""
    if isinstance(error, sqlite3.ProgrammingError):
        return "binding parameter" in str(error)
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return True
    return isinstance(error, Exception) and not isinstance(error, (sqlite3.Error, PerfmonError, OSError, MemoryError))


def open_writer(path: str, on_step: Callable[[], None] | None = None, *, is_patient: bool = True) -> SteppedConnection:
    """A connection that may write, to a file that is ours and of this version; the caller holds the file lock.

    ``on_step`` is called after each statement. Creates the file (mode 0600) and its tables. Raises `SchemaError` for a
    foreign or newer file, leaving it as it is, and `StoreBusyError` for one that would have to be brought up to date
    first when the caller is not patient.
    """
    _create_if_missing(path)
    connection = connect(path, "rw")
    connection.on_step = on_step
    try:
        _prepare_writer(connection, path, is_patient=is_patient)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: str) -> SteppedConnection:
    """A read-only connection. Raises `SchemaError` for a foreign or newer file, `StoreError` for a missing one.

    A file of an older version is brought up to date first, where that hurts nobody.
    """
    check_readable(path)
    try:
        check_ours(path)
    except NotADatabaseError as error:
        if not was_ours(path):
            raise
        raise damage_error(path, "its header is gone") from error
    connection = _connect_readonly(path)
    try:
        _check_has_tables(connection, path)
        check_sound(path)
        if user_version(connection) < SCHEMA_VERSION:
            _check_replaceable(connection, path)
            connection.close()
            _bring_up_to_date(path)
            connection = _connect_readonly(path)
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_has_tables(connection: sqlite3.Connection, path: str) -> None:
    if _is_ours(connection, path):
        return
    if not os.path.getsize(path):
        raise StoreError(f"{path} is empty: nothing has been recorded into it.")
    raise StoreError(
        f"{path} has no tables: nothing has been recorded into it, or it was copied without its log ({path}-wal)."
    )


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Raise `SchemaError` when another version has changed the format of a file that was open already."""
    version = user_version(connection)
    if version != SCHEMA_VERSION:
        message = (
            f"{path} was brought to schema {version} by another version of otel-perfmon, and this one knows"
            f" {SCHEMA_VERSION}; run the same version everywhere, or give each a file of its own."
        )
        raise SchemaError(message)


def check_sound(path: str) -> None:
    """Before a question: go through a file that is not as its seal says (`seal`), once for each such state of it.

    Raises `StoreCorruptError` when it is damaged.
    """
    here = (os.getpid(), path)  # a child of a fork has not been told
    state = state_of(path)
    if state is None or state == _known_sound.get(here):
        return
    for pause in _LOOK_AGAIN_SECONDS:
        if state is None or is_sealed(read_seal(path), state):
            break
        time.sleep(pause)  # a process that records may just be about to set it
        state = state_of(path)
    else:
        _go_through(path, state)
    tell_of_alteration(path, current_alteration(path))
    if state is not None and state == state_of(path):
        _known_sound[here] = state


def _go_through(path: str, state: State | None) -> None:
    with suppress(UnfinishedError):
        with closing(_connect_readonly(path)) as fresh:  # what another one has read before is not read again
            found = find_damage(fresh, path, _READERS_CHECK_SECONDS_MAX)
        if found is not None:
            raise damage_error(path, found)
        if state is not None:
            seal_unchanged(path, state)


def _check_replaceable(connection: SteppedConnection, path: str) -> None:
    """Raise `SchemaError` unless who asks may bring the file up to date, and nobody seems to record into it."""
    old = f"{path} was written by an older otel-perfmon (schema {user_version(connection)}, not {SCHEMA_VERSION})"
    is_ours_to_write = os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
    if connection.is_immutable or not is_ours_to_write:
        message = f"{old}, and this user may not bring it up to date; ask as one who may write it, or ask a copy."
        raise SchemaError(message)
    last = connection.execute("SELECT max(updated_unix_s) FROM _health").fetchone()[0]
    if last is not None and abs(time.time() - last) < _LEFT_ALONE_SECONDS:
        message = f"{old}, and a process of that version recorded into it just now; stop it, and ask again in a minute."
        raise SchemaError(message)


def _bring_up_to_date(path: str) -> None:
    lock = FileLock(path + ".lock")
    try:
        with lock.held(BUSY_TIMEOUT_MS / 1000), Seal(path, lock).opened():
            open_writer(path).close()
    finally:
        lock.close()


def open_untouched(path: str) -> SteppedConnection:
    """A connection that changes nothing, and makes no file beside the store's. Raises as `open_reader`.

    SQLite makes ``-wal`` and ``-shm`` even for who only reads. Without both, what is in the database itself is read as
    it stands, and a log is not looked into: `SteppedConnection.is_immutable` says so.
    """
    is_live = all(os.path.exists(path + suffix) for suffix in ("-wal", "-shm"))
    connection = connect(path, "ro" if is_live else "ro&immutable=1")
    connection.is_immutable = not is_live
    try:
        _check_has_tables(connection, path)
    except BaseException:
        connection.close()
        raise
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
        with closing(connect(path, "ro&immutable=1")) as connection:
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
    except UnicodeDecodeError as error:  # a name in the schema that SQLite complains of
        raise damage_error(path, _NO_TEXT) from error
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
        return NotADatabaseError(f"{path} is not an SQLite database; choose another path, it is left as it is.")
    if "locked" in text or "busy" in text:
        return StoreBusyError(f"{path} is locked by another program ({text}).")
    if "full" in text:
        return StoreFullError(f"No room left on the disk for {path} ({text}).")
    if any(word in text for word in ("malformed", "corrupt", "decode")):
        return damage_error(path, text)
    if not text and type(error) is sqlite3.DatabaseError:  # what Python 3.10 says where others quote it
        return damage_error(path, _NO_TEXT)
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


def _prepare_writer(connection: sqlite3.Connection, path: str, *, is_patient: bool) -> None:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        message = f"SQLite {wanted} or newer is needed; this Python has {sqlite3.sqlite_version}."
        raise StoreError(message)
    is_ours = _is_ours(connection, path)
    is_old = is_ours and user_version(connection) < SCHEMA_VERSION
    if is_old and not is_patient:
        message = f"{path} is being brought up to date."
        raise StoreBusyError(message)
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
    if is_old or not is_ours:
        migrate(connection, path)


def _check_encoding(connection: sqlite3.Connection, path: str) -> None:
    """Raise `SchemaError` for a database that somebody made in UTF-16 and emptied: its encoding stays."""
    encoding = connection.execute("PRAGMA encoding").fetchone()[0]
    if encoding != "UTF-8":
        message = f"{path} is an emptied SQLite database in {encoding}, not UTF-8; remove it, or choose another path."
        raise SchemaError(message)


def _is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """True for a store of ours, False for a file without any table; anything else raises."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = user_version(connection)
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


def _connect_readonly(path: str) -> SteppedConnection:
    connection = connect(path, "ro")
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        connection.close()
        if os.access(os.path.dirname(path), os.W_OK):
            raise
        if os.path.exists(path + "-wal") and os.path.getsize(path + "-wal"):
            message = (
                f"The log of {path} cannot be read without the right to write into its folder, and what is only in it"
                " would be missing; ask as a user who may, or copy all its files elsewhere."
            )
            raise StoreError(message) from None
        # WAL needs a -shm beside the file. Where we can make none, somebody else may: good for one question only.
        connection = connect(path, "ro&immutable=1")
        connection.is_immutable = True
        return connection
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: str, mode: str) -> SteppedConnection:
    """A connection with none of our settings; ``mode`` as in SQLite's URIs."""
    connection = SteppedConnection(
        _uri(path, mode),
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    return opened(connection, path)


def _uri(path: str, mode: str) -> str:
    return f"{Path(path).absolute().as_uri()}?mode={mode}"
