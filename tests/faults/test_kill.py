"""SIGKILL at a random moment: no corrupt file, and no more lost than the durability says.

What ended comes from an oracle that the kill cannot touch: a file mapped into memory, in which the program notes the
time after each end. A kill is a fork away from a program that has everything imported, so that twenty take seconds.
That program also sleeps for 2 ms at a time: where it overslept by more than 5 ms, the machine let nobody run, and the
writer has that much longer. On a machine with time to spare it adds nothing.
"""

from __future__ import annotations

import os
import random
import sqlite3
import struct
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faults_kit import read_account

from otel_perfmon.storage.recorder import QUEUE_MAX

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

LAST_MOMENTS_NANO = 250_000_000
ROUNDS = [20, pytest.param(100, marks=pytest.mark.long)]

KILLS = """
import mmap, os, random, signal, sys, time
from otel_perfmon import configure
durability, rounds, operations_per_second, seconds_max = sys.argv[1], *map(float, sys.argv[2:])
SPANS_MAX = 400_000

def record(path, ends):
    monitor = configure(path, durability=durability)
    monitor_, now = monitor.monitor, time.monotonic_ns
    with monitor_("first"):
        pass
    assert monitor.force_flush()  # the file is there: to make it takes longer than to write to it
    began, number = time.monotonic(), 0
    while number < SPANS_MAX:
        with monitor_("root", attributes={"number": number + 1}):
            with monitor_("inner", attributes={"number": number}):
                pass
            ends[number] = now()
        ends[number + 1] = now()
        number += 2
        if operations_per_second and number % 10 == 0:
            time.sleep(max(0, began + number / operations_per_second - time.monotonic()))
    time.sleep(60)

for number in range(int(rounds)):
    with open(f"{number}.ends", "w+b") as file:
        file.truncate(8 * SPANS_MAX)
        ends = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
    pid = os.fork()
    if pid == 0:
        record(f"{number}.db", ends)
        os._exit(1)
    while not ends[0]:
        time.sleep(0.001)
    end, stalls = time.monotonic() + random.Random(number).uniform(0, seconds_max), [0.0]
    while (now := time.monotonic()) < end:
        time.sleep(0.002)
        stalls.append(time.monotonic() - now - 0.002)
    killed_at = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(killed_at, int(1e9 * sum(stall for stall in stalls[-200:] if stall > 0.005)), flush=True)
"""


@dataclass
class Kill:
    """What a killed program had ended, and what is in its file."""

    ends: dict[int, int]
    killed_at: int
    stalled_nano: int
    stored: list[int] = field(default_factory=list)

    @property
    def lost(self) -> list[int]:
        """Spans that are not in the file, though the program went on after their end."""
        return sorted(self.ends.keys() - set(self.stored))

    @property
    def lost_early(self) -> list[int]:
        """Those that ended before the last moments."""
        since = self.killed_at - LAST_MOMENTS_NANO - self.stalled_nano
        return [number for number in self.lost if self.ends[number] < since]

    @property
    def oldest_lost_ms(self) -> float:
        """How long before the kill the first span ended that is lost."""
        return max(((self.killed_at - self.ends[number]) / 1e6 for number in self.lost), default=0.0)


def has_tables(path: str) -> bool:
    """False when the kill came before the first transaction, which makes the tables."""
    if not os.path.exists(path):
        return False
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)


def read_stored(path: str) -> list[int]:
    """The numbers of the spans in a sound file whose rollups say the same as its spans."""
    assert read_account(path).dropped == {}
    with closing(sqlite3.connect(path)) as connection:
        numbers = connection.execute(
            "SELECT json_extract(attributes, '$.number') FROM spans WHERE name <> 'first' ORDER BY 1"
        )
        stored = [number for (number,) in numbers]
        counts = dict(connection.execute("SELECT operation, count FROM operations").fetchall())
        rows = dict(connection.execute("SELECT operation, count(*) FROM metrics GROUP BY 1").fetchall())
    assert len(set(stored)) == len(stored)
    assert counts == rows
    return stored


def read_kill(folder: Path, number: int, killed_at: int, stalled_nano: int) -> Kill:
    mapped = (folder / f"{number}.ends").read_bytes()
    ends = {place: end for place, (end,) in enumerate(struct.iter_unpack("q", mapped)) if end}
    path = str(folder / f"{number}.db")
    kill = Kill(ends, killed_at, stalled_nano, read_stored(path) if has_tables(path) else [])
    # One span at most is stored whose end the program did not live to note.
    assert len(set(kill.stored) - ends.keys()) <= 1
    return kill


