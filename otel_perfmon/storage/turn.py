"""The turn to write: one thread of the process at a time, which knows that it has it.

A signal handler, a finaliser or a logger may record on the very thread that is writing: nothing waits there for a lock
that its own thread holds, so it is asked first whose turn it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.suppression import suppressed


class ContendedError(StoreBusyError):
    """Another thread of this process is writing: no trouble of the store's."""


class Turn:
    """The turn to write into one store."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.lock = threading.RLock()  # re-entrant only so that it knows its owner
        self.thread = 0
        """Whose turn it is, by its identity; 0 for nobody's."""

    @contextmanager
    def held(self, timeout_seconds: float) -> Iterator[None]:
        """Have the turn, with instrumentation suppressed; `ContendedError` when another thread keeps it for longer."""
        if self.is_mine():
            message = f"{self._path} is being written by this very thread."
            raise ContendedError(message)
        try:
            if not self.lock.acquire(timeout=timeout_seconds):
                message = f"{self._path} is being written by another thread for more than {timeout_seconds:g} s."
                raise ContendedError(message)
            self.thread = threading.get_ident()
            with suppressed():
                yield
        finally:
            # Ctrl-C may arrive between any two steps, in here too: at its second arrival this is done. No function of
            # ours is called: at the limit of recursion that would fail.
            owned, release = self.lock._is_owned, self.lock.release  # type: ignore[attr-defined]  # noqa: SLF001
            try:
                if owned():
                    self.thread = 0
                    release()
            finally:
                if owned():
                    self.thread = 0
                    release()

    def is_mine(self) -> bool:
        """Whether this thread has the turn: asked by a signal handler, a finaliser, a logger within it."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as Condition asks it
