"""Inserting prepared rows: the store's writer and its statements of many rows, beside ``executemany``.

All three put the same rows into the same schema with the same indexes, in transactions of the same size. The writer
also looks up names, makes the rollups and keeps the account.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, Final

from otel_perfmon.bench.figures import Figure, Goal, Spread
from otel_perfmon.bench.loads import BUSY_THREADS, cpu_bound_threads
from otel_perfmon.bench.prepared import batch_of, encoded_spans
from otel_perfmon.bench.sizes import Sizes
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.statements import run_multirow
from otel_perfmon.storage.sqlite.writer import SqliteWriter

TRANSACTION_ROWS: Final = 4_096
_TIMEOUT_SECONDS: Final = 60
_WAL_PAGES: Final = 1_000
"""Checkpointed at about the size at which the writer does it."""
_ALONE: Final = Goal(1.0, 1.5, is_at_least=True)
_BESIDE: Final = Goal(50.0, 150.0, is_at_least=True)
_BASE: Final = "executemany"
_Insert = Callable[[int], None]


def measure_insertion(folder: str, sizes: Sizes, tell: Callable[[str], None]) -> list[Figure]:
    """Rows a second, alone and beside busy threads, and how many times those of ``executemany``."""
    rows = encoded_spans(max(sizes.insert_rows, sizes.busy_rows))
    writer = SqliteWriter(os.path.join(folder, "writer.db"))
    with closing(writer):
        writer.write(batch_of(rows), timeout_seconds=_TIMEOUT_SECONDS)
        columns, values = stored_values(writer.path, len(rows))
        inserts = {
            "executemany": ExecuteMany(os.path.join(folder, "executemany.db"), columns, values),
            "multirow": MultiRow(os.path.join(folder, "multirow.db"), columns, values),
        }
        ways: dict[str, _Insert] = {**inserts, "writer": lambda count: _write(writer, rows[:count])}
        try:
            return [*_measure(ways, sizes, tell, is_busy=False), *_measure(ways, sizes, tell, is_busy=True)]
        finally:
            for insert in inserts.values():
                insert.close()


def _measure(ways: dict[str, _Insert], sizes: Sizes, tell: Callable[[str], None], *, is_busy: bool) -> list[Figure]:
    beside: AbstractContextManager[None] = cpu_bound_threads() if is_busy else nullcontext()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with beside:
        for number in range(sizes.insert_rounds):
            tell(f"inserting{' beside busy threads' if is_busy else ''}, {number + 1} of {sizes.insert_rounds}")
            for name, insert in ways.items():
                # One by one beside busy threads each row waits for the GIL: few rows tell as much. But some come
                # through before the others wake up, and of a moment's rows that may be all: 19,900/s after 740/s.
                count = sizes.busy_rows if is_busy and name == _BASE else sizes.insert_rows
                rates[name].append(_rate(insert, count, sizes.busy_seconds if is_busy else 0.0))
    return _figures(rates, is_busy=is_busy)


def _rate(insert: _Insert, count: int, seconds_min: float) -> float:
    """Rows a second, of ``count`` rows at a time and as often as that takes so long."""
    start, done = time.perf_counter(), 0
    while True:
        insert(count)
        done += count
        seconds = time.perf_counter() - start
        if seconds >= seconds_min:
            return done / seconds


def _figures(rates: dict[str, list[float]], *, is_busy: bool) -> list[Figure]:
    prefix, where = ("busy_", f"{BUSY_THREADS} threads: ") if is_busy else ("", "")
    goal, base = _BESIDE if is_busy else _ALONE, rates[_BASE]
    figures = [Figure(f"{prefix}insert_executemany", f"{where}executemany", "rows/s", Spread.of(base))]
    for name, title in (("multirow", "many rows at once"), ("writer", "the writer")):
        ratios = [rate / by_base for rate, by_base in zip(rates[name], base, strict=True)]
        value, ratio = Spread.of(rates[name]), Spread.of(ratios)
        figures.append(Figure(f"{prefix}insert_{name}", f"{where}{title}", "rows/s", value, ratio, _BASE, goal))
    return figures


def _write(writer: SqliteWriter, rows: Sequence[SpanRow]) -> None:
    for start in range(0, len(rows), TRANSACTION_ROWS):
        writer.write(batch_of(rows[start : start + TRANSACTION_ROWS]), timeout_seconds=_TIMEOUT_SECONDS)


def stored_values(path: str, count: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The stored columns of the table of spans, and the values of ``count`` rows, as they were bound.

    Read from the file, so that they are the schema's, whatever it is. Bytes as bytearray, which needs no adapter.
    """
    with closing(connections.open_reader(path)) as connection:
        described = connection.execute("PRAGMA table_info(_spans)").fetchall()  # without what is generated
        columns = [name for _, name, *_ in described if name != "id"]
        query = f"SELECT {', '.join(columns)} FROM _spans ORDER BY id LIMIT ?"
        rows = connection.execute(query, (count,)).fetchall()
    return columns, [tuple(map(_bound, row)) for row in rows]


def _bound(value: Any) -> Any:
    return bytearray(value) if isinstance(value, bytes) else value


class _Bare(ABC):
    """A store's file that takes prepared values and nothing else."""

    def __init__(self, path: str, columns: Sequence[str], values: Sequence[tuple[Any, ...]]) -> None:
        self._connection = connections.open_writer(path)
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        self._head = f"INSERT INTO _spans ({', '.join(columns)})"
        self._width = len(columns)
        self._values = values

    def __call__(self, count: int) -> None:
        """Insert the first ``count`` of the rows."""
        for start in range(0, count, TRANSACTION_ROWS):
            self._connection.execute("BEGIN IMMEDIATE")
            self._insert(start, min(start + TRANSACTION_ROWS, count))
            self._connection.execute("COMMIT")

    @abstractmethod
    def _insert(self, start: int, end: int) -> None:
        """Insert the rows from ``start`` to before ``end``."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class ExecuteMany(_Bare):
    """One step of SQLite for each row."""

    def _insert(self, start: int, end: int) -> None:
        places = ", ".join("?" * self._width)
        self._connection.executemany(f"{self._head} VALUES ({places})", self._values[start:end])


class MultiRow(_Bare):
    """One step of SQLite for as many rows as a statement may have. The values are flat beforehand."""

    def __init__(self, path: str, columns: Sequence[str], values: Sequence[tuple[Any, ...]]) -> None:
        super().__init__(path, columns, values)
        self._flat = [value for row in values for value in row]

    def _insert(self, start: int, end: int) -> None:
        run_multirow(self._connection, self._head, self._width, self._flat[start * self._width : end * self._width])
