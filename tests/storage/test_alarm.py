"""The alarm of a running recorder: from the minute tick to the log and the callbacks."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from itertools import pairwise

from storage_kit import NOW_S, SECOND, ask_one, held_by_another_process, span_row, wait_until

from otel_perfmon.alerts import AlertRule
from otel_perfmon.storage import alarm as alarms
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.registry import recorder_for, release_recorder
from otel_perfmon.storage.sqlite.writer import SqliteWriter

RULE = AlertRule(0.1)
CALLS_PER_MINUTE = 10
#: Errors in each minute of four hours: the last hour's rate is 0, then for long between 9.3 % and 10.7 %, then 0 again.
STORY = [0] * 30 + ([2] * 7 + [0] * 7) * 10 + [0] * 70


@contextmanager
def opened(path, rule=RULE):
    """A recorder of the process's own, as after a restart."""
    recorder = recorder_for(path, SqliteWriter)
    recorder.alarm.rule = rule
    yield recorder
    release_recorder(recorder)


def run_minute(recorder, door, clock, errors, name="op"):
    end = int(clock.now) * SECOND
    for number in range(CALLS_PER_MINUTE):
        recorder.record(door, span_row(name, end=end, error="boom" if number < errors else None))
    recorder.flush_or_raise()
    clock.now += 60


def fail(recorder, door, clock, name="op"):
    """An operation that has failed often enough for an alarm, though nobody has looked yet."""
    for _ in range(2):
        run_minute(recorder, door, clock, CALLS_PER_MINUTE, name)


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def assert_one_of_each(messages):
    assert len(messages) == 2, messages
    assert ", over 10%: " in messages[0]
    assert ", no longer over 10%: " in messages[1]


def crossings(story):
    """How often the rate of the last hour goes over the threshold, counted for each minute."""
    rates = [sum(story[max(0, end - 60) : end]) / (min(end, 60) * CALLS_PER_MINUTE) for end in range(1, len(story) + 1)]
    return sum(1 for before, after in pairwise(rates) if before <= 0.1 < after)


# --- the story


def test_a_rate_that_rises_over_its_threshold_hovers_around_it_and_falls_is_one_warning_and_one_all_clear(
    recorder, door, clock, caplog
):
    assert crossings(STORY) > 4
    recorder.alarm.rule = RULE
    for errors in STORY:
        run_minute(recorder, door, clock, errors)
        recorder.maintain()
    assert_one_of_each(logged(caplog))


def test_it_is_one_of_each_across_restarts_too(db_path, door, clock, caplog):
    for start in range(0, len(STORY), 7):
        with opened(db_path) as recorder:
            for errors in STORY[start : start + 7]:
                run_minute(recorder, door, clock, errors)
                recorder.maintain()
    assert_one_of_each(logged(caplog))


def test_it_is_one_of_each_from_two_recorders_on_one_file_together(db_path, door, clock, caplog):
    recorders = [Recorder(db_path, SqliteWriter(db_path)) for _ in range(2)]
    told = []
    for recorder in recorders:
        recorder.alarm.rule = RULE
        recorder.alarm.callbacks.add(told.append)
    for minute, errors in enumerate(STORY):
        run_minute(recorders[minute % 2], door, clock, errors)
        for recorder in recorders:
            recorder.maintain()
    assert_one_of_each(logged(caplog))
    assert wait_until(lambda: len(told) == 2)
    for recorder in recorders:
        recorder.finish()


# --- the tick


def test_the_minute_tick_evaluates_on_the_writer_thread_and_then_prunes(recorder, door, clock, caplog):
    recorder.alarm.rule = RULE
    told = []
    recorder.alarm.callbacks.add(lambda alert: told.append(threading.current_thread().name))
    fail(recorder, door, clock)
    recorder.maintenance._due_at = 0.0
    recorder.record(door, span_row("wakes the writer", end=int(clock.now) * SECOND))
    assert wait_until(lambda: told)
    assert told == ["otel-perfmon-alerts"]
    assert len(logged(caplog)) == 1
    assert wait_until(lambda: recorder.maintenance.seconds_until_due > 50)


def test_without_a_rule_nothing_is_evaluated(recorder, door, clock, db_path, caplog):
    fail(recorder, door, clock)
    recorder.maintain()
    assert logged(caplog) == []
    assert ask_one(db_path, "SELECT count(*) FROM _alarms") == 0


def test_retention_goes_on_when_the_alarm_cannot_be_evaluated_and_that_is_logged_once_a_minute(
    recorder, door, clock, db_path, caplog
):
    recorder.alarm.rule = RULE
    recorder.record(door, span_row(end=NOW_S * SECOND))
    recorder.flush_or_raise()
    recorder._writer._connection.execute("DROP TABLE _alarms")
    clock.now += 2 * 3_600
    for _ in range(3):
        recorder.maintain()
    (message,) = logged(caplog)
    assert message.startswith(f"Error rates in {db_path} could not be evaluated: ")
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 0


