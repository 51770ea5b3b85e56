"""The accounts balance whatever kills a process, and the doctor tells from the file alone what was in its queue."""

from __future__ import annotations

import fcntl
import random
import signal
import time

import pytest

from otel_perfmon.doctor import examine

SAMPLE = """
import sys, threading
import otel_perfmon
monitor = otel_perfmon.configure(sys.argv[1], sample_rate=0.2)
def work(number):
    while True:
        with monitor.monitor("root", slow_threshold_ms=0 if number == 0 else None):
            for _ in range(5):
                with monitor.monitor("child"):
                    pass
            number = (number + 1) % 7
with monitor.monitor("first"):
    pass
monitor.storage.store.get_health()
for number in range(3):
    threading.Thread(target=work, args=(number,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
def test_sigkill_while_sampling_leaves_accounts_that_balance(db_path, start_python, account, figure, kills):
    source = random.Random(5)
    for _ in range(kills):
        process = start_python(SAMPLE, db_path)
        assert process.stdout.readline() == "ready\n"
        time.sleep(source.uniform(0.2, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = {each.name: each for each in examine(db_path, is_full=True)[0]}
        assert not {"damaged", "unbalanced", "not_readable"} & set(found)
        told = account()
        assert ("died_with_queue" in found) == (told.queued > 0)
    assert told.stored > 0
    assert told.sampled_out > told.stored
    figure(f"{kills} SIGKILLs while sampling: files whose accounts do not balance", 0, "0")
    figure("  told as queued by the dead, over all of them", told.queued)


STALL = """
import os, sys
import otel_perfmon
monitor = otel_perfmon.configure(sys.argv[1])
with monitor.monitor("first"):
    pass
monitor.storage.store.get_health()
print("ready", flush=True)
for _ in range(2):
    sys.stdin.readline()
    for _ in range(50):
        with monitor.monitor("later"):
            pass
    monitor.storage.recorder.flush(0.2)
    print("recorded", flush=True)
sys.stdin.read()
"""


def test_a_stopped_process_that_could_not_write_is_told_once_it_can(db_path, start_python, account, figure):
    process = start_python(STALL, db_path)
    assert process.stdout.readline() == "ready\n"
    with open(db_path + ".lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "recorded\n"
        time.sleep(1.5)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "recorded\n"
    found = {each.name: each for each in examine(db_path)[0]}
    assert "another process is writing" in found["writes_failed"].sentence
    assert found["writes_failed"].severity == "note"
    process.communicate()
    told = account()
    assert (told.ended, told.stored, told.dropped, told.queued) == (101, 101, {}, 0)
    assert [each.name for each in examine(db_path)[0] if each.severity != "note"] == []
    figure("file locked for 2 s, and free again: spans lost of 101", told.ended - told.stored, "0")
