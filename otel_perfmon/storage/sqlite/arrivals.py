"""When rows arrived, from the ids of spans, which are given out in that order; and a clock that nobody sets."""

from __future__ import annotations

import sqlite3
import sys
import time
from typing import Final

ARRIVAL_CELL_SECONDS: Final = 10
"""Arrivals are noted once in so many seconds: row ids below a cell's first one arrived before the cell ended."""


def last_id(connection: sqlite3.Connection) -> int:
    """The row id of the span that arrived last, be it stored still or not; 0 without any."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = '_spans'").fetchone()
    return int(row[0]) if row else 0


def last_id_arrived_before(connection: sqlite3.Connection, unix_s: float) -> int:
    """A row id such that it and all below had arrived by then: at most one arrival cell too low.

    Rows arrive in the order of their ids. So the last cell that began early enough tells, whatever a clock that was
    wrong for a while wrote down before it.
    """
    whole_cells_before = int(max(0, unix_s)) - ARRIVAL_CELL_SECONDS
    row = connection.execute(
        "SELECT max(first_span_id) FROM _arrivals WHERE unix_s <= ?", (whole_cells_before,)
    ).fetchone()
    if row[0] is None:
        return 0
    row = connection.execute(
        "SELECT min(first_span_id) - 1 FROM _arrivals WHERE first_span_id > ?", (row[0],)
    ).fetchone()
    return last_id(connection) if row[0] is None else int(row[0])


def boot_seconds() -> float:
    """A clock that all processes of this boot share; on Linux it goes on while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
