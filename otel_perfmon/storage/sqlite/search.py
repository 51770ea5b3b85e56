"""Finding spans: a search goes through an index in its own order, or reads a bounded number of rows and says so.

A search has branches, one for each operation that has the name (of several services and versions). Each yields narrow
rows in the order of the question, through an index, and they are merged: what the answer holds, and one more of each
branch, is read. What no index serves (attributes, durations, an error type …) is looked at row by row, at most
`SCAN_ROWS_MAX` of them; the page token then says where to go on. By duration only slow spans have an index: of others
the newest `SCAN_ROWS_MAX` are gone through.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from otel_perfmon.errors import QueryError
from otel_perfmon.query import INT64_MAX, SpanQuery, Window, int64, parse_id
from otel_perfmon.records import SpanPage
from otel_perfmon.storage.attributes import decode_attributes, storable_text
from otel_perfmon.storage.rows import OPERATION_NAME_MAX, OVERFLOW_OPERATION, STATUS_ERROR
from otel_perfmon.storage.sqlite.answers import read_spans
from otel_perfmon.storage.sqlite.arrivals import last_id as last_id  # noqa: PLC0414 - theirs too
from otel_perfmon.storage.sqlite.details import decode_details, has_error_type

SCAN_ROWS_MAX: Final = 200_000
SCAN_SECONDS_MAX: Final = 2.0
"""What a question may read, and how long, where no index serves it."""
_CLOCK_ROWS: Final = 1_024
_BRANCHES_MAX: Final = 64
"""So many operations of a service are searched each for itself; with more of them, all spans are looked at."""

Row = tuple[Any, ...]
_COLUMNS: Final = (
    "s.id, s.end_unix_nano, s.duration_nano, s.operation_id, s.status_code, s.is_slow, s.attributes, {details}"
)
_ID, _END, _DURATION, _OPERATION, _STATUS, _IS_SLOW, _ATTRIBUTES, _DETAILS = range(8)

Position = tuple[int, int]
"""How far a search has come: what it is ordered by, and the row id."""
_LETTERS: Final = {"newest": "n", "oldest": "o", "slowest": "s", "arrival": "a"}
_TOKEN: Final = re.compile(r"([nosa])(-?\d{1,19})\.(\d{1,19})", re.ASCII)


def stored_name(name: str | None) -> str | None:
    """The name under which an operation is stored: what is too long is cut, what is no Unicode escaped."""
    return None if name is None else storable_text(name, OPERATION_NAME_MAX)[0]


def bounds(window: Window | None) -> tuple[int, int]:
    """Start and end of a window in nanoseconds that fit 64 bits; of all time, without one."""
    if window is None:
        return -INT64_MAX, INT64_MAX
    return int64(window.start_unix_nano), int64(window.end_unix_nano)


def _ends(window: Window | None) -> tuple[int, int]:
    """The first and the last moment of a window, both included."""
    return (
        (-INT64_MAX, INT64_MAX) if window is None else (int64(window.start_unix_nano), int64(window.end_unix_nano - 1))
    )


def make_token(order: str, position: Position) -> str:
    """The page token for what comes after ``position``."""
    return f"{_LETTERS[order]}{position[0]}.{position[1]}"


def find_spans(connection: sqlite3.Connection, query: SpanQuery) -> SpanPage:
    """The page of spans that answers ``query``."""
    plan = _plan(connection, query)
    rows: list[Row] = []
    if plan.branches:
        take = _take_ordered if plan.is_ordered else _take_best if plan.matches or query.trace_id else _take_slowest
        rows = take(connection, query, plan)
    return SpanPage(
        read_spans(connection, [row[_ID] for row in rows]),
        plan.is_complete,
        plan.rows_read,
        _next_token(plan, query, rows),
    )


# --- the plan


@dataclass(slots=True)
class _Plan:
    """How one question is answered, and how far it has come.

    ``branches`` are ids of operations, or None for all spans. ``key`` is the column that the rows are ordered by, and
    ``low`` to ``high`` its range, both included.
    """

    branches: list[int | None]
    is_ordered: bool
    key: int
    low: int
    high: int
    columns: str
    matches: Callable[[Row], bool] | None
    after: Position | None
    rows_read: int = 0
    is_complete: bool = True
    is_more: bool = False
    reached: Position | None = None


def _plan(connection: sqlite3.Connection, query: SpanQuery) -> _Plan:
    branches, operation_ids, is_named = _branches(connection, query)
    is_by_duration = query.order == "slowest" and query.is_slow is True and query.window is None
    is_by_duration = is_by_duration and query.trace_id is None
    is_ordered = query.trace_id is None and (query.order != "slowest" or is_by_duration)
    low, high = _ends(query.window)
    key = _END
    if query.order == "arrival":
        key, low, high = _ID, 0, INT64_MAX
    elif is_by_duration:
        key, low, high = _DURATION, 0, INT64_MAX
    needs_look = is_named or operation_ids is not None or _needs_look(query, is_by_duration=is_by_duration)
    matches = _Filter(query, operation_ids, is_named=is_named).matches if needs_look else None
    # Details can be long, with all events: read only where they are looked at.
    details = "s.details" if is_named or query.error_type is not None else "''"
    columns = _COLUMNS.format(details=details) if needs_look else "s.id, s.end_unix_nano, s.duration_nano"
    after = _parse_token(query)
    if after is not None and query.order == "arrival" and after[1] > last_id(connection):
        after = None  # another file has taken the path: all in it is new
    return _Plan(branches, is_ordered, key, low, high, columns, matches, after)


def _branches(connection: sqlite3.Connection, query: SpanQuery) -> tuple[list[int | None], set[int] | None, bool]:
    """What to search, which operations' rows to take from it, and whether each row's own name must be looked at."""
    if query.operation is None and query.service is None:
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
    if query.trace_id is not None or query.order == "arrival" or (query.operation is None and len(ids) > _BRANCHES_MAX):
        return [None], set(ids), is_named
    return list(ids), None, is_named


def _needs_look(query: SpanQuery, *, is_by_duration: bool) -> bool:
    """Whether no index serves all of the question, so that rows must be looked at which the answer may not hold."""
    filters = (query.error_type, query.min_duration_ms, query.max_duration_ms)
    if query.attributes or any(each is not None for each in filters):
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
        key = _DURATION if query.order == "slowest" else _END
        return make_token(query.order, (rows[-1][key], rows[-1][_ID]))
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
        else heapq.merge(*streams, key=lambda row: (row[key], row[_ID]), reverse=is_falling)
    )
    kept: list[Row] = []
    for row in _within_budget(rows, plan):
        plan.reached = (row[key], row[_ID])
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
    column = ("s.id", "s.end_unix_nano", "s.duration_nano")[plan.key]
    direction = "DESC" if is_falling else "ASC"
    order = f"{column} {direction}, s.id {direction}"
    where, parameters = _indexed_conditions(query, branch)
    select = f"SELECT {plan.columns} FROM _spans s WHERE {where}"
    low, high = plan.low, plan.high
    if plan.after is None:
        return connection.execute(f"{select} {column} BETWEEN ? AND ? ORDER BY {order}", (*parameters, low, high))
    key, row_id = plan.after
    if plan.key == _ID:
        return connection.execute(f"{select} s.id > ? ORDER BY s.id", (*parameters, row_id))
    ties = connection.execute(
        f"{select} {column} = ? AND s.id {'<' if is_falling else '>'} ? ORDER BY s.id {direction}",
        (*parameters, key, row_id),
    )
    if key == (-INT64_MAX if is_falling else INT64_MAX):  # nothing is beyond
        return ties
    low, high = (low, min(high, key - 1)) if is_falling else (max(low, key + 1), high)
    others = connection.execute(f"{select} {column} BETWEEN ? AND ? ORDER BY {order}", (*parameters, low, high))
    return chain(ties, others)


def _indexed_conditions(query: SpanQuery, branch: int | None) -> tuple[str, list[Any]]:
    """What an index answers, to be followed by a condition on what the rows are ordered by."""
    if query.trace_id is not None:
        return "s.trace_id = ? AND", [parse_id(query.trace_id, 16)]
    if query.order == "arrival":
        return "", []
    conditions = "" if branch is None else "s.operation_id = ? AND "
    # A literal: a partial index is not used for a parameter.
    if query.is_slow and query.order == "slowest":
        conditions += "s.is_slow = 1 AND"
    elif query.is_error or query.error_type is not None:  # which only a failed span has
        conditions += "s.is_error = 1 AND"
    elif query.is_slow:
        conditions += "s.is_slow = 1 AND"
    return conditions, [] if branch is None else [branch]


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
    """The best of the rows that match, from branches whose order is another one: newest first."""
    is_falling = query.order in ("newest", "slowest")
    key = _ID if query.order == "arrival" else _DURATION if query.order == "slowest" else _END
    after, plan.after = plan.after, None
    streams = [_unordered(connection, query, plan, branch) for branch in plan.branches]
    rows = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda row: row[_END], reverse=True)
    found = (
        row
        for row in _within_budget(rows, plan)
        if (plan.matches is None or plan.matches(row)) and _is_after((row[key], row[_ID]), after, is_falling=is_falling)
    )
    best = heapq.nlargest if is_falling else heapq.nsmallest
    kept = best(min(query.limit, SCAN_ROWS_MAX) + 1, found, key=lambda row: (row[key], row[_ID]))
    plan.is_more = len(kept) > query.limit
    kept = kept[: query.limit]
    plan.reached = (kept[-1][key], kept[-1][_ID]) if kept else after
    return kept


def _take_slowest(connection: sqlite3.Connection, query: SpanQuery, plan: _Plan) -> list[Row]:
    """The slowest of the newest rows, where every row is wanted: SQLite sorts them four times as fast as we look."""
    kept: list[Row] = []
    duration, row_id = plan.after or (INT64_MAX, INT64_MAX)
    limit = min(query.limit, SCAN_ROWS_MAX) + 1
    for branch in plan.branches:
        where, parameters = _indexed_conditions(query, branch)
        room = SCAN_ROWS_MAX - plan.rows_read
        newest = f"FROM _spans s WHERE {where} s.end_unix_nano BETWEEN ? AND ? ORDER BY s.end_unix_nano DESC LIMIT ?"
        bounded = (*parameters, plan.low, plan.high, room + 1)
        count = connection.execute(f"SELECT count(*) FROM (SELECT s.id {newest})", bounded).fetchone()[0]
        plan.is_complete = plan.is_complete and count <= room
        plan.rows_read += min(count, room)
        kept += connection.execute(
            f"SELECT * FROM (SELECT s.id, s.end_unix_nano, s.duration_nano {newest})"
            " WHERE (duration_nano, id) < (?, ?) ORDER BY duration_nano DESC, id DESC LIMIT ?",
            (*bounded[:-1], room, duration, row_id, limit),
        )
    kept.sort(key=lambda row: (row[_DURATION], row[_ID]), reverse=True)
    plan.is_more = len(kept) > query.limit
    return kept[: query.limit]


def _unordered(connection: sqlite3.Connection, query: SpanQuery, plan: _Plan, branch: int | None) -> Iterator[Row]:
    if query.trace_id is None:
        return _ordered(connection, query, plan, branch, is_falling=True)
    return connection.execute(
        f"SELECT {plan.columns} FROM _spans s WHERE s.trace_id = ?", (parse_id(query.trace_id, 16),)
    )


def _is_after(position: Position, after: Position | None, *, is_falling: bool) -> bool:
    if after is None:
        return True
    return position < after if is_falling else position > after


# --- looking at a row


class _Filter:
    """What of a question no index answered."""

    def __init__(self, query: SpanQuery, operation_ids: set[int] | None, *, is_named: bool) -> None:
        self._query = query
        self._operation_ids = operation_ids
        self._name = stored_name(query.operation) if is_named else None
        self._error_type = stored_name(query.error_type)
        self._first, self._last = _ends(query.window)

    def matches(self, row: Row) -> bool:
        """Whether a row is wanted; what is cheap to tell first."""
        query = self._query
        return (
            (query.is_error is None or (row[_STATUS] == STATUS_ERROR) == query.is_error)
            and (query.is_slow is None or bool(row[_IS_SLOW]) == query.is_slow)
            and self._first <= row[_END] <= self._last
            and (query.min_duration_ms is None or row[_DURATION] / 1e6 >= query.min_duration_ms)
            and (query.max_duration_ms is None or row[_DURATION] / 1e6 <= query.max_duration_ms)
            and (self._operation_ids is None or row[_OPERATION] in self._operation_ids)
            and (self._error_type is None or has_error_type(row[_DETAILS], self._error_type))
            and (self._name is None or decode_details(row[_DETAILS]).get("name", self._name) == self._name)
            and (not query.attributes or _has_attributes(decode_attributes(row[_ATTRIBUTES]), query.attributes))
        )


def _has_attributes(attributes: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in attributes and _is_same(attributes[key], value) for key, value in wanted.items())


def _is_same(stored: Any, wanted: Any) -> bool:
    """Equal in value and type, all the way down: 1, 1.0 and True are three things."""
    if isinstance(wanted, (list, tuple)):
        return isinstance(stored, tuple) and len(stored) == len(wanted) and all(map(_is_same, stored, wanted))
    if isinstance(wanted, Mapping):
        return isinstance(stored, dict) and len(stored) == len(wanted) and _has_attributes(stored, wanted)
    return type(stored) is type(wanted) and bool(stored == wanted)
