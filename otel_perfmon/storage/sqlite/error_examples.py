"""The first and the latest span that an error group names, chosen anew when one of them goes to another group."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from otel_perfmon.storage.fingerprint import message_pattern
from otel_perfmon.storage.row_parts import ERROR_TYPE, EXCEPTION_EVENT, error_of
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sqlite.details import decode_details

_LOOKED_AT_MAX: Final = 100
"""Failed spans of the operation among which another example is looked for, under a millisecond."""
_NAMED: Final = "SELECT operation_id, first_trace_id, last_trace_id, last_span_id FROM _error_groups WHERE id = ?"
_FAILED: Final = """
SELECT trace_id, span_id, end_unix_nano, details FROM _spans
WHERE operation_id = ? AND is_error = 1 ORDER BY end_unix_nano {} LIMIT ?
"""
_SET_FIRST: Final = "UPDATE _error_groups SET first_trace_id = ?, first_unix_nano = ? WHERE id = ?"
_SET_LAST: Final = """
UPDATE _error_groups SET last_trace_id = ?, last_span_id = ?, last_message = ?, last_unix_nano = max(?, (
    SELECT coalesce(max(start_unix_s), 0) * 1000000000 FROM _error_cells WHERE group_id = _error_groups.id
)) WHERE id = ?
"""
"""Not before the last hour in which the group counts: what was counted there may not be stored any more."""


def renew_examples(
    connection: sqlite3.Connection,
    group_id: int,
    moved: SpanRow,
    is_of_group: Callable[[tuple[str, str]], bool],
    message_max: int,
) -> None:
    """Have the group name other spans where it names ``moved``; it keeps what it names if none is found.

    ``is_of_group`` says of an error's type and message pattern whether it counts in this group.
    """
    named = connection.execute(_NAMED, (group_id,)).fetchone()
    if named is None:
        return
    operation_id, first_trace_id, *last = named
    if last == [moved.trace_id, moved.span_id]:
        found = _find(connection, operation_id, moved, is_of_group, "DESC")
        if found is not None:
            trace_id, span_id, end, message = found
            connection.execute(_SET_LAST, (trace_id, span_id, message[:message_max], end, group_id))
    if first_trace_id == moved.trace_id:
        found = _find(connection, operation_id, moved, is_of_group, "ASC")
        if found is not None:
            connection.execute(_SET_FIRST, (found[0], found[2], group_id))


def _find(
    connection: sqlite3.Connection,
    operation_id: int,
    moved: SpanRow,
    is_of_group: Callable[[tuple[str, str]], bool],
    order: str,
) -> tuple[bytes, bytes, int, str] | None:
    """Ids, end and message of the first such span that is not ``moved``."""
    for trace_id, span_id, end, details in connection.execute(_FAILED.format(order), (operation_id, _LOOKED_AT_MAX)):
        kind, message = _error_in(decode_details(details))
        if (trace_id, span_id) != (moved.trace_id, moved.span_id) and is_of_group((kind, message_pattern(message))):
            return trace_id, span_id, end, message
    return None


def _error_in(details: dict[str, Any]) -> tuple[str, str]:
    latest = [
        event.get("attributes", {})
        for event in reversed(details.get("events", ()))
        if event.get("name") == EXCEPTION_EVENT
    ]
    return error_of({ERROR_TYPE: details.get("error_type", "")}, latest, details.get("status_message", ""))
