"""The span processor that `configure()` adds: every ended span of a provider goes to the recorder."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext

from otel_perfmon.sdk.open_spans import let_foreign_go, note_foreign, show_to
from otel_perfmon.sdk.rows import SpanEncoder
from otel_perfmon.sdk.self_metrics import tell_of_processor
from otel_perfmon.sdk.span import EndedSpanProcessor, Span
from otel_perfmon.sdk.thresholds import note_threshold
from otel_perfmon.storage.recorder import FINISH_TIMEOUT_SECONDS, Recorder
from otel_perfmon.storage.rows import OpenSpanRow

changes: Final = [0]
"""How often a `StoreSpanProcessor` was added or closed: what `doors_of` gave holds as long as this stays."""


class SpanDoor:
    """The way from an ended span to a recorder, with the slow threshold that holds at that moment.

    A span that took longer than ``slow_threshold_nano`` is slow, unless it says otherwise itself; it can be set at any
    time.

    ``durability``: ``batch`` leaves the write to the writer thread; ``root`` writes when a span without a local parent
    ends, ``span`` at each end, on the caller's thread. ``takes_stacks``: whether the stack of a span is taken when it
    passes the threshold while it is open.
    """

    def __init__(
        self,
        recorder: Recorder,
        slow_threshold_nano: int,
        durability: str = "batch",
        *,
        takes_stacks: bool = True,
    ) -> None:
        self.recorder = recorder
        self.takes_stacks = takes_stacks
        self.slow_threshold_nano = slow_threshold_nano  # by the property
        self._encoder = SpanEncoder()
        self._durability = durability
        recorder.open_door(self._encoder)
        show_to(recorder)

    @property
    def slow_threshold_nano(self) -> int:
        """A span that took longer is slow."""
        return self._slow_threshold_nano

    @slow_threshold_nano.setter
    def slow_threshold_nano(self, value: int) -> None:
        self._slow_threshold_nano = self.recorder.ledger.slow_threshold_nano = note_threshold(value)

    def take(self, span: ReadableSpan) -> bool:
        """Hand one ended span over; False when it was dropped, which is counted."""
        if type(span) is Span:
            threshold_nano = span._perfmon_threshold_nano
        else:
            let_foreign_go(span)
            threshold_nano = getattr(span, "_perfmon_threshold_nano", None)
        if threshold_nano is None:
            threshold_nano = self._slow_threshold_nano
        is_taken = self.recorder.take(self._encoder.entry_of(span, threshold_nano))
        if self._durability != "batch" and (
            self._durability == "span" or _is_local_root(getattr(span, "parent", None))
        ):
            self.recorder.commit()
        return is_taken

    def encode_open(self, span: Any) -> OpenSpanRow:
        """The row of a span that has not ended."""
        threshold_nano = getattr(span, "_perfmon_threshold_nano", None)
        return self._encoder.encode_open(span, self.slow_threshold_nano if threshold_nano is None else threshold_nano)


class StoreSpanProcessor(EndedSpanProcessor):
    """Stores every span that ends, sampled or only recorded. Its recorder is not its own: `shutdown` only flushes."""

    def __init__(self, door: SpanDoor) -> None:
        self.door = door
        self._is_open = True
        tell_of_processor(self, door.recorder)

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Note what starts; our own tracers do so themselves."""
        if type(span) is not Span:
            note_foreign(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand the span over; nothing that goes wrong reaches the program."""
        if not self._is_open:
            return
        try:
            self.door.take(span)
        except Exception as error:  # the outer rim: a raising processor would break the program
            self.door.recorder.lose("unreadable", 1, f"a span could not be taken: {error!r:.200}")

    def shutdown(self) -> None:
        """Write what there is; spans that end later are still written, on the thread that ends them."""
        self.force_flush(int(FINISH_TIMEOUT_SECONDS * 1000))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write everything that ended before the call; whether that was done in time."""
        return self.door.recorder.flush(timeout_millis / 1000)

    def close(self) -> None:
        """Take no more spans: the SDK cannot remove a processor."""
        self._is_open = False
        _note_change()

    @property
    def is_open(self) -> bool:
        """Whether spans are still taken."""
        return self._is_open


def add_first(provider: TracerProvider, processor: SpanProcessor) -> None:
    """Add a processor in front of those that ``provider`` has: a slow exporter there shares one flush deadline."""
    active = provider._active_span_processor
    lock, processors = getattr(active, "_lock", None), getattr(active, "_span_processors", None)
    if lock is None or not isinstance(processors, tuple):
        provider.add_span_processor(processor)
    else:
        with lock:
            active._span_processors = (processor, *active._span_processors)
    _note_change()


def doors_of(provider: Any) -> tuple[SpanDoor, ...]:
    """The doors through which every span of ``provider`` is stored."""
    active = getattr(provider, "_active_span_processor", None)
    processors = getattr(active, "_span_processors", ())
    return tuple(each.door for each in processors if isinstance(each, StoreSpanProcessor) and each.is_open)


def _note_change() -> None:
    changes[0] += 1


def _is_local_root(parent: SpanContext | None) -> bool:
    return parent is None or parent.is_remote
