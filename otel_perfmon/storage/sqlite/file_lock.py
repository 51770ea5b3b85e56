"""An exclusive lock between processes: a small file beside the store.

SQLite before 3.51.3 can lose committed pages when a checkpoint overlaps another connection's commit
(sqlite.org/wal.html#walresetbug), so every write transaction and every checkpoint holds this lock. It goes with the
process that held it, however that ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from otel_perfmon.errors import StoreBusyError

NOTE_OFFSET: Final = 1
"""Windows lets nobody read the byte that is locked."""
_POLL_SECONDS: Final = (0.0005, 0.004)
"""The first and the longest pause between two tries. With 20 ms a writer beside three others, on two busy cores, once
waited 0.9 s for its turn; with 4 ms 0.4 (measured)."""
_TOUCH_SECONDS: Final = 0.1
"""So often does who holds the lock and goes on leave a sign of life."""
_PATIENCE: Final = 5
"""So many times its timeout does a writer wait for others who go on: a busy file is no dead disk."""
PATIENT_FROM_SECONDS: Final = 0.5
"""Who has less time, such as a caller that helps, keeps to it."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """The lock on ``path``, opened when first needed. One thread at a time."""

    def __init__(self, path: str, on_progress: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.is_hurried = False
        self._on_progress = on_progress
        self._descriptor: int | None = None
        self._next_touch = 0.0
        self._seen: int | None = None

    @contextmanager
    def held(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the lock for a block; `StoreBusyError` when others keep it for longer than ``timeout_seconds``.

        While they leave signs of life, ``on_progress`` is called and the wait goes on, up to `_PATIENCE` times as long.
        """
        descriptor = self._acquire(time.monotonic() + timeout_seconds, timeout_seconds)
        self.touch()
        try:
            yield
        finally:
            _unlock(descriptor)

    def touch(self) -> None:
        """Leave a sign of life for those who wait; only while the lock is held."""
        now = time.monotonic()
        if now >= self._next_touch and self._descriptor is not None:
            self._next_touch = now + _TOUCH_SECONDS
            with suppress(OSError, TypeError):  # a system that cannot do it to a descriptor
                os.utime(self._descriptor)

    def read_note(self, size: int, offset: int = 0) -> bytes:
        """What stands in the lock file; only while the lock is held."""
        descriptor = self._open()
        os.lseek(descriptor, NOTE_OFFSET + offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def write_note(self, note: bytes, offset: int = 0) -> None:
        """Write it over what stood there; only while the lock is held."""
        descriptor = self._open()
        os.lseek(descriptor, NOTE_OFFSET + offset, os.SEEK_SET)
        os.write(descriptor, note)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(self.path, flags, 0o600)
        return self._descriptor

    def _acquire(self, deadline: float, timeout_seconds: float) -> int:
        pause, longest = _POLL_SECONDS
        last_deadline = deadline + (_PATIENCE - 1) * timeout_seconds
        while True:
            descriptor = self._open()
            try:
                _try_lock(descriptor)
            except OSError as error:
                if self._sees_progress(descriptor):
                    self._on_progress()
                    if timeout_seconds >= PATIENT_FROM_SECONDS:
                        deadline = min(last_deadline, time.monotonic() + timeout_seconds)
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self.is_hurried:
                    message = f"{self.path} stayed locked for {timeout_seconds:g} s: another process is writing."
                    raise StoreBusyError(message) from error
                time.sleep(min(pause, remaining))
                pause = min(pause * 2, longest)
                continue
            if self._is_current(descriptor):
                return descriptor
            self.close()  # somebody deleted the lock file: a lock on it excludes nobody who comes later

    def _sees_progress(self, descriptor: int) -> bool:
        """Whether who holds the lock has left a sign of life since the last look."""
        before, self._seen = self._seen, os.fstat(descriptor).st_mtime_ns
        return before is not None and before != self._seen

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return os.path.samestat(os.fstat(descriptor), there)
