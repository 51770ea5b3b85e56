"""Five thousand operations a second for a while, with pruning: nothing grows and nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import pytest
from attack_kit import MIB, Watched, growth, look_at_process, watch
from faults_kit import read_account

BURST = 100_000

SOAK = """
import gc, sys, time
from otel_perfmon import configure
from otel_perfmon.storage import maintenance
from otel_perfmon.storage.base import RetentionPolicy
seconds, rate, limit = float(sys.argv[1]), 5_000, int(sys.argv[2])
maintenance.MAINTAIN_SECONDS = seconds / 20
monitor = configure("metrics.db", slow_threshold_ms=60_000, error_rate_threshold=1)
recorder = monitor.storage.recorder
recorder.set_retention(RetentionPolicy(seconds / 6, seconds / 3, limit))
count, blocks = 0, []

def work(many):
    global count
    for _ in range(many):
        with monitor.monitor(f"operation {count % 50}", attributes={"number": count, "user": "ada"}):
            count += 1

work(BURST)  # a full queue takes the memory that it may take; from then on nothing may grow beyond that
began, before = time.monotonic(), count
while (elapsed := time.monotonic() - began) < seconds:
    work(before + int(elapsed * rate) - count)
    if elapsed > len(blocks) * seconds / 30:
        monitor.force_flush()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    time.sleep(0.01)
dropped = monitor.storage.store.get_health().dropped
monitor.shutdown()
print(count, sum(dropped.values()), *blocks)
""".replace("BURST", str(BURST))
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


@dataclass
class Soak:
    """What was seen of a soak from outside, and what its program tells: memory blocks are Python's, at rest."""

    seen: Watched
    count: int
    dropped: int
    block_counts: list[int]
    ended: int


def soak(start_python, tmp_path, seconds, limit_bytes) -> Soak:
    process = start_python(SOAK, str(seconds), str(limit_bytes), stderr=None)
    seen = watch(process, str(tmp_path / "metrics.db"), seconds + 120)
    assert process.returncode == 0
    count, dropped, *block_counts = map(int, process.stdout.read().split())
    return Soak(seen, count, dropped, block_counts, read_account(str(tmp_path / "metrics.db")).ended)


def check(soak, seconds, limit_bytes, figure, memory_growth_max):
    seen, what = soak.seen, f"soak of {seconds} s: "
    block_growth = growth(soak.block_counts)
    figure(what + "operations, lost", f"{soak.count}, {soak.dropped}", f"{5_000 * seconds + BURST}, 0")
    figure(what + "memory of the last third beside the one before", f"{seen.growth:.3f}", f"{memory_growth_max}")
    figure(what + "memory blocks in use at rest, likewise", f"{block_growth:.3f}", "1.05")
    figure(what + "file of its limit", f"{seen.peak_bytes / limit_bytes:.2f}", "1.1")
    figure(what + "file descriptors", f"{seen.descriptor_counts[len(seen.descriptor_counts) // 2]}", "")
    assert soak.dropped == 0
    assert seen.peak_bytes <= 1.1 * limit_bytes
    assert seen.growth <= memory_growth_max
    assert block_growth <= 1.05
    # The usual count: while it is pruned or a file grows too long, a look may meet a connection more (three files).
    third = len(seen.descriptor_counts) // 3
    before, last = seen.descriptor_counts[third:-third], seen.descriptor_counts[-third:]
    assert median(last) <= median(before) + 1
    assert max(seen.descriptor_counts) <= median(before) + 6
    assert soak.ended == soak.count


def test_a_soak_of_a_minute_loses_nothing_and_grows_in_nothing(start_python, tmp_path, figure):
    watched = soak(start_python, tmp_path, 60, 24 * MIB)
    # The allocator is not yet warm then; what Python has in use is told to a block.
    check(watched, 60, 24 * MIB, figure, memory_growth_max=1.15)


@pytest.mark.long
def test_a_soak_of_twenty_minutes_loses_nothing_and_grows_in_nothing(start_python, tmp_path, figure):
    watched = soak(start_python, tmp_path, 1_200, 64 * MIB)
    check(watched, 1_200, 64 * MIB, figure, memory_growth_max=1.05)
    assert watched.count >= 0.95 * 5_000 * 1_200


def test_an_idle_process_uses_no_processor(start_python, figure):
    process = start_python(IDLE, "4", stderr=None)
    seen = Watched()
    look_at_process(process.pid, seen)
    used = float(process.communicate(timeout=60)[0])
    figure("idle: processor time in four seconds", f"{used * 1000:.1f} ms", "40 ms")
    assert used < 0.04