def kill_at_random_moments(
    start_python, tmp_path, durability: str, rounds: int, *, operations_per_second: int, seconds_max: float
) -> list[Kill]:
    process = start_python(KILLS, durability, str(rounds), str(operations_per_second), str(seconds_max))
    output, errors = process.communicate(timeout=60 + 5 * rounds)
    assert (process.returncode, errors) == (0, "")
    return [read_kill(tmp_path, number, *map(int, line.split())) for number, line in enumerate(output.splitlines())]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_kill_in_batch_loses_only_what_ended_in_the_last_250_ms(start_python, tmp_path, figure, rounds):
    kills = kill_at_random_moments(
        start_python, tmp_path, "batch", rounds, operations_per_second=5_000, seconds_max=0.7
    )
    figure(f"{rounds} kills at 5,000/s, batch: corrupt files", 0, "0")
    figure(f"{rounds} kills at 5,000/s, batch: ended", sum(len(kill.ends) for kill in kills))
    figure(f"{rounds} kills at 5,000/s, batch: lost before the last 250 ms", sum(len(k.lost_early) for k in kills), "0")
    oldest_ms = max(kill.oldest_lost_ms for kill in kills)
    stalled_ms = max(kill.stalled_nano for kill in kills) / 1e6
    what = f"{rounds} kills at 5,000/s, batch: the oldest that was lost"
    figure(what, f"{oldest_ms:.0f} ms before the kill, stalls up to {stalled_ms:.0f} ms", "≤ 250 ms + stalls")
    assert [kill.lost_early for kill in kills] == [[]] * rounds


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_kill_in_root_loses_no_trace_whose_root_had_ended(start_python, tmp_path, figure, rounds):
    kills = kill_at_random_moments(start_python, tmp_path, "root", rounds, operations_per_second=5_000, seconds_max=0.3)
    whole = [[n for n in kill.lost if (n | 1) in kill.ends] for kill in kills]
    figure(f"{rounds} kills at 5,000/s, root: ended", sum(len(kill.ends) for kill in kills))
    figure(f"{rounds} kills at 5,000/s, root: lost of whole traces", sum(map(len, whole)), "0")
    assert whole == [[]] * rounds
    assert all(len(kill.lost) <= 1 for kill in kills)  # a child of the root that had not ended


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_kill_in_span_loses_no_span_that_had_ended(start_python, tmp_path, figure, rounds):
    kills = kill_at_random_moments(start_python, tmp_path, "span", rounds, operations_per_second=5_000, seconds_max=0.3)
    figure(f"{rounds} kills at 5,000/s, span: ended", sum(len(kill.ends) for kill in kills))
    figure(f"{rounds} kills at 5,000/s, span: lost", sum(len(kill.lost) for kill in kills), "0")
    assert [kill.lost for kill in kills] == [[]] * rounds


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_kill_at_full_speed_loses_at_most_a_queue_and_250_ms(start_python, tmp_path, figure, rounds):
    kills = kill_at_random_moments(start_python, tmp_path, "batch", rounds, operations_per_second=0, seconds_max=0.5)
    worst = max(kills, key=lambda kill: len(kill.lost_early))
    figure(f"{rounds} kills at full speed: ended", sum(len(kill.ends) for kill in kills))
    figure(
        f"{rounds} kills at full speed: lost before the last 250 ms", len(worst.lost_early), f"≤ {QUEUE_MAX}, the queue"
    )
    assert all(len(kill.lost_early) <= QUEUE_MAX for kill in kills)


EXPORTS = """
import itertools, os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from otel_perfmon import SQLiteSpanExporter
tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
exporter = SQLiteSpanExporter("metrics.db")
for number in itertools.count(1):
    spans = [tracer.start_span("work") for _ in range(50)]
    for span in spans:
        span.end()
    if exporter.export(spans) is SpanExportResult.SUCCESS:
        os.write(1, b"%d\\n" % (number * 50))
"""


def last_number(text: str) -> int:
    whole = text.rpartition("\n")[0]
    return int(whole.rpartition("\n")[2] or 0)


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=pytest.mark.long)])
def test_what_an_exporter_said_was_exported_outlives_sigkill_at_random_moments(start_python, tmp_path, rounds):
    stored = 0
    for number in range(rounds):
        acknowledged = tmp_path / f"{number}.txt"
        with acknowledged.open("w") as output:
            process = start_python(EXPORTS, stdout=output)
            while process.poll() is None and last_number(acknowledged.read_text()) == 0:
                time.sleep(0.005)
            time.sleep(random.Random(number).uniform(0, 0.2))
            process.kill()
            process.wait()
        before, found = stored, read_account(str(tmp_path / "metrics.db"))
        stored = found.stored
        assert stored - before >= last_number(acknowledged.read_text()) > 0
        assert found.dropped == {}
