"""What goes when: ordinary spans soon, slow and failed ones with their traces later, figures last; logs as their spans.

Only a process that records prunes, in small transactions, each by a range of row ids, and by arrival: a late sender's
spans get their full time. When the file is over its limit the oldest ordinary spans go first, then the kept ones, then
the finest rollups, whatever their age.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.cells import KEEP_SECONDS
from otel_perfmon.storage.sqlite.account import bury_dead
from otel_perfmon.storage.sqlite.arrivals import ARRIVAL_CELL_SECONDS as ARRIVAL_CELL_SECONDS  # noqa: PLC0414 - theirs too
from otel_perfmon.storage.sqlite.arrivals import last_id, last_id_arrived_before
from otel_perfmon.storage.sqlite.figures import delete_cells, delete_oldest_groups, middle_of_cells, prune_figures
from otel_perfmon.storage.sqlite.log_retention import LogRetention
from otel_perfmon.storage.sqlite.rollup import GIVEN_UP
from otel_perfmon.storage.sqlite.statements import run_multirow

ROWS_AT_ONCE: Final = 2_000
KEPT_TRACE_SPANS_MAX: Final = 1_000
"""Of a kept trace, beside slow and failed spans and their ancestors, so many other spans stay."""
PROCESSES_MAX: Final = 1_000
"""Processes with an account of their own: of more, those silent for longest are folded into one."""
_FOLD_HEALTH_SECONDS: Final = 3_600
_PRUNE_NAMES_SECONDS: Final = 3_600
_VACUUM_PAGES: Final = 500
"""Free pages given back in one step: 2,000 took 33 ms as a rule and up to 57, of the 50 that a step may (measured)."""
_FREE_PAGES_KEPT: Final = 100
_APART_SECONDS: Final = 60
"""By so much may a step that prunes by size remove spans that arrived after log records that stay, or the reverse."""
HIGH_WATER: Final = 0.9
"""From this share of the limit on the file is pruned by size, so that what is written meanwhile still fits."""
_LOW_WATER: Final = 0.8
"""Pruning by size goes on until this share of the limit is in use."""

_HEALTH_COLUMNS: Final = ("ended", "counted", "stored", "sampled_out", "pruned", "forwarded", "altered", "interrupted")

_DELETE_ORDINARY: Final = """
DELETE FROM _spans WHERE id BETWEEN :first AND :last AND NOT EXISTS (
    SELECT 1 FROM _spans k INDEXED BY _spans_worth_keeping
    WHERE k.trace_id = _spans.trace_id AND k.is_error + k.is_slow > 0)
"""
_SURPLUS_OF_TRACES: Final = """
SELECT trace_id, surplus FROM (
    SELECT trace_id, (SELECT s.id FROM _spans s WHERE s.trace_id = t.trace_id AND s.id <= :last
        ORDER BY s.id LIMIT 1 OFFSET :maximum) AS surplus
    FROM (SELECT DISTINCT trace_id FROM _spans WHERE id BETWEEN :first AND :last) t)
WHERE surplus IS NOT NULL
"""
_WORTH_KEEPING: Final = """
SELECT count(*), max(id) FROM _spans INDEXED BY _spans_worth_keeping WHERE trace_id = ? AND is_error + is_slow > 0
"""
_PREPARE_ANCESTORS: Final = tuple(
    f"CREATE TEMP TABLE IF NOT EXISTS {table} ({one} BLOB, {other} BLOB, PRIMARY KEY ({one}, {other})) WITHOUT ROWID"
    for table, one, other in (("_ancestors", "trace_id", "span_id"), ("_parents", "span_id", "parent_span_id"))
)
# In a table of its own with a key, and joined crosswise, so that nothing is left to the planner: with an index made on
# the way it took 0.1 to 0.5 s for 100,000 spans, or no end at all (measured). It is done ahead, with no lock held.
_NOTE_PARENTS: Final = (
    "INSERT OR IGNORE INTO temp._parents SELECT span_id, parent_span_id FROM _spans"
    " WHERE trace_id = :trace_id AND parent_span_id <> x''"
)
_NOTE_ANCESTORS: Final = """
WITH RECURSIVE up (span_id) AS (
    SELECT parent_span_id FROM _spans INDEXED BY _spans_worth_keeping
    WHERE trace_id = :trace_id AND is_error + is_slow > 0
    UNION
    SELECT p.parent_span_id FROM up CROSS JOIN temp._parents p ON p.span_id = up.span_id)
INSERT OR IGNORE INTO temp._ancestors SELECT :trace_id, span_id FROM up
"""
_DELETE_SURPLUS: Final = """
DELETE FROM _spans WHERE id BETWEEN max(:first, :surplus) AND :last AND trace_id = :trace_id AND is_error + is_slow = 0
    AND NOT EXISTS (SELECT 1 FROM temp._ancestors a WHERE a.trace_id = :trace_id AND a.span_id = _spans.span_id)
