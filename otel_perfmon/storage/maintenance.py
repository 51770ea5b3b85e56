"""What a recorder's writer thread does each minute: what others have called then, the alarm, then retention."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.alarm import Alarm
from otel_perfmon.storage.base import SpanWriter
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.steady_clock import SteadyClock

MAINTAIN_SECONDS: Final = 60.0
_SHRINK_STEPS_MAX: Final = 100
_SHRINK_PAUSE_SECONDS: Final = 1.0  # after all was pruned that can be, and the file is still too large


_calls: Final[dict[str, list[Callable[[], object]]]] = {}


def call_each_minute(path: str, call: Callable[[], object]) -> None:
    """Have whoever records into the file at ``path`` call this too, in a child of a fork as well.

    It must be quick and raise nothing.
    """
    _calls.setdefault(path, []).append(call)


def call_no_more(path: str, call: Callable[[], object]) -> None:
    """Undo one `call_each_minute`."""
    _calls[path].remove(call)


def remove_in_steps(
    step: Callable[[], tuple[int, bool]],
    writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Take steps until none is left to take; how many spans they removed. A step tells how many, and if more wait.

    Each step has the right to write, which ``writing`` gives; before each ``go_on`` is called.
    """
    removed_count, is_more = 0, True
    while is_more and go_on():
        with writing():
            count, is_more = step()
        removed_count += count
    return removed_count


class Maintenance:
    """When it is due, and in which steps it is done."""

    def __init__(self, path: str, writer: SpanWriter, alarm: Alarm) -> None:
        self.path = path
        self._writer = writer
        self._alarm = alarm
        writer.now = SteadyClock().now
        self.start_afresh(Losses())

    def start_afresh(self, losses: Losses) -> None:
        """Be due in a minute from now; ``losses`` takes the warnings."""
        self._losses = losses
        self._due_at = time.monotonic() + MAINTAIN_SECONDS
        self._next_shrink = 0.0

    @property
    def seconds_until_due(self) -> float:
        """How long until the next minute tick; 0 when it is due."""
        return max(0.0, self._due_at - time.monotonic())

    def run(self, writing: Callable[[], AbstractContextManager[None]], go_on: Callable[[], bool]) -> None:
        """Do what is done each minute, and be due again in a minute.

        The right to write, which ``writing`` gives, is taken for one step at a time; before each step of retention
        ``go_on`` is called and says whether to. Raises `StoreError` when retention fails.
        """
        self._due_at = time.monotonic() + MAINTAIN_SECONDS
        for call in tuple(_calls.get(self.path, ())):
            call()
        self._alarm.evaluate(writing())
        is_more = True
        while is_more and go_on():
            with writing():
                is_more = self._writer.maintain()

    def shrink_if_over_size(self) -> None:
        """The file outgrew its limit: prune now, not in a minute. What was written stays written if that fails."""
        if not self._writer.is_over_size or time.monotonic() < self._next_shrink:
            return
        try:
            steps = 0
            while self._writer.maintain() and steps < _SHRINK_STEPS_MAX:
                steps += 1
        except StoreError as error:
            self._losses.warn("shrink", f"{self.path} is over its limit and could not be pruned: {error}")
        if self._writer.is_over_size:
            self._next_shrink = time.monotonic() + _SHRINK_PAUSE_SECONDS
