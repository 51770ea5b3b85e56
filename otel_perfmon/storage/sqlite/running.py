"""Asking what runs: the open spans of every process on the file."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from typing import Final

from otel_perfmon.records import OpenSpanRecord
from otel_perfmon.storage.process import ProcessIdentity
from otel_perfmon.storage.sqlite.answers import Shared, span_record
from otel_perfmon.storage.sqlite.open_spans import PROCESS_COLUMNS, state_of

_SELECT: Final = f"""
SELECT 0, s.trace_id, s.span_id, s.parent_span_id, o.name, s.kind, s.start_unix_nano, s.start_unix_nano, s.status_code,
    s.flags, s.attributes, s.resource_id, s.scope_id, 0, s.details, s.slow_threshold_nano, s.thread_id, s.thread_name,
    {", ".join(f"p.{name.strip()}" for name in PROCESS_COLUMNS.split(","))}
FROM _open_spans s
    CROSS JOIN _operations o ON o.id = s.operation_id
    CROSS JOIN _open_processes p ON p.process = s.process
WHERE s.trace_id = coalesce(:trace_id, s.trace_id)
ORDER BY s.start_unix_nano, s.trace_id
"""
_PROCESS_AT: Final = 18
"""Where the columns of the process begin in a selected row."""
_SUMS: Final = f"""
SELECT count(*), max(s.start_unix_nano), total(length(s.attributes) + length(s.details)),
    {", ".join(f"p.{name.strip()}" for name in PROCESS_COLUMNS.split(","))}
FROM _open_spans s CROSS JOIN _open_processes p ON p.process = s.process
GROUP BY p.process ORDER BY p.process
"""
_DIGEST_BYTES: Final = 8


def find_open_spans(connection: sqlite3.Connection, trace_id: bytes | None = None) -> list[OpenSpanRecord]:
    """Every open span, and every one whose process is gone, that started first first; of one trace or of all."""
    shared, states = Shared(connection), dict[str, str]()
    now = time.time_ns()
    records: list[OpenSpanRecord] = []
    for row in connection.execute(_SELECT, {"trace_id": trace_id}):
        process, *parts, seen = row[_PROCESS_AT:]
        state = states.get(process)
        if state is None:
            state = states[process] = state_of(ProcessIdentity(*parts), seen, now)
        threshold_nano, thread_id, thread_name = row[_PROCESS_AT - 3 : _PROCESS_AT]
        start, until = row[6], max(row[6], seen if state == "interrupted" else now)
        span = span_record((*row[:7], until, *row[8:13], until - start > threshold_nano, row[14], b""), shared)
        records.append(OpenSpanRecord(span, state, parts[0], thread_id, thread_name))
    return records


def read_open_token(connection: sqlite3.Connection) -> str:
    """Another text than before when `find_open_spans` tells of other spans, or more of them; '' when of none.

    It goes by sums: a text that is replaced by one as long is not told.
    """
    now = time.time_ns()
    sums = [
        (process, state_of(ProcessIdentity(*parts), seen, now), count, newest, size)
        for count, newest, size, process, *parts, seen in connection.execute(_SUMS)
    ]
    return hashlib.blake2s(repr(sums).encode(), digest_size=_DIGEST_BYTES).hexdigest() if sums else ""
