"""What happens at fork: every connection is closed before it, and the child starts with nothing of its parent's.

SQLite forbids a connection in two processes (sqlite.org/howtocorrupt.html, 2.6). Spans that wait in the parent's queue
stay the parent's. A child that `multiprocessing` made leaves through ``os._exit``, without atexit: its spans are
written by a finalizer of multiprocessing's own. So does a process of Celery's pool, and its parent does not even wait
for that but sends SIGTERM: its spans are written at Celery's signal ``worker_process_shutdown``. After a bare
``os.fork`` and ``os._exit`` the last 200 ms are lost, unless the durability is ``root`` or ``span``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final, Protocol

from otel_perfmon.storage.weak_roll import WeakRoll

_FINALIZER_PRIORITY: Final = 100


class ForkAware(Protocol):
    """Something that must know of forks, and of the end of a process that multiprocessing made."""

    def finish(self) -> None:
        """Do what is left to do before the process ends; bounded."""

    def before_fork(self) -> None:
        """Close what a child must not share; bounded."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start afresh, without touching what was the parent's."""


_aware: WeakRoll[ForkAware] = WeakRoll()
_paused: list[ForkAware] = []
_forking = threading.RLock()
"""Held over a fork: the hooks of two threads that fork at once must not mix."""


def tell_of_forks(thing: ForkAware) -> None:
    """Call the methods of ``thing`` at every fork, for as long as it lives."""
    _aware.add(thing)


def finish_with_process(thing: ForkAware) -> None:
    """Have ``thing.finish`` called when this process ends, if multiprocessing or Celery made it."""
    _finish_with_multiprocessing(thing)
    signals = sys.modules.get("celery.signals")  # nothing is imported for it
    shutdown: Any = getattr(signals, "worker_process_shutdown", None)
    if shutdown is not None:
        with suppress(Exception):  # Celery's code: whatever it says, recording goes on
            shutdown.connect(_finish_all, dispatch_uid="otel_perfmon")


def _finish_with_multiprocessing(thing: ForkAware) -> None:
    """Twice over: multiprocessing empties its finalizers when a child begins, and after that asks who wants one.

    The child's main module may have been imported by then.
    """
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None:
        return
    util.register_after_fork(thing, _finalize)
    if process.parent_process() is not None:
        _finalize(thing)


def complete(finish: Callable[[], None]) -> None:
    """Call ``finish``; when Ctrl-C or a handler of SIGTERM that exits breaks it off, once more before that goes on.

    A process may be told to end while it is ending: multiprocessing terminates the workers of a pool whether they have
    begun to leave or not.
    """
    try:
        finish()
    except BaseException:
        finish()
        raise


def _finalize(thing: ForkAware) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(thing, complete, args=(thing.finish,), exitpriority=_FINALIZER_PRIORITY)


def _finish_all(**_: Any) -> None:
    for thing in _aware:
        complete(thing.finish)


def _before() -> None:
    _forking.acquire()
    _paused[:] = _aware
    _call_each([thing.before_fork for thing in _paused])


def _after_in_parent() -> None:
    try:
        _call_each([thing.after_fork_in_parent for thing in _paused])
        _paused.clear()
    finally:
        _forking.release()


def _after_in_child() -> None:
    global _forking  # noqa: PLW0603 - the parent's belongs to a thread that is not here
    _forking = threading.RLock()
    _call_each([thing.after_fork_in_child for thing in _paused])
    _call_each([partial(finish_with_process, thing) for thing in _paused])
    _paused.clear()


def _call_each(hooks: Sequence[Callable[[], None]]) -> None:
    """In their order; one that is broken off, as by Ctrl-C, keeps none of the others from being called."""
    with ExitStack() as stack:
        for hook in reversed(hooks):
            stack.callback(hook)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
