"""The seal: a note in our lock file of how the file was when we last changed it.

In WAL mode a file changes only when its log is carried over into it, and only we do that, under the file lock. So a
file that is not as its seal says was changed by something else: another program, a copy that was put in its place, a
power cut, or one of us that was killed on the way. It is gone through before it is trusted. SQLite has checksums of the
log but none of the file: what decays on a disk while nobody writes is only found where SQLite meets it.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import Final, NamedTuple

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.sqlite.file_lock import NOTE_OFFSET, FileLock


class State(NamedTuple):
    """How a file is: what changes when somebody writes into it."""

    inode: int
    size: int
    changed_nano: int


_NOTE_BYTES: Final = 128


def state_of(path: str) -> State | None:
    """How a file is now; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return State(status.st_ino, status.st_size, status.st_mtime_ns)


class Seal:
    """The seal of one file, for who holds its lock."""

    def __init__(self, path: str, lock: FileLock) -> None:
        self._path = path
        self._lock = lock
        self._known: State | None = None

    def is_whole(self, now: State) -> bool:
        """Whether nobody but us has changed the file, which is ``now`` so."""
        if now == self._known:
            return True
        self._known = now if now == _parse(self._lock.read_note(_NOTE_BYTES)) else None
        return self._known is not None

    def set(self) -> None:
        """Note how the file is now."""
        now = state_of(self._path)
        if now is not None and now != self._known:
            with suppress(OSError):  # a full disk: the file is gone through again some time
                self._lock.write_note(" ".join(map(str, now)).encode().ljust(_NOTE_BYTES))
                self._known = now


def sealed_state(path: str) -> State | None:
    """What the seal says, for who does not hold the lock: it may be set in the next moment."""
    try:
        with io.open(path + ".lock", "rb") as file:  # noqa: UP020 - as in `file_system`
            file.seek(NOTE_OFFSET)
            return _parse(file.read(_NOTE_BYTES))
    except OSError:
        return None


def was_ours(path: str) -> bool:
    """Whether the very file at ``path`` was sealed, with the size it has now: what it holds has gone bad in place."""
    sealed, now = sealed_state(path), state_of(path)
    return sealed is not None and now is not None and sealed[:2] == now[:2]


def seal_unchanged(path: str, state: State) -> None:
    """Seal what a reader has gone through, if that is possible at once and nobody has changed it.

    Never makes a lock file: one of this user's might keep the user who records from his own.
    """
    if not os.access(path + ".lock", os.W_OK):
        return
    lock = FileLock(path + ".lock")
    try:
        with suppress(StoreBusyError, OSError), lock.held(0):
            if state_of(path) == state:
                Seal(path, lock).set()
    finally:
        lock.close()


def _parse(note: bytes) -> State | None:
    with suppress(ValueError):
        inode, size, changed_nano = map(int, note.split())
        return State(inode, size, changed_nano)
    return None
