"""Forwarding in a program: for each destination a daemon thread, of which one at a time sends, in all processes.

Nothing of it runs in the threads of the program. When it ends, what was recorded last has less than a second to go out;
the rest waits in the store, for the next start or for ``otel-perfmon forward``. A child of a fork sends nothing of its
parent's: it waits for the lease, as every other process, from its first minute on.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Sequence
from typing import Final

from otel_perfmon.errors import StoreError
from otel_perfmon.otlp.destination import Destination
from otel_perfmon.otlp.forwarder import STEP_SECONDS_MAX, Forwarder, State
from otel_perfmon.otlp.senders import open_sender
from otel_perfmon.storage import fork, registry
from otel_perfmon.storage.gated_thread import GatedThread
from otel_perfmon.storage.outbox import LEASE_SECONDS, ForwardPolicy
from otel_perfmon.storage.suppression import suppressed
from otel_perfmon.storage.url import open_outbox
from otel_perfmon.storage.weak_roll import WeakRoll

_logger = logging.getLogger("otel_perfmon")

EXIT_SECONDS: Final = 0.8
_FLUSH_SECONDS: Final = 0.3
STORE_PAUSE_SECONDS: Final = 5.0
"""After a store that could not be read or written."""
_TELL_SECONDS: Final = 60.0


def open_forwarder(
    path: str, destination: Destination, policy: ForwardPolicy | None = None, *, since_unix_s: float | None = None
) -> Forwarder:
    """A forwarder from the store at ``path``. Raises `ConfigError` where a package is missing."""
    lease_seconds = max(LEASE_SECONDS, 3 * destination.timeout_seconds)
    outbox = open_outbox(path, destination.name, policy, lease_seconds=lease_seconds, since_unix_s=since_unix_s)
    return Forwarder(outbox, open_sender(destination), is_json=destination.protocol == "http/json")


class Forwarding:
    """Sends what is recorded into one file to several destinations, until it is finished."""

    def __init__(self, path: str, destinations: Sequence[Destination], policy: ForwardPolicy) -> None:
        self._path = path
        self._threads = [_ForwardingThread(path, each, policy) for each in destinations]
        fork.tell_of_forks(self)
        fork.finish_with_process(self)
        _open.add(self)

    def start(self) -> None:
        """Start the threads that do not run."""
        for each in self._threads:
            each.start()

    def finish(self) -> None:
        """Send for a moment what was recorded last, and stop; in bounded time."""
        deadline = time.monotonic() + EXIT_SECONDS
        recorder = registry.find_recorder(self._path)
        if recorder is not None and any(each.is_running for each in self._threads):
            recorder.flush(_FLUSH_SECONDS)
        for each in self._threads:
            each.end_by(deadline)
        for each in self._threads:
            each.join(deadline)

    def before_fork(self) -> None:
        """The outboxes see to their connections."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Without the threads and connections of the parent, until the first minute is over."""
        for each in self._threads:
            each.start_afresh()


class _ForwardingThread:
    def __init__(self, path: str, destination: Destination, policy: ForwardPolicy) -> None:
        self._path = path
        self._name = destination.name
        self._forwarder = open_forwarder(path, destination, policy)
        self._next_told = 0.0
        self.start_afresh()

    def start_afresh(self) -> None:
        self._forwarder.abandon()
        self._thread = GatedThread(self._run, "otel-perfmon-forwarder")
        self._deadline: float | None = None
        self.is_running = False

    def start(self) -> None:
        if self._deadline is None and not self.is_running:
            self.is_running = self._thread.wake()

    def end_by(self, deadline: float) -> None:
        """Have the thread send what is left, and end, by then."""
        self._deadline = deadline
        self._thread.open_gate()

    def join(self, deadline: float) -> None:
        self._thread.stop(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        with suppressed():
            while self._deadline is None:
                pause = self._step()
                if pause and self._deadline is None:
                    self._thread.wait_at_gate(min(pause, STEP_SECONDS_MAX))
            self._end(self._deadline)
        self.is_running = False

    def _step(self) -> float:
        """One step; how long to wait after it, in seconds."""
        try:
            if not os.path.exists(self._path):  # nothing was recorded yet, or it was moved: it is not ours to keep open
                self._forwarder.release()
                return 1.0
            return self._forwarder.step().pause_seconds
        except StoreError as error:
            self._tell(f"Spans cannot be read, or it cannot be written down what was sent: {error}")
        except BaseException as error:  # the outer rim: the thread must live
            self._tell(f"Forwarding to {self._name} failed: {error!r:.300}")
        return STORE_PAUSE_SECONDS

    def _end(self, deadline: float) -> None:
        try:
            while (remaining := deadline - time.monotonic()) > 0 and os.path.exists(self._path):
                if self._forwarder.step(timeout_seconds=remaining).state is not State.SENT:
                    break
            self._forwarder.release()
        except BaseException as error:  # the outer rim: as above; the end of the program is not ours to spoil
            self._tell(f"Forwarding to {self._name} did not end in order: {error!r:.300}")

    def _tell(self, sentence: str) -> None:
        if time.monotonic() >= self._next_told:
            self._next_told = time.monotonic() + _TELL_SECONDS
            _logger.warning("%s", sentence)


_open: Final[WeakRoll[Forwarding]] = WeakRoll()


def _finish_all() -> None:
    for each in _open:
        each.finish()


atexit.register(_finish_all)
