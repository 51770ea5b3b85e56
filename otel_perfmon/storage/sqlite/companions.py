"""The log (``-wal``) and its index (``-shm``) of an open file: whether they are still what the path leads to.

Who removes or replaces them under a live process leaves it writing into files that nobody else can reach. So a writer
notes which ones it has open, and in the lock file which ones are *in force*, with who has them open. One that finds
other files there carries its log over, if it is in force, and begins a new one; who opens the file waits for that.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final, NamedTuple, NoReturn

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.process import ProcessIdentity, current, is_alive
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.path_status import inode_number, size_bytes
from otel_perfmon.storage.sqlite.stepped import SteppedConnection, is_other_index_open

_logger = logging.getLogger("otel_perfmon")

_NOTE_OFFSET: Final = 128
"""Behind the seal."""
_NOTE_BYTES: Final = 8192
_HOLDERS_MAX: Final = 64
_PARTS: Final = 3
_WAIT_SECONDS: Final = 75.0
"""So long who opens the file waits for a process that has a lost log open: one that does nothing looks each minute."""

_TRY_AGAIN_SECONDS: Final = 1.0
_LOOK_AGAIN_SECONDS: Final = 0.02


class LogLostError(StoreBusyError):
    """The log is lost, and not carried over yet."""


class _Note(NamedTuple):
    """Which log and index are in force for a file, by inode (0: whichever comes next), since when, and for whom."""

    file: int
    log: int
    log_index: int
    when: int
    holders: tuple[str, ...] = ()


class Companions:
    """Those of one file, for one writer; all but `are_there` for who holds the file lock."""

    def __init__(self, path: str, lock: FileLock) -> None:
        self._log_path, self._index_path, self._path = path + "-wal", path + "-shm", path
        self._lock = lock
        self._mine: tuple[int, int, int] | None = None
        self._descriptor: int | None = None
        self._holder = _own_holder()
        self._next_try = 0.0
        self._awaited: tuple[_Note, float] | None = None
        self._expected: tuple[int, int, int] | None = None

    def patiently(self, write: Callable[[], int], timeout_seconds: float) -> int:
        """Write, and again for so long as others have yet to carry over a log that is lost."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                return write()
            except LogLostError:
                if self._lock.is_hurried or time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_AGAIN_SECONDS)

    def note(self, connection: SteppedConnection) -> None:
        """The file was opened by ``connection``: these are its log and its index, until they are lost.

        Raises `LogLostError` when they are lost already.
        """
        self.release()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # one that was just made has no log before
        has_log = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"  # as all but what others have made
        self._mine = self._here()
        with suppress(OSError):
            self._descriptor = _opened(self._log_path)
        if self._expected not in (None, self._mine):  # what others have open must not be touched with any of these
            self._raise_lost(connection)
        if os.name == "posix" and has_log and (0 in self._mine or not self._has_opened_mine()):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._raise_lost(connection)
        connection.index_inode = self._mine[2]
        self._awaited = None
        known = self._read()
        others = known.holders if known is not None and known[:3] == self._mine else ()
        others = tuple(each for each in others if each != self._holder and _may_run(each))
        self._write(_Note(*self._mine, int(time.time()), (*others, self._holder)))

    def _raise_lost(self, connection: SteppedConnection) -> NoReturn:
        connection.close()
        self.release()
        message = f"{self._path} lost its log while it was opened."
        raise LogLostError(message)

    def _has_opened_mine(self) -> bool:
        """Whether the descriptor is of the log that was noted: another may have taken its path in between."""
        if self._descriptor is None or self._mine is None:
            return False
        return os.fstat(self._descriptor).st_ino == self._mine[1]

    def are_there(self) -> bool:
        """Whether the path still leads to the log and the index that are open."""
        return self._mine is not None and self._mine[1:] == self._here()[1:]

    def leave_lost_log(self, checkpoint: Callable[[], object], close: Callable[[], None]) -> bool:
        """These are not at their path any more: carry over what is in the log that is open, and close the connection.

        False while a reader is in the way: then that log is written into, as by all others who have it open.
        """
        if self._is_log_empty():  # perhaps another process has carried it over, and has begun a new one
            self._leave(close, is_carried_over=self._is_in_force())
        elif not self._is_in_force():  # never, but where this process stood still for longer than others wait
            _logger.warning("%s lost its log while this process stood still; what was in it is lost.", self._path)
            os.ftruncate(self._descriptor or 0, 0)  # else SQLite might carry it over when it closes it
            self._leave(close, is_carried_over=False)
        else:
            if time.monotonic() < self._next_try:
                return False
            checkpoint()
            if not self._is_log_empty():
                self._next_try = time.monotonic() + _TRY_AGAIN_SECONDS
                self._insist()
                return False
            _logger.warning(
                "The log of %s was moved, replaced or removed; what it held was carried over into the file, and nothing"
                " is lost.",
                self._path,
            )
            self._leave(close, is_carried_over=True)
        return True

    def _is_log_empty(self) -> bool:
        return self._descriptor is None or os.fstat(self._descriptor).st_size == 0

    def _is_in_force(self) -> bool:
        """Whether nobody has begun another log since; then nobody has written anything that ours does not know of."""
        known = self._read()
        return known is None or known[:3] == self._mine

    def _insist(self) -> None:
        """Ours cannot be carried over yet: who opens the file goes on waiting."""
        known = self._read()
        if known is not None:
            self._write(known._replace(when=int(time.time())))

    def _leave(self, close: Callable[[], None], *, is_carried_over: bool) -> None:
        """Close, so that whoever is next begins a new log, if none is begun yet.

        One that is begun is kept from SQLite, which would remove it by its name when it closes the last connection.
        """
        if is_carried_over:
            self._write(_Note(inode_number(self._path), 0, 0, int(time.time())))
            if self._mine is not None and self._mine[2] != inode_number(self._index_path):
                _unlink(self._log_path)  # what is there belongs to readers, who find out
                _unlink(self._index_path)
            close()
        else:
            self._close_beside_log(close)
        self.release()

    def _close_beside_log(self, close: Callable[[], None]) -> None:
        kept = f"{self._log_path}.kept"
        with suppress(OSError):
            os.link(self._log_path, kept)
        close()
        if os.path.lexists(kept):
            if not os.path.lexists(self._log_path):
                os.rename(kept, self._log_path)
            _unlink(kept)

    def closed(self) -> None:
        """The connection was closed in good order: nobody need wait for it."""
        known = self._read()
        if known is not None and known[:3] == self._mine:
            others = tuple(each for each in known.holders if each != self._holder)
            is_gone = not inode_number(self._log_path)  # SQLite removes it with the last connection, and so may others
            if is_gone and (self._is_log_empty() or not any(map(_may_run, others))):
                known, others = known._replace(log=0, log_index=0), ()
            self._write(known._replace(holders=others))
        self.release()

    def check_free(self) -> None:
        """Before the file is opened: `LogLostError` while a log that is lost may yet be carried over."""
        if is_other_index_open(self._path, inode_number(self._index_path)):
            message = f"{self._path} lost the index of its log, which a question of this process still has open."
            raise LogLostError(message)
        known, here = self._read(), self._here()
        self._expected = None
        if known is None or known.file != here[0] or known[1:3] == (0, 0):
            return
        if known[:3] == here:
            self._expected = here
            return
        is_held = any(each != self._holder and _may_run(each) for each in known.holders)
        if is_held and self._is_open_somewhere() and not self._has_waited(known):
            message = f"{self._path} lost its log, which another process still has open and carries over first."
            raise LogLostError(message)
        if known.log_index == here[2] and not size_bytes(self._log_path):  # it tells of a log that is gone
            _unlink(self._index_path)

    def leave_moved_file(self, close: Callable[[], None]) -> None:
        """The file has another name by now: its log must not be carried over into the next one at this path.

        Nor must SQLite remove the log of the next one, if another process has begun it.
        """
        self._close_beside_log(close)
        if self._mine is None:
            return
        for path, inode in ((self._log_path, self._mine[1]), (self._index_path, self._mine[2])):
            if inode and inode == inode_number(path):
                _unlink(path)
        self.release()

    def release(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._mine = None

    def _here(self) -> tuple[int, int, int]:
        return inode_number(self._path), inode_number(self._log_path), inode_number(self._index_path)

    def _is_open_somewhere(self) -> bool:
        """Whether any connection is open to the file: who closed it without our lock is still noted as a holder."""
        with closing(connections.connect(self._path, "rw")) as connection:
            connection.set_busy_timeout(0)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            try:
                connection.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.OperationalError:
                return True
        return False

    def _has_waited(self, known: _Note) -> bool:
        if self._awaited is None or self._awaited[0] != known:
            self._awaited = (known, time.monotonic())
        return time.monotonic() - self._awaited[1] > _WAIT_SECONDS

    def _read(self) -> _Note | None:
        with suppress(ValueError, IndexError):
            file, log, index, when, *holders = self._lock.read_note(_NOTE_BYTES, _NOTE_OFFSET).decode("ascii").split()
            return _Note(int(file), int(log), int(index), int(when), tuple(holders))
        return None

    def _write(self, note: _Note) -> None:
        text = " ".join(map(str, (*note[:4], *note.holders[-_HOLDERS_MAX:])))
        with suppress(OSError):  # a full disk: at worst somebody waits who need not
            self._lock.write_note(text.encode().ljust(_NOTE_BYTES), _NOTE_OFFSET)


def _opened(path: str) -> int | None:
    """A descriptor of the log, which SQLite never locks; where an open file cannot be removed, none is needed."""
    if os.name != "posix":
        return None
    return os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _may_run(holder: str) -> bool:
    """Whether the process of a holder still runs, or may do so where nobody can tell from here."""
    pid, *parts = holder.rpartition("|")[0].split("|")
    if os.name != "posix" or not pid.isdecimal() or len(parts) != _PARTS:
        return False
    return is_alive(ProcessIdentity(int(pid), *parts)) is not False


def _own_holder() -> str:
    own = current()
    return "|".join((str(own.pid), own.started, own.boot_id, own.pid_namespace, uuid.uuid4().hex[:8]))
