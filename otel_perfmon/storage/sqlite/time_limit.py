"""An end to questions that take too long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otel_perfmon.errors import StoreTimeoutError

_STEPS: Final = 10_000
"""The clock is looked at once in so many steps of SQLite's machine, which takes it about a tenth of a millisecond."""


@contextmanager
def time_limit(connection: sqlite3.Connection, seconds_max: float | None) -> Iterator[None]:
    """Have what runs on the connection break off after that time, with a `StoreTimeoutError`; never, if it is None."""
    if seconds_max is None:
        yield
        return
    deadline = time.monotonic() + seconds_max
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        message = f"The question took longer than {seconds_max:g} s; ask for less, or give it more time."
        raise StoreTimeoutError(message) from error
    finally:
        connection.set_progress_handler(None, 0)
