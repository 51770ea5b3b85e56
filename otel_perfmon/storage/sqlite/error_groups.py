"""Error groups: errors of one operation whose messages differ only in their variable parts, counted by hour and day."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from otel_perfmon.query import Window, int64
from otel_perfmon.records import ErrorGroup
from otel_perfmon.storage.cells import COARSE_RESOLUTIONS_S, cover_coarsely
from otel_perfmon.storage.fingerprint import message_pattern
from otel_perfmon.storage.rows import NO_DETAILS, SpanRow
from otel_perfmon.storage.sqlite.error_examples import renew_examples
from otel_perfmon.storage.sqlite.figures import begin_generation
from otel_perfmon.storage.sqlite.statements import run_multirow

GROUPS_PER_OPERATION_MAX: Final = 100
OTHER_MESSAGES: Final = "(other messages)"
"""The group of what comes when an operation has so many."""
MESSAGE_MAX: Final = 1_000
"""Characters of a group's latest message; the span has all of it."""
_NANO: Final = 1_000_000_000

_COLUMNS: Final = (
    "operation_id, error_type, message, count, first_unix_nano, last_unix_nano, "
    "first_trace_id, last_trace_id, last_span_id, last_message"
)
_WIDTH: Final = _COLUMNS.count(",") + 1
_IS_LATER: Final = "excluded.last_unix_nano >= last_unix_nano"
_ADD: Final = (
    "ON CONFLICT DO UPDATE SET count = count + excluded.count,"
    " first_trace_id = iif(excluded.first_unix_nano < first_unix_nano, excluded.first_trace_id, first_trace_id),"
    f" last_trace_id = iif({_IS_LATER}, excluded.last_trace_id, last_trace_id),"
    f" last_span_id = iif({_IS_LATER}, excluded.last_span_id, last_span_id),"
    f" last_message = iif({_IS_LATER}, excluded.last_message, last_message),"
    " first_unix_nano = min(first_unix_nano, excluded.first_unix_nano),"
    " last_unix_nano = max(last_unix_nano, excluded.last_unix_nano)"
)

_Key = tuple[int, str, str]
"""Operation id, error type, message pattern."""


class _Group:
    """What one batch adds to a group."""

    __slots__ = ("cells", "count", "first", "last")

    def __init__(self, row: SpanRow) -> None:
        self.count = 0
        self.first = self.last = row
        self.cells: dict[tuple[int, int], int] = {}

    def add(self, row: SpanRow) -> None:
        self.count += 1
        if row.end_unix_nano < self.first.end_unix_nano:
            self.first = row
        if row.end_unix_nano >= self.last.end_unix_nano:
            self.last = row
        for cell in _cells_of(row):
            self.cells[cell] = self.cells.get(cell, 0) + 1

    def figures(self) -> tuple[Any, ...]:
        """The columns behind the key."""
        first, last = self.first, self.last
        times = (first.end_unix_nano, last.end_unix_nano)
        message = (last.details or NO_DETAILS).error_message[:MESSAGE_MAX]
        return (self.count, *times, first.trace_id, last.trace_id, last.span_id, message)


