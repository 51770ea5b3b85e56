from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from storage_kit import NOW, NOW_S, SECOND, ask, child_process, resource_row, span_row, write

from otel_perfmon.alerts import AlertRule
from otel_perfmon.errors import StoreBusyError
from otel_perfmon.query import Window
from otel_perfmon.storage.sqlite.writer import SqliteWriter

RULE = AlertRule(0.1)
ALARMS = "SELECT service, operation, error_rate_threshold, since_unix_s FROM _alarms ORDER BY 1, 2, 3"
MINUTE = 60 * SECOND


def calls(name="op", *, good=0, bad=0, end=NOW, **more):
    return [*(span_row(name, end=end, **more) for _ in range(good)),
            *(span_row(name, end=end, error="boom", **more) for _ in range(bad))]  # fmt: skip


def told(alerts):
    return [(alert.service, alert.operation, alert.is_firing) for alert in alerts]


def test_an_alarm_is_told_once_and_once_more_when_it_is_over(writer, db_path):
    write(writer, *calls(good=30, bad=10))
    (alert,) = writer.evaluate_alarms(RULE, NOW_S + 1.5)
    assert (alert.count, alert.error_count, alert.error_rate, alert.since) == (40, 10, 0.25, NOW_S + 1)
    assert ask(db_path, ALARMS) == [("shop", "op", 0.1, NOW_S + 1)]
    assert writer.evaluate_alarms(RULE, NOW_S + 61) == []
    write(writer, *calls(good=90, end=NOW + MINUTE))
    (alert,) = writer.evaluate_alarms(RULE, NOW_S + 121)
    assert (alert.is_firing, alert.count, alert.error_count, alert.since) == (False, 130, 10, NOW_S + 1)
    assert ask(db_path, ALARMS) == []
    assert writer.evaluate_alarms(RULE, NOW_S + 181) == []


def test_an_operation_that_is_not_called_for_an_hour_is_over(writer):
    write(writer, *calls(bad=20))
    assert told(writer.evaluate_alarms(RULE, NOW_S + 1)) == [("shop", "op", True)]
    assert writer.evaluate_alarms(RULE, NOW_S + 3_500) == []
    (alert,) = writer.evaluate_alarms(RULE, NOW_S + 3_700)
    assert (alert.is_firing, alert.count) == (False, 0)


def test_the_figures_are_those_that_a_question_about_the_last_hour_gets(writer, store, clock):
    for minute in range(0, 150, 7):
        end = NOW - minute * MINUTE - 13 * SECOND
        write(writer, *calls("a", good=2, bad=1, end=end), *calls("b", good=1, bad=1 + minute % 2, end=end))
    clock.now = NOW_S + 25.0
    alerts = writer.evaluate_alarms(RULE, clock.now)
    window = Window.last(RULE.window_seconds, now_unix_nano=int(clock.now * 1e9))
    stats = store.summarize_operations(window=window, is_by_service=True)
    assert {(each.operation, each.count, each.error_count, each.window) for each in alerts} == {
        (each.operation, each.count, each.error_count, each.window) for each in stats
    }
    assert len(alerts) == 2


def test_each_service_counts_for_itself_over_its_versions_and_operations_without_errors_do_not_matter(writer):
    write(writer, *calls(good=500, service="well"), *calls(good=90, bad=9, service="ill"))
    write(writer, *calls(good=8, bad=3, resource=resource_row("ill", version="2.0")))
    (alert,) = writer.evaluate_alarms(RULE, NOW_S + 1)
    assert (alert.service, alert.count, alert.error_count) == ("ill", 110, 12)


def test_errors_of_the_hour_before_do_not_count(writer):
    write(writer, *calls(bad=100, end=NOW - 3_700 * SECOND), *calls(good=25))
    assert writer.evaluate_alarms(RULE, NOW_S + 1) == []


def test_a_restart_tells_nothing_twice(writer, db_path):
    write(writer, *calls(bad=20))
    assert len(writer.evaluate_alarms(RULE, NOW_S + 1)) == 1
    writer.close()
    again = SqliteWriter(db_path)
    assert again.evaluate_alarms(RULE, NOW_S + 61) == []
    assert told(again.evaluate_alarms(RULE, NOW_S + 7_200)) == [("shop", "op", False)]
    again.close()


