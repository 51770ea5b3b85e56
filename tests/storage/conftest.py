"""Fixtures: a writer, a store and a recorder on a real file, at a moment that stands still where it matters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from storage_kit import NOW_S, RowDoor

from otel_perfmon.storage import alarm as alarms
from otel_perfmon.storage import recorder as recorders
from otel_perfmon.storage import steady_clock as steady_clocks
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.registry import recorder_for, release_recorder
from otel_perfmon.storage.sqlite import reader as readers
from otel_perfmon.storage.sqlite import retention as retentions
from otel_perfmon.storage.sqlite import writer as writers
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter


@pytest.fixture
def door() -> RowDoor:
    return RowDoor()


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "QUEUE_MAX", 200)
    monkeypatch.setattr(recorders, "BATCH_MAX", 50)
    monkeypatch.setattr(recorders, "HELP_BATCH_MAX", 20)


@pytest.fixture
def writer(db_path: str) -> Iterator[SqliteWriter]:
    writer = SqliteWriter(db_path)
    yield writer
    writer.close()


@pytest.fixture
def store(db_path: str) -> Iterator[SqliteStore]:
    with SqliteStore(db_path) as store:
        yield store


@pytest.fixture
def recorder(db_path: str) -> Iterator[Recorder]:
    recorder = recorder_for(db_path, SqliteWriter)
    yield recorder
    release_recorder(recorder)


class Clock:
    """The wall clock of the writer, the reader, the retention and the alarm, moved by hand."""

    def __init__(self) -> None:
        self.now = float(NOW_S)

    def time(self) -> float:
        return self.now


class _TimeModule:
    """The time module with another wall clock."""

    def __init__(self, clock: Clock, module) -> None:
        self.time = clock.time
        self.monotonic = module.monotonic
        self.sleep = module.sleep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (writers, readers, retentions, alarms):
        monkeypatch.setattr(module, "time", _TimeModule(clock, module.time))
    monkeypatch.setattr(steady_clocks, "time", SimpleNamespace(time=clock.time, monotonic=clock.time))  # it passes
    return clock
