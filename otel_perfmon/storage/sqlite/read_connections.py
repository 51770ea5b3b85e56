"""The connections of who asks: one to a question, kept for the next one, and none that goes over a fork."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from otel_perfmon.errors import PerfmonError, StoreClosedError, StoreCorruptError
from otel_perfmon.storage import fork
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.stepped import add_pool
from otel_perfmon.storage.sqlite.time_limit import time_limit

_IDLE_MAX: Final = 4
_FORK_SECONDS_MAX: Final = 2.0
"""How long a fork waits for the questions of other threads; they are interrupted after half of it."""


_Idle = deque[tuple[connections.Inodes, connections.SteppedConnection]]


class _Question:
    """A question in progress: whose, and on which connection."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.connection: sqlite3.Connection | None = None

    def interrupt(self) -> None:
        """Have it end with an error soon."""
        if self.connection is not None:
            with suppress(sqlite3.ProgrammingError):  # closed by now
                self.connection.interrupt()


class ReadConnections:
    """Those of one file. Any number of threads; each question has a connection to itself.

    One that takes longer than ``seconds_max`` ends with a `StoreTimeoutError`; by default none does.
    """

    def __init__(self, path: str, seconds_max: float | None = None) -> None:
        self.path = path
        self._seconds_max = seconds_max
        # No lock anywhere here: a signal handler may ask on the very thread that is asking. Single steps of a deque are
        # atomic.
        self._idle: _Idle = deque()
        self._busy: dict[_Question, int] = {}
        self._is_forking = False
        self._is_closed = False
        fork.tell_of_forks(self)
        add_pool(self)
        weakref.finalize(self, _close_all, self._idle)  # for a store that nobody closes

    def close(self) -> None:
        """Close the idle connections; a later question raises `StoreClosedError`."""
        self._is_closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close what no question is using."""
        _close_all(self._idle)

    def before_question(self) -> None:
        """Raise `StoreClosedError` if this was closed."""
        if self._is_closed:
            message = f"The store {self.path} is closed; open it again."
            raise StoreClosedError(message)

    @contextmanager
    def _transaction(self, *, is_reused: bool = True) -> Iterator[connections.SteppedConnection]:
        """A connection in a transaction; closed afterwards unless it ``is_reused``."""
        self.before_question()
        question = self._begin()
        try:
            with connections.translated(self.path), _sound_values(self.path):
                inodes, connection = self._take()
                question.connection = connection
                is_sound = False
                try:
                    connection.execute("BEGIN")
                    connections.check_version(connection, self.path)
                    connections.check_sound(self.path)
                    with time_limit(connection, self._seconds_max):
                        yield connection
                    is_sound = is_reused and not connection.is_immutable
                finally:
                    if is_sound:
                        connection.execute("ROLLBACK")
                        self._give_back(inodes, connection)
                    else:
                        connection.close()
        finally:
            self._busy.pop(question, None)

    def _begin(self) -> _Question:
        """Be counted before a connection is opened, and not while a fork waits for none to be open."""
        question = _Question()
        is_nested = self._is_asking_here()
        while True:
            self._busy[question] = question.thread
            if not self._is_forking or is_nested:
                return question
            del self._busy[question]
            time.sleep(0.001)

    def _take(self) -> tuple[connections.Inodes, connections.SteppedConnection]:
        inodes = connections.inodes_of(self.path)
        connection = self._take_idle(inodes)
        if connection is None:
            connection = connections.open_reader(self.path)
            inodes = connections.inodes_of(self.path)
            if inodes[-1] is not None and not connection.is_immutable:
                connection.index_inode = inodes[-1][1]
        return inodes, connection

    def _take_idle(self, inodes: connections.Inodes) -> connections.SteppedConnection | None:
        with suppress(IndexError):
            while True:
                opened_inodes, connection = self._idle.pop()
                if opened_inodes == inodes:
                    return connection
                connection.close()  # the path leads to another file by now, or to another log
        return None

    def _give_back(self, inodes: connections.Inodes, connection: connections.SteppedConnection) -> None:
        if len(self._idle) < _IDLE_MAX and not self._is_closed and not self._is_forking:
            self._idle.append((inodes, connection))
        else:
            connection.close()

    def _is_asking_here(self) -> bool:
        return threading.get_ident() in list(self._busy.values())

    # --- fork

    def finish(self) -> None:
        """Nothing is left to do."""

    def before_fork(self) -> None:
        """No connection goes over a fork: SQLite would believe in the child that it still holds the parent's locks.

        Questions of other threads are waited for, and interrupted after a second.
        """
        self._is_forking = True
        began = time.monotonic()
        while self._busy and not self._is_asking_here() and time.monotonic() - began < _FORK_SECONDS_MAX:
            if time.monotonic() - began > _FORK_SECONDS_MAX / 2:
                for question in list(self._busy):
                    question.interrupt()
            time.sleep(0.001)
        self.close_idle()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._is_forking = False

    def after_fork_in_child(self) -> None:
        """Start without a connection; one that a question held on to is kept from being closed."""
        _abandoned.append(self._busy)
        self._busy, self._is_forking = {}, False


_abandoned: list[object] = []


@contextmanager
def _sound_values(path: str) -> Iterator[None]:
    """A value that no writer of ours wrote: the file is damaged where SQLite does not see it."""
    try:
        yield
    except PerfmonError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        message = f"{path} holds a value that was never written so ({type(error).__name__}: {error}): it is damaged."
        raise StoreCorruptError(message) from error


def _close_all(idle: _Idle) -> None:
    with suppress(IndexError):
        while True:
            idle.pop()[1].close()
