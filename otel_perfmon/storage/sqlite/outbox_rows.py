"""Spans for the outbox, by column: all rows of a batch in one step of SQLite.

Python lets go of the GIL around every step, and beside a CPU-bound thread each return can wait for a switch interval of
5 ms: 512 rows by themselves could take seconds. So each column comes as one text, of which none holds the separator:
ids and numbers by their nature, JSON because it escapes control characters.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_perfmon.errors import StoreCorruptError
from otel_perfmon.storage.outbox import NO_SPANS, OutboxSpans, SpanNames, SpanShape
from otel_perfmon.storage.sqlite.answers import Shared

_SEPARATOR: Final = "\n"
_SHAPE: Final = " || ' ' || ".join(SpanShape._fields)
_COLUMNS: Final = f"""
    group_concat(id), group_concat(start_unix_nano), group_concat(end_unix_nano), group_concat({_SHAPE}),
    group_concat(hex(trace_id), ''), group_concat(hex(span_id), ''), group_concat(hex(parent_span_id)),
    group_concat(attributes, char(10)), group_concat(details, char(10))"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM (SELECT s.* FROM json_each(?) k CROSS JOIN _spans s ON s.id = k.value)"
_SIZES: Final = """
    SELECT group_concat(length(ifnull(s.attributes, '')) + length(ifnull(s.details, '')) + ifnull(length(r.otlp), 0))
    FROM json_each(?) k LEFT JOIN _spans s ON s.id = k.value LEFT JOIN _raw_spans r ON r.span_row_id = k.value"""
STRETCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""What spans of one stretch hold together: they are in memory twice and more. 120 of 1 MiB took 525 MiB (measured)."""
_TRACE_BYTES, _SPAN_BYTES = 16, 8


def read_outbox_spans(connection: sqlite3.Connection, row_ids: Sequence[int]) -> OutboxSpans:
    """The rows of those ids that are there, in that order."""
    found = connection.execute(_SELECT, (json.dumps(row_ids),)).fetchone()
    if found[0] is None:
        return NO_SPANS
    ids, starts, ends = (list(map(int, each.split(","))) for each in found[:3])
    shapes, trace_ids, span_ids, parents, attributes, details = found[3:]
    known: dict[str, SpanShape] = {}
    shapes = [known.get(each) or known.setdefault(each, _shape(each)) for each in shapes.split(",")]
    trace_ids, span_ids = _pieces(trace_ids, _TRACE_BYTES), _pieces(span_ids, _SPAN_BYTES)
    parents = list(map(bytes.fromhex, parents.split(",")))
    attributes, details = attributes.split(_SEPARATOR), details.split(_SEPARATOR)
    columns = (starts, ends, shapes, trace_ids, span_ids, parents, attributes, details)
    if any(len(column) != len(ids) for column in columns):
        message = f"The spans {row_ids[0]} to {row_ids[-1]} hold values that no writer of ours wrote: they are damaged."
        raise StoreCorruptError(message)
    return OutboxSpans(
        row_ids=ids,
        shapes=shapes,
        trace_ids=trace_ids,
        span_ids=span_ids,
        parent_span_ids=parents,
        start_unix_nano=starts,
        end_unix_nano=ends,
        attributes=attributes,
        details=details,
        names=_read_names(connection, known.values()),
        raw=_read_raw(connection, ids),
    )


def within_bytes(connection: sqlite3.Connection, row_ids: Sequence[int]) -> int:
    """How many of the first of those rows take no more memory than a stretch may, at least one."""
    sizes = connection.execute(_SIZES, (json.dumps(row_ids),)).fetchone()[0]
    total = 0
    for number, size in enumerate(map(int, sizes.split(","))) if sizes else ():
        total += size
        if total > STRETCH_BYTES_MAX and number:
            return number
    return len(row_ids)


def read_ids(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> list[int]:
    """The ids that a query gives, in one step as well."""
    found = connection.execute(f"SELECT group_concat(id) FROM ({sql})", parameters).fetchone()[0]
    return list(map(int, found.split(","))) if found else []


def read_trace_ids(
    connection: sqlite3.Connection, after_id: int, last_id: int, count_max: int
) -> tuple[list[int], list[bytes]]:
    """The rows with ids above ``after_id``, up to ``last_id``, and the trace of each, in order."""
    sql = "SELECT id, trace_id FROM _spans WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
    ids, traces = connection.execute(
        f"SELECT group_concat(id), group_concat(hex(trace_id), '') FROM ({sql})", (after_id, last_id, count_max)
    ).fetchone()
    return (list(map(int, ids.split(","))), pieces_of(traces)) if ids else ([], [])


def pieces_of(traces: str | None) -> list[bytes]:
    """Trace ids that stand one behind the other, in hex."""
    return _pieces(traces or "", _TRACE_BYTES)


def _shape(text: str) -> SpanShape:
    return SpanShape(*map(int, text.split(" ")))


def _pieces(text: str, size: int) -> list[bytes]:
    whole = bytes.fromhex(text)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _read_names(connection: sqlite3.Connection, shapes: Iterable[SpanShape]) -> SpanNames:
    resources, scopes, operations, *_ = map(set, zip(*shapes, strict=True))
    shared = Shared(connection)
    sql = "SELECT id, name FROM _operations WHERE id IN (SELECT value FROM json_each(?))"
    return SpanNames(
        dict(connection.execute(sql, (json.dumps(sorted(operations)),))),
        {key: shared.resource(key) for key in resources},
        {key: shared.scope(key) for key in scopes},
    )


def _read_raw(connection: sqlite3.Connection, row_ids: Sequence[int]) -> dict[int, bytes]:
    """Spans that a row cannot hold whole, as they came; most files have none."""
    sql = "SELECT span_row_id, otlp FROM _raw_spans WHERE span_row_id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(sql, (json.dumps(row_ids),)))
