"""Which backend a store's address means: the only place that knows them all."""

from __future__ import annotations

import os

from otel_perfmon.config import parse_setting
from otel_perfmon.storage.base import RetentionPolicy, Store
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.registry import recorder_for
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a store for questions. It need not exist yet: a question about a missing file raises `StoreError`.

    Raises `ConfigError` when ``path`` is no path. A context manager.
    """
    return SqliteStore(os.path.realpath(parse_setting("path", path)))


def open_recorder(path: str, policy: RetentionPolicy, *, is_override: bool) -> Recorder:
    """The recorder of this process for the store at ``path``, without touching the disk; release it when done.

    ``policy`` holds where the recorder is new, or ``is_override`` says that the user asked for it.
    """
    recorder = recorder_for(path, lambda key: SqliteWriter(key, policy))
    if is_override:
        recorder.set_retention(policy)
    return recorder
