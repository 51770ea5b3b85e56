"""The flight recorder of one store: when the rows of its open spans are to be written, and which they are to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from otel_perfmon.storage.base import OpenSpans
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.rows import OpenSpanRow


class OpenSpansOf(Protocol):
    """How the open spans of a store are found; only the thread that writes for it may ask."""

    def __call__(self, *, is_last: bool) -> list[OpenSpanRow]:
        """Those that are open for long enough, or all of them the last time."""


class FlightRecorder:
    """Asked to look by any thread; the others are methods for the thread that writes."""

    def __init__(self) -> None:
        self.open_spans_of: OpenSpansOf | None = None
        self.start_afresh()

    def start_afresh(self) -> None:
        """Nothing is due, and the file has no rows of this process."""
        self.is_due = self.has_rows = False

    def take(
        self,
        has_spans_queued: Callable[[], bool],
        redact: Callable[[SpanColumns], SpanColumns],
        *,
        is_exit: bool | None = None,
    ) -> OpenSpans | None:
        """What the file is to say if that is due, else None; ``redact`` takes the secrets out.

        At the end of the recorder, ``is_exit`` says whether it is that of the process: then what is open stays.
        """
        if not self.is_due and is_exit is None:
            return None
        self.is_due = False  # before we look: who asks meanwhile is to see what there is by then
        is_all = not has_spans_queued()  # likewise: what ends meanwhile is in the queue, or seen as open
        rows = [] if self.open_spans_of is None or is_exit is False else self.open_spans_of(is_last=is_exit is True)
        if not (rows or self.has_rows):
            return None
        clean = redact(SpanColumns.of([row.span for row in rows]))
        # The names of threads are texts of the program's too: in the place of the spans' names they are cleaned alike.
        names = redact(SpanColumns.of([row.span._replace(name=row.thread_name) for row in rows]))
        return OpenSpans(
            [
                row._replace(span=span, thread_name=named.name)
                for row, span, named in zip(rows, clean, names, strict=True)
            ],
            is_all,
        )

    def note_written(self, open_spans: OpenSpans | None) -> None:
        """What was taken is in the file."""
        if open_spans is not None:
            self.has_rows = bool(open_spans.rows) or (self.has_rows and not open_spans.is_all)

    def put_back(self, open_spans: OpenSpans | None) -> None:
        """What was taken could not be written: it is due again."""
        self.is_due = self.is_due or open_spans is not None
