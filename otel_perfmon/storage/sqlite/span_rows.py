"""Spans into their table: column by column in loops of C, then one statement for many rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from operator import sub
from typing import Final

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.rows import SpanDetails, SpanRow
from otel_perfmon.storage.sqlite.details import encode_details
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.rollup import Rollup
from otel_perfmon.storage.sqlite.statements import run_multirow

SPANS_AT_ONCE: Final = 1_024
"""Spans of one statement: 64 took 3.6 µs a row, 256 2.9, 512 2.6, 1,024 2.3, and 2,048 no less (measured)."""

_COLUMNS: Final = (
    "trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags, end_unix_nano, "
    "duration_nano, start_skew_nano, status_code, is_slow, attributes, details"
)
_WIDTH: Final = _COLUMNS.count(",") + 1


def insert_spans(
    connection: sqlite3.Connection, names: Names, rollup: Rollup, rows: Sequence[SpanRow], own: Sequence[int]
) -> Sequence[int]:
    """Insert at most `SPANS_AT_ONCE` rows and count them in ``rollup``; the ids of their operations.

    ``own`` are their self times; the caller holds a transaction. Whatever a value makes SQLite or Python raise passes
    through: the caller rolls back.
    """
    fields = tuple(zip(*rows, strict=True))
    trace_ids, span_ids, parents, _, span_names, resources, scopes, kinds, flags = fields[:9]
    starts, ends, durations, statuses, slow, attributes, details = fields[9:]
    places = map(names.places.__getitem__, zip(span_names, resources, scopes, strict=True))
    operation_ids, resource_ids, scope_ids, own_names = zip(*places, strict=True)
    skews: list[int] = list(map(sub, map(sub, ends, durations), starts))
    is_plain = not (any(skews) or any(details) or any(own_names))
    texts: Iterable[str] = repeat("") if is_plain else _details(details, own_names, starts, skews)
    columns = (
        map(bytearray, trace_ids),  # unlike bytes these need no adapter (see the schema)
        map(bytearray, span_ids),
        map(bytearray, parents),
        *(operation_ids, resource_ids, scope_ids, kinds, flags, ends, durations, skews, statuses, slow, attributes),
        texts,
    )
    values = list(chain.from_iterable(zip(*columns)))  # noqa: B905 - texts may have no end
    run_multirow(connection, f"INSERT INTO _spans ({_COLUMNS})", _WIDTH, values)
    rollup.add_spans(operation_ids, ends, durations, own, ends, statuses, slow)
    return operation_ids


def _details(
    details: Sequence[SpanDetails | None], own_names: Sequence[str], starts: Sequence[int], skews: list[int]
) -> list[str]:
    """The text of each span's details; a skew too large for its column goes into them as the start itself."""
    texts: list[str] = []
    for number, (each, own_name, start) in enumerate(zip(details, own_names, starts, strict=True)):
        lost_start = None
        if not -INT64_MAX <= skews[number] <= INT64_MAX:
            lost_start, skews[number] = start, -INT64_MAX
        texts.append(encode_details(each, own_name, lost_start) if each or own_name or skews[number] else "")
    return texts