def _cells_of(row: SpanRow) -> list[tuple[int, int]]:
    """The cells in which an error counts: their resolutions and where they start."""
    return [(width, row.end_unix_nano // (width * _NANO) * width) for width in COARSE_RESOLUTIONS_S]


class ErrorGroups:
    """The error groups of one file, as one connection knows them; the caller holds a transaction.

    What is known is only good if the transaction that made it was committed: `forget` when one was not.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, dict[tuple[str, str], int]] = {}

    def forget(self) -> None:
        """Read from the file again what groups there are."""
        self._known.clear()

    def add(self, errors: Iterable[tuple[int, SpanRow]]) -> None:
        """Count failed spans, each with the id of its operation."""
        groups: dict[_Key, _Group] = {}
        for operation_id, row in errors:
            key = self._key(groups, operation_id, row)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(row)
            group.add(row)
        self._save(groups)

    def move(self, operation_id: int, old: SpanRow, new: SpanRow, *, may_be_other: bool) -> bool:
        """Count a failed span as ``new`` that was counted as ``old``; False where that is not counted any more.

        What is in no group of its own counts among the other messages, if it ``may_be_other``.
        """
        known = self._read(operation_id)
        details = old.details or NO_DETAILS
        key = (details.error_type, message_pattern(details.error_message))
        if key not in known and may_be_other:
            key = ("", OTHER_MESSAGES)
        if key not in known:
            return False
        self._take_out(known[key], old)
        is_other = key == ("", OTHER_MESSAGES)
        is_alike = key.__eq__ if not is_other else lambda each: each not in known
        renew_examples(self._connection, known[key], old, is_alike, MESSAGE_MAX)
        begin_generation(self._connection)
        self.forget()
        self.add([(operation_id, new)])
        return True

    def _take_out(self, group_id: int, old: SpanRow) -> None:
        """Count one less in that group, which goes when nothing is left of it."""
        self._connection.execute("UPDATE _error_groups SET count = count - 1 WHERE id = ?", (group_id,))
        for resolution, start_unix_s in _cells_of(old):
            self._connection.execute(
                "UPDATE _error_cells SET count = count - 1 WHERE (group_id, resolution_s, start_unix_s) = (?, ?, ?)",
                (group_id, resolution, start_unix_s),
            )
        self._connection.execute("DELETE FROM _error_cells WHERE group_id = ? AND count <= 0", (group_id,))
        self._connection.execute("DELETE FROM _error_groups WHERE id = ? AND count <= 0", (group_id,))

    def _key(self, groups: dict[_Key, _Group], operation_id: int, row: SpanRow) -> _Key:
        """The group of an error; that of other messages where its operation has no room for another group."""
        details = row.details or NO_DETAILS
        kind, message = details.error_type, message_pattern(details.error_message)
        known = self._known.get(operation_id, {})
        if (kind, message) not in known and (operation_id, kind, message) not in groups:
            known = self._read(operation_id)
            new_count = sum(1 for key in groups if key[0] == operation_id and key[1:] not in known)
            if (kind, message) not in known and len(known) + new_count >= GROUPS_PER_OPERATION_MAX:
                kind, message = "", OTHER_MESSAGES
        return operation_id, kind, message

    def _read(self, operation_id: int) -> dict[tuple[str, str], int]:
        """What the file knows now: other processes add to it as well."""
        query = "SELECT error_type, message, id FROM _error_groups WHERE operation_id = ?"
        rows = self._connection.execute(query, (operation_id,))
        known = self._known[operation_id] = {(kind, message): key for kind, message, key in rows}
        return known

    def _id(self, key: _Key) -> int:
        found = self._known.get(key[0], {}).get(key[1:])
        return found if found is not None else self._read(key[0])[key[1:]]

    def _save(self, groups: dict[_Key, _Group]) -> None:
        values = [value for key, group in groups.items() for value in (*key, *group.figures())]
        run_multirow(self._connection, f"INSERT INTO _error_groups ({_COLUMNS})", _WIDTH, values, _ADD)
        cells = [
            value
            for key, group in groups.items()
            for cell, count in group.cells.items()
            for value in (self._id(key), *cell, count)
        ]
        add_count = "ON CONFLICT DO UPDATE SET count = count + excluded.count"
        run_multirow(self._connection, "INSERT INTO _error_cells", 4, cells, add_count)


def summarize_errors(
    connection: sqlite3.Connection, *, operation: str | None, service: str | None, window: Window | None, limit: int
) -> list[ErrorGroup]:
    """The groups that occurred in the window, most recent first; those of several services or versions together."""
    aligned, ranges = cover_coarsely(window)
    found: list[ErrorGroup] = []
    seen: set[tuple[str, str, str]] = set()
    for latest in _newest(connection, operation, service, window):
        key = (latest.operation, latest.error_type, latest.message)
        if key in seen:
            continue
        seen.add(key)
        alike = _alike(connection, key, service)
        if window is not None and min(each.first_unix_nano for each in alike) >= window.end_unix_nano:
            continue
        count = sum(each.error_count if aligned is None else _count_in(connection, each.id, ranges) for each in alike)
        if count:
            found.append(_merged(alike, count, aligned))
        if len(found) == limit:
            break
    return found


class _Stored(NamedTuple):
    """A row of ``_error_groups``."""

    operation: str
    error_type: str
    message: str
    error_count: int
    first_unix_nano: int
    last_unix_nano: int
    first_trace_id: bytes
    last_trace_id: bytes
    last_span_id: bytes
    last_message: str
    id: int


_SELECT: Final = (
    "SELECT o.name, g.error_type, g.message, g.count, g.first_unix_nano, g.last_unix_nano, g.first_trace_id,"
    " g.last_trace_id, g.last_span_id, g.last_message, g.id FROM"
)


def _newest(
    connection: sqlite3.Connection, operation: str | None, service: str | None, window: Window | None
) -> Iterator[_Stored]:
    """The stored groups that occurred since the window began, most recent first."""
    tables = "_error_groups g CROSS JOIN _operations o ON o.id = g.operation_id"
    if operation is not None:  # few: an operation has a bounded number
        tables = "_operations o CROSS JOIN _error_groups g ON g.operation_id = o.id"
    wanted: dict[str, Any] = {"o.name = ?": operation, "v.name = ?": service}
    wanted["g.last_unix_nano >= ?"] = None if window is None else int64(window.start_unix_nano)
    given = {condition: value for condition, value in wanted.items() if value is not None}
    rows = connection.execute(
        f"{_SELECT} {tables} CROSS JOIN _services v ON v.id = o.service_id"
        f"{' WHERE ' if given else ''}{' AND '.join(given)} ORDER BY g.last_unix_nano DESC, g.id DESC",
        tuple(given.values()),
    )
    return map(_Stored._make, rows)


def _alike(connection: sqlite3.Connection, key: tuple[str, str, str], service: str | None) -> list[_Stored]:
    """The stored groups of that operation, type and message, the latest first."""
    condition, named = ("", ()) if service is None else (" AND v.name = ?", (service,))
    rows = connection.execute(
        f"{_SELECT} _operations o CROSS JOIN _error_groups g"
        " ON g.operation_id = o.id AND g.error_type = ? AND g.message = ?"
        f" CROSS JOIN _services v ON v.id = o.service_id WHERE o.name = ?{condition}"
        " ORDER BY g.last_unix_nano DESC, g.id DESC",
        (key[1], key[2], key[0], *named),
    )
    return [_Stored._make(row) for row in rows]


def _merged(alike: list[_Stored], count: int, window: Window | None) -> ErrorGroup:
    """One answer for groups of one name, the latest first."""
    last, first = alike[0], min(alike, key=lambda each: each.first_unix_nano)
    return ErrorGroup(
        operation=last.operation,
        error_type=last.error_type,
        message=last.message,
        count=count,
        first_seen=first.first_unix_nano / 1e9,
        last_seen=last.last_unix_nano / 1e9,
        last_message=last.last_message,
        first_trace_id=first.first_trace_id.hex(),
        last_trace_id=last.last_trace_id.hex(),
        last_span_id=last.last_span_id.hex(),
        window=window,
    )


def _count_in(connection: sqlite3.Connection, group_id: int, ranges: Iterable[tuple[int, int, int]]) -> int:
    sql = (
        "SELECT coalesce(sum(count), 0) FROM _error_cells"
        " WHERE group_id = ? AND resolution_s = ? AND start_unix_s >= ? AND start_unix_s < ?"
    )
    return sum(int(connection.execute(sql, (group_id, *each)).fetchone()[0]) for each in ranges)
