"""Store-and-forward: spans of an outbox to one destination, at least once and in order, whatever fails.

A step is one request at most, and says how long to wait before the next: nothing here sleeps or has a thread. What was
accepted is settled before anything else is sent, so that a process that dies resends one request at most. A request
that is refused is halved until one span is left. If the destination takes anything else after that, the span is to
blame: it is parked, and does not hold up the rest. Else the destination is, and every span waits for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from otel_perfmon.errors import ConfigError, StoreCorruptError
from otel_perfmon.otlp.backoff import Backoff
from otel_perfmon.otlp.json_encoding import encode_span, encode_traces
from otel_perfmon.otlp.outcome import Kind, Outcome
from otel_perfmon.otlp.row_encoding import EncodedSpans
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.outbox import LeaseLostError, Outbox, Settlement, Stretch

_logger = logging.getLogger("otel_perfmon")

BATCH_SPANS_MAX: Final = 512
REQUEST_BYTES_MAX: Final = 3_500_000
"""Before compression: what a gRPC receiver takes, unless it is told otherwise, is 4 MiB."""
POLL_SECONDS: Final = 1.0
STEP_SECONDS_MAX: Final = 5.0
"""So long it may be from step to step."""
PARKED_AT_ONCE_MAX: Final = 16
"""So many spans are parked one after the other without a pause. If nothing was accepted in between, it may be the
destination that refuses everything, and each further one waits as after a failure. Nor are more of them doubted at
once."""
UNCERTAIN_MAX: Final = 3
"""So often is a request sent whose acceptance broke off; what cuts every answer would get the same spans for ever."""
_TELL_SECONDS: Final = 60.0


class Sender(Protocol):
    """Makes requests to one destination."""

    def send(self, body: bytes, *, timeout_seconds: float | None = None) -> Outcome:
        """Make one, and say what came of it."""

    def close(self) -> None:
        """Close what is open."""

    def abandon(self) -> None:
        """In a forked child: forget the parent's connections."""


class Parcel(Protocol):
    """Spans, ready to be put into requests."""

    row_ids: Sequence[int]

    def size_bytes(self, number: int) -> int:
        """What one of them takes, nearly."""

    def encode_request(self, start: int, end: int) -> bytes:
        """A request of those from ``start`` to before ``end``."""


class JsonSpans:
    """Spans for requests in JSON."""

    def __init__(self, row_ids: Sequence[int], spans: Sequence[SpanRecord]) -> None:
        self.row_ids = row_ids
        self._spans = spans

    def size_bytes(self, number: int) -> int:
        """What a span takes."""
        return len(json.dumps(encode_span(self._spans[number])))

    def encode_request(self, start: int, end: int) -> bytes:
        """An ``ExportTraceServiceRequest``."""
        return json.dumps(encode_traces(self._spans[start:end]), separators=(",", ":")).encode()


class State(Enum):
    """How things stand after a step."""

    SENT = auto()
    """Go on at once."""
    IDLE = auto()
    """Nothing is due."""
    FAILING = auto()
    """The destination takes nothing just now."""
    ELSEWHERE = auto()
    """Another process sends."""


class Step(NamedTuple):
    """How things stand, and how long to wait before the next request, in seconds.

    Who has to wait for longer than `STEP_SECONDS_MAX` steps in between all the same, which keeps the lease: else
    another process would not wait.
    """

    state: State
    pause_seconds: float = 0.0