"""
_LOOKED_AT_MAX: Final = 8
"""Large traces whose ancestors of slow and failed spans are remembered."""


class Retention:
    """Prunes one file; the caller holds the file lock for each call, and each call is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._looked_at: dict[bytes, tuple[int, int]] = {}
        self._logs = LogRetention(connection)

    def look_ahead(self, policy: RetentionPolicy, now_unix_s: float) -> None:
        """Find out, by reading alone, what the next step has to know of the largest traces; no lock is needed."""
        if self._is_over(policy.size_max_bytes):
            first, last = self._next_range("pruned_to", self._last_id(), self._rows_over(policy))
        else:
            last_id = self._last_id_arrived_before(int(now_unix_s) - policy.retention_seconds)
            first, last = self._next_range("pruned_to", last_id, ROWS_AT_ONCE)
        for trace_id, _ in self._traces_with_surplus(first, last):
            self._look_at(trace_id)

    def step(self, policy: RetentionPolicy, now_unix_s: float, process: str) -> bool:
        """Remove a bounded number of what is due; True when there may be more."""
        if self._is_over(policy.size_max_bytes):
            return self._prune_by_size(policy, process)
        now = int(now_unix_s)
        keep_seconds = max(policy.keep_seconds, policy.retention_seconds)
        if self._prune_ordinary(self._last_id_arrived_before(now - policy.retention_seconds), process):
            return True
        if self._prune_all(self._last_id_arrived_before(now - keep_seconds), process):
            return True
        if self._logs.prune_by_age(now - policy.retention_seconds, now - keep_seconds, ROWS_AT_ONCE):
            return True
        # Free pages first: beside each part of them the figures, with 19 ms, would be gone through again (measured).
        return self._give_back() or self._prune_figures(now, keep_seconds, process) or self._give_back()

    def delete_before(self, end_unix_nano: int, process: str) -> tuple[int, bool]:
        """Remove up to a bounded number of spans that ended before that moment; how many, and if more wait."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            deleted = self._delete(
                "DELETE FROM _spans WHERE id IN"
                " (SELECT id FROM _spans WHERE end_unix_nano < ? ORDER BY end_unix_nano LIMIT ?)",
                (end_unix_nano, ROWS_AT_ONCE),
            )
            self._count_pruned(deleted, process)
        is_more = self._logs.delete_before(end_unix_nano, ROWS_AT_ONCE) or deleted == ROWS_AT_ONCE
        return deleted, self._give_back() or is_more

    def pruned_count(self, process: str) -> int:
        """How many spans this process has removed."""
        row = self._connection.execute("SELECT pruned FROM _health WHERE process = ?", (process,)).fetchone()
        return int(row[0]) if row else 0

    def note_arrival(self, count: int, cell_unix_s: int) -> None:
        """Write down, in the caller's transaction, that the last ``count`` rows arrived in that cell of time."""
        self._connection.execute(
            "INSERT INTO _arrivals (first_span_id, unix_s) SELECT seq - ?, ? FROM sqlite_sequence"
            " WHERE name = '_spans' AND ? IS NOT (SELECT unix_s FROM _arrivals ORDER BY first_span_id DESC LIMIT 1)",
            (count - 1, cell_unix_s, cell_unix_s),
        )

    def add_health(self, process: str, pid: int, now_unix_s: int, figures: Sequence[int]) -> None:
        """Add to the account of one process, in the caller's transaction; figures in the order of the columns."""
        adding = ", ".join(f"{name} = {name} + excluded.{name}" for name in _HEALTH_COLUMNS)
        run_multirow(
            self._connection,
            f"INSERT INTO _health (process, pid, updated_unix_s, {', '.join(_HEALTH_COLUMNS)})",
            3 + len(_HEALTH_COLUMNS),
            (process, pid, now_unix_s, *figures),
            f"ON CONFLICT DO UPDATE SET updated_unix_s = max(updated_unix_s, excluded.updated_unix_s), {adding}",
        )

    # --- by age

    def _last_id_arrived_before(self, unix_s: float) -> int:
        return last_id_arrived_before(self._connection, unix_s)

    def _last_id(self) -> int:
        return last_id(self._connection)

    def _prune_ordinary(self, last_id: int, process: str, rows_max: int | None = None) -> bool:
        """Remove ordinary spans up to ``last_id``, from where the last step ended."""
        first, last = self._next_range("pruned_to", last_id, rows_max or ROWS_AT_ONCE)
        if first > last:
            return False
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            ids = {"first": first, "last": last}
            deleted = self._delete(_DELETE_ORDINARY, ids)
            for trace_id, surplus_id in self._traces_with_surplus(first, last):
                self._look_at(trace_id)
                parameters = {**ids, "trace_id": trace_id, "surplus": surplus_id}
                deleted += self._delete(_DELETE_SURPLUS, parameters)
            self._set_fact("pruned_to", last)
            self._count_pruned(deleted, process)
        return True

    def _traces_with_surplus(self, first: int, last: int) -> list[tuple[bytes, int]]:
        """The traces that have spans between those ids and too many up to them, with the first id too many."""
        parameters = {"first": first, "last": last, "maximum": KEPT_TRACE_SPANS_MAX}
        return self._connection.execute(_SURPLUS_OF_TRACES, parameters).fetchall()

    def _look_at(self, trace_id: bytes) -> None:
        """See to it that the ancestors of the trace's slow and failed spans are known: all that are there by now."""
        worth_keeping = self._connection.execute(_WORTH_KEEPING, (trace_id,)).fetchone()
        if self._looked_at.get(trace_id) == worth_keeping:
            return
        for statement in _PREPARE_ANCESTORS:
            self._connection.execute(statement)
        if len(self._looked_at) >= _LOOKED_AT_MAX:
            self._looked_at.clear()
            self._connection.execute("DELETE FROM temp._ancestors")
        for statement in (_NOTE_PARENTS, _NOTE_ANCESTORS):
            self._connection.execute(statement, {"trace_id": trace_id})
        self._connection.execute("DELETE FROM temp._parents")
        self._looked_at[trace_id] = worth_keeping

    def _prune_all(self, last_id: int, process: str, rows_max: int | None = None) -> bool:
        """Remove every span up to ``last_id``, oldest first; whether there was any."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            deleted = self._delete(
                "DELETE FROM _spans WHERE id IN (SELECT id FROM _spans WHERE id <= ? ORDER BY id LIMIT ?)",
                (last_id, rows_max or ROWS_AT_ONCE),
            )
            self._count_pruned(deleted, process)
        return deleted > 0

    def _next_range(self, fact: str, last_id: int, rows_max: int) -> tuple[int, int]:
        """The ids from the first row after the fact to at most ``rows_max`` rows on, none above ``last_id``."""
        row = self._connection.execute(
            "SELECT min(id), max(id) FROM (SELECT id FROM _spans WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)",
            (self._fact(fact), last_id, rows_max),
        ).fetchone()
        return (row[0], row[1]) if row[0] is not None else (1, 0)

    def _prune_figures(self, now: int, keep_seconds: float, process: str) -> bool:
        """Remove a bounded number of what is not spans; True when there may be more."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            with_names = now - self._fact("names_pruned_unix_s") >= _PRUNE_NAMES_SECONDS
            is_more = prune_figures(self._connection, now, keep_seconds, with_names=with_names)
            self._connection.execute(
                "DELETE FROM _arrivals WHERE first_span_id <"
                " (SELECT max(first_span_id) FROM _arrivals WHERE unix_s < ?)",
                (int(max(0, now - keep_seconds)) - ARRIVAL_CELL_SECONDS,),
            )
            self._fold_health(now, process)
            if with_names and not is_more:
                self._set_fact("names_pruned_unix_s", now)
        return is_more

    def _fold_health(self, now: int, process: str) -> None:
        """Add up the rows of processes that have been silent: accounts only grow, so a silent one may come back."""
        bury_dead(self._connection, now)
        old = (
            "process NOT IN ('past', ?) AND queued = 0 AND (updated_unix_s < ? OR process NOT IN"
            f" (SELECT process FROM _health ORDER BY updated_unix_s DESC LIMIT {PROCESSES_MAX}))"
        )
        parameters = (process, now - _FOLD_HEALTH_SECONDS)
        sums = ", ".join(f"sum({name})" for name in _HEALTH_COLUMNS)
        query = f"SELECT max(updated_unix_s), {sums} FROM _health WHERE {old} HAVING count(*) > 0"
        row = self._connection.execute(query, parameters).fetchone()
        if row is None:
            return
        self._connection.execute(
            "INSERT INTO _drops SELECT 'past', reason, sum(count) FROM _drops WHERE process IN"
            f" (SELECT process FROM _health WHERE {old}) GROUP BY reason"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            parameters,
        )
        self._connection.execute(
            f"DELETE FROM _drops WHERE process IN (SELECT process FROM _health WHERE {old})",
            parameters,
        )
        self._connection.execute(f"DELETE FROM _health WHERE {old}", parameters)
        self.add_health("past", 0, row[0], row[1:])

    # --- by size

    def _is_over(self, size_max_bytes: int) -> bool:
        """Whether the pages in use, those on the free list not counted, are more than the limit allows."""
        return self._used_bytes() > size_max_bytes * _LOW_WATER

    def _used_bytes(self) -> int:
        pages, free, size = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def _prune_by_size(self, policy: RetentionPolicy, process: str) -> bool:
        rows_max = self._rows_over(policy)
        is_pruned = (
            self._prune_either(self._prune_ordinary, self._logs.prune_ordinary, process, rows_max, is_ordinary=True)
            or self._prune_oldest_points()
            or self._prune_either(self._prune_all, self._logs.prune_all, process, rows_max, is_ordinary=False)
            or self._prune_finest_figures()
        )
        return self._give_back() or is_pruned  # within its size by now, it may hold what is too old

    def _prune_either(
        self,
        prune_spans: Callable[[int, str, int], bool],
        prune_logs: Callable[[int, int], bool],
        process: str,
        rows_max: int,
        *,
        is_ordinary: bool,
    ) -> bool:
        """Remove spans or log records, whichever arrived earlier, not much beyond the others; whether there was any."""
        log_arrived = self._logs.next_arrival(is_ordinary=is_ordinary)
        span_arrived = self._next_span_arrival(self._fact("pruned_to") if is_ordinary else 0)
        if log_arrived is None:
            return prune_spans(self._last_id(), process, rows_max)
        if span_arrived is None:
            return prune_logs(rows_max, INT64_MAX)
        if log_arrived < span_arrived:
            return prune_logs(rows_max, self._logs.last_id_before(span_arrived + _APART_SECONDS))
        return prune_spans(self._last_id_arrived_before(log_arrived + _APART_SECONDS), process, rows_max)

    def _next_span_arrival(self, after_id: int) -> int | None:
        """When, to a cell, the first span behind that id arrived; None where there is none."""
        row = self._connection.execute(
            "SELECT (SELECT unix_s FROM _arrivals WHERE first_span_id <= s.id ORDER BY first_span_id DESC LIMIT 1)"
            " FROM _spans s WHERE s.id > ? ORDER BY s.id LIMIT 1",
            (after_id,),
        ).fetchone()
        return None if row is None else int(row[0] or 0)

    def _rows_over(self, policy: RetentionPolicy) -> int:
        return self._rows_in(self._used_bytes() - int(policy.size_max_bytes * _LOW_WATER))

    def _rows_in(self, size_bytes: int) -> int:
        """How many spans take about so many bytes: of large ones a step removes fewer, lest it take far too many."""
        # Each by itself: asked for together, SQLite reads all rows.
        ends = "SELECT (SELECT min(id) FROM _spans), (SELECT max(id) FROM _spans)"
        first, last = self._connection.execute(ends).fetchone()
        rows = (0 if first is None else last - first + 1) + self._logs.ids_span()
        return max(1, min(ROWS_AT_ONCE, size_bytes * rows // max(1, self._used_bytes()) + 1))

    def _prune_oldest_points(self) -> bool:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            query = "DELETE FROM _points WHERE id IN (SELECT id FROM _points ORDER BY id LIMIT ?)"
            return self._delete(query, (ROWS_AT_ONCE,)) > 0

    def _prune_finest_figures(self) -> bool:
        """Remove a bounded number of cells: the older half of the finest there are; error groups when none is left."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for resolution in KEEP_SECONDS:
                fact = GIVEN_UP.format(resolution)
                if delete_cells(self._connection, resolution, self._fact(fact)):  # what is left of the last half
                    return True
                cut = middle_of_cells(self._connection, resolution)
                if cut is not None:
                    self._set_fact(fact, cut)  # first, so that no answer is made of half of them
                    return delete_cells(self._connection, resolution, cut)
            return delete_oldest_groups(self._connection)

    def _give_back(self) -> bool:
        """Return free pages to the file system, a bounded number at a time; True when more are left."""
        free = self._pragma("freelist_count")
        if free <= _FREE_PAGES_KEPT:
            return False
        # execute() would free one page: Python takes the pragma for done after its first step (measured).
        self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return _FREE_PAGES_KEPT < self._pragma("freelist_count") < free

    # --- small parts

    def _delete(self, sql: str, parameters: Any) -> int:
        """Run a DELETE; how many rows it took. Python knows no rowcount for one that begins with WITH."""
        self._connection.execute(sql, parameters)
        return int(self._connection.execute("SELECT changes()").fetchone()[0])

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _fact(self, name: str) -> int:
        row = self._connection.execute("SELECT value FROM _facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _set_fact(self, name: str, value: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO _facts VALUES (?, ?)", (name, value))

    def _count_pruned(self, count: int, process: str) -> None:
        if count > 0:
            self.add_health(process, os.getpid(), int(time.time()), (0, 0, 0, 0, count, 0, 0, 0))
