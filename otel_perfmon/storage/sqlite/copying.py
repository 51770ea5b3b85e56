"""Copies of the file as it stands, with what is only in its log, for who must not change it by looking at it."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing, suppress
from typing import Final

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.path_status import size_bytes

_PAGES_AT_ONCE: Final = 4_096
_ATTEMPTS: Final = 5
_AGAIN_SECONDS: Final = 0.2


def copy_store(path: str, copy: str) -> None:
    """Copy the store at ``path`` to a new file, and bring that up to date. Raises `StoreError` and its kind."""
    connections.check_readable(path)
    connections.check_ours(path)
    with connections.translated(path):
        for _ in range(_ATTEMPTS):
            if _is_live(path):
                _copy_through_sqlite(path, copy)
                break
            if _copy_files(path, copy):
                break
            time.sleep(_AGAIN_SECONDS)
        else:
            message = f"{path} is being opened and closed all the time, so that it cannot be copied; try again."
            raise StoreBusyError(message)
    with connections.translated(copy):
        connections.open_writer(copy).close()


def _is_live(path: str) -> bool:
    """Whether somebody has it open, or nothing but an empty log was left: then SQLite makes no file beside it."""
    return os.path.exists(path + "-wal") and os.path.exists(path + "-shm")


def _copy_through_sqlite(path: str, copy: str) -> None:
    with closing(connections.connect(path, "ro")) as source, closing(connections.connect(copy, "rwc")) as target:
        source.execute("BEGIN")  # one state of it, whoever writes meanwhile
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=_PAGES_AT_ONCE, sleep=0)


def _copy_files(path: str, copy: str) -> bool:
    """Copy what nobody has open, database and log; False when somebody opened it meanwhile."""
    endings = ("", "-wal")
    before = [_state(path + ending) for ending in endings]
    for ending in endings:
        with suppress(FileNotFoundError):
            shutil.copyfile(path + ending, copy + ending)
    if not size_bytes(copy + "-wal"):
        with suppress(FileNotFoundError):
            os.unlink(copy + "-wal")
    return before == [_state(path + ending) for ending in endings] and not _is_live(path)


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
