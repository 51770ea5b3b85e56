"""Whether the file under a writer is still what it wrote, and what is done when it is not."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, closing, suppress
from typing import Final

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.damage import UnfinishedError, damage_error, find_damage, set_aside
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.seal import Seal, State, state_of, tell_of_alteration, was_ours

_logger = logging.getLogger("otel_perfmon")

_CHECK_SECONDS_MAX: Final = 10.0
"""So long a file is gone through that was changed by something else: one of 512 MB takes 4 to 8."""


class Soundness:
    """That of one file, for who holds its lock."""

    def __init__(self, path: str, lock: FileLock) -> None:
        self._path = path
        self._lock = lock
        self._seal = Seal(path, lock)
        self._found_sound: State | None = None

    def is_sure(self) -> bool:
        """Whether there is nothing in the file yet, or nobody but us has changed it."""
        state = state_of(self._path)
        if state is None or state.size == 0:
            self._seal.forget()
            return True
        return self._seal.is_whole(state)

    def note(self) -> None:
        """The file is now as we want it."""
        self._seal.set()

    def note_log(self) -> None:
        """What we write next goes into the log."""
        self._seal.note_log()

    def changing(self) -> AbstractContextManager[None]:
        """For a block in which we change the file."""
        return self._seal.opened()

    def check(self, *, is_patient: bool) -> None:
        """Go through the whole file; raise `StoreCorruptError` when it is damaged."""
        if not is_patient:
            message = f"{self._path} was changed by something else, and is gone through first."
            raise StoreBusyError(message)
        try:
            # By a connection of its own: what another one has read before is not read again.
            with closing(connections.connect(self._path, "rw")) as fresh:
                found = self._find_damage(fresh)
        except UnfinishedError:
            _logger.warning("%s was changed by something else, and is too large to be gone through.", self._path)
            return
        if found is not None:
            raise damage_error(self._path, found)

    def tell_of_alteration(self) -> None:
        """Warn of what another program has changed, if any did."""
        state = state_of(self._path)
        if state is not None:
            tell_of_alteration(self._path, self._seal.altered_unix_s(state))

    def _find_damage(self, fresh: connections.SteppedConnection) -> str | None:
        return find_damage(fresh, self._path, _CHECK_SECONDS_MAX, self._lock.touch)

    def set_aside_if_damaged(self) -> bool:
        """Move a damaged file out of the way, not one that is sound, or not ours; whether it was moved."""
        state = state_of(self._path)
        if state is None or state == self._found_sound:
            return False
        found = None
        if not was_ours(self._path):  # perhaps somebody else's by now: that raises, and it is left as it is
            connections.check_ours(self._path)
        # SQLite carries a log over when it closes the last connection.
        with self.changing(), closing(connections.connect(self._path, "rw")) as fresh:
            with suppress(UnfinishedError):
                found = self._find_damage(fresh)
            if found is None:
                self._found_sound = state
                return False
            name = set_aside(self._path)
        _logger.warning(
            "%s was damaged (%s) and is now %s; recording goes on in a new file. 'sqlite3 %s .recover' may save what"
            " is left in the old one.",
            self._path, found, name, name,
        )  # fmt: skip
        return True
