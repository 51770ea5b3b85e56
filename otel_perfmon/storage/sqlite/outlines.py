"""Reading the outline of a trace: of each span no more than its place in the tree needs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from otel_perfmon.outline import Counts, Mark, Outline, OutlineSpan, outline_of
from otel_perfmon.records import OpenSpanRecord, SpanRecord
from otel_perfmon.storage.attributes import decode_attributes
from otel_perfmon.storage.base import OUTLINE_SPANS_MAX
from otel_perfmon.storage.rows import STATUS_ERROR
from otel_perfmon.storage.sqlite.answers import Shared
from otel_perfmon.storage.sqlite.details import decode_details
from otel_perfmon.storage.sqlite.running import find_open_spans

_ENTRIES_MAX: Final = 1_000_000
_KNOWN_SECONDS: Final = 60.0
"""How long an outline is remembered, at most: what takes secrets out of names leaves row ids as they are."""
_REMOTE: Final = 0x300
"""The bits of a span's flags that say: it is known where the parent is, and that is another process."""

_ENTRIES: Final = "FROM _spans INDEXED BY _spans_by_trace WHERE trace_id = ?"
# An own name or start stands first in the details, which can be long: only those are read that have one.
_SELECT: Final = f"""
SELECT s.span_id, s.parent_span_id, s.operation_id, s.kind, s.flags, s.start_unix_nano, s.end_unix_nano, s.status_code,
    s.is_slow, s.resource_id,
    iif(substr(s.details, 1, 8) = '{{"name":' OR substr(s.details, 1, 19) = '{{"start_unix_nano":', s.details, ''),
    iif(instr(s.attributes, '"perfmon.interrupted":true'), s.attributes, '')
FROM (SELECT id FROM (SELECT id {_ENTRIES} LIMIT {_ENTRIES_MAX}) ORDER BY id DESC LIMIT {OUTLINE_SPANS_MAX}) k
    CROSS JOIN _spans s ON s.id = k.id
"""


class Draft(NamedTuple):
    """What an outline is made from: no question to the file has to wait for that."""

    trace_id: bytes
    spans: list[OutlineSpan]
    counts: Counts


class KnownOutlines:
    """The outlines that were read last: pages ask for one several times, and spans that are stored stay as they are."""

    def __init__(self) -> None:
        self._outlines: dict[bytes, tuple[float, Outline]] = {}  # the latest last; single steps of it are atomic

    def read(self, connection: sqlite3.Connection, trace_id: bytes) -> Outline | Draft | None:
        """The outline of a trace, or what `make` makes it from; None when there is no span of it."""
        running = find_open_spans(connection, trace_id)
        counts = _counts(connection, trace_id, running)
        if not counts.stored_count and not running:
            return None
        read_at, outline = self._outlines.get(trace_id, (0.0, None))
        is_fresh = time.monotonic() - read_at < _KNOWN_SECONDS
        if outline is not None and outline.version == counts.version and is_fresh:
            return outline
        stored = list(_spans(connection, trace_id))[::-1]  # as they arrived
        return Draft(trace_id, [*stored, *map(_open_span, running)], counts)

    def make(self, draft: Draft) -> Outline:
        """The outline that it becomes; it is remembered."""
        outline = outline_of(draft.trace_id.hex(), draft.spans, draft.counts)
        self._outlines.pop(draft.trace_id, None)
        self._outlines[draft.trace_id] = time.monotonic(), outline
        room = OUTLINE_SPANS_MAX
        for trace_id, (_, each) in reversed(list(self._outlines.items())):
            room -= len(each)
            if room < 0 and each is not outline:
                self._outlines.pop(trace_id, None)
        return outline


def _counts(connection: sqlite3.Connection, trace_id: bytes, running: list[OpenSpanRecord]) -> Counts:
    sql = f"SELECT count(*), coalesce(max(id), 0) FROM (SELECT id {_ENTRIES} LIMIT {_ENTRIES_MAX})"
    count, last_id = connection.execute(sql, (trace_id,)).fetchone()
    log_sql = "SELECT count(*) FROM _logs WHERE trace_id = ? AND trace_id <> x''"
    (log_count,) = connection.execute(log_sql, (trace_id,)).fetchone()
    ends = max((each.span.end_unix_nano for each in running), default=0)
    version = f"{count}.{last_id}.{log_count}.{len(running)}.{ends}"
    return Counts(version, count <= OUTLINE_SPANS_MAX, count, log_count)


def _spans(connection: sqlite3.Connection, trace_id: bytes) -> Iterator[OutlineSpan]:
    names, shared = _Names(connection), Shared(connection)
    for row in connection.execute(_SELECT, (trace_id,)):
        span_id, parent_id, operation_id, kind, flags, start, end, status, is_slow, resource_id, details, told = row
        own: dict[str, Any] = decode_details(details)
        marks = Mark.ERROR.value if status == STATUS_ERROR else 0
        if is_slow:
            marks |= Mark.SLOW.value
        if flags & _REMOTE == _REMOTE:
            marks |= Mark.REMOTE.value
        if told and decode_attributes(told).get("perfmon.interrupted") is True:
            marks |= Mark.INTERRUPTED.value
        start = own.get("start_unix_nano", start)
        yield OutlineSpan(
            span_id.hex(),
            parent_id.hex() or None,
            own.get("name") or names[operation_id],
            kind,
            start,
            max(0, end - start),  # as a record of the span has it
            shared.resource(resource_id),
            marks,
        )


def _open_span(found: OpenSpanRecord) -> OutlineSpan:
    span: SpanRecord = found.span
    marks = Mark.INTERRUPTED.value if found.is_interrupted else Mark.RUNNING.value
    if span.is_slow:
        marks |= Mark.SLOW.value
    if span.is_error:
        marks |= Mark.ERROR.value
    if span.flags & _REMOTE == _REMOTE:
        marks |= Mark.REMOTE.value
    return OutlineSpan(
        span.span_id,
        span.parent_span_id,
        span.name,
        span.kind,
        span.start_unix_nano,
        span.duration_nano,
        span.resource,
        marks,
    )


class _Names(dict[int, str]):
    """The names of operations by their ids, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, operation_id: int) -> str:
        sql = "SELECT name FROM _operations WHERE id = ?"
        name = self[operation_id] = str(self._connection.execute(sql, (operation_id,)).fetchone()[0])
        return name
