"""Signal handlers, finalisers and loggers that record on the very thread that is recording, writing or asking."""

from __future__ import annotations

import os

import pytest

from otel_perfmon.storage.loss import Losses

posix = pytest.mark.skipif(os.name != "posix", reason="there is no SIGALRM here")

WATCHED = """
import faulthandler
faulthandler.dump_traceback_later(30, exit=True)
"""

# One-shot timers: a handler that is slower than an interval would otherwise call itself for ever.
HANDLER = (
    WATCHED
    + """
import random, signal, time
from otel_perfmon import MetricsStorage, StoreBusyError
from otel_perfmon.storage import recorder as recorders
recorders.QUEUE_MAX, recorders.BATCH_MAX, recorders.HELP_BATCH_MAX = 200, 100, 50
storage = MetricsStorage("metrics.db")
recorder = storage.recorder
chance = random.Random(0)
counts = {"main": 0, "handler": 0}
longest = 0

def handle(*_):
    global longest
    began = time.monotonic()
    storage.insert_metric("handler", 1.0)
    counts["handler"] += 1
    try:
        DO
    except StoreBusyError:
        pass  # within a write of this very thread
    longest = max(longest, time.monotonic() - began)
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.002))

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001)
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    for _ in range(250):
        storage.insert_metric("main", 1.0)
        counts["main"] += 1
    recorder.flush()
    storage.get_stats("main")
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert recorder.flush(), recorder._error
assert longest < 1, longest
health = storage.store.get_health()
print(counts["main"], counts["handler"])
"""
)


def check(printed: str, account) -> None:
    main, handler = map(int, printed.split())
    found = account()
    assert found.ended == main + handler
    assert found.names == {"main": main, "handler": handler}


@posix
@pytest.mark.parametrize("action", ["pass", "recorder.flush(0.5)", "storage.get_stats('handler')"])
def test_a_signal_handler_may_record_flush_and_ask_at_any_moment(run_python, account, action):
    check(run_python(HANDLER.replace("DO", action).replace("SECONDS", "1")), account)


@posix
@pytest.mark.long
@pytest.mark.parametrize("action", ["pass", "recorder.flush(0.5)", "storage.get_stats('handler')"])
def test_a_signal_handler_may_record_flush_and_ask_for_a_minute(run_python, account, action):
    program = HANDLER.replace("DO", action).replace("SECONDS", "60").replace("later(30", "later(120")
    check(run_python(program, timeout=150), account)


INTERRUPTED = (
    WATCHED
    + """
import random, signal, time
from otel_perfmon import MetricsStorage
from otel_perfmon.storage import recorder as recorders
recorders.QUEUE_MAX, recorders.BATCH_MAX, recorders.HELP_BATCH_MAX = LIMIT, 100, 50
storage = MetricsStorage("metrics.db")
recorder = storage.recorder
chance = random.Random(0)
recorded = interrupted = started = 0

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
            stop = time.monotonic() + 0.05
            while time.monotonic() < stop:
                for _ in range(chance.randrange(1, 2 * LIMIT)):
                    started += 1
                    storage.insert_metric("work", 1.0)
                    recorded += 1
                recorder.flush(1.0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert recorder.flush(), (recorder._error, recorder.turn.lock)
storage.close()
print(recorded, started, interrupted)
"""
)


def check_interrupted(printed: str, account) -> None:
    """Each call that returned is kept once; one that was interrupted may have got through or not."""
    recorded, started, interrupted = map(int, printed.split())
    assert interrupted > 50
    found = account()
    assert found.dropped == {}
    assert recorded <= found.names["work"] <= started


@posix
# Long: hundreds of interrupts a second find, in some runs, a step between two others where a batch is
# lost (see the README, "What can go wrong"). That no lock stays held and nothing is doubled held in every run.
@pytest.mark.long
@pytest.mark.parametrize("queue", [100, 16_384])
def test_an_interrupt_at_any_moment_holds_no_lock_and_neither_loses_nor_doubles_a_span(run_python, account, queue):
    check_interrupted(run_python(INTERRUPTED.replace("LIMIT", str(queue)).replace("SECONDS", "2")), account)


@posix
@pytest.mark.long
@pytest.mark.parametrize("queue", [100, 16_384])
def test_interrupts_for_a_minute_hold_no_lock_and_neither_lose_nor_double_a_span(run_python, account, queue):
    program = INTERRUPTED.replace("LIMIT", str(queue)).replace("SECONDS", "60").replace("later(30", "later(120")
    check_interrupted(run_python(program, timeout=150), account)


@pytest.mark.parametrize("moment", ["BEGIN IMMEDIATE", "COMMIT"])
def test_an_interrupt_just_after_a_statement_leaves_no_transaction_open_and_doubles_nothing(
    run_python, account, moment
):
    run_python(f"""
        from otel_perfmon import MetricsStorage
        from otel_perfmon.storage.sqlite import connection as connections
        storage = MetricsStorage("metrics.db")
        recorder = storage.recorder
        storage.insert_metric("work", 1.0)
        assert recorder.flush()
        execute = connections.SteppedConnection.execute
        moments = ["{moment}"]
        def interrupted(self, *arguments):
            cursor = execute(self, *arguments)
            if moments and arguments[0] == moments[0]:
                moments.pop()
                raise KeyboardInterrupt
            return cursor
        with recorder.turn.held(5):
            connections.SteppedConnection.execute = interrupted
            storage.insert_metric("work", 1.0)
            try:
                recorder._drain(10, 1.0)
            except KeyboardInterrupt:
                pass
        assert moments == []
        storage.insert_metric("work", 1.0)
        assert recorder.flush(), recorder._error
        storage.close()
        """)
    assert account().names == {"work": 3}


