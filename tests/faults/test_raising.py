"""Every function inside raises once, in turn: the program sees nothing of it, and what comes next is stored.

And two thousand threads.
"""

from __future__ import annotations

import json

import pytest
from faults_kit import read_account

RAISING = """
import importlib, inspect, json, pkgutil, sys, threading, time
from otel_perfmon import configure
import otel_perfmon.sdk, otel_perfmon.storage
from opentelemetry import trace

kind = {"Exception": ValueError, "MemoryError": MemoryError, "RecursionError": RecursionError,
        "KeyboardInterrupt": KeyboardInterrupt}[sys.argv[1]]
part, parts = int(sys.argv[2]), int(sys.argv[3])
monitor = configure("metrics.db", slow_threshold_ms=60_000)
tracer, recorder = trace.get_tracer("program"), monitor.storage.recorder

def application():
    found = []
    for number in range(5):
        with monitor.monitor("work", attributes={"number": number, "list": [1, 2]}):
            found.append(number)
        with tracer.start_as_current_span("plain") as span:
            span.set_attribute("a", 1)
            span.add_event("e", {"b": 2})
        try:
            with monitor.monitor("failing"):
                raise LookupError("the program's own")
        except LookupError as error:
            found.append(str(error))
    monitor.storage.insert_metric("metric", 1.0, context={"a": 1})
    return found

def codes():
    # What runs for a span after it has ended: below the outer rims.
    for package in (otel_perfmon.storage, otel_perfmon.sdk):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                owned = [value] if inspect.isfunction(value) else []
                if inspect.isclass(value) and value.__module__ == info.name:
                    for each in vars(value).values():
                        each = getattr(each, "__func__", getattr(each, "fget", each))
                        owned += [each] if inspect.isfunction(each) else []
                for function in owned:
                    if function.__module__ == info.name:
                        yield function.__code__

seen = set()
def note(frame, event, argument):
    if event == "call":
        seen.add(frame.f_code)

all_codes = set(codes())
threading.setprofile(note)
sys.setprofile(note)
expected = application()
recorder.flush()
recorder.maintain()
time.sleep(0.3)
sys.setprofile(None)
threading.setprofile(None)
targets = sorted(seen & all_codes, key=lambda code: (code.co_filename, code.co_firstlineno))
ended, wrong, reached, hurt = 16, [], 0, []
for target in targets[part::parts]:
    fired = []

    def raising(frame, event, argument):
        if event == "call" and frame.f_code is target and not fired:
            fired.append(1)
            raise kind("raised inside")

    def on_writer():
        sys.setprofile(raising)
        try:
            recorder.flush()
            recorder._maintain()
        except BaseException:
            pass
        finally:
            sys.setprofile(None)

    application()
    thread = threading.Thread(target=on_writer)
    thread.start()
    thread.join(30)
    if thread.is_alive():
        hurt.append(target.co_qualname if hasattr(target, "co_qualname") else target.co_name)
        break
    reached += len(fired)
    if application() != expected:
        wrong.append(target.co_name)
    ended += 32
    for _ in range(3):
        if recorder.flush(5):
            break
    else:
        wrong.append((target.co_filename[-30:], target.co_name, str(recorder._error)))
health = monitor.storage.store.get_health()
monitor.shutdown()
print(json.dumps([len(targets[part::parts]), reached, ended, health.ended, sum(health.dropped.values()), wrong, hurt]))
"""


def raise_everywhere(start_python, tmp_path, kind, part, parts):
    process = start_python(RAISING, kind, str(part), str(parts))
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-2_000:]
    targets, reached, ended, found, dropped, wrong, hurt = json.loads(out)
    account = read_account(str(tmp_path / "metrics.db"))
    assert (wrong, hurt) == ([], [])
    assert account.ended == found
    return targets, reached, ended, found, dropped


def check(start_python, tmp_path, kind, figure, parts):
    targets, reached, ended, found, dropped = raise_everywhere(start_python, tmp_path, kind, 0, parts)
    figure(
        f"raising {kind}: functions, reached; spans ended, accounted for, of which dropped",
        f"{targets}, {reached}; {ended}, {found}, {dropped}",
        "ended = accounted for",
    )
    assert reached > targets // 3
    return ended, found


@pytest.mark.parametrize("kind", ["Exception", "MemoryError"])
def test_whatever_raises_on_the_thread_that_writes_the_program_sees_nothing_and_every_span_is_accounted_for(
    start_python, tmp_path, figure, kind
):
    ended, found = check(start_python, tmp_path, kind, figure, 4)
    assert found == ended


@pytest.mark.long
@pytest.mark.parametrize("kind", ["Exception", "MemoryError", "RecursionError", "KeyboardInterrupt"])
def test_each_function_in_its_turn_may_raise_on_the_thread_that_writes(start_python, tmp_path, figure, kind):
    ended, found = check(start_python, tmp_path, kind, figure, 1)
    assert found == ended or kind == "KeyboardInterrupt"


THREADS = """
import threading
from otel_perfmon import configure
monitor = configure("metrics.db", slow_threshold_ms=600_000)
COUNT = 2_000
threading.stack_size(256 * 1024)
go = threading.Event()
def work(number):
    go.wait()
    for each in range(50):
        with monitor.monitor(f"operation {number % 100}"):
            pass
threads = [threading.Thread(target=work, args=(number,)) for number in range(COUNT)]
for thread in threads:
    thread.start()
go.set()
for thread in threads:
    thread.join()
monitor.shutdown()
"""


def test_two_thousand_threads_lose_nothing(run_python, account, figure):
    run_python(THREADS, timeout=120)
    found = account()
    lost = sum(found.dropped.values())
    figure("threads: spans of 2,000 threads, of which lost", f"{found.ended}, {lost}", "100000, 0")
    assert found.ended == 100_000
    assert lost == 0
