"""Spans into their table: column by column in loops of C, then one statement for many rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import sub
from typing import Any, Final

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.rows import NO_DETAILS, SpanDetails
from otel_perfmon.storage.sqlite.details import encode_details
from otel_perfmon.storage.sqlite.names import Names, Own
from otel_perfmon.storage.sqlite.rollup import Rollup
from otel_perfmon.storage.sqlite.statements import run_multirow

SPANS_AT_ONCE: Final = 1_024
"""Spans of one statement: of eleven columns 64 took 3.4 µs a row, 256 2.9, 1,024 2.4, and 2,048 no less (measured)."""

_PLAIN_COLUMNS: Final = (
    "trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags, end_unix_nano, "
    "duration_nano, status_code, is_slow, attributes"
)
"""What is said of every span. The rest is left to its defaults where none has it: 0.1 µs for each value not bound."""
_COLUMNS: Final = _PLAIN_COLUMNS + ", start_skew_nano, details"
_RAW_GO_WITH_SPANS: Final = """
CREATE TRIGGER IF NOT EXISTS _raw_spans_go_with_spans AFTER DELETE ON _spans BEGIN
    DELETE FROM _raw_spans WHERE span_row_id = OLD.id;
END
"""
"""Made with the first of them: to delete spans takes 1.4 times as long with it (measured), and most files have none."""


def count_spans(names: Names, rollup: Rollup, counted: SpanColumns, own: Sequence[int]) -> None:
    """Count rows, with their self times, which are not to be stored."""
    *_, span_names, resources, scopes, _, _, _, ends, durations, statuses, slow, _, _ = counted.columns
    operation_ids = [names.places[place][0] for place in zip(span_names, resources, scopes, strict=True)]
    rollup.add_spans(operation_ids, ends, durations, own, ends, statuses, slow)


def insert_spans(
    connection: sqlite3.Connection,
    names: Names,
    rows: SpanColumns,
    rollup: Rollup | None = None,
    own: Sequence[int] = (),
) -> Sequence[int]:
    """Insert at most `SPANS_AT_ONCE` rows and count them in ``rollup``, if it is given; the ids of their operations.

    ``own`` are their self times; the caller holds a transaction. Whatever a value makes SQLite or Python raise passes
    through: the caller rolls back.
    """
    fields = rows.columns
    trace_ids, span_ids, parents, _, span_names, resources, scopes, kinds, flags = fields[:9]
    starts, ends, durations, statuses, slow, attributes, details = fields[9:]
    places = map(names.places.__getitem__, zip(span_names, resources, scopes, strict=True))
    operation_ids, resource_ids, scope_ids, owned = zip(*places, strict=True)
    skews: list[int] = list(map(sub, map(sub, ends, durations), starts))
    columns: list[Iterable[Any]] = [
        map(bytearray, trace_ids),  # unlike bytes these need no adapter (see the schema)
        map(bytearray, span_ids),
        map(bytearray, parents),
        *(operation_ids, resource_ids, scope_ids, kinds, flags, ends, durations, statuses, slow, attributes),
    ]
    names_of_columns = _PLAIN_COLUMNS
    if any(skews) or any(details) or any(owned):
        names_of_columns = _COLUMNS
        marked = _marked(details, owned, names) if any(owned) else details
        columns += (skews, _details(marked, owned, starts, skews))
    values = list(chain.from_iterable(zip(*columns, strict=True)))
    run_multirow(connection, f"INSERT INTO _spans ({names_of_columns})", len(columns), values)
    if names_of_columns is _COLUMNS:
        _insert_raw(connection, details)
    if rollup is not None:
        rollup.add_spans(operation_ids, ends, durations, own, ends, statuses, slow)
    return operation_ids


def _insert_raw(connection: sqlite3.Connection, details: Sequence[SpanDetails | None]) -> None:
    """Keep the spans as they came, of those just inserted that have such a form; their row ids follow each other."""
    raw = [(number, each.otlp) for number, each in enumerate(details) if each is not None and each.otlp]
    if not raw:
        return
    last_id = int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])
    connection.execute(_RAW_GO_WITH_SPANS)
    values = [value for number, otlp in raw for value in (last_id - len(details) + 1 + number, bytearray(otlp))]
    run_multirow(connection, "INSERT INTO _raw_spans (span_row_id, otlp)", 2, values)


def _details(
    details: Sequence[SpanDetails | None], owned: Sequence[Own | None], starts: Sequence[int], skews: list[int]
) -> list[str]:
    """The text of each span's details; a skew too large for its column goes into them as the start itself."""
    texts: list[str] = []
    for number, (each, own, start) in enumerate(zip(details, owned, starts, strict=True)):
        lost_start = None
        if not -INT64_MAX <= skews[number] <= INT64_MAX:
            lost_start, skews[number] = start, -INT64_MAX
        own_name = own.name if own is not None else ""
        texts.append(encode_details(each, own_name, lost_start) if each or own_name or skews[number] else "")
    return texts


def _marked(
    details: Sequence[SpanDetails | None], owned: Sequence[Own | None], names: Names
) -> Sequence[SpanDetails | None]:
    """The details of spans, with what of them had no room marked as altered, and counted."""
    marked = list(details)
    for number, own in enumerate(owned):
        if own is not None and own.lost:
            each = details[number] or NO_DETAILS
            names.lost_count += not each.altered
            marked[number] = each._replace(altered=",".join(filter(None, (each.altered, own.lost))))
    return marked
