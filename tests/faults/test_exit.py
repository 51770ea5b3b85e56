"""The end of a process: whatever its way, nothing is lost that can be written, and nobody waits for long."""

from __future__ import annotations

import os
import signal
import time

import pytest
from faults_kit import HOLD_OUR_LOCK, HOLD_SQLITES_LOCK, locked

RECORD = """
import sys
from otel_perfmon import configure
monitor = configure("metrics.db")
def work(count=100):
    for _ in range(count):
        with monitor.monitor("work"):
            pass
work()
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('mine')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import asyncio; asyncio.run(asyncio.sleep(0)); work(0)", 0),
        ("import threading; threading.Thread(target=sys.exit).start()", 0),
    ],
    ids=["return", "sys.exit", "exception", "SIGINT", "closed loop", "thread that exits"],
)
def test_every_way_out_keeps_what_was_recorded_and_takes_less_than_a_second(start_python, account, ending, code):
    process = start_python(f"{RECORD}\nprint('done', flush=True)\n{ending}")
    assert process.stdout.readline() == "done\n"
    began = time.monotonic()
    process.communicate()
    assert time.monotonic() - began < 1
    assert process.returncode == code
    assert account().names == {"work": 100}


def test_operations_of_a_closed_event_loop_are_kept(run_python, account):
    run_python(f"""{RECORD}
import asyncio
async def one():
    async with monitor.monitor("async"):
        await asyncio.sleep(0.001)
async def many():
    await asyncio.gather(*(one() for _ in range(50)))
asyncio.run(many())
""")
    assert account().names == {"work": 100, "async": 50}


@pytest.mark.parametrize("door", ["configure('metrics.db')", "PerformanceMonitor(MetricsStorage('metrics.db'))"])
def test_spans_that_end_in_atexit_callbacks_are_kept_whenever_those_were_registered(run_python, account, door):
    run_python(f"""
import atexit
def early():
    with monitor.monitor("registered before the import"):
        pass
atexit.register(early)
from otel_perfmon import MetricsStorage, PerformanceMonitor, configure
monitor = {door}
@atexit.register
def late():
    with monitor.monitor("registered after"):
        pass
with monitor.monitor("work"):
    pass
""")
    assert account().names == {"registered before the import": 1, "registered after": 1, "work": 1}


def test_a_daemon_thread_that_goes_on_recording_hinders_no_exit_and_breaks_no_account(start_python, account):
    process = start_python(f"""{RECORD}
import threading, time
def forever():
    while True:
        work(1)
        time.sleep(0.0005)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.3)
monitor.force_flush()
print(monitor.storage.get_stats("work").count, flush=True)
""")
    seen = int(process.stdout.readline())
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 0, errors
    assert account().stored >= seen


def test_several_threads_that_record_while_the_last_user_closes_lose_nothing(run_python, account):
    """After the close each span is written by the thread that records it; none may be left in the queue."""
    count = int(
        run_python("""
import sys, threading, time
from otel_perfmon import MetricsStorage
sys.setswitchinterval(1e-5)
storage = MetricsStorage("metrics.db")
counts = [0] * 4
is_over = False
def record(which):
    while not is_over:
        storage.insert_metric("thread", 1.0)
        counts[which] += 1
        time.sleep(0)
threads = [threading.Thread(target=record, args=(which,)) for which in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.1)
storage.close()
time.sleep(0.4)
is_over = True
for thread in threads:
    thread.join()
print(sum(counts))
""")
    )
    assert account().names == {"thread": count}


@pytest.mark.parametrize(
    "holding",
    [
        pytest.param(HOLD_OUR_LOCK, id="our lock"),
        pytest.param(HOLD_SQLITES_LOCK, id="SQLite's", marks=pytest.mark.long),
    ],
)
def test_a_file_locked_by_another_process_delays_the_exit_by_a_few_seconds_in_all(
    start_python, run_python, db_path, holding
):
    run_python(RECORD)
    with locked(db_path, holding):
        process = start_python(f"""
import atexit
atexit.register(lambda: work(20))
{RECORD}
print("done", flush=True)
""")
        assert process.stdout.readline() == "done\n"
        began = time.monotonic()
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("durability", [pytest.param("root", marks=pytest.mark.long), "span"])
def test_durable_spans_on_a_locked_file_delay_the_program_by_about_a_second_in_all(run_python, db_path, durability):
    run_python(RECORD)
    with locked(db_path):
        seconds = run_python(f"""
import os, time
from otel_perfmon import configure
monitor = configure("metrics.db", durability="{durability}")
began = time.monotonic()
for _ in range(5):
    with monitor.monitor("work"):
        pass
print(time.monotonic() - began, flush=True)
os._exit(0)
""")
    assert float(seconds) < 2.5


@pytest.mark.skipif(os.name != "posix", reason="no SIGTERM with a handler here")
def test_a_sigterm_that_becomes_a_system_exit_keeps_what_was_recorded(start_python, account):
    process = start_python(f"""
import signal, time
{RECORD}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("done", flush=True)
time.sleep(30)
""")
    assert process.stdout.readline() == "done\n"
    process.terminate()
    assert process.wait(5) == 0
    assert account().names == {"work": 100}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_is_terminated_while_it_is_ending_writes_what_is_left_all_the_same(run_python, account):
    """multiprocessing calls its finalizers once, and then the process leaves."""
    run_python("""
