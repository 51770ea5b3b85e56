"""Finding spans: a search goes through an index in its own order, or reads a bounded number of rows and says so.

A search has branches, one for each operation that has the name (of several services and versions). Each yields narrow
rows in the order of the question, through an index, and they are merged: what the answer holds, and one more of each
branch, is read. What no index serves (attributes, an error type …) is looked at row by row, at most `SCAN_ROWS_MAX` of
them; the page token then says where to go on. By duration only slow spans have an index: for others the rollups tell
in which `Stretches` of time there can be any, and these are searched, the most promising first where the slowest are
wanted.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from otel_perfmon.errors import QueryError
from otel_perfmon.query import INT64_MAX, SpanQuery, Window, int64, parse_id
from otel_perfmon.records import SpanPage
from otel_perfmon.storage.rows import OVERFLOW_OPERATION
from otel_perfmon.storage.sqlite.answers import read_spans
from otel_perfmon.storage.sqlite.arrivals import last_id
from otel_perfmon.storage.sqlite.slowest import SlowestRows, SlowestSearch, count_in
from otel_perfmon.storage.sqlite.span_filter import (
    COLUMNS,
    DURATION,
    END,
    ID,
    Row,
    SpanFilter,
    durations_of,
    ends_of,
    indexed_conditions,
    stored_name,
)
from otel_perfmon.storage.sqlite.stretches import Stretch, Stretches

SCAN_ROWS_MAX: Final = 200_000
SCAN_SECONDS_MAX: Final = 2.0
"""What a question may read, and how long, where no index serves it."""
_CLOCK_ROWS: Final = 1_024
_BRANCHES_MAX: Final = 64
"""So many operations of a service are searched each for itself; with more of them, all spans are looked at."""
_SLOWEST_BRANCHES_MAX: Final = 10_000
"""The same where the slowest are wanted: what each costs then is to look at its days."""

Position = tuple[int, int]
"""How far a search has come: what it is ordered by, and the row id."""
_KEYS: Final = ("s.id", "s.end_unix_nano", "s.duration_nano")
_LETTERS: Final = {"newest": "n", "oldest": "o", "slowest": "s", "arrival": "a"}
_TOKEN: Final = re.compile(r"([nosa])(-?\d{1,19})\.(\d{1,19})", re.ASCII)


def bounds(window: Window | None) -> tuple[int, int]:
    """Start and end of a window in nanoseconds that fit 64 bits; of all time, without one."""
    if window is None:
        return -INT64_MAX, INT64_MAX
    return int64(window.start_unix_nano), int64(window.end_unix_nano)


def make_token(order: str, position: Position) -> str:
    """The page token for what comes after ``position``."""
    return f"{_LETTERS[order]}{position[0]}.{position[1]}"


def find_spans(connection: sqlite3.Connection, query: SpanQuery) -> SpanPage:
    """The page of spans that answers ``query``."""
    plan = _plan(connection, query)
    rows: list[Row] = []
    if plan.branches:
        take = _take_ordered if plan.is_ordered else _take_best if query.trace_id is not None else _take_slowest
        rows = take(connection, query, plan)
    return SpanPage(
        read_spans(connection, [row[ID] for row in rows]),
        plan.is_complete,
        plan.rows_read,
        _next_token(plan, query, rows),
    )


# --- the plan


@dataclass(slots=True)
class _Plan:
    """How one question is answered, and how far it has come.

    ``branches`` are ids of operations, or None for all spans. ``key`` is the column that the rows are ordered by, and
    ``low`` to ``high`` its range, both included. With ``by_stretches`` only those stretches of it are searched in which
    there can be spans that took as long as is asked.
    """

    branches: list[int | None]
    is_ordered: bool
    key: int
    low: int
    high: int
    columns: str
    matches: Callable[[Row], bool] | None
    after: Position | None
    by_stretches: bool = False
    rows_read: int = 0
    is_complete: bool = True
    is_more: bool = False
    reached: Position | None = None


def _plan(connection: sqlite3.Connection, query: SpanQuery) -> _Plan:
    by_stretches = _is_by_stretches(query)
    branches, operation_ids, is_named = _branches(connection, query, by_stretches=by_stretches)
    is_by_duration = query.order == "slowest" and query.is_slow is True and query.window is None
    is_by_duration = is_by_duration and query.trace_id is None
    is_ordered = query.trace_id is None and (query.order != "slowest" or is_by_duration)
    low, high = ends_of(query.window)
    key = END
    if query.order == "arrival":
        key, low, high = ID, 0, INT64_MAX
    elif is_by_duration:
        key, (low, high) = DURATION, durations_of(query)
    needs_look = is_named or operation_ids is not None or _needs_look(query, is_by_duration=is_by_duration)
    matches = SpanFilter(query, operation_ids, is_named=is_named).matches if needs_look else None
    # Details can be long, with all events: read only where they are looked at.
    details = "s.details" if is_named or query.error_type is not None else "''"
    columns = COLUMNS.format(details=details) if needs_look else "s.id, s.end_unix_nano, s.duration_nano"
    after = _parse_token(query)
    if after is not None and query.order == "arrival" and after[1] > last_id(connection):
        after = None  # another file has taken the path: all in it is new
    return _Plan(branches, is_ordered, key, low, high, columns, matches, after, by_stretches)


def _is_by_stretches(query: SpanQuery) -> bool:
    """Whether rollups tell where to search: of durations, which no index does but that of slow spans."""
    if query.trace_id is not None or query.order == "arrival":
        return False
    if query.is_error is True or query.error_type is not None:
        return False  # few failed, and have an index; no cell tells of their durations alone
    if query.order == "slowest":
        return query.window is not None or query.is_slow is not True
    is_asked = query.min_duration_ms is not None or query.max_duration_ms is not None
    return is_asked and query.is_slow is not True


def _branches(
    connection: sqlite3.Connection, query: SpanQuery, *, by_stretches: bool
) -> tuple[list[int | None], set[int] | None, bool]:
    """What to search, which operations' rows to take from it, and whether each row's own name must be looked at."""
    is_of_all = query.operation is None and query.service is None
    if is_of_all and not by_stretches:
        return [None], None, False
    service = (stored_name(query.service),) if query.service is not None else ()
    condition = " WHERE v.name = ?" if service else ""
    of_service = "SELECT o.id, v.id, o.name FROM _services v CROSS JOIN _operations o ON o.service_id = v.id"
    if query.operation is None:
        rows = connection.execute(of_service + condition, service).fetchall()
    else:
        name = stored_name(query.operation)
        named = f"{of_service} AND o.name IN (?, ?){condition}"
        rows = connection.execute(named, (name, OVERFLOW_OPERATION, *service)).fetchall()
        having = {service_id for _, service_id, each in rows if each == name}
        rows = [row for row in rows if row[2] == name or row[1] not in having]
    is_named = query.operation is not None and any(row[2] != name for row in rows)
    ids = [row[0] for row in rows]
    most = _SLOWEST_BRANCHES_MAX if query.order == "slowest" and by_stretches else _BRANCHES_MAX
    is_scanned = query.operation is None and len(ids) > most
    if query.trace_id is not None or query.order == "arrival" or is_scanned:
        return [None], None if is_of_all else set(ids), is_named
    return list(ids), None, is_named


def _needs_look(query: SpanQuery, *, is_by_duration: bool) -> bool:
    """Whether no index serves all of the question, so that rows must be looked at which the answer may not hold."""
    if query.attributes or query.error_type is not None:
        return True
    is_of_durations = query.min_duration_ms is not None or query.max_duration_ms is not None
    if is_of_durations and (query.order != "slowest" or query.trace_id is not None):
        return True
    flags = (query.is_error, query.is_slow)
    if query.order == "arrival" or query.trace_id is not None:
        return query.window is not None or flags != (None, None)
    if is_by_duration:
        return query.is_error is not None
    return flags not in ((None, None), (True, None), (None, True))


def _parse_token(query: SpanQuery) -> Position | None:
    if query.page_token is None:
        return None
    match = _TOKEN.fullmatch(query.page_token) if isinstance(query.page_token, str) else None
    if match is None or match[1] != _LETTERS[query.order]:
        message = f"page_token must be that of a page of the same question; it is {query.page_token!r:.100}."
        raise QueryError(message)
    return int64(int(match[2])), int64(int(match[3]))


def _next_token(plan: _Plan, query: SpanQuery, rows: list[Row]) -> str | None:
    if query.order == "arrival":  # who follows comes back, whether something is there now or not
        return make_token("arrival", plan.reached or plan.after or (0, 0))
    if plan.is_ordered and not plan.is_complete:
        return make_token(query.order, plan.reached) if plan.reached is not None else None
    if plan.is_more and rows:
        key = DURATION if query.order == "slowest" else END
        return make_token(query.order, (rows[-1][key], rows[-1][ID]))
    return None


# --- reading in order


def _take_ordered(connection: sqlite3.Connection, query: SpanQuery, plan: _Plan) -> list[Row]:
    """The first rows that match, from branches that are in order each."""
    is_falling = query.order in ("newest", "slowest")
    streams = [_ordered(connection, query, plan, branch, is_falling=is_falling) for branch in plan.branches]
    key = plan.key
    rows = (
        streams[0]
        if len(streams) == 1
        else heapq.merge(*streams, key=lambda row: (row[key], row[ID]), reverse=is_falling)
    )
    kept: list[Row] = []
    for row in _within_budget(rows, plan):
        plan.reached = (row[key], row[ID])
        if plan.matches is None or plan.matches(row):
            kept.append(row)
            if len(kept) == query.limit:
                plan.is_more = True
                break
    return kept


def _ordered(
    connection: sqlite3.Connection, query: SpanQuery, plan: _Plan, branch: int | None, *, is_falling: bool
) -> Iterator[Row]:
    """The rows of one branch after the position that the page token tells: first those that share its key."""
    column = _KEYS[plan.key]
    direction = "DESC" if is_falling else "ASC"
    where, parameters = indexed_conditions(query, branch)
    select = f"SELECT {plan.columns} FROM _spans s WHERE {where}"
    low, high = plan.low, plan.high
    if plan.after is None:
        return _within(connection, query, plan, branch, (low, high), is_falling=is_falling)
    key, row_id = plan.after
    if plan.key == ID:
        return connection.execute(f"{select} s.id > ? ORDER BY s.id", (*parameters, row_id))
    ties = connection.execute(
        f"{select} {column} = ? AND s.id {'<' if is_falling else '>'} ? ORDER BY s.id {direction}",
        (*parameters, key, row_id),
    )
    if key == (-INT64_MAX if is_falling else INT64_MAX):  # nothing is beyond
        return ties
    low, high = (low, min(high, key - 1)) if is_falling else (max(low, key + 1), high)
    return chain(ties, _within(connection, query, plan, branch, (low, high), is_falling=is_falling))


def _within(
    connection: sqlite3.Connection,
    query: SpanQuery,
    plan: _Plan,
    branch: int | None,
    bounds: tuple[int, int],
    *,
    is_falling: bool,
) -> Iterator[Row]:
    """The rows of one branch whose key is between two values, both included; in order."""
    column, direction = _KEYS[plan.key], "DESC" if is_falling else "ASC"
    where, parameters = indexed_conditions(query, branch)
    sql = f"SELECT {plan.columns} FROM _spans s WHERE {where} {column} BETWEEN ? AND ?"
    sql += f" ORDER BY {column} {direction}, s.id {direction}"
    ranges: Iterable[tuple[int, int]] = [bounds]
    if plan.by_stretches and branch is not None:
        count = partial(count_in, connection, query)
        stretches = Stretches(connection, durations_of(query), bounds, count, time.time())
        ranges = stretches.in_order(branch, is_falling=is_falling)
    for low, high in ranges:
        yield from connection.execute(sql, (*parameters, low, high))


def _within_budget(rows: Iterator[Row], plan: _Plan) -> Iterator[Row]:
    """The rows, counted; where each must be looked at, only as many and for as long as a question may."""
    deadline = time.monotonic() + SCAN_SECONDS_MAX
    is_bounded = plan.matches is not None or not plan.is_ordered
    for row in rows:
        if is_bounded and (
            plan.rows_read >= SCAN_ROWS_MAX or (not plan.rows_read % _CLOCK_ROWS and time.monotonic() > deadline)
        ):
            plan.is_complete = False
            return
        plan.rows_read += 1
        yield row


# --- the best of all


def _take_best(connection: sqlite3.Connection, query: SpanQuery, plan: _Plan) -> list[Row]:
    """The best of a trace's rows that match, which are in no order."""
    is_falling = query.order in ("newest", "slowest")
    key = ID if query.order == "arrival" else DURATION if query.order == "slowest" else END
    after, plan.after = plan.after, None
    sql = f"SELECT {plan.columns} FROM _spans s WHERE s.trace_id = ?"
    rows = connection.execute(sql, (parse_id(query.trace_id or "", 16),))
    found = (
        row
        for row in _within_budget(rows, plan)
        if (plan.matches is None or plan.matches(row)) and _is_after((row[key], row[ID]), after, is_falling=is_falling)
    )
    best = heapq.nlargest if is_falling else heapq.nsmallest
    kept = best(min(query.limit, SCAN_ROWS_MAX) + 1, found, key=lambda row: (row[key], row[ID]))
    plan.is_more = len(kept) > query.limit
    kept = kept[: query.limit]
    plan.reached = (kept[-1][key], kept[-1][ID]) if kept else after
    return kept


