"""The books of one recorder, kept twice: what left the queue must be counted, dropped or in hand, or went missing.

Every span that ended is counted in the rollups, dropped for a reason, or still queued; every counted one is stored or
sampled out. Only who holds the right to write changes anything here; any thread may look.
"""

from __future__ import annotations

import time
from typing import Final

from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.base import Batch, RecorderState
from otel_perfmon.storage.intake import WIDTH, Intake
from otel_perfmon.storage.loss import AFTER_COUNTING, NOT_KEPT, Losses

FAILURE_TEXT_MAX: Final = 300


class Ledger:
    """What became of the spans that went through one intake, and how writing fares."""

    def __init__(self, intake: Intake, losses: Losses) -> None:
        self._intake = intake
        self._losses = losses
        self._settled_count = 0
        self.counted_count = 0
        self._failures = (0, 0, "")
        self.slow_threshold_nano = 0
        """From when on spans are slow, by the door that was opened or set last; 0 while none has said."""

    @property
    def dropped_counts(self) -> dict[str, int]:
        """How many spans were dropped so far, by reason."""
        return {reason: count for reason, count in self._losses.totals().items() if reason not in AFTER_COUNTING}

    def queued_count(self, pending: Batch | None) -> int:
        """How many spans wait to be written; ``pending`` is the batch that is being written."""
        in_hand_count = sum(batch.span_count for batch in self._in_hand(pending))
        taken_count = self._intake.handed_on_count - self._settled_count  # those that are being read as well
        return self._intake.waiting_count + max(in_hand_count, taken_count)

    def warn(self, kind: str, why: str) -> None:
        """Log a sentence about trouble that lost no span, at most once a minute for each kind."""
        self._losses.warn(kind, why)

    def note_failure(self, error: Exception) -> None:
        """A write failed; what it was to write is tried again."""
        self._failures = self._failures[0] + 1, int(time.time()), safe_str(error)[:FAILURE_TEXT_MAX]

    def state(self, *, is_closed: bool) -> RecorderState:
        """How things stand now."""
        intake, (count, unix_s, sentence) = self._intake, self._failures
        return RecorderState(
            *(intake.waiting_count, intake.oldest_unix_nano, intake.held_count, count, unix_s, sentence),
            is_closed=is_closed,
            slow_threshold_nano=self.slow_threshold_nano,
        )

    def settle(self, batch: Batch) -> None:
        """The batch is written."""
        self._settled_count += batch.span_count
        self.counted_count += batch.span_count - batch.unstorable_count
        if batch.unstorable_count:
            self._losses.note_written("unstorable", batch.unstorable_count)

    def lose_missing(self, pending: Batch | None) -> None:
        """Count what is nowhere: Ctrl-C can hit the writer between any two steps, twice too."""
        expected_count = self._settled_count + sum(batch.span_count for batch in self._in_hand(pending))
        missing_count = self._intake.handed_on_count - expected_count
        if missing_count > 0:
            self._settled_count += missing_count
            self._losses.add("missing", missing_count, "Ctrl-C met the step in which a batch changes hands")

    def give_up(self, pending: Batch | None, why: str) -> None:
        """Count as lost what is in hand and in the queue, which is emptied; the caller forgets ``pending``."""
        batches, waiting_count = self._in_hand(pending), self._intake.waiting_count
        for _ in range(waiting_count * WIDTH):  # not clear(): another thread may record just now
            self._intake.queue.popleft()
        self._intake.unfinished = None
        in_hand_count = sum(batch.span_count for batch in batches)
        self._settled_count += in_hand_count
        for reason, count in (
            ("not_written", waiting_count + in_hand_count),
            (NOT_KEPT, sum(len(batch.kept) for batch in batches)),
        ):
            if count:
                self._losses.add(reason, count, why)

    def _in_hand(self, pending: Batch | None) -> list[Batch]:
        batches = (pending, self._intake.unfinished)
        return [batch for batch in batches if batch is not None and not batch.is_written]