def test_processes_with_different_thresholds_have_alarms_of_their_own(writer, db_path):
    write(writer, *calls(good=60, bad=40))
    strict, mild = AlertRule(0.1), AlertRule(0.3)
    assert len(writer.evaluate_alarms(strict, NOW_S + 1)) == 1
    assert len(writer.evaluate_alarms(mild, NOW_S + 1)) == 1
    write(writer, *calls(good=100, end=NOW + SECOND))
    assert writer.evaluate_alarms(strict, NOW_S + 2) == []
    assert told(writer.evaluate_alarms(mild, NOW_S + 2)) == [("shop", "op", False)]
    assert [row[2] for row in ask(db_path, ALARMS)] == [0.1]


def test_what_a_threshold_that_nobody_has_any_more_raised_goes_after_90_days(writer, db_path):
    write(writer, *calls(bad=20))
    writer.evaluate_alarms(AlertRule(0.5), NOW_S + 1)
    later = NOW_S + 91 * 86_400
    write(writer, *calls("other", bad=20, end=later * SECOND))
    assert told(writer.evaluate_alarms(RULE, later + 1)) == [("shop", "other", True)]
    assert [row[1:3] for row in ask(db_path, ALARMS)] == [("other", 0.1)]


def test_nothing_is_written_when_nothing_has_changed(writer):
    write(writer, *calls(bad=20))
    writer.evaluate_alarms(RULE, NOW_S + 1)
    statements = []
    writer._connection.set_trace_callback(statements.append)
    for minute in range(5):
        assert writer.evaluate_alarms(RULE, NOW_S + 60 * minute + 5) == []
    assert {statement.split()[0] for statement in statements} == {"WITH", "SELECT"}


def test_an_alarm_that_could_not_be_noted_is_told_the_next_time(writer, db_path):
    write(writer, *calls(bad=20))
    writer._connection.set_busy_timeout(1)
    blocker = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        sys.stdin.read()
    """
    with child_process(blocker, db_path) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError):
            writer.evaluate_alarms(RULE, NOW_S + 1)
    assert len(writer.evaluate_alarms(RULE, NOW_S + 1)) == 1


def test_of_several_processes_that_ask_at_once_one_is_told(writer, db_path):
    write(writer, *[row for number in range(50) for row in calls(f"op{number}", bad=20)])
    program = """
        import sys
        from otel_perfmon.alerts import AlertRule
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        writer = SqliteWriter(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        now = int(sys.argv[2])
        print(sum(len(writer.evaluate_alarms(AlertRule(0.1), now + turn)) for turn in range(5)), flush=True)
    """
    with ExitStack() as stack:
        children = [stack.enter_context(child_process(program, db_path, str(NOW_S))) for _ in range(4)]
        assert all(child.stdout.readline() == "ready\n" for child in children)
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        assert sum(int(child.stdout.readline()) for child in children) == 50


def test_thousands_of_operations_take_a_moment(writer):
    """10,000 took 10 ms on the machine this was written on, with two cores for everything."""
    for service in range(2):
        write(writer, *[span_row(f"op{number}", service=f"s{service}") for number in range(2_000)], timeout=30)
    write(writer, *calls("op7", bad=30, service="s1"))
    start = time.thread_time()
    alerts = writer.evaluate_alarms(RULE, NOW_S + 1)
    assert time.thread_time() - start < 0.1
    assert told(alerts) == [("s1", "op7", True)]


def test_the_versions_of_a_service_count_together_as_in_every_question(writer):
    write(writer, *calls(good=1_000, resource=resource_row(version="1.0")))
    write(writer, *calls(bad=30, resource=resource_row(version="2.0")))
    assert writer.evaluate_alarms(RULE, NOW_S + 1) == []
    write(writer, *calls(bad=100, resource=resource_row(version="2.0")))
    (alert,) = writer.evaluate_alarms(RULE, NOW_S + 61)
    assert (alert.count, alert.error_count) == (1_130, 130)
