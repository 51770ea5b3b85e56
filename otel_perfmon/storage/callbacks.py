"""Telling the program of alerts: its callbacks run on a thread of their own, and can hold up nothing but each other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from otel_perfmon.alerts import Alert, AlertCallback
from otel_perfmon.storage.attributes import safe_str
from otel_perfmon.storage.loss import Losses

ALERTS_WAITING_MAX: Final = 10_000
"""Behind a callback that blocks so many alerts wait; more are left out, which is logged."""


class Callbacks:
    """The callbacks of one recorder, and the alerts that wait for them. Any number of threads."""

    def __init__(self, losses: Losses) -> None:
        self._callbacks: list[AlertCallback] = []
        self.start_afresh(losses)

    def start_afresh(self, losses: Losses) -> None:
        """In a forked child: the callbacks stay, the thread and what waits for it are the parent's."""
        self._losses = losses
        self._lock = threading.Lock()
        self._waiting: deque[tuple[AlertCallback, Alert]] = deque()
        self._is_running = False

    def add(self, callback: AlertCallback) -> None:
        """Call ``callback`` with each alert from now on; added twice, it is called twice."""
        self._callbacks = [*self._callbacks, callback]

    def remove(self, callback: AlertCallback) -> None:
        """Undo one `add`."""
        callbacks = list(self._callbacks)
        if callback in callbacks:
            callbacks.remove(callback)
        self._callbacks = callbacks

    def call(self, alerts: Iterable[Alert]) -> None:
        """Have every callback called with every alert, in their order, and return at once. Never raises."""
        calls = [(callback, alert) for alert in alerts for callback in self._callbacks]
        if not calls:
            return
        with self._lock:
            room = ALERTS_WAITING_MAX - len(self._waiting)
            self._waiting.extend(calls[:room])
            must_start, self._is_running = not self._is_running, True
        if len(calls) > room:
            self._losses.warn("alerts", "on_alert callbacks take too long: some alerts reach the log only.")
        if must_start:
            self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="otel-perfmon-alerts", daemon=True).start()
        except RuntimeError:  # the interpreter is going down, or the system has no more threads
            self._is_running = False

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                callback, alert = self._waiting.popleft()
            try:
                callback(alert)
            except BaseException as error:  # the outer rim: SystemExit as well ends nothing but the call
                why = f"{type(error).__qualname__}: {safe_str(error):.200}"
                self._losses.warn("on_alert", f"An on_alert callback failed: {why}")
