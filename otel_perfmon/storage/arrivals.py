"""Spans that come from elsewhere, some at a time, and are acknowledged when they are committed.

They go past the queue: what cannot be written is refused, and its sender has it still. What a sender sends again, since
it did not hear of the commit or was refused, is stored and counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate, islice, takewhile
from operator import itemgetter, le
from typing import Final

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.at_once import OnCommit, ignore
from otel_perfmon.storage.base import Batch, Store
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.known_spans import KnownSpans
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.rows import ROW_BYTES, EdgeRow, SpanKey, SpanRow, key_of

_END: Final = SpanRow._fields.index("end_unix_nano")
_CHARACTER_BYTES_MAX: Final = 4
_UNWRITTEN_MAX: Final = 100_000
"""Spans that could not be written and whose self times are kept until they come again."""


class Arrivals:
    """Writes such spans into one store; one thread at a time."""

    def __init__(self, recorder: Recorder, store: Store) -> None:
        self._recorder = recorder
        self._known = KnownSpans(store)
        self._lineage = Lineage()
        self._edges: list[EdgeRow] = []
        self._own_of_unwritten: dict[SpanKey, int] = {}

    def write_first(self, rows: Sequence[SpanRow], on_commit: OnCommit = ignore) -> int:
        """Commit the first rows, as many as fit into a transaction, and one at least; how many. Raises `StoreError`.

        ``on_commit`` is told as much once they are committed, before the store is tidied up.
        """
        taken = SpanColumns.of(())
        batch = Batch()

        def make_batch(bytes_max: int) -> Batch:
            nonlocal taken, batch
            taken = _first(SpanColumns.of(rows), bytes_max)
            batch = self._batch_of(taken)
            batch.on_written = partial(on_commit, len(taken))
            return batch

        try:
            self._recorder.write_now(make_batch)
        finally:
            if batch.is_written:  # whatever happened after that
                self._note_written(batch)
            else:
                self._note_unwritten(taken, batch)
        return len(taken)

    def _note_written(self, batch: Batch) -> None:
        with suppress(StoreError):  # what is committed is, and the next look tells
            self._known.note_file()
        self._recorder.ledger.counted_count += batch.span_count - batch.unstorable_count
        self._edges = []
        if self._own_of_unwritten:
            for key in map(key_of, batch.spans):
                self._own_of_unwritten.pop(key, None)

    def _note_unwritten(self, taken: SpanColumns, batch: Batch) -> None:
        self._known.forget(taken)
        if len(self._own_of_unwritten) < _UNWRITTEN_MAX:
            self._own_of_unwritten.update(zip(map(key_of, batch.spans), batch.self_nano, strict=True))

    def _batch_of(self, spans: SpanColumns) -> Batch:
        """The spans without those known, without secrets, with their self times and calls."""
        file = self._known.file
        spans, own = _as_columns_ended(self._known.sift(spans)), []
        is_other = file is not None and self._known.file != file
        if is_other or self._known.file is None:  # what waited for spans of one file is of no use in another
            self._lineage, self._edges, self._own_of_unwritten = Lineage(), [], {}
        known_own = self._own_of_unwritten
        if known_own:  # of some the lineage has been told; those must come first
            rows = sorted(spans, key=lambda row: key_of(row) not in known_own)
            own = [known_own[key] for key in map(key_of, rows) if key in known_own]
            spans = SpanColumns.of(rows)
        spans = self._recorder.redactor.redact_spans(spans)
        self._lineage.add_self_times(spans, own)
        self._edges += self._lineage.take_edges()
        return Batch(spans, own, self._edges, state=self._recorder.ledger.state(is_closed=False))


def _first(spans: SpanColumns, bytes_max: int) -> SpanColumns:
    """The first spans, as many as have so many bytes together, and one at least."""
    attributes, details = spans.columns[-2:]
    character_count = sum(map(len, attributes)) + sum(
        [len(text) for each in details if each for text in (*each[:6], each.otlp)]
    )
    if ROW_BYTES * len(spans) + _CHARACTER_BYTES_MAX * character_count < bytes_max:  # as a rule
        return spans
    sizes = accumulate(ROW_BYTES + row.text_size for row in spans)
    return spans[: 1 + sum(1 for _ in takewhile(bytes_max.__gt__, sizes))]


def _as_columns_ended(spans: SpanColumns) -> SpanColumns:
    ends = spans.columns[_END]
    if all(map(le, ends, islice(ends, 1, None))):
        return spans
    return SpanColumns.of(as_they_ended(spans))


def as_they_ended(rows: Iterable[SpanRow]) -> list[SpanRow]:
    """What OTLP keeps apart by resource and scope, put together by end.

    Those of one scope stay in their order, which tells more than ends by a clock that was set meanwhile.
    """
    latest: dict[tuple[int, int], int] = {}
    placed: list[tuple[int, int, SpanRow]] = []
    for number, row in enumerate(rows):
        group = (id(row.resource), id(row.scope))
        latest[group] = max(latest.get(group, 0), row.end_unix_nano)
        placed.append((latest[group], number, row))
    return [row for _, _, row in sorted(placed, key=itemgetter(0, 1))]