def test_a_file_that_others_hold_only_puts_the_alarm_off(recorder, door, clock, caplog, monkeypatch):
    monkeypatch.setattr("otel_perfmon.storage.sqlite.connection.BUSY_TIMEOUT_MS", 50)
    recorder.alarm.rule = RULE
    fail(recorder, door, clock)
    with held_by_another_process(recorder.path):
        recorder.alarm.evaluate(recorder.turn.held(1.0))
    assert "could not be evaluated" in logged(caplog)[0]
    recorder.maintain()
    assert ", over 10%: " in logged(caplog)[-1]


def test_when_everything_fails_at_once_the_log_tells_of_a_hundred_and_counts_the_others(
    recorder, door, clock, caplog, monkeypatch
):
    monkeypatch.setattr(alarms, "LOGGED_ALERTS_MAX", 3)
    recorder.alarm.rule = AlertRule(0.1, min_count=1)
    told = []
    recorder.alarm.callbacks.add(told.append)
    for number in range(5):
        recorder.record(door, span_row(f"op{number}", end=int(clock.now) * SECOND, error="boom"))
    recorder.maintain()
    assert len(logged(caplog)) == 4
    assert logged(caplog)[-1] == "Alarms of 2 more operations began or ended."
    assert wait_until(lambda: len(told) == 5)


def test_a_handler_of_the_programs_log_that_fails_costs_no_callback(recorder, door, clock, caplog):
    class Broken(logging.Filter):
        def filter(self, record):
            raise RuntimeError

    recorder.alarm.rule = RULE
    told = []
    recorder.alarm.callbacks.add(told.append)
    fail(recorder, door, clock)
    logger, broken = logging.getLogger("otel_perfmon"), Broken()
    logger.addFilter(broken)
    try:
        recorder.maintain()
    finally:
        logger.removeFilter(broken)
    assert wait_until(lambda: told)


def test_a_callback_that_raises_and_one_that_blocks_cost_neither_the_log_nor_the_recorder_anything(
    recorder, door, clock, db_path, caplog
):
    entered, release = threading.Event(), threading.Event()

    def raising(alert):
        raise ValueError("no room for alerts")

    def blocking(alert):
        entered.set()
        release.wait(30)

    recorder.alarm.rule = RULE
    recorder.alarm.callbacks.add(raising)
    recorder.alarm.callbacks.add(blocking)
    for errors in STORY:
        run_minute(recorder, door, clock, errors)
        recorder.maintain()
    assert entered.wait(5)
    assert wait_until(lambda: "An on_alert callback failed: ValueError: no room for alerts" in logged(caplog))
    assert_one_of_each([message for message in logged(caplog) if "on_alert" not in message])
    assert recorder.flush()
    assert ask_one(db_path, "SELECT sum(ended) FROM _health") == len(STORY) * CALLS_PER_MINUTE
    release.set()


# --- processes

PROGRAM = """
import os, sys, threading, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
def fail(name):
    for _ in range(20):
        storage.insert_metric(name, 1.0, error=True)
    storage.recorder.maintain()
"""


def test_a_forked_child_keeps_the_rule_and_the_callbacks_and_nothing_that_waited_in_the_parent(run_python):
    program = f"""{PROGRAM}
told = []
release = threading.Event()
def on_alert(alert):
    release.wait()
    told.append(alert.operation)
storage.recorder.alarm.callbacks.add(on_alert)
fail("parent")
pid = os.fork()
release.set()
if pid == 0:
    fail("child")
deadline = time.monotonic() + 10
while not told and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.05)
os.write(1, str(told).encode() + b"\\n")  # in one piece: two processes write
if pid == 0:
    storage.recorder.finish()
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert sorted(run_python(program).splitlines()) == ["['child']", "['parent']"]


def test_a_process_that_only_asks_tells_nothing_even_as_the_child_of_one_that_records(run_python):
    program = f"""{PROGRAM}
fail("parent")
pid = os.fork()
if pid == 0:
    storage.get_stats()
    os._exit(len([t for t in threading.enumerate() if t.name.startswith("otel-perfmon")]))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run_python(program) == "0\n"


def test_a_callback_that_never_returns_does_not_hold_up_the_end_of_the_program(run_python):
    program = f"""{PROGRAM}
entered = threading.Event()
def on_alert(alert):
    entered.set()
    while True:
        time.sleep(1)
storage.recorder.alarm.callbacks.add(on_alert)
fail("op")
print(entered.wait(10))
"""
    assert run_python(program, timeout=20) == "True\n"
