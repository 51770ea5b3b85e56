"""Spans to export, and what is in the file of them, column by column."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


def rows_of(path: str) -> list[dict[str, Any]]:
    """Every column of every span, what it refers to by number in its own words, without the row id."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT s.*, o.name AS operation, v.name AS service, v.version AS service_version, v.environment,"
            " r.attributes AS resource, r.schema_url AS resource_schema_url, c.name AS scope,"
            " c.version AS scope_version, c.schema_url AS scope_schema_url, c.attributes AS scope_attributes"
            " FROM _spans s JOIN _operations o ON o.id = s.operation_id JOIN _services v ON v.id = o.service_id"
            " JOIN _resources r ON r.id = s.resource_id JOIN _scopes c ON c.id = s.scope_id"
            " ORDER BY s.trace_id, s.span_id, s.start_unix_nano, s.end_unix_nano"
        ).fetchall()
    numbers = ("id", "operation_id", "resource_id", "scope_id")
    return [{key: row[key] for key in row.keys() if key not in numbers} for row in rows]  # noqa: SIM118 - a Row's values are its elements


def count_of(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM _spans").fetchone()[0]


def ended(name: str, **fields: Any) -> Any:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span(name, **fields)
    span.end()
    return span