class Forwarder:
    """Sends what is in ``outbox``. One thread at a time; `step` may raise `StoreError`, and is to be called again."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        *,
        is_json: bool = False,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        spans_max: int = BATCH_SPANS_MAX,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._is_json = is_json
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._spans_max = spans_max
        self.sent_count = self.refused_count = self.parked_count = 0
        """By this forwarder."""
        self.trouble = ""
        """What the destination said when it last took nothing; empty when it takes spans."""
        self._next_told = 0.0
        self._resume_at = 0.0
        self._fitting_count = spans_max
        self._parked_in_a_row = 0
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._is_holding = False
        self._drop_work()

    def _drop_work(self) -> None:
        self._stretch: Stretch | None = None
        self._parcel: Parcel | None = None
        self._portions: list[tuple[int, int]] = []
        self._unsettled: Settlement | None = None
        self._count_max = self._fitting_count
        self._uncertain_count = 0
        self._doubted: dict[int, str] = {}  # by row id what was said of spans that were refused just now

    def step(self, *, timeout_seconds: float | None = None) -> Step:
        """Make the next request, if one is due, and settle what came of it."""
        try:
            if not self._is_holding:
                self._is_holding = self._outbox.acquire()
            if not self._is_holding:
                return Step(State.ELSEWHERE, POLL_SECONDS)
            if self._unsettled is not None:
                self._settle(self._unsettled)
            if self._stretch is None and not self._load():
                return Step(State.IDLE, POLL_SECONDS)
            if not self._portions:
                return Step(State.SENT)
            self._outbox.keep_lease()
            if (pause := self._resume_at - self._clock()) > 0:
                return Step(State.FAILING, pause)
            return self._send(timeout_seconds)
        except LeaseLostError:
            self._start_afresh()
            return Step(State.ELSEWHERE, POLL_SECONDS)

    def release(self) -> None:
        """Give the lease back, and close what is open."""
        self._start_afresh()
        try:
            self._outbox.release()
        finally:
            self._sender.close()

    def abandon(self) -> None:
        """In a forked child: all that is under way is the parent's."""
        self._start_afresh()
        self._sender.abandon()

    # --- what to send

    def _load(self) -> bool:
        """Take the next stretch of the queue in hand; False when nothing is due."""
        stretch = self._outbox.next_stretch(self._count_max)
        if stretch is None:
            return False
        try:
            parcel = self._encode(stretch.row_ids)
        except ValueError as error:  # a damaged row
            self._leave_out_broken(stretch, error)
            return True
        gone = set(stretch.row_ids).difference(parcel.row_ids)  # pruned just now
        found = [each for each in stretch.found_ids if each not in gone]
        self._stretch = stretch._replace(row_ids=parcel.row_ids, found_ids=found)
        self._parcel = parcel
        self._portions = _portions(parcel)[::-1]
        self._fit(parcel)
        if not self._portions:
            self._settle(Settlement(stretch.last_id))
        return True

    def _fit(self, parcel: Parcel) -> None:
        """Take so many spans next time as fill a request, by what these take: 512 of 1 MiB would take the memory."""
        count = len(parcel.row_ids)
        size = sum(map(parcel.size_bytes, range(count)))
        if size:
            self._fitting_count = max(1, min(self._spans_max, REQUEST_BYTES_MAX * count // size))

    def _encode(self, row_ids: Sequence[int]) -> Parcel:
        try:
            if self._is_json:
                return JsonSpans(*self._outbox.read_records(row_ids))
            return EncodedSpans(self._outbox.read_spans(row_ids))
        except (StoreCorruptError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
            message = f"{type(error).__name__}: {error}"
            raise ValueError(message) from error

    def _leave_out_broken(self, stretch: Stretch, error: Exception) -> None:
        """A row that cannot be encoded is found by halves, as one that is refused, and parked."""
        if len(stretch.row_ids) > 1:
            self._count_max = len(stretch.row_ids) // 2
            return
        self._stretch = stretch
        self._park(stretch.row_ids[0], stretch.last_id, f"cannot be encoded: {error}")

    # --- what came of it

    def _send(self, timeout_seconds: float | None) -> Step:
        assert self._parcel is not None
        start, end = self._portions[-1]
        try:
            outcome = self._sender.send(self._parcel.encode_request(start, end), timeout_seconds=timeout_seconds)
        except ConfigError as error:
            outcome = Outcome(Kind.MISDIRECTED, str(error))
        except Exception as error:  # a fault of ours: it is told as every other that keeps spans waiting
            _logger.exception("Spans could not be sent to %s.", self._outbox.name)
            outcome = Outcome(Kind.MISDIRECTED, f"could not be sent to: {error!r:.200}")
        if outcome.kind is Kind.UNCERTAIN:
            self._uncertain_count += 1
            outcome = outcome._replace(kind=self._kind_of_uncertain())
        if outcome.kind is Kind.ACCEPTED:
            return self._accept(start, end, outcome)
        if outcome.kind in {Kind.BUSY, Kind.MISDIRECTED}:
            return self._wait(outcome)
        return self._narrow_down(start, end, outcome, timeout_seconds)

    def _kind_of_uncertain(self) -> Kind:
        return Kind.ACCEPTED if self._uncertain_count >= UNCERTAIN_MAX else Kind.BUSY

    def _accept(self, start: int, end: int, outcome: Outcome) -> Step:
        self._backoff.reset()
        self._parked_in_a_row = 0
        refused_count = min(outcome.rejected_count, end - start)
        if refused_count:
            self._tell(
                f"{self._outbox.name} rejected {refused_count:,} spans: {outcome.said or 'it does not say why'}."
            )
        elif outcome.said:
            self._tell(f"{self._outbox.name}: {outcome.said}")
        elif self.trouble:
            self._tell(f"{self._outbox.name} takes spans again.", is_due=True)
        self.trouble = ""
        self.sent_count += end - start - refused_count
        self.refused_count += refused_count
        self._settle(Settlement(self._last_id(end), end - start - refused_count, refused_count, self._parked()))
        return Step(State.SENT)

    def _wait(self, outcome: Outcome) -> Step:
        """Tell, and wait. Nothing is lost meanwhile but what retention takes."""
        pause = self._backoff.next_pause(outcome.retry_after_seconds)
        self._resume_at = self._clock() + pause
        is_new = not self.trouble
        if self._doubted:  # none of them is known to be to blame: they come again, with what has arrived meanwhile
            self._drop_work()
            self._count_max = min(self._fitting_count, PARKED_AT_ONCE_MAX)
        self.trouble = outcome.said
        self._tell(f"{self._outbox.name} {outcome.said}; spans wait in the store, and are sent later.", is_due=is_new)
        self._outbox.note_failure(outcome.said)
        return Step(State.FAILING, pause)

    def _narrow_down(self, start: int, end: int, outcome: Outcome, timeout_seconds: float | None) -> Step:
        """Try the halves; a span that is refused by itself is parked, if the destination takes anything."""
        if end - start > 1:
            middle = (start + end) // 2
            self._portions[-1:] = [(middle, end), (start, middle)]
            return self._wait(outcome) if outcome.kind is Kind.FAILED else Step(State.SENT)
        assert self._parcel is not None
        row_id, last_id = self._parcel.row_ids[start], self._last_id(end)
        if self._doubted or not self._takes_no_spans(timeout_seconds):
            return self._doubt(row_id, outcome)
        is_hasty = outcome.kind is not Kind.FAILED and self._parked_in_a_row < PARKED_AT_ONCE_MAX
        self._park(row_id, last_id, outcome.said)
        return Step(State.SENT) if is_hasty else self._wait(outcome)

    def _takes_no_spans(self, timeout_seconds: float | None) -> bool:
        """Whether the destination takes a request without spans.

        Else it is likelier to be wrong (a compression that it does not know) than each of its spans.
        """
        empty = b"{}" if self._is_json else b""
        return self._sender.send(empty, timeout_seconds=timeout_seconds).kind is Kind.ACCEPTED

    def _doubt(self, row_id: int, outcome: Outcome) -> Step:
        """Try the next span at once, since some take no request without spans: if it is taken, this one is parked."""
        self._doubted[row_id] = outcome.said
        self._portions.pop()
        if not self._portions or len(self._doubted) >= PARKED_AT_ONCE_MAX:
            return self._wait(outcome)
        start, end = self._portions.pop()
        self._portions += [(start + 1, end), (start, start + 1)] if end - start > 1 else [(start, end)]
        return Step(State.SENT)

    def _park(self, row_id: int, last_id: int, reply: str) -> None:
        self._doubted[row_id] = reply
        self._parked_in_a_row += 1
        self._settle(Settlement(last_id, parked=self._parked()))

    def _parked(self) -> dict[int, str]:
        """The spans that were refused before the destination took something, with what it said of each."""
        for reply in self._doubted.values():
            self.parked_count += 1
            self._tell(f"{self._outbox.name} {reply}; one span is parked, the others go on.")
        parked, self._doubted = self._doubted, {}
        return parked

    def _last_id(self, end: int) -> int:
        """Up to where the queue is settled with the spans before ``end``."""
        assert self._parcel is not None
        assert self._stretch is not None
        return self._stretch.last_id if end == len(self._parcel.row_ids) else self._parcel.row_ids[end - 1]

    def _settle(self, settlement: Settlement) -> None:
        """Write it down; when that fails it is tried again before anything else is sent."""
        assert self._stretch is not None
        self._unsettled = settlement
        self._stretch = self._outbox.settle(self._stretch, settlement)
        self._unsettled = None
        self._uncertain_count = 0
        if self._portions:
            self._portions.pop()
        if self._stretch is None:
            self._drop_work()

    def _tell(self, sentence: str, *, is_due: bool = False) -> None:
        """Log it, at most once a minute unless it ``is_due``."""
        if is_due or self._clock() >= self._next_told:
            self._next_told = self._clock() + _TELL_SECONDS
            _logger.warning("%s", sentence)


def _portions(parcel: Parcel) -> list[tuple[int, int]]:
    """The runs of spans that fit into a request; a span that is too large goes by itself."""
    portions: list[tuple[int, int]] = []
    start = size = 0
    for number in range(len(parcel.row_ids)):
        own = parcel.size_bytes(number)
        if number > start and size + own > REQUEST_BYTES_MAX:
            portions.append((start, number))
            start, size = number, 0
        size += own
    if start < len(parcel.row_ids):
        portions.append((start, len(parcel.row_ids)))
    return portions
