"""Log records into their table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.storage.rows import LogRow
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.statements import run_multirow

_COLUMNS: Final = (
    "trace_id, span_id, flags, resource_id, scope_id, time_unix_nano, observed_unix_nano, arrived_unix_s, "
    "severity_number, severity_text, event_name, body, body_json, attributes, dropped_attributes_count, altered, otlp"
)
_WIDTH: Final = _COLUMNS.count(",") + 1


def insert_logs(connection: sqlite3.Connection, names: Names, logs: Sequence[LogRow]) -> None:
    """Insert log records; the caller holds a transaction."""
    values: list[Any] = []
    for log in logs:
        resource_id, scope_id = names.resource(log.resource), names.scope(log.scope)
        altered = ",".join(filter(None, (log.altered, names.lost_of(resource_id, scope_id))))
        values += (bytearray(log.trace_id), bytearray(log.span_id), log.flags, resource_id, scope_id)
        values += (log.time_unix_nano, log.observed_unix_nano, names.now_unix_s)
        values += (log.severity_number, log.severity_text, log.event_name, log.body, log.body_json)
        values += (log.attributes, log.dropped_attributes_count, altered, bytearray(log.otlp))
    run_multirow(connection, f"INSERT INTO _logs ({_COLUMNS})", _WIDTH, values)
