"""Log records into their table, and the exceptions of which they tell to the spans in which those occurred.

A failed span without an exception event of its own failed by what a log record of it says: of those that were here
before the span the last, else the first that comes. What the span says itself, its ``error.type`` or its event, goes
before it; the span's own events stay as they are, and only ``error_type`` and error groups follow the record.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.storage.attributes import decode_attributes
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.row_parts import EXCEPTION_EVENT, error_of
from otel_perfmon.storage.rows import NO_DETAILS, STATUS_ERROR, LogRow, ResourceRow, ScopeRow, SpanDetails, SpanRow
from otel_perfmon.storage.sqlite.details import decode_details, encode_error_type
from otel_perfmon.storage.sqlite.error_groups import ErrorGroups
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.statements import run_multirow

COLUMNS: Final = (
    "trace_id, span_id, flags, resource_id, scope_id, time_unix_nano, observed_unix_nano, arrived_unix_s, "
    "severity_number, severity_text, event_name, body, body_json, attributes, dropped_attributes_count, altered, otlp"
)
_WIDTH: Final = COLUMNS.count(",") + 1
_SAYS_EXCEPTION: Final = '"exception.'
_EXCEPTION_OF: Final = """
SELECT attributes FROM _logs WHERE trace_id = ? AND trace_id <> x'' AND span_id = ?
    AND instr(attributes, '"exception.') ORDER BY id DESC LIMIT 1
"""
_FAILED: Final = f"""
SELECT id, operation_id, end_unix_nano, details, instr(attributes, '"error.type":') > 0 FROM _spans
    WHERE trace_id = ? AND span_id = ? AND status_code = {STATUS_ERROR} ORDER BY id LIMIT 1
"""
_NOWHERE: Final = (ResourceRow("", "", "", "{}"), ScopeRow("", "", "", "{}"))
_STATUS: Final = SpanRow._fields.index("status_code")
_DETAILS: Final = SpanRow._fields.index("details")


def insert_logs(
    connection: sqlite3.Connection, names: Names, error_groups: ErrorGroups, logs: Sequence[LogRow]
) -> None:
    """Insert log records; the caller holds a transaction."""
    values: list[Any] = []
    told: set[tuple[bytes, bytes]] = set()  # the records of this call are not in the table yet
    for log in logs:
        ids = (log.trace_id, log.span_id)
        if log.span_id and _SAYS_EXCEPTION in log.attributes and ids not in told:
            told.add(ids)
            _tell_span(connection, error_groups, log)
        resource_id, scope_id = names.resource(log.resource), names.scope(log.scope)
        altered = ",".join(filter(None, (log.altered, names.lost_of(resource_id, scope_id))))
        values += (bytearray(log.trace_id), bytearray(log.span_id), log.flags, resource_id, scope_id)
        values += (log.time_unix_nano, log.observed_unix_nano, names.now_unix_s)
        values += (log.severity_number, log.severity_text, log.event_name, log.body, log.body_json)
        values += (log.attributes, log.dropped_attributes_count, altered, bytearray(log.otlp))
    run_multirow(connection, f"INSERT INTO _logs ({COLUMNS})", _WIDTH, values)


def with_logged_exceptions(connection: sqlite3.Connection, spans: Sequence[SpanRow]) -> SpanColumns:
    """The spans, of which those that failed without an exception of their own have that of a log record."""
    columns = SpanColumns.of(spans)
    if STATUS_ERROR not in columns.columns[_STATUS]:
        return columns
    details: list[SpanDetails | None] = columns.columns[_DETAILS]
    bare = [number for number in columns.failed() if not _has_exception((details[number] or NO_DETAILS).events)]
    if not bare or connection.execute("SELECT 1 FROM _logs LIMIT 1").fetchone() is None:
        return columns
    told = list(details)
    for number in bare:
        ids = [bytearray(column[number]) for column in columns.columns[:2]]
        row = connection.execute(_EXCEPTION_OF, ids).fetchone()
        if row is not None:
            told[number] = _with_exception(details[number] or NO_DETAILS, row[0])
    return SpanColumns([*columns.columns[:_DETAILS], told])


def _tell_span(connection: sqlite3.Connection, error_groups: ErrorGroups, log: LogRow) -> None:
    """Have the failed span of an exception counted by it, if it is stored and had none."""
    ids = (bytearray(log.trace_id), bytearray(log.span_id))
    row = connection.execute(_FAILED, ids).fetchone()
    if row is None or connection.execute(_EXCEPTION_OF, ids).fetchone() is not None:
        return
    row_id, operation_id, end, text, has_type = row
    decoded = decode_details(text)
    if any(event["name"] == EXCEPTION_EVENT for event in decoded.get("events", ())):
        return
    message = decoded.get("status_message", "")
    own = SpanDetails(status_message=message, error_type=decoded.get("error_type", ""), error_message=message)
    told = _with_exception(own, log.attributes)
    if (told.error_type, told.error_message) == (own.error_type, own.error_message):
        return
    span = SpanRow(log.trace_id, log.span_id, b"", False, "", *_NOWHERE, 0, 0, end, end, 0, STATUS_ERROR, 0, "", own)
    # A type that the span does not say itself is that of a record that is gone, whose message nobody knows any more.
    may_be_other = bool(has_type or not own.error_type)
    if error_groups.move(operation_id, span, span._replace(details=told), may_be_other=may_be_other):
        details = encode_error_type(text, told.error_type)
        connection.execute("UPDATE _spans SET details = ? WHERE id = ?", (details, row_id))


def _with_exception(own: SpanDetails, attributes: str) -> SpanDetails:
    """The details with type and message of an exception that a log record tells in its attributes."""
    said = {"error.type": own.error_type}
    kind, message = error_of(said, [decode_attributes(attributes)], own.status_message)
    return own._replace(error_type=kind, error_message=message)


def _has_exception(events: str) -> bool:
    return f'"name":"{EXCEPTION_EVENT}"' in events
