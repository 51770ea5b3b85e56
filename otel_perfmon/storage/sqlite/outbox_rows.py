"""Spans for the outbox, by column: all rows of a batch in one step of SQLite.

Python lets go of the GIL around every step, and beside a CPU-bound thread each return can wait for a switch interval of
5 ms: 512 rows by themselves could take seconds. So each column comes as one text, of which none holds the separator:
ids and numbers by their nature, JSON because it escapes control characters.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.errors import StoreCorruptError
from otel_perfmon.storage.outbox import NO_SPANS, OutboxSpans, SpanNames

_SEPARATOR: Final = "\n"
_NUMBERS: Final = (
    "id",
    "resource_id",
    "scope_id",
    "operation_id",
    "kind",
    "flags",
    "start_unix_nano",
    "end_unix_nano",
    "status_code",
)
_IDS: Final = {"trace_id": "", "span_id": "", "parent_span_id": " "}
_TEXTS: Final = ("attributes", "details")
_COLUMNS: Final = ", ".join(
    (
        *(f"group_concat({each})" for each in _NUMBERS),
        *(f"group_concat(hex({each}), '{by}')" for each, by in _IDS.items()),
        *(f"group_concat({each}, char(10))" for each in _TEXTS),
    )
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM (SELECT s.* FROM json_each(?) k CROSS JOIN _spans s ON s.id = k.value)"
_TRACE_BYTES, _SPAN_BYTES = 16, 8


def read_outbox_spans(connection: sqlite3.Connection, row_ids: Sequence[int]) -> OutboxSpans:
    """The rows of those ids that are there, in that order."""
    found = connection.execute(_SELECT, (json.dumps(row_ids),)).fetchone()
    if found[0] is None:
        return NO_SPANS
    numbers = [list(map(int, each.split(","))) for each in found[: len(_NUMBERS)]]
    ids, resources, scopes, operations, kinds, flags, starts, ends, statuses = numbers
    count = len(ids)
    trace_ids, span_ids, parents, attributes, details = found[len(_NUMBERS) :]
    trace_ids, span_ids = _pieces(trace_ids, _TRACE_BYTES), _pieces(span_ids, _SPAN_BYTES)
    parents = [bytes.fromhex(each) if each else b"" for each in parents.split(" ")]
    attributes, details = attributes.split(_SEPARATOR), details.split(_SEPARATOR)
    if not len(trace_ids) == len(span_ids) == len(parents) == len(attributes) == len(details) == count:
        message = f"The spans {row_ids[0]} to {row_ids[-1]} hold values that no writer of ours wrote: they are damaged."
        raise StoreCorruptError(message)
    return OutboxSpans(
        row_ids=ids,
        resource_ids=resources,
        scope_ids=scopes,
        trace_ids=trace_ids,
        span_ids=span_ids,
        parent_span_ids=parents,
        operation_ids=operations,
        kinds=kinds,
        flags=flags,
        start_unix_nano=starts,
        end_unix_nano=ends,
        status_codes=statuses,
        attributes=attributes,
        details=details,
        names=_read_names(connection, set(operations), set(resources), set(scopes)),
    )


def _pieces(text: str, size: int) -> list[bytes]:
    whole = bytes.fromhex(text)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _read_names(
    connection: sqlite3.Connection, operations: set[int], resources: set[int], scopes: set[int]
) -> SpanNames:
    return SpanNames(
        {key: name for key, (name,) in _by_id(connection, "_operations", "name", operations).items()},
        _by_id(connection, "_resources", "attributes, schema_url", resources),
        _by_id(connection, "_scopes", "name, version, schema_url, attributes", scopes),
    )


def _by_id(connection: sqlite3.Connection, table: str, columns: str, ids: set[int]) -> dict[int, Any]:
    sql = f"SELECT id, {columns} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
    return {key: tuple(rest) for key, *rest in connection.execute(sql, (json.dumps(sorted(ids)),))}