def test_finalisers_may_record_ask_and_close_their_storage_at_any_moment(run_python, account):
    count = int(
        run_python(f"""{WATCHED}
import gc, sys
from otel_perfmon import MetricsStorage
from otel_perfmon.storage import recorder as recorders
recorders.QUEUE_MAX, recorders.BATCH_MAX, recorders.HELP_BATCH_MAX = 200, 100, 50
gc.set_threshold(20, 2, 2)
storage = MetricsStorage("metrics.db")
count = 0

class Service:
    def __init__(self):
        self.own = MetricsStorage("metrics.db")
        self.cycle = self

    def __del__(self):
        global count
        count += 1
        storage.insert_metric("finaliser", 1.0)
        self.own.close()

for number in range(1500):
    Service()
    storage.insert_metric("main", 1.0)
    if number % 50 == 0:
        storage.recorder.flush()
        storage.get_stats("main")
gc.collect()
storage.close()
print(count)
""")
    )
    assert account().names == {"main": 1500, "finaliser": count}


def test_a_logging_handler_may_record_a_span_for_each_of_our_warnings(run_python, account):
    run_python(f"""{WATCHED}
import logging
from otel_perfmon import MetricsStorage, configure
from otel_perfmon.storage import loss, recorder as recorders
loss.LOG_SECONDS = -1.0
recorders.QUEUE_MAX = 100
monitor = configure("metrics.db")
seen = 0

class Recording(logging.Handler):
    depth = 0

    def emit(self, record):
        global seen
        if self.depth < 3:
            Recording.depth += 1
            seen += 1
            monitor.storage.insert_metric("warning", 1.0)
            monitor.force_flush(100)
            Recording.depth -= 1

logging.getLogger("otel_perfmon").addHandler(Recording())
for _ in range(500):
    monitor.storage.insert_metric("work", float("nan"))
    with monitor.monitor("work"):
        pass
monitor.force_flush()
health = monitor.storage.store.get_health()
assert seen >= 500, seen
assert health.ended == 1000 + seen, (health, seen)
assert health.stored + sum(health.dropped.values()) == health.ended
assert health.dropped["invalid"] == 500
""")
    account()


def test_a_drop_that_is_counted_while_another_is_being_counted_is_not_forgotten():
    losses = Losses()

    class Reentrant(dict):
        """What a signal handler that drops a span between the look and the change does."""

        is_inside = False

        def get(self, *arguments):
            found = super().get(*arguments)
            if not self.is_inside:
                self.is_inside = True
                losses.add("reason", 1, "within")
                self.is_inside = False
            return found

    is_summed_at_once = isinstance(losses._pending, dict)
    if is_summed_at_once:
        losses._pending = Reentrant()
    losses._logged_at["reason"] = float("inf")
    losses.add("reason", 1, "without")
    assert losses.take() == {"reason": 2 if is_summed_at_once else 1}


def test_spans_that_end_at_the_limit_of_recursion_are_stored_or_counted(run_python, account):
    count = int(
        run_python("""
import sys
from otel_perfmon import MetricsStorage
sys.setrecursionlimit(300)
storage = MetricsStorage("metrics.db")
count = 0
def deeper():
    global count
    storage.insert_metric("deep", 1.0)
    count += 1
    try:
        storage.recorder.flush()
    except RecursionError:
        pass
    deeper()
for _ in range(8):
    try:
        deeper()
    except RecursionError:
        pass
sys.setrecursionlimit(1000)
storage.close()
print(count)
""")
    )
    found = account()
    assert count <= found.ended <= count + 8


AT_THE_LIMIT = """
import os, sys, time, traceback
from otel_perfmon import configure
monitor = configure("metrics.db", slow_threshold_ms=100)
recorder = monitor.storage.recorder
def go(depth):
    if depth:
        return go(depth - 1)
    with monitor.monitor("leaf"):
        pass
base, late = len(traceback.extract_stack()), []
for left in range(8, 22):
    while recorder._is_awake:
        time.sleep(0.01)
    try:
        go(sys.getrecursionlimit() - base - left)
    except RecursionError:
        pass
    began = time.monotonic()
    with monitor.monitor("after"):
        pass
    while recorder._intake.queue and time.monotonic() < began + 10:
        time.sleep(0.01)
    late.append(time.monotonic() - began)
with monitor.monitor("slow") as span:
    time.sleep(0.5)
print(max(late), [event.name for event in span.events], flush=True)
time.sleep(0.5)
os._exit(0)
"""


def test_a_span_that_ends_at_the_limit_of_recursion_leaves_the_threads_that_write_and_watch_at_work(
    run_python, account
):
    late, events = run_python(AT_THE_LIMIT).split(maxsplit=1)
    assert float(late) < 5
    assert events.strip() == "['perfmon.stack']"
    assert account().names["after"] == 14
