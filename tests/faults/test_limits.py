"""Everything that could grow without end, attacked at full speed: file and memory stay within their limits."""

from __future__ import annotations

import pytest
from attack_kit import ATTACKS, BEGIN, END, MIB, watch
from faults_kit import read_integrity

MEMORY_MAX_MIB = 420
"""An empty process has 30, the queue 64, a batch of huge texts as much, what is remembered of ended spans 120."""


def attack(start_python, tmp_path, name, seconds, limit_bytes):
    process = start_python(BEGIN + ATTACKS[name] + END, str(seconds), str(limit_bytes), stderr=None)
    seen = watch(process, str(tmp_path / "metrics.db"), timeout_seconds=20 * seconds + 120)
    printed = process.stdout.read()
    assert process.returncode == 0
    read_integrity(str(tmp_path / "metrics.db"))
    return seen, [int(each) for each in printed.split()]


def check(seen, figures, name, limit_bytes, figure):
    _, ended, counted, altered, dropped = figures
    share = seen.peak_bytes / limit_bytes
    memory = max(seen.memory_mib, default=0)
    figure(f"limits: {name}", f"file {share:.2f} of its limit, {memory:.0f} MiB, {ended} spans", "1.1, 420 MiB")
    assert share <= 1.1
    assert memory <= MEMORY_MAX_MIB
    assert counted + dropped == ended
    assert dropped == 0
    assert seen.last_bytes < max(limit_bytes / 2, MIB)
    return altered


IN_SHORT = (
    *("names with ids in them", "one giant trace", "attributes of a megabyte", "status texts"),
    *("100,000 attributes and events", "an error of its own each time", "a resource for each span"),
    *("a scope for each span", "everything calls everything", "instruments and attribute sets"),
)


@pytest.mark.parametrize("name", IN_SHORT)
def test_no_attack_takes_file_or_memory_beyond_their_limits(start_python, tmp_path, figure, name):
    seen, figures = attack(start_python, tmp_path, name, 1.0, 16 * MIB)
    altered = check(seen, figures, name, 16 * MIB, figure)
    if any(each in name for each in ("megabyte", "deep", "100,000", "scope")):
        assert altered > 0


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_of_a_minute_takes_file_or_memory_beyond_their_limits(start_python, tmp_path, figure, name):
    seen, figures = attack(start_python, tmp_path, name, 60, 64 * MIB)
    check(seen, figures, name, 64 * MIB, figure)
    figure(f"limits: {name}: memory of the last third beside the one before", f"{seen.growth:.3f}", "1.15")
    assert seen.growth < 1.15


MILLION = """
for number in range(1_000_000):
    with monitor.monitor(f"GET /user/{number}"):
        pass
"""


@pytest.mark.long
def test_a_million_operations_are_counted_and_memory_stays_flat(start_python, tmp_path, figure):
    process = start_python(BEGIN + MILLION + END, "0", str(64 * MIB), stderr=None)
    seen = watch(process, str(tmp_path / "metrics.db"), 600)
    _, ended, counted, _, dropped = map(int, process.stdout.read().split())
    assert process.returncode == 0
    figure("limits: a million operations", f"counted {counted}, growth {seen.growth:.3f}", "1000000, 1.15")
    assert (ended, counted, dropped) == (1_000_000, 1_000_000, 0)
    assert seen.peak_bytes <= 1.1 * 64 * MIB
    assert seen.growth < 1.15
