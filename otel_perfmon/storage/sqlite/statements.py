"""Multi-row statements of few sizes.

Python's sqlite3 lets go of the GIL around every step, and beside a CPU-bound thread each return can wait for a switch
interval (5 ms): so a batch is one step, not one for each row (measured: 83,717 rows/s against 545). Preparing a
statement of new length costs ten times what running a cached one does (measured: 13 µs a row against 1.2), so lengths
are powers of two, which the connection's statement cache keeps.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

PARAMETERS_MAX: Final = 32_766
"""SQLite's default limit of parameters in one statement, since 3.32."""


def run_multirow(connection: sqlite3.Connection, head: str, width: int, values: Sequence[Any], tail: str = "") -> None:
    """Run ``head VALUES (?, …), (?, …) tail`` over ``values``, row after row in one flat list of ``width`` columns."""
    start = 0
    for size in _sizes(len(values) // width, PARAMETERS_MAX // width):
        end = start + size * width
        connection.execute(_sql(head, width, size, tail), values[start:end])
        start = end


def padded_values(rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[Any]]:
    """``VALUES`` of all ``rows``, the last one repeated up to a power of two, and its parameters."""
    size = 1 << (len(rows) - 1).bit_length()
    flat = [value for row in rows for value in row]
    flat += rows[-1] * (size - len(rows))
    return _sql("", len(rows[0]), size, ""), flat


@lru_cache(maxsize=512)
def _sql(head: str, width: int, size: int, tail: str) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return f"{head} VALUES {','.join([row] * size)} {tail}"


def _sizes(count: int, limit: int) -> Iterator[int]:
    size = 1 << (limit.bit_length() - 1)
    while count:
        while size > count:
            size >>= 1
        yield size
        count -= size
