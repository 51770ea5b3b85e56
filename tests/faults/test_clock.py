"""A real clock that steps under a live process, by libfaketime with a file that is rewritten meanwhile."""

from __future__ import annotations

import glob
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from faults_kit import read_account

from otel_perfmon.storage import steady_clock
from otel_perfmon.storage.steady_clock import LEAP_SECONDS, STANDING_SECONDS, SteadyClock

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")

STEPPING = """
import os, select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)  # libfaketime takes its absolute sleep for a wrong one
from otel_perfmon import Window, configure
from otel_perfmon.storage.base import RetentionPolicy

def step(offset):
    with open("offset.new", "w") as file:
        file.write(offset)
    os.replace("offset.new", "offset")
    time.sleep(0.02)

def work(name, count=200):
    for number in range(count):
        with monitor.monitor(name):
            with monitor.monitor("inner"):
                pass

monitor = configure("metrics.db", slow_threshold_ms=2_000, error_rate_threshold=0.5, error_rate_min_count=1)
recorder = monitor.storage.recorder
began = time.time()
work("before")
with monitor.monitor("over the step back"):
    time.sleep(0.02)
    step("-3600")
    assert time.time() < began - 3_000
    time.sleep(0.02)
work("an hour back")
recorder.maintain()
with monitor.monitor("over the step forth"):
    step("+0")
    assert time.time() > began
    time.sleep(0.02)
work("an hour forth")
recorder.maintain()
monitor.force_flush()
recent = monitor.storage.store.summarize_operations(window=Window.parse("15m"))
counts = {stats.operation: stats.count for stats in recent}
assert counts["an hour forth"] == counts["before"] == 200 and "an hour back" not in counts, counts
step("+400d")
work("a year ahead")
recorder.maintain()
step("+0")
assert abs(time.time() - began) < 60
work("after")
recorder.maintain()
monitor.shutdown()
"""


def faked(offset_file) -> dict[str, str]:
    found = [path for pattern in LIBRARIES for path in glob.glob(pattern)]
    if not found:
        pytest.skip("a clock that steps needs libfaketime (Debian: faketime)")
    offset_file.write_text("+0")
    return {
        "LD_PRELOAD": found[0],
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def test_a_clock_that_steps_makes_no_wrong_duration_and_deletes_nothing(run_python, tmp_path, db_path, figure):
    run_python(STEPPING, **faked(tmp_path / "offset"))
    found = read_account(db_path)
    with closing(sqlite3.connect(db_path)) as connection:
        longest, shortest, kept_cells, counted = connection.execute(
            "SELECT max(duration_nano), min(duration_nano),"
            " (SELECT total(count) FROM rollups WHERE resolution_s = 10), (SELECT total(counted) FROM health)"
            " FROM _spans"
        ).fetchone()
        pruned = connection.execute("SELECT total(pruned) FROM health").fetchone()[0]
    names = ("before", "an hour back", "an hour forth", "a year ahead", "after")
    figure("clock: longest span over steps of an hour", f"{longest / 1e9:.2f} s", "2 s")
    figure("clock: pruned before its time (clock 400 days ahead for a moment)", int(pruned), "0")
    assert all(found.names[name] == 200 for name in names)
    assert found.names["inner"] == 1_000
    assert (pruned, kept_cells) == (0, counted)
    assert shortest >= 0
    assert longest < 2 * 10**9


@pytest.fixture
def clocks(monkeypatch):
    clocks = SimpleNamespace(wall=1_000_000.0, monotonic=50.0)
    module = SimpleNamespace(time=lambda: clocks.wall, monotonic=lambda: clocks.monotonic)
    monkeypatch.setattr(steady_clock, "time", module)
    return clocks


def pass_time(clocks, seconds):
    clocks.wall += seconds
    clocks.monotonic += seconds


def test_a_leap_ahead_is_followed_when_it_has_stood_and_a_step_back_at_once(clocks):
    clock = SteadyClock()
    pass_time(clocks, 60)
    assert clock.now() == clocks.wall
    clocks.wall += 86_400
    assert clock.now() == clocks.wall - 86_400
    pass_time(clocks, STANDING_SECONDS - 1)
    assert clock.now() == clocks.wall - 86_400
    pass_time(clocks, 1)
    assert clock.now() == clocks.wall
    clocks.wall -= 3_600
    assert clock.now() == clocks.wall


def test_a_clock_that_leaps_and_leaps_back_was_never_followed(clocks):
    clock = SteadyClock()
    for _ in range(5):
        clocks.wall += 400 * 86_400
        assert clock.now() == clocks.wall - 400 * 86_400
        pass_time(clocks, STANDING_SECONDS / 2)
        clock.now()
        clocks.wall -= 400 * 86_400
        assert clock.now() == clocks.wall


def test_a_clock_that_drifts_is_followed(clocks):
    clock = SteadyClock()
    for _ in range(100):
        pass_time(clocks, 60)
        clocks.wall += LEAP_SECONDS - 1
        assert clock.now() == clocks.wall
