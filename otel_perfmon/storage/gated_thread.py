"""A daemon thread that is started when there is first something to do, and waits at a gate when there is nothing.

A signal handler and a finaliser may wake it: the gate is a plain lock, which may be released from there, unlike an
Event's, and nothing waits for the lock under which the thread is started. It is made afresh just before the thread
begins: gevent may have replaced locks and threads since this was imported, or neither, but must not have replaced one
of the two.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class GatedThread:
    """The thread ``name``, which calls ``run`` once; that waits at the gate. A child of a fork needs a new one.

    Ctrl-C may arrive while it is started, when nobody can tell whether it has been: so it says itself that it runs, and
    a second one, if another caller started it meanwhile, ends at once.
    """

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run = run
        self._name = name
        self._starting = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._make_gate()

    def begin(self) -> bool:
        """Start it if it does not run; False when the system lets no thread begin."""
        return bool(self._running) or self._start()

    def wake(self) -> bool:
        """The same, and open the gate."""
        if not self.begin():
            return False
        self.open_gate()
        return True

    def open_gate(self) -> None:
        """Let it pass, once: now if it waits, else when it comes."""
        try:
            self._gate.release()
        except RecursionError:  # a RuntimeError, too
            raise
        except RuntimeError:  # open already
            pass

    def wait_at_gate(self, timeout_seconds: float = -1) -> bool:
        """Wait, on the thread itself, until the gate is opened; False when the time was over first."""
        return self._gate.acquire(timeout=timeout_seconds)

    def stop(self, timeout_seconds: float) -> None:
        """Open the gate to a thread that was told to end, and wait for its end unless this is that thread.

        From then on it counts as ended, even if the time was over first.
        """
        thread = self._running.get(self._name)
        self.open_gate()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        self._running.clear()

    def _make_gate(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def _start(self) -> bool:
        if not self._starting.acquire(blocking=False):
            return True  # another caller is starting it
        try:
            if sys.is_finalizing():  # until Python 3.12 start() would wait for ever
                return False
            if not self._running:
                self._make_gate()
                thread = threading.Thread(target=self._begin, name=self._name, daemon=True)
                thread.start()
                self._running.setdefault(self._name, thread)
        except RecursionError:  # no matter of the system's
            raise
        except RuntimeError:  # the interpreter is going down, or there are too many
            return False
        finally:
            self._starting.release()
        return True

    def _begin(self) -> None:
        me = threading.current_thread()
        if self._running.setdefault(self._name, me) is me:
            self._run()
