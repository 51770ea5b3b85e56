"""Finding traces: by their id, and by the beginning of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final

from otel_perfmon.errors import QueryError
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import KEYS_MAX, OUTLINE_SPANS_MAX, TRACE_LOGS_MAX, TRACE_SPANS_MAX
from otel_perfmon.storage.rows import SpanKey
from otel_perfmon.storage.sqlite.answers import read_spans
from otel_perfmon.storage.sqlite.details import decode_details
from otel_perfmon.storage.sqlite.logs import find_logs
from otel_perfmon.trace import Trace

_ENTRIES_MAX: Final = 1_000_000
"""Spans of one trace among which the last to arrive are looked for."""
_ID_DIGITS: Final = 32
_HEX: Final = frozenset("0123456789abcdef")


def read_trace(connection: sqlite3.Connection, trace_id: bytes) -> Trace:
    """The spans of a trace, ordered by start; where there are too many, those that arrived last, like its root."""
    entries = "SELECT id FROM _spans INDEXED BY _spans_by_trace WHERE trace_id = ? LIMIT ?"
    sql = f"SELECT id FROM ({entries}) ORDER BY id DESC LIMIT ?"
    rows = connection.execute(sql, (trace_id, _ENTRIES_MAX, TRACE_SPANS_MAX + 1)).fetchall()
    ids = [row_id for (row_id,) in rows[:TRACE_SPANS_MAX]]
    spans = sorted(read_spans(connection, ids[::-1]), key=lambda span: span.start_unix_nano)
    logs = find_logs(connection, trace_id=trace_id.hex(), limit=TRACE_LOGS_MAX)
    return Trace(trace_id.hex(), tuple(spans), len(rows) <= TRACE_SPANS_MAX, tuple(logs[::-1]))


def find_in_trace(connection: sqlite3.Connection, trace_id: bytes, text: str) -> list[bytes]:
    """The ids of the spans in which ``text`` occurs: in their JSON as it is stored, or in their name."""
    sql = (
        "SELECT s.span_id, o.name, s.attributes, s.details FROM _spans s INDEXED BY _spans_by_trace"
        " CROSS JOIN _operations o ON o.id = s.operation_id WHERE s.trace_id = ? LIMIT ?"
    )
    plain, quoted = text.casefold(), json.dumps(text, ensure_ascii=False)[1:-1].casefold()
    return [
        span_id
        for span_id, name, attributes, details in connection.execute(sql, (trace_id, OUTLINE_SPANS_MAX))
        if plain in name.casefold()
        or quoted in attributes.casefold()
        or (quoted in details.casefold() and any(quoted in each.casefold() for each in _texts(details)))
    ]


def _texts(details: str) -> Iterator[str]:
    """What the details of a span say, as JSON, without the names of our own under which they say it."""
    decoded = decode_details(details)
    yield from (json.dumps(value, ensure_ascii=False) for value in decoded.values() if isinstance(value, str))
    for item in (*decoded.get("events", ()), *decoded.get("links", ())):
        said = [value for value in item.values() if isinstance(value, (str, dict))]
        yield json.dumps(said, ensure_ascii=False)


def find_trace_spans(connection: sqlite3.Connection, trace_id: bytes, span_ids: Collection[bytes]) -> list[SpanRecord]:
    """The spans of those ids in a trace, by start."""
    sql = "SELECT id, span_id FROM _spans INDEXED BY _spans_by_trace WHERE trace_id = ?"
    found = (row_id for row_id, span_id in connection.execute(sql, (trace_id,)) if span_id in span_ids)
    return sorted(read_spans(connection, list(islice(found, TRACE_SPANS_MAX))), key=lambda span: span.start_unix_nano)


def find_known_spans(connection: sqlite3.Connection, keys: Collection[SpanKey]) -> set[SpanKey]:
    """Which of these spans are there: each of their traces is read once."""
    sql = "SELECT span_id, start_unix_nano FROM _spans INDEXED BY _spans_by_trace WHERE trace_id = ?"
    wanted = set(keys)
    known: set[SpanKey] = set()
    for trace_id in {key[0] for key in keys}:
        rows = connection.execute(sql, (trace_id,))
        known.update(key for key in ((trace_id, *row) for row in rows) if key in wanted)
    return known


def find_span_keys(connection: sqlite3.Connection, after: Mapping[bytes, int]) -> Iterator[tuple[int, SpanKey]]:
    """The row id and the key of the spans of some traces, for each those behind a row id, the newest first."""
    columns = "id, span_id, start_unix_nano FROM _spans INDEXED BY _spans_by_trace WHERE trace_id = ?"
    sql = f"SELECT {columns} AND id > ? ORDER BY id DESC LIMIT {KEYS_MAX}"
    for trace_id, row_id in after.items():
        for found_id, span_id, start in connection.execute(sql, (trace_id, row_id)):
            yield found_id, (trace_id, span_id, start)


def removed_count(connection: sqlite3.Connection) -> int:
    """How many spans were removed from the file, whichever process did it and why."""
    return int(connection.execute("SELECT total(pruned) FROM _health").fetchone()[0])


def find_trace_ids(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """The ids that begin with ``prefix``, in order: one search of the index for each."""
    digits = prefix.lower() if isinstance(prefix, str) else ""
    if not digits or len(digits) > _ID_DIGITS or not _HEX.issuperset(digits):
        message = f"A trace id, or its beginning, is up to {_ID_DIGITS} hex digits; {prefix!r:.100} is none."
        raise QueryError(message)
    low = bytes.fromhex(digits.ljust(_ID_DIGITS, "0"))
    high = bytes.fromhex(digits.ljust(_ID_DIGITS, "f"))
    found: list[str] = []
    sql = "SELECT trace_id FROM _spans WHERE trace_id >= ? AND trace_id <= ? ORDER BY trace_id LIMIT 1"
    while len(found) < limit:
        row = connection.execute(sql, (low, high)).fetchone()
        if row is None:
            break
        found.append(row[0].hex())
        if row[0] == high:
            break
        low = (int.from_bytes(row[0], "big") + 1).to_bytes(_ID_DIGITS // 2, "big")
    return found
