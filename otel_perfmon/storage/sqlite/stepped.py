"""Our connections: they tell of each statement, and this process knows which of them are open."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from otel_perfmon.storage.weak_roll import WeakRoll


class SteppedConnection(sqlite3.Connection):
    """A connection that tells of each statement it has run."""

    on_step: Callable[[], None] | None = None
    is_immutable = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.path = ""
        self.index_inode = 0
        self._busy_timeout_ms = -1
        self.remembered: OrderedDict[Any, Any] = OrderedDict()
        """What questions remember of this file: it goes with the connection, since another file may take the path."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`."""
        cursor = super().execute(*arguments)
        if self.on_step is not None:
            self.on_step()
        return cursor

    def close(self) -> None:
        """As `sqlite3.Connection.close`."""
        super().close()
        _opened.discard(self)

    def set_busy_timeout(self, milliseconds: int) -> None:
        """How long SQLite waits for programs that know nothing of our lock file, and for readers."""
        if milliseconds != self._busy_timeout_ms:
            self.execute(f"PRAGMA busy_timeout = {milliseconds}")
            self._busy_timeout_ms = milliseconds


_opened: Final[WeakRoll[SteppedConnection]] = WeakRoll()
_pools: Final[WeakRoll[Any]] = WeakRoll()


def opened(connection: SteppedConnection, path: str) -> SteppedConnection:
    """Know of a connection, for as long as it is open."""
    connection.path = path
    _opened.add(connection)
    return connection


def add_pool(pool: Any) -> None:
    """Know of what keeps connections that nobody uses: its ``close_idle()`` may be called from any thread."""
    _pools.add(pool)


def is_other_index_open(path: str, inode: int) -> bool:
    """Whether this process has the file open with another index of the log, once unused connections are closed.

    All connections of a process share one index: while one of them is open, no other index can be had.
    """
    if _uses_other_index(path, inode):
        for pool in _pools:
            pool.close_idle()
    return _uses_other_index(path, inode)


def _uses_other_index(path: str, inode: int) -> bool:
    return any(each.path == path and each.index_inode not in {0, inode} for each in _opened)
