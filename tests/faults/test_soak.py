"""Five thousand operations a second for a while, with pruning: nothing grows and nothing is lost."""

from __future__ import annotations

import pytest
from attack_kit import MIB, Watched, look_at_process, watch
from faults_kit import read_account

SOAK = """
import sys, time
from otel_perfmon import configure
from otel_perfmon.storage import maintenance
from otel_perfmon.storage.base import RetentionPolicy
seconds, rate, limit = float(sys.argv[1]), 5_000, int(sys.argv[2])
maintenance.MAINTAIN_SECONDS = seconds / 20
monitor = configure("metrics.db", slow_threshold_ms=60_000, error_rate_threshold=1)
recorder = monitor.storage.recorder
recorder.set_retention(RetentionPolicy(seconds / 6, seconds / 3, limit))
began, count = time.monotonic(), 0
while (elapsed := time.monotonic() - began) < seconds:
    for _ in range(int(elapsed * rate) - count):
        with monitor.monitor(f"operation {count % 50}", attributes={"number": count, "user": "ada"}):
            count += 1
    time.sleep(0.01)
dropped = monitor.storage.store.get_health().dropped
monitor.shutdown()
print(count, sum(dropped.values()))
"""
IDLE = """
import sys, time
from otel_perfmon import configure
monitor = configure("metrics.db")
with monitor.monitor("work"):
    pass
monitor.force_flush()
time.sleep(1)
began = time.process_time()
time.sleep(float(sys.argv[1]))
print(time.process_time() - began)
"""


def soak(start_python, tmp_path, seconds, limit_bytes) -> tuple[Watched, int, int]:
    process = start_python(SOAK, str(seconds), str(limit_bytes), stderr=None)
    seen = watch(process, str(tmp_path / "metrics.db"), seconds + 120)
    assert process.returncode == 0
    count, dropped = map(int, process.stdout.read().split())
    return seen, count, dropped


def check(watched, seconds, limit_bytes, figure, path):
    seen, count, dropped = watched
    figure(f"soak of {seconds} s: operations, lost", f"{count}, {dropped}", f"{5_000 * seconds}, 0")
    figure(f"soak of {seconds} s: memory of the last third beside the one before", f"{seen.growth:.3f}", "1.05")
    figure(f"soak of {seconds} s: file of its limit", f"{seen.peak_bytes / limit_bytes:.2f}", "1.1")
    figure(f"soak of {seconds} s: file descriptors", f"{seen.descriptor_counts[len(seen.descriptor_counts) // 2]}", "")
    assert dropped == 0
    assert seen.peak_bytes <= 1.1 * limit_bytes
    assert seen.growth <= 1.05
    half = len(seen.descriptor_counts) // 2
    assert max(seen.descriptor_counts[half:]) <= max(seen.descriptor_counts[: half + 1]) + 1
    assert read_account(path).ended == count


def test_a_soak_of_a_minute_loses_nothing_and_grows_in_nothing(start_python, tmp_path, db_path, figure):
    watched = soak(start_python, tmp_path, 60, 24 * MIB)
    check(watched, 60, 24 * MIB, figure, db_path)


@pytest.mark.long
def test_a_soak_of_twenty_minutes_loses_nothing_and_grows_in_nothing(start_python, tmp_path, db_path, figure):
    watched = soak(start_python, tmp_path, 1_200, 64 * MIB)
    check(watched, 1_200, 64 * MIB, figure, db_path)
    assert watched[1] >= 0.95 * 5_000 * 1_200


def test_an_idle_process_uses_no_processor(start_python, figure):
    process = start_python(IDLE, "4", stderr=None)
    seen = Watched()
    look_at_process(process.pid, seen)
    used = float(process.communicate(timeout=60)[0])
    figure("idle: processor time in four seconds", f"{used * 1000:.1f} ms", "40 ms")
    assert used < 0.04
