"""When an operation is in trouble: one rule for the alarm in the running program and for the ``check`` command.

An alarm is raised when an operation fails too often, and is over only well below the threshold: else a rate that hovers
around it would raise one each minute. Pure: whoever asks brings the figures, and remembers what was raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from otel_perfmon.errors import ConfigError
from otel_perfmon.query import Window

WINDOW_SECONDS: Final = 3_600
CLEARED_SHARE: Final = 0.8
"""An alarm is over at this share of its threshold: 10 % of 100 calls is crossed at 11 failures, and over at 8. One or
two failures more or less is what chance alone does from one minute to the next."""

OperationKey = tuple[str, str]
"""Service and operation."""


@dataclass(frozen=True, slots=True)
class CallCounts:
    """How often an operation was called over some window, and failed."""

    count: int = 0
    error_count: int = 0

    @property
    def error_rate(self) -> float:
        """The share of calls that failed, between 0 and 1; 0 without any call."""
        return self.error_count / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Which share of an operation's calls may fail: of at least ``min_count`` in the last ``window_seconds``."""

    error_rate_threshold: float
    min_count: int = 20
    window_seconds: int = WINDOW_SECONDS

    def is_failing(self, counts: CallCounts) -> bool:
        """Whether a larger share failed than may, of enough calls to tell."""
        return counts.count >= self.min_count and counts.error_rate > self.error_rate_threshold

    def is_cleared(self, counts: CallCounts) -> bool:
        """Whether an alarm that was raised is over: few enough calls fail, or none are made.

        Too few calls to raise it do not end it: an operation that people have learnt to avoid is not well again.
        """
        return counts.error_rate <= CLEARED_SHARE * self.error_rate_threshold


def is_too_slow(count: int, p95_ms: float | None, *, p95_threshold_ms: float, min_count: int) -> bool:
    """Whether the 95th percentile of an operation's durations is over its threshold, of enough calls to tell."""
    return count >= min_count and p95_ms is not None and p95_ms > p95_threshold_ms


@dataclass(frozen=True, slots=True)
class Alert:
    """An operation's error rate has crossed its threshold (``is_firing``), or is well below it again.

    The figures are those of ``window``, aligned to the rollups' cells. ``since`` is when it crossed, in Unix seconds.
    """

    operation: str
    service: str
    is_firing: bool
    error_rate: float
    count: int
    error_count: int
    error_rate_threshold: float
    window: Window
    since: float

    @property
    def sentence(self) -> str:
        """What happened, for the log, on one line: names are quoted as Python would."""
        of_service = f" of service {self.service!r:.200}" if self.service else ""
        whose = f"The error rate of operation {self.operation!r:.200}{of_service}"
        threshold = f"{self.error_rate_threshold * 100:.3g}%"
        if not self.count:
            return f"{whose} is no longer over {threshold}: it was not called in the last {_length(self.window)}."
        relation = "over" if self.is_firing else "no longer over"
        figures = f"{self.error_count} of {self.count} calls in the last {_length(self.window)} failed"
        return f"{whose} is {self.error_rate * 100:.3g}%, {relation} {threshold}: {figures}."


AlertCallback = Callable[[Alert], object]


def check_callback(callback: AlertCallback | None) -> None:
    """Raise `ConfigError` when nothing would come of calling it with an `Alert`; None is no callback."""
    if callback is None:
        return
    if not callable(callback) or inspect.iscoroutinefunction(callback):
        kind = "a coroutine function" if callable(callback) else f"of type {type(callback).__name__}"
        message = f"on_alert must be a function that takes an Alert, and no coroutine; it is {kind}."
        raise ConfigError(message)


def evaluate(
    rule: AlertRule,
    counts: Mapping[OperationKey, CallCounts],
    firing: Mapping[OperationKey, float],
    *,
    window: Window,
    now: float,
) -> list[Alert]:
    """What has changed: the alarms to raise and those that are over, by service and operation.

    ``counts`` are those of ``window``; an operation that is not among them was not called. ``firing`` tells since when
    (Unix seconds) each alarm is raised, ``now`` is the present in Unix seconds.
    """
    alerts = []
    for service, operation in sorted(counts.keys() | firing.keys()):
        each = counts.get((service, operation), CallCounts())
        since = firing.get((service, operation))
        if rule.is_failing(each) if since is None else rule.is_cleared(each):
            alerts.append(
                Alert(
                    operation=operation,
                    service=service,
                    is_firing=since is None,
                    error_rate=each.error_rate,
                    count=each.count,
                    error_count=each.error_count,
                    error_rate_threshold=rule.error_rate_threshold,
                    window=window,
                    since=now if since is None else since,
                )
            )
    return alerts


def _length(window: Window) -> str:
    """How long a window is, in whole minutes: it is a little longer than what was asked for."""
    minutes = max(1, round(window.seconds / 60))
    return "hour" if minutes == 60 else f"{minutes} minutes"  # noqa: PLR2004 - minutes of an hour