import multiprocessing, os, signal, sys
from otel_perfmon import configure
from otel_perfmon.storage import recorder
from otel_perfmon.storage.sqlite import connection as connections
recorder.LINGER_SECONDS = 5.0  # all of it waits for the end
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
monitor = configure("metrics.db")
execute = connections.SteppedConnection.execute
moments = ["BEGIN IMMEDIATE"]
def interrupted(self, *arguments):
    cursor = execute(self, *arguments)
    if arguments[0] in moments and multiprocessing.parent_process() is not None:
        moments.remove(arguments[0])
        os.kill(os.getpid(), signal.SIGTERM)
    return cursor
connections.SteppedConnection.execute = interrupted
def work():
    for _ in range(100):
        with monitor.monitor("work"):
            pass
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(20)
assert child.exitcode in (0, 143), child.exitcode  # from Python 3.13 on it is an atexit callback that raised
""")
    assert account().names == {"work": 100}


OPEN = """
import asyncio, threading, time
@monitor.monitor("suspended generator")
def numbers():
    with monitor.monitor("open within"):
        yield 1
        yield 2
@monitor.monitor("suspended async generator")
async def numbers_later():
    yield 1
    yield 2
async def ask_once():
    global later
    later = numbers_later()
    async for _ in later:
        break
def sleep():
    with monitor.monitor("in a daemon thread"):
        time.sleep(60)
suspended = numbers()
next(suspended)
asyncio.run(ask_once())
threading.Thread(target=sleep, daemon=True).start()
monitor.monitor("open").__enter__()
"""


def test_spans_that_are_open_at_the_exit_and_suspended_generators_hold_nobody_up_and_lose_nothing_else(
    start_python, account
):
    process = start_python(f"{RECORD}{OPEN}\nwork()\nprint('done', flush=True)")
    assert process.stdout.readline() == "done\n"
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 1.5
    assert (process.returncode, errors) == (0, "")
    names = account().names
    assert names["work"] == 200
    assert set(names) <= {"work", "suspended generator", "suspended async generator", "open within"}


def test_a_thread_that_outlives_the_main_one_has_its_spans_stored(run_python, account):
    run_python(f"""{RECORD}
import threading, time
def later():
    time.sleep(0.3)
    work()
threading.Thread(target=later).start()
""")
    assert account().names == {"work": 200}


AT_THE_VERY_END = {
    "a finaliser": """
class Connection:
    def __del__(self):
        with monitor.monitor("late"):
            pass
connection = Connection()
""",
    "a suspended generator": """
def rows():
    try:
        yield 1
    finally:
        with monitor.monitor("late"):
            pass
kept = rows()
next(kept)
""",
}


@pytest.mark.parametrize("who", AT_THE_VERY_END)
@pytest.mark.parametrize("child", ["", "import os\nif os.fork():\n    os.wait()\n    os._exit(0)\n"], ids=["", "fork"])
def test_what_records_while_the_interpreter_goes_down_holds_nobody_up(start_python, account, who, child):
    process = start_python(RECORD + "monitor.force_flush()\n" + AT_THE_VERY_END[who] + child)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert account().names == {"work": 100, "late": 1}


@pytest.mark.parametrize("who", AT_THE_VERY_END)
def test_what_records_for_the_first_time_while_the_interpreter_goes_down_holds_nobody_up(start_python, who):
    process = start_python(
        "from otel_perfmon import configure\nmonitor = configure('metrics.db')" + AT_THE_VERY_END[who]
    )
    process.communicate(timeout=20)
    assert process.returncode == 0


SHUTDOWN_BESIDE_WRITERS = """
import faulthandler, sys, threading, time
faulthandler.dump_traceback_later(20, exit=True)
sys.setswitchinterval(1e-5)
from otel_perfmon import MetricsStorage, PerformanceMonitor, configure
monitor = MAKE
counts, is_over = [0] * 4, False
def record(which):
    while not is_over:
        with monitor.monitor("work"):
            pass
        counts[which] += 1
        time.sleep(0)
threads = [threading.Thread(target=record, args=(which,)) for which in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.2)
before = sum(counts)
shutdowns = [threading.Thread(target=monitor.shutdown) for _ in range(2)]
for each in shutdowns:
    each.start()
for each in shutdowns:
    each.join()
time.sleep(0.1)
is_over = True
for thread in threads:
    thread.join()
monitor.shutdown()
print(before, sum(counts))
"""


@pytest.mark.parametrize(
    "make", ["configure('metrics.db')", "PerformanceMonitor(MetricsStorage('metrics.db'))", "PerformanceMonitor()"]
)
def test_a_monitor_shut_down_twice_at_once_while_others_record_keeps_what_ended_before(run_python, account, make):
    before, ended = map(int, run_python(SHUTDOWN_BESIDE_WRITERS.replace("MAKE", make)).split())
    found = account()
    assert before <= found.names["work"] <= ended
    assert found.dropped == {}
    if not make.startswith("configure"):  # which undoes what it did: later operations go where OpenTelemetry says
        assert found.names["work"] == ended