def _is_after(position: Position, after: Position | None, *, is_falling: bool) -> bool:
    if after is None:
        return True
    return position < after if is_falling else position > after


# --- the slowest


def _take_slowest(connection: sqlite3.Connection, query: SpanQuery, plan: _Plan) -> list[Row]:
    """The slowest rows that match, from the stretches of time in which the rollups know of such."""
    after = plan.after or (INT64_MAX, INT64_MAX)
    least, most = durations_of(query)
    durations, ends = (least, min(most, after[0])), (plan.low, plan.high)
    limit = min(query.limit, SCAN_ROWS_MAX) + 1
    rows = SlowestRows(connection, query, plan.columns, plan.matches, durations, after, limit)
    stretches = Stretches(connection, durations, ends, rows.count, time.time())
    ids = [each for each in plan.branches if each is not None]
    first = [Stretch(durations[1], plan.low, plan.high, branch) for branch in plan.branches]
    search = SlowestSearch(rows, limit, rows_max=SCAN_ROWS_MAX, seconds_max=SCAN_SECONDS_MAX)
    kept = search.search(stretches, stretches.of(ids) if plan.by_stretches and ids else first)
    plan.rows_read, plan.is_complete = search.rows_read, search.is_complete
    plan.is_more = len(kept) > query.limit
    return kept[: query.limit]
