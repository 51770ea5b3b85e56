"""The seal: a note in our lock file of how the file was when we last changed it.

In WAL mode a file changes only when its log is carried over into it, and only we do that, under the file lock. So a
file that is not as its seal says was changed by something else: another program, a copy that was put in its place, a
power cut, or one of us that was killed on the way. It is gone through before it is trusted. SQLite has no checksums of
the file, and looks at those of the log only when it recovers one: what decays on a disk while nobody writes is only
found where SQLite meets it.

A seal is *open* while we change the file, and *logged* while the log holds more than the file does. Only another
program can have changed the file, in this boot, under one that is *closed*, or logged with its log still there. When
that was is noted too, for nobody can tell any more whether every figure is as it was recorded. (A log that is gone was
carried over, as by any tool of SQLite that was the last to close the file of a process that was killed.)
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.sqlite.file_lock import NOTE_OFFSET, FileLock
from otel_perfmon.storage.sqlite.path_status import size_bytes

_logger = logging.getLogger("otel_perfmon")


class State(NamedTuple):
    """How a file is: what changes when somebody writes into it."""

    inode: int
    size: int
    changed_nano: int


class Note(NamedTuple):
    """What a seal says; ``altered_unix_s`` is when another program last changed the file, 0 if none did."""

    state: State
    altered_unix_s: int
    phase: str


_NOTE_BYTES: Final = 128
_OPEN, _LOGGED, _CLOSED = _PHASES = "open", "logged", "closed"
_TOLD_SECONDS: Final = 30 * 86_400
"""So long it is told that another program changed the file; what is asked about is mostly newer by then."""
_told: Final[set[tuple[int, str, int]]] = set()


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
        self._logged: State | None = None

    def is_whole(self, now: State) -> bool:
        """Whether nobody but us has changed the file, which is ``now`` so."""
        if now == self._known:
            return True
        self._known = now if is_sealed(self._read(), now) else None
        return self._known is not None

    def altered_unix_s(self, now: State) -> int:
        """When another program changed the file, which is ``now`` so; 0 if none did as far as can be told."""
        return altered_unix_s(self._path, self._read(), now)

    def set(self) -> None:
        """Note how the file is now."""
        now = state_of(self._path)
        if now is not None and now != self._known:
            self._write(Note(now, self.altered_unix_s(now), self._phase()))

    def note_log(self) -> None:
        """The log is about to hold more than the file does."""
        if self._known is not None and self._known != self._logged:
            note = self._read()
            if note is not None and note.state == self._known:
                self._write(note._replace(phase=_LOGGED))
                self._logged = self._known

    def forget(self) -> None:
        """A file is about to be made: what is noted is of one that is gone, whose inode the new one may get."""
        self._known = None
        with suppress(OSError):
            if self._read() is not None:
                self._lock.write_note(b" " * _NOTE_BYTES)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """For a block that changes the file. If something else has changed it before, it stays as it is: not sealed."""
        now = state_of(self._path)
        note = self._read() if now is not None and self.is_whole(now) else None
        if note is None:
            yield
            return
        self._write(note._replace(phase=_OPEN))
        try:
            yield
        except BaseException:
            if state_of(self._path) == now:
                self._write(note)
            raise
        left = state_of(self._path)
        if left is not None and left.inode == note.state.inode:  # else nobody has looked at what took its place
            self._write(note._replace(state=left, phase=self._phase()))

    def _phase(self) -> str:
        return _LOGGED if size_bytes(self._path + "-wal") else _CLOSED

    def _read(self) -> Note | None:
        return _parse(self._lock.read_note(_NOTE_BYTES))

    def _write(self, note: Note) -> None:
        self._known = self._logged = None
        text = " ".join(map(str, (*note.state, note.altered_unix_s, note.phase)))
        with suppress(OSError):  # a full disk: the file is gone through again some time
            self._lock.write_note(text.encode().ljust(_NOTE_BYTES))
            self._known = None if note.phase == _OPEN else note.state


def is_sealed(note: Note | None, now: State) -> bool:
    """Whether the file, which is ``now`` so, is as we left it."""
    return note is not None and note.phase != _OPEN and note.state == now


def altered_unix_s(path: str, note: Note | None, now: State) -> int:
    """When another program changed the file, which is ``now`` so; 0 if none did as far as can be told."""
    if note is None or note.state.inode != now.inode:  # a copy, of which nothing is known
        return 0
    is_altered = note.state != now and now.changed_nano >= _booted_unix_nano()
    is_altered &= note.phase == _CLOSED or (note.phase == _LOGGED and size_bytes(path + "-wal") > 0)
    when = max(1, now.changed_nano // 10**9) if is_altered else note.altered_unix_s
    return when if time.time() - when < _TOLD_SECONDS else 0


def read_seal(path: str) -> Note | None:
    """What the seal says, for who does not hold the lock: it may be set in the next moment."""
    try:
        with io.open(path + ".lock", "rb") as file:  # noqa: UP020 - as in `file_system`
            file.seek(NOTE_OFFSET)
            return _parse(file.read(_NOTE_BYTES))
    except OSError:
        return None


def current_alteration(path: str) -> int:
    """As `altered_unix_s`, for who does not hold the lock."""
    state, note = state_of(path), read_seal(path)
    if state is None or note is None:
        return 0
    is_steady = state == state_of(path)  # else one of us is just about to seal it, and only what is noted is sure
    return altered_unix_s(path, note, state if is_steady or state.inode != note.state.inode else note.state)


def was_ours(path: str) -> bool:
    """Whether the very file at ``path`` was sealed, with the size it has now: what it holds has gone bad in place."""
    note, now = read_seal(path), state_of(path)
    return note is not None and now is not None and note.state[:2] == now[:2]


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


def tell_of_alteration(path: str, altered_unix_s: int) -> None:
    """Warn that another program changed the file, once in this process; 0: none did."""
    telling = (os.getpid(), path, altered_unix_s)
    if altered_unix_s and telling not in _told:
        _told.add(telling)
        _logger.warning("%s", alteration_of(path, altered_unix_s))


def alteration_of(path: str, altered_unix_s: int) -> str:
    """The sentence that says so."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(altered_unix_s))
    return (
        f"{path} was changed by another program at {when}. SQLite finds nothing broken, but not every answer need be"
        " what was recorded."
    )


def _booted_unix_nano() -> int:
    """When this machine was started, about; what happened before may have ended with a power cut."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time_ns() - (time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock))


def _parse(note: bytes) -> Note | None:
    with suppress(ValueError):
        *numbers, phase = note.decode("ascii").split()
        inode, size, changed_nano, altered = map(int, numbers)
        if phase in _PHASES:
            return Note(State(inode, size, changed_nano), altered, phase)
    return None
