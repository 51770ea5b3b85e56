"""Which spans the store has: what is sent again is to be stored once (OTLP, "Duplicate Data").

Each trace is looked up in the file when one of its spans comes, and its spans remembered; when it comes again only rows
that are new since then are read, those that other processes wrote among them. A trace of 100,000 spans would else be
read whole with every request. What is remembered holds for one file, and until spans are removed from it: then all is
forgotten, and a trace read again when it comes.
"""

from __future__ import annotations

from typing import Final

from otel_perfmon.storage.base import KeysFound, Store
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.rows import SpanRow

REMEMBERED_MAX: Final = 200_000
"""Spans remembered, about 150 bytes each. The traces that were not heard of for the longest time are forgotten, and
read again when they come again."""
_KEY_COLUMNS: Final = tuple(map(SpanRow._fields.index, ("trace_id", "span_id", "start_unix_nano")))


class _Trace:
    """The spans of one trace, by id and start, up to a row of the store."""

    __slots__ = ("last_row_id", "spans")

    def __init__(self) -> None:
        self.spans: set[tuple[bytes, int]] = set()
        self.last_row_id = 0


class KnownSpans:
    """The spans of one store. One thread at a time, which holds the right to write there."""

    def __init__(self, store: Store, remembered_max: int = REMEMBERED_MAX) -> None:
        self._store = store
        self._remembered_max = remembered_max
        self._remembered_count = 0
        self._traces: dict[bytes, _Trace] = {}
        self._removed_count = 0
        self.file: object = None
        """Which file was looked into last."""

    def sift(self, spans: SpanColumns) -> SpanColumns:
        """Those spans that the store does not have, each once. From now on it counts as having them, until `forget`."""
        trace_ids, span_ids, starts = (spans.columns[column] for column in _KEY_COLUMNS)
        self._read(set(trace_ids))
        traces = self._traces
        unknown: list[int] = []
        for number, (trace_id, key) in enumerate(zip(trace_ids, zip(span_ids, starts, strict=True), strict=True)):
            known = traces[trace_id].spans
            if key not in known:
                known.add(key)
                unknown.append(number)
        self._remembered_count += len(unknown)
        return spans.pick(unknown)

    def forget(self, spans: SpanColumns) -> None:
        """Those spans could not be written: what the file has of their traces is to be read again."""
        for trace_id in set(spans.columns[_KEY_COLUMNS[0]]):
            self._forget_trace(trace_id)

    def note_file(self) -> None:
        """The first spans made the file: from now on it can be told from another."""
        if self.file is None:
            found = self._store.find_span_keys({})
            self.file, self._removed_count = found.file, found.removed_count

    def _read(self, trace_ids: set[bytes]) -> None:
        self._make_room()
        found = self._find(trace_ids)
        if found.file is None or (found.file, found.removed_count) != (self.file, self._removed_count):
            is_whole = not any(self._traces[trace_id].last_row_id for trace_id in trace_ids)
            self._traces = {trace_id: _Trace() for trace_id in trace_ids}
            self._remembered_count = 0
            found = found if is_whole else self._find(trace_ids)
            self.file, self._removed_count = found.file, found.removed_count
        traces = self._traces
        for row_id, (trace_id, span_id, start_unix_nano) in found.rows:
            trace, before_count = traces[trace_id], len(traces[trace_id].spans)
            trace.spans.add((span_id, start_unix_nano))
            trace.last_row_id = max(trace.last_row_id, row_id)
            self._remembered_count += len(trace.spans) - before_count

    def _find(self, trace_ids: set[bytes]) -> KeysFound:
        """What the store has of those traces and is not remembered."""
        traces = self._traces
        for trace_id in trace_ids:
            trace = traces.pop(trace_id) if trace_id in traces else _Trace()
            traces[trace_id] = trace  # the latest stand last
        return self._store.find_span_keys({trace_id: traces[trace_id].last_row_id for trace_id in trace_ids})

    def _make_room(self) -> None:
        while self._remembered_count > self._remembered_max:
            self._forget_trace(next(iter(self._traces)))

    def _forget_trace(self, trace_id: bytes) -> None:
        trace = self._traces.pop(trace_id, None)
        self._remembered_count -= len(trace.spans) if trace is not None else 0
