"""What was running when a process was killed: everything open for longer than 1.5 s, with what was known of it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from faults_kit import read_account

from otel_perfmon import MetricsStorage, SpanQuery, open_store

HANG = """
import asyncio, sys, threading, time
import otel_perfmon
monitor = otel_perfmon.configure("metrics.db")
def work(number):
    with monitor.monitor(f"thread {number}", attributes={"number": number}) as span:
        span.set_attribute("later", "yes")
        time.sleep(60)
async def task(number):
    async with monitor.monitor(f"task {number}", attributes={"number": number}) as span:
        span.set_attribute("later", "yes")
        await asyncio.sleep(60)
async def tasks():
    await asyncio.gather(*map(task, range(20)))
for number in range(20):
    threading.Thread(target=work, args=(number,), daemon=True).start()
threading.Thread(target=lambda: asyncio.run(tasks()), daemon=True).start()
while threading.active_count() < 20:
    time.sleep(0.001)
time.sleep(0.05)
print("open", flush=True)
while True:
    with monitor.monitor("quick"):
        pass
    time.sleep(0.001)
"""
NAMES = {f"{kind} {number}" for kind in ("thread", "task") for number in range(20)}


def kill_with_open_spans(start_python) -> None:
    process = start_python(HANG)
    assert process.stdout.readline() == "open\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_all_that_was_open_for_1500_ms_when_it_was_killed_reads_as_interrupted(start_python, db_path, figure):
    kill_with_open_spans(start_python)
    with open_store(db_path) as store:
        found = {each.span.name: each for each in store.find_open_spans()}
        assert all(each.is_interrupted for each in found.values())
        figure("open spans at SIGKILL, shown as interrupted", f"{len(NAMES & found.keys())} of {len(NAMES)}", "all")
        assert set(found) == NAMES
        for name, each in found.items():
            assert dict(each.span.attributes) == {"number": int(name.split()[1]), "later": "yes"}
            assert each.span.duration_ms >= 900
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("next", 1.0)
        spans = [each for each in storage.store.find_spans(SpanQuery(limit=1000)) if each.is_interrupted]
        assert {each.name for each in spans} == NAMES
        assert len(spans) == len(NAMES)
        assert storage.find_open_spans() == []
        assert all(storage.get_stats(name).count == 0 for name in NAMES)
    read_account(db_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_eight_processes_that_start_at_once_make_one_span_of_each_interrupted_one(start_python, db_path, figure):
    kill_with_open_spans(start_python)
    program = """
    from otel_perfmon import MetricsStorage
    with MetricsStorage("metrics.db") as storage:
        storage.insert_metric("next", 1.0)
    """
    for process in [start_python(program) for _ in range(8)]:
        assert process.wait(30) == 0
    account = read_account(db_path)
    with open_store(db_path) as store:
        spans = [each.name for each in store.find_spans(SpanQuery(limit=1000)) if each.is_interrupted]
    figure("interrupted spans made by eight processes at once", f"{len(spans)} of {len(NAMES)}", "each once")
    assert sorted(spans) == sorted(NAMES)
    assert account.names["next"] == 8
