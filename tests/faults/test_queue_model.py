"""The queue beside a model of it: whatever is done in whatever order, every span is accounted for at each step."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from otel_perfmon.storage import recorder as recorders
from otel_perfmon.storage import steady_clock
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.gated_thread import GatedThread
from otel_perfmon.storage.intake import opaque
from otel_perfmon.storage.registry import recorder_for, release_recorder
from otel_perfmon.storage.rows import ResourceRow, ScopeRow, SpanRow
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import retention as retentions
from otel_perfmon.storage.sqlite import writer as writers
from otel_perfmon.storage.sqlite.writer import SqliteWriter

SECOND = 10**9
RESOURCE, SCOPE = ResourceRow("shop", "", "", "{}"), ScopeRow("scope", "", "", "{}")


class Door:
    """Hands rows over as they are; what is no row cannot be read."""

    def encode(self, payload, slow_threshold_nano):
        if payload is None:
            raise ValueError("unreadable")
        return payload

    def weigh(self, payload):
        return 100


class Queue(RuleBasedStateMachine):
    """The model: how many spans ended, how many are lost with a process, and how many wait."""

    @initialize()
    def open_file(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "metrics.db")
        self.ended = self.crashed = self.number = 0
        self.is_failing = False
        self.now = time.time()
        self.modules = {module: module.time for module in (writers, retentions, steady_clock)}
        for module in self.modules:
            module.time = SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic, sleep=time.sleep)
        self.execute = connections.SteppedConnection.execute
        self.door = Door()
        self.open_recorder()

    def open_recorder(self):
        self.recorder = recorder_for(self.path, SqliteWriter)
        self.recorder.open_door(self.door)

    def row(self, *, is_error=False):
        self.number += 1
        end = int(self.now * SECOND) + self.number
        ids = self.number.to_bytes(16, "big"), self.number.to_bytes(8, "big"), b"", False
        status = 2 if is_error else 0
        return SpanRow(*ids, f"op {self.number % 7}", RESOURCE, SCOPE, 1, 1, end - 5, end, 5, status, 0, "{}")

    @rule(count=st.integers(1, 40), is_error=st.booleans())
    def put(self, count, is_error):
        for _ in range(count):
            self.ended += 1
            self.recorder.take(opaque(self.row(is_error=is_error), self.door, 0))

    @rule()
    def put_what_cannot_be_read(self):
        self.ended += 1
        self.recorder.take(opaque(None, self.door, 0))

    @rule()
    def put_what_cannot_be_stored(self):
        self.ended += 1
        self.recorder.take(opaque(self.row()._replace(attributes=object()), self.door, 0))

    @rule(count=st.integers(1, 60))
    def write(self, count):
        try:
            with self.recorder.turn.held(1):
                if self.recorder._has_spans():
                    self.recorder._drain(count, recorders.WRITE_TIMEOUT_SECONDS)
        except Exception:
            assert self.is_failing

    @rule()
    def flush(self):
        assert self.recorder.flush(1) is not self.is_failing or not self.waiting

    @precondition(lambda self: not self.is_failing)
    @rule(moment=st.sampled_from(["BEGIN IMMEDIATE", "INSERT INTO _spans", "INSERT OR REPLACE", "COMMIT"]))
    def begin_to_fail(self, moment):
        def failing(connection, *arguments):
            if arguments[0].startswith(moment):
                raise sqlite3.OperationalError("disk I/O error")
            return self.execute(connection, *arguments)

        self.is_failing = True
        connections.SteppedConnection.execute = failing

    @precondition(lambda self: self.is_failing)
    @rule()
    def recover(self):
        self.is_failing = False
        connections.SteppedConnection.execute = self.execute

    @rule()
    def crash(self):
        """The process is gone: what waits, and what was not written down of what it lost, goes with it."""
        ended_on_disk = self.ask("SELECT total(ended) FROM _health") if self.is_file_there() else 0
        self.crashed = self.ended - int(ended_on_disk)
        self.recorder._writer.abandon()
        self.recorder._start_afresh()
        self.recorder.open_door(self.door)

    @precondition(lambda self: not self.is_failing)
    @rule()
    def reopen(self):
        release_recorder(self.recorder)
        self.open_recorder()

    @precondition(lambda self: not self.is_failing and self.is_file_there())
    @rule(keep=st.sampled_from([0.0, 20.0, 10_000.0]), size_mib=st.sampled_from([1, 64]))
    def prune(self, keep, size_mib):
        self.recorder.prune(RetentionPolicy(keep, keep, size_mib << 20))

    @rule(seconds=st.sampled_from([1.0, 60.0, 3_600.0, -3_600.0, 86_400.0 * 400, -86_400.0 * 400]))
    def move_clock(self, seconds):
        self.now += seconds

    @property
    def waiting(self):
        return self.recorder.queued_count + sum(count for _, count in self.recorder._losses._pending)

    def is_file_there(self):
        """Whether there is a file with tables: a write that fails may leave an empty one."""
        if not os.path.exists(self.path):
            return False
        return self.ask("SELECT count(*) FROM sqlite_master WHERE name = '_health'") > 0

    def ask(self, sql):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchone()[0]

    @invariant()
    def every_span_is_accounted_for(self):
        if not hasattr(self, "recorder"):
            return
        if not self.is_file_there():
            assert self.ended == self.waiting + self.crashed
            return
        with closing(sqlite3.connect(self.path)) as connection:
            totals = "SELECT total(ended), total(counted), total(stored), total(pruned) FROM _health"
            ended, counted, stored, pruned = map(int, connection.execute(totals).fetchone())
            dropped = connection.execute("SELECT total(count) FROM _drops").fetchone()[0]
            rows = connection.execute("SELECT count(*) FROM _spans").fetchone()[0]
        assert self.ended == ended + self.waiting + self.crashed
        assert ended == counted + dropped
        assert counted == stored == rows + pruned

    def teardown(self):
        if not hasattr(self, "recorder"):
            return
        connections.SteppedConnection.execute = self.execute
        release_recorder(self.recorder)
        for module, real in self.modules.items():
            module.time = real
        if self.is_file_there():
            assert self.ask("PRAGMA integrity_check") == "ok"
        self.folder.cleanup()


def run(monkeypatch, examples, steps):
    monkeypatch.setattr(recorders, "QUEUE_MAX", 120)
    monkeypatch.setattr(recorders, "WAIT_FOR_ROOM_SECONDS", 0.01)
    monkeypatch.setattr(GatedThread, "wake", lambda _: True)  # no thread: each step writes when a rule says so
    options = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    run_state_machine_as_test(Queue, settings=settings(max_examples=examples, stateful_step_count=steps, **options))


def test_every_span_is_accounted_for_after_each_step_of_any_history(monkeypatch, figure):
    run(monkeypatch, 12, 40)
    figure("queue beside its model: histories of 40 steps", 12, "every span accounted for")


@pytest.mark.long
def test_every_span_is_accounted_for_after_each_of_10000_steps(monkeypatch, figure):
    run(monkeypatch, 100, 100)
    figure("queue beside its model: steps", 10_000, "every span accounted for")
