from __future__ import annotations

from contextlib import nullcontext

import pytest
from storage_kit import NOW_S, ask_one, log_row, point_row, span_row, wait_until

from otel_perfmon.storage import maintenance as maintenances
from otel_perfmon.storage.alarm import Alarm
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.maintenance import MAINTAIN_SECONDS, Maintenance

COUNT = "SELECT count(*) FROM _spans"


@pytest.fixture
def maintenance(writer, db_path):
    return Maintenance(db_path, writer, Alarm(db_path, writer))


def fill(recorder, door, clock, count=5_000):
    for _ in range(count):
        recorder.record(door, span_row())
    recorder.flush_or_raise()
    clock.now = NOW_S + 2 * 3_600.0


def test_it_is_due_a_minute_after_the_start_and_after_each_run(maintenance):
    for _ in range(2):
        assert 0 < maintenance.seconds_until_due <= MAINTAIN_SECONDS
        maintenance._due_at = 0.0
        assert maintenance.seconds_until_due == 0.0
        maintenance.run(nullcontext, lambda: True)
    maintenance._due_at = 0.0
    maintenance.start_afresh(Losses())
    assert maintenance.seconds_until_due > 0


def test_what_is_done_each_minute_can_be_done_at_once(recorder, door, clock, db_path):
    fill(recorder, door, clock)
    recorder.maintain()
    assert ask_one(db_path, COUNT) == 0
    assert ask_one(db_path, "SELECT sum(pruned) FROM _health") == 5_000


def test_the_writer_thread_does_it_when_it_is_due(recorder, door, clock, db_path):
    fill(recorder, door, clock, 100)
    recorder.maintenance._due_at = 0.0
    recorder.record(door, span_row("wakes the writer"))
    assert wait_until(lambda: ask_one(db_path, COUNT) == 1)


@pytest.mark.parametrize(
    ("method", "row"), [("write_logs", log_row()), ("write_points", point_row())], ids=["logs", "points"]
)
def test_it_is_done_where_nothing_but_logs_or_points_come(recorder, clock, monkeypatch, method, row):
    count = f"SELECT count(*) FROM {method.replace('write', '')}"
    monkeypatch.setattr(maintenances, "MAINTAIN_SECONDS", 0.05)
    recorder.maintenance.start_afresh(Losses())
    getattr(recorder, method)([row])
    assert ask_one(recorder.path, count) == 1
    clock.now = NOW_S + 31 * 86_400.0
    assert wait_until(lambda: ask_one(recorder.path, count) == 0)


def test_it_stops_between_two_steps_when_it_is_told_to(recorder, door, clock, db_path):
    fill(recorder, door, clock)
    asked = []

    def go_on():
        asked.append(ask_one(db_path, COUNT))
        return len(asked) < 3

    recorder.maintenance.run(lambda: recorder.turn.held(1.0), go_on)
    assert asked[0] == 5_000 > asked[1] > asked[2] > 0
    assert ask_one(db_path, COUNT) == asked[2]


def test_a_file_that_cannot_be_shrunk_is_not_tried_again_at_once(maintenance, writer, monkeypatch):
    monkeypatch.setattr(type(writer), "is_over_size", property(lambda writer: True))
    steps = []
    monkeypatch.setattr(writer, "maintain", lambda: steps.append(1))
    maintenance.shrink_if_over_size()
    maintenance.shrink_if_over_size()
    assert len(steps) == 1
    monkeypatch.setattr(maintenances, "_SHRINK_PAUSE_SECONDS", 0.0)
    maintenance._next_shrink = 0.0
    maintenance.shrink_if_over_size()
    maintenance.shrink_if_over_size()
    assert len(steps) == 3
