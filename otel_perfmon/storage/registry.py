"""One recorder for each process and file, however many doors lead to it."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import partial

from otel_perfmon.storage import fork
from otel_perfmon.storage.base import SpanWriter
from otel_perfmon.storage.recorder import Recorder


class _Registry:
    def __init__(self) -> None:
        self.recorders: dict[str, Recorder] = {}
        self.user_counts: dict[str, int] = {}
        self.lock = threading.RLock()  # a finaliser may close its storage while another is being opened
        fork.tell_of_forks(self)

    def finish(self) -> None:
        """The recorders see to themselves."""

    def before_fork(self) -> None:
        """Nothing of ours is open."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Another thread of the parent may have held the lock."""
        self.lock = threading.RLock()


_registry = _Registry()


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # the working directory is gone
        return path


def recorder_for(path: str, make_writer: Callable[[str], SpanWriter]) -> Recorder:
    """The recorder of this process for the file at ``path``; give it back with `release_recorder`."""
    key = _real_path(path)
    with _registry.lock:
        recorder = _registry.recorders.get(key)
        if recorder is None:
            recorder = _registry.recorders[key] = Recorder(key, make_writer(key))
        _registry.user_counts[key] = _registry.user_counts.get(key, 0) + 1
        return recorder


def release_recorder(recorder: Recorder) -> None:
    """Say that one user is done; the last one's leaving writes everything and closes the file."""
    key = recorder.path
    with _registry.lock:
        if _registry.recorders.get(key) is not recorder:
            return
        _registry.user_counts[key] -= 1
        is_last = _registry.user_counts[key] <= 0
        if is_last:
            del _registry.recorders[key], _registry.user_counts[key]
    if is_last:
        fork.complete(partial(recorder.finish, is_exit=False))


def find_recorder(path: str) -> Recorder | None:
    """The recorder of this process for that file, if it records into it."""
    return _registry.recorders.get(_real_path(path))


def flush_before_reading(path: str) -> None:
    """Make what this process recorded visible to a question; raises the `StoreError` that prevents it."""
    recorder = find_recorder(path)
    if recorder is not None:
        recorder.flush_or_raise()


def _finish_all() -> None:
    for recorder in list(_registry.recorders.values()):
        fork.complete(recorder.finish)


atexit.register(_finish_all)
