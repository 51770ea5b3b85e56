"""The alarm of one recorder: each minute it asks which operations fail too often, and tells what has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Final

from otel_perfmon.alerts import Alert, AlertRule
from otel_perfmon.storage.base import SpanWriter
from otel_perfmon.storage.callbacks import Callbacks
from otel_perfmon.storage.loss import Losses

LOGGED_ALERTS_MAX: Final = 100
"""So many alerts of one minute are logged one by one; when everything fails at once, the others are counted."""
_logger = logging.getLogger("otel_perfmon")


class Alarm:
    """By which rule alarms are raised (None: by none), and who is told of them beside the log."""

    def __init__(self, path: str, writer: SpanWriter) -> None:
        self.path = path
        self.rule: AlertRule | None = None
        self._writer = writer
        losses = Losses()
        self.callbacks = Callbacks(losses)
        self.start_afresh(losses)

    def start_afresh(self, losses: Losses) -> None:
        """In a forked child: the rule and the callbacks stay, what is under way is the parent's."""
        self._losses = losses
        self.callbacks.start_afresh(losses)

    def evaluate(self, writing: AbstractContextManager[None]) -> None:
        """Look at every operation now, with the right to write that ``writing`` gives, and tell what has changed.

        Never raises: what fails is logged, at most once a minute.
        """
        if self.rule is None:
            return
        try:
            with writing:
                alerts = self._writer.evaluate_alarms(self.rule, time.time())
        except Exception as error:  # the outer rim: retention goes on whatever becomes of the alarm
            self._losses.warn("alarm", f"Error rates in {self.path} could not be evaluated: {error}")
            return
        _log(alerts)
        self.callbacks.call(alerts)


def _log(alerts: Sequence[Alert]) -> None:
    """Both kinds are warnings: whoever saw that it began will see that it is over."""
    with suppress(Exception):  # a handler or filter of the program's that fails
        for alert in alerts[:LOGGED_ALERTS_MAX]:
            _logger.warning("%s", alert.sentence)
        if len(alerts) > LOGGED_ALERTS_MAX:
            _logger.warning("Alarms of %d more operations began or ended.", len(alerts) - LOGGED_ALERTS_MAX)
