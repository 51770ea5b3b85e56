"""`MetricsStorage`: metrics in, metrics and statistics out, whatever values, paths and threads do."""

from __future__ import annotations

import enum
import logging
import math
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perfmon import (
    ConfigError,
    MetricsStorage,
    PerformanceMonitor,
    QueryError,
    SchemaError,
    SpanQuery,
    StoreClosedError,
    StoreError,
    open_store,
)
from otel_perfmon.storage import loss
from otel_perfmon.storage.sqlite import search

KEYS = {
    "operation",
    "timestamp",
    "duration",
    "error",
    "is_slow",
    "error_type",
    "error_message",
    "stack_trace",
    "context",
    "trace_id",
    "span_id",
    "parent_span_id",
}
NOW = 1_790_000_000.0


def nearest_rank(durations: list[float], share: float) -> float:
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


def sent(metric: dict[str, Any]) -> dict[str, Any]:
    """What the caller gave, without the ids it got."""
    return {key: value for key, value in metric.items() if not key.endswith("_id")}


@pytest.fixture
def frozen(monkeypatch):
    """Both clocks of the program stand still; ``move`` moves them."""

    class Clock:
        def __init__(self) -> None:
            self.now = NOW

        def move(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    monkeypatch.setattr(time, "time_ns", lambda: int(clock.now * 1e9))
    return clock


@pytest.fixture
def log_clock(monkeypatch):
    """The clock by which messages are held back."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loss, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


# --- one metric, in and out


def test_a_metric_comes_back_as_it_was_given_with_ids_of_its_own(storage):
    storage.insert_metric(
        "load",
        12.5,
        True,
        True,
        timestamp=NOW + 0.25,
        error_type="ValueError",
        error_message="no such page",
        stack_trace="Traceback …",
        context={"page": 7, "tags": ("a", "b"), "user": {"id": 1}},
    )
    (metric,) = storage.get_metrics("load")
    assert set(metric) == KEYS
    assert sent(metric) == {
        "operation": "load",
        "timestamp": NOW + 0.25,
        "duration": 12.5,
        "error": True,
        "is_slow": True,
        "error_type": "ValueError",
        "error_message": "no such page",
        "stack_trace": "Traceback …",
        "context": {"page": 7, "tags": ("a", "b"), "user": {"id": 1}},
    }
    assert (len(bytes.fromhex(metric["trace_id"])), len(bytes.fromhex(metric["span_id"]))) == (16, 8)
    assert metric["parent_span_id"] is None


def test_a_plain_metric_has_no_error_and_an_empty_context_and_ended_now(storage):
    before = time.time()
    storage.insert_metric("load", 3)
    after = time.time()
    (metric,) = storage.get_metrics()
    assert before - 1e-6 <= metric["timestamp"] <= after + 1e-6
    assert {type(metric[key]) for key in ("timestamp", "duration")} == {float}
    assert (metric["error"], metric["is_slow"]) == (False, False)
    assert (metric["error_type"], metric["error_message"], metric["stack_trace"]) == (None, None, None)
    assert metric["context"] == {}


def test_an_inserted_metric_is_a_trace_of_one_span_that_starts_a_duration_before_its_timestamp(storage):
    storage.insert_metric("load", 1500.0, timestamp=NOW)
    storage.insert_metric("load", 1500.0, timestamp=NOW)
    first, second = storage.get_metrics()
    assert first["trace_id"] != second["trace_id"]
    assert first["span_id"] != second["span_id"]
    (span,) = storage.store.get_trace(first["trace_id"]).spans
    assert (span.start_unix_nano, span.end_unix_nano) == (int((NOW - 1.5) * 1e9), int(NOW * 1e9))
    assert (span.parent_span_id, span.kind_name, span.scope.name) == (None, "internal", "otel_perfmon")


def test_a_monitored_operation_is_a_metric_beside_the_inserted_ones(fresh_process, storage):
    with PerformanceMonitor(storage).monitor("outer"), PerformanceMonitor(storage).monitor("inner") as span:
        span.set_attribute("k", "v")
    outer, inner = storage.get_metrics()
    assert (outer["operation"], inner["operation"]) == ("outer", "inner")
    assert inner["parent_span_id"] == outer["span_id"]
    assert inner["trace_id"] == outer["trace_id"]
    assert inner["context"] == {"k": "v"}


@given(
    timestamp=st.floats(1e8, 4e9) | st.integers(0, 4 * 10**9),
    duration_nano=st.integers(0, 10**15),
)
@settings(derandomize=True, max_examples=50)
def test_timestamps_and_durations_of_whole_nanoseconds_come_back_exactly(storage, timestamp, duration_nano):
    operation = f"{timestamp!r} {duration_nano}"
    duration = duration_nano / 1e6
    storage.insert_metric(operation, duration, timestamp=timestamp)
    metric = storage.get_metrics(operation)[0]
    assert metric["timestamp"] == timestamp
    assert metric["duration"] == duration


@pytest.mark.parametrize(
    ("duration", "kept"), [(1 / 3, 0.333333), (5e-7, 0.0), (6e-7, 1e-6), (0, 0.0), (-0.0, 0.0), (5e-324, 0.0)]
)
def test_a_duration_is_rounded_to_the_nearest_nanosecond(storage, duration, kept):
    storage.insert_metric("load", duration)
    assert storage.get_metrics()[0]["duration"] == kept


@pytest.mark.parametrize("timestamp", [0, -1.5, -(10.0**9), 4e9, 9e9])
def test_a_timestamp_before_1970_or_far_ahead_is_kept(storage, timestamp):
    storage.insert_metric("load", 20_000.0, timestamp=timestamp)
    (metric,) = storage.get_metrics()
    assert (metric["timestamp"], metric["duration"]) == (timestamp, 20_000.0)
    assert storage.get_stats("load").last_seen == timestamp


def test_the_message_and_type_of_a_metric_that_is_no_error_are_kept_too(storage):
    storage.insert_metric("load", 1, error_type="Hint", error_message="odd but fine")
    (metric,) = storage.get_metrics()
    assert (metric["error"], metric["error_type"], metric["error_message"]) == (False, "Hint", "odd but fine")
    assert storage.get_stats("load").error_count == 0


def test_several_lines_and_foreign_letters_of_a_stack_trace_are_kept(storage):
    text = "Traceback\n  File «x»\n\té😀\0\ud800"
    storage.insert_metric("load", 1, True, stack_trace=text, error_message=text)
    (metric,) = storage.get_metrics()
    assert (metric["stack_trace"], metric["error_message"]) == (text, text)


# --- which metrics, in which order


def test_metrics_are_listed_newest_first_by_end_and_the_later_one_first_among_equals(storage):
    for number, timestamp in enumerate([NOW, NOW - 10, NOW + 10, NOW]):
        storage.insert_metric("load", number, timestamp=timestamp)
    assert [each["duration"] for each in storage.get_metrics()] == [2.0, 3.0, 0.0, 1.0]
    assert [each["duration"] for each in storage.get_metrics("load", limit=2)] == [2.0, 3.0]


def test_metrics_of_one_operation_are_told_from_those_of_others(storage):
    for name in ("a", "A", "a ", "a%", "aa"):
        storage.insert_metric(name, 1)
    assert [each["operation"] for each in storage.get_metrics("a")] == ["a"]
    assert [each["operation"] for each in storage.get_metrics("a%")] == ["a%"]
    assert len(storage.get_metrics()) == 5
    assert storage.get_metrics("b") == []


def test_without_a_limit_all_metrics_are_given(storage):
    for number in range(1500):
        storage.insert_metric("load", number)
    assert len(storage.get_metrics()) == 1500
    assert len(storage.get_metrics("load", limit=10_000)) == 1500


@pytest.mark.parametrize("limit", [0, -1, 1.5, "5", True])
def test_a_limit_that_is_no_whole_number_above_0_is_a_malformed_question(storage, limit):
    with pytest.raises(QueryError, match="limit"):
        storage.get_metrics(limit=limit)


@pytest.mark.parametrize("limit", [2**63 - 1, 2**63, 10**30])
def test_a_huge_limit_is_no_limit(storage, limit):
    storage.insert_metric("load", 1)
    assert len(storage.get_metrics("load", limit=limit)) == 1
    assert len(storage.get_metrics(limit=limit)) == 1


def test_a_window_holds_what_ended_in_the_last_seconds_and_the_filters_what_is_slow_or_failed(storage, frozen):
    cases = [("plain", False, False), ("slow", False, True), ("failed", True, False), ("both", True, True)]
    for age in (5, 50):
        for name, is_error, is_slow in cases:
            storage.insert_metric("load", 1, is_error, is_slow, timestamp=NOW - age, context={"name": f"{name} {age}"})
    storage.insert_metric("other", 1)

    def names(*arguments: Any) -> list[str]:
        return [each["context"]["name"] for each in storage.get_metrics_in_window(*arguments)]

    assert names("load", 10) == ["both 5", "failed 5", "slow 5", "plain 5"]
    assert names("load", 10, True) == ["both 5", "slow 5"]
    assert names("load", 10, False, True) == ["both 5", "failed 5"]
    assert names("load", 60, True, True) == ["both 5", "both 50"]
    assert names("load", 0) == []
    assert len(storage.get_metrics_in_window(None, 60)) == 9
    assert storage.get_metrics_in_window("never", 60) == []


def test_a_metric_exactly_as_old_as_the_window_is_in_it_and_one_that_ends_right_now_too(storage, frozen):
    storage.insert_metric("load", 1, timestamp=NOW - 10)
    storage.insert_metric("load", 2, timestamp=NOW)
    storage.insert_metric("load", 3, timestamp=NOW - 10.001)
    assert [each["duration"] for each in storage.get_metrics_in_window("load", 10)] == [2.0, 1.0]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "60", None, True])
def test_a_window_that_is_no_number_of_seconds_is_a_malformed_question(storage, seconds):
    with pytest.raises(QueryError, match="window_seconds"):
        storage.get_metrics_in_window("load", seconds)
    if seconds is not None:
        with pytest.raises(QueryError, match="window_seconds"):
            storage.get_error_rate("load", seconds)


@pytest.mark.parametrize("seconds", [math.inf, 1e10, 1e300, 10**400], ids=["inf", "1e10", "1e300", "10**400"])
def test_a_window_may_be_as_long_as_you_like(storage, seconds):
    storage.insert_metric("load", 1, True)
    assert len(storage.get_metrics_in_window("load", seconds)) == 1
    assert storage.get_stats("load", window_seconds=seconds).count == 1
    assert storage.get_error_rate("load", seconds) == 1.0


# --- statistics


def test_an_operation_never_seen_has_count_0_and_no_durations(storage):
    stats = storage.get_stats("never")
    assert (stats.operation, stats.service, stats.count, stats.error_count, stats.slow_count) == (
        "never",
        None,
        0,
        0,
        0,
    )
    assert (stats.error_rate, stats.total_ms, stats.self_ms, stats.window) == (0.0, 0.0, 0.0, None)
    durations = (stats.avg_ms, stats.min_ms, stats.max_ms, stats.p50_ms, stats.p90_ms, stats.p95_ms, stats.p99_ms)
    assert set(durations) == {None}
    assert (stats.first_seen, stats.last_seen) == (None, None)
    assert storage.get_stats() == []
    assert storage.get_error_rate("never", 60) == 0.0
    assert storage.get_metrics("never") == []
    assert not os.path.exists(storage.path)


def test_statistics_are_those_of_a_plain_computation(storage):
    rng = random.Random(1)
    durations = [round(rng.lognormvariate(2, 2), 6) for _ in range(1000)]
    for number, duration in enumerate(durations):
        storage.insert_metric("load", duration, number % 10 == 0, duration > 50, timestamp=NOW + number / 8)
    stats = storage.get_stats("load")
    assert (stats.operation, stats.service, stats.count, stats.window) == ("load", None, 1000, None)
    assert (stats.error_count, stats.error_rate) == (100, 0.1)
    assert stats.slow_count == sum(duration > 50 for duration in durations)
    exact = sum(round(duration * 10**6) for duration in durations)
    assert stats.total_ms == stats.self_ms == exact / 10**6
    assert stats.avg_ms == pytest.approx(exact / 1000 / 10**6, rel=1e-15)
    assert (stats.min_ms, stats.max_ms) == (min(durations), max(durations))
    assert (stats.first_seen, stats.last_seen) == (NOW, NOW + 999 / 8)
    for share, found in ((0.5, stats.p50_ms), (0.9, stats.p90_ms), (0.95, stats.p95_ms), (0.99, stats.p99_ms)):
        assert found == pytest.approx(nearest_rank(durations, share), rel=0.011)


@given(durations_nano=st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
@settings(derandomize=True, max_examples=25)
def test_statistics_of_any_durations_are_exact_and_percentiles_within_a_hundredth(storage, durations_nano):
    operation = repr(durations_nano)
    # Through Fraction, floats of milliseconds are not exact above 2^53 ns: what counts is the duration that was kept.
    kept = [round(nano / 10**6 * 10**6) if nano < 2**53 else nano for nano in durations_nano]
    for nano in kept:
        storage.insert_metric(operation, nano / 10**6)
    exact = [round(each["duration"] * 10**6) for each in storage.get_metrics(operation)]
    stats = storage.get_stats(operation)
    assert stats.count == len(durations_nano)
    assert stats.total_ms == pytest.approx(sum(exact) / 10**6, rel=1e-12)
    assert stats.min_ms == pytest.approx(min(exact) / 10**6, rel=1e-12)
    assert stats.max_ms == pytest.approx(max(exact) / 10**6, rel=1e-12)
    for share, found in ((0.5, stats.p50_ms), (0.9, stats.p90_ms), (0.95, stats.p95_ms), (0.99, stats.p99_ms)):
        assert found == pytest.approx(nearest_rank(exact, share) / 10**6, rel=0.011)


def test_two_durations_of_2_to_the_62nd_nanoseconds_are_added_up_without_overflow(storage):
    for _ in range(3):
        storage.insert_metric("aeon", 2**62 / 1e6)
    stats = storage.get_stats("aeon")
    assert stats.total_ms == 3 * 2**62 / 10**6
    assert (stats.min_ms, stats.max_ms, stats.avg_ms) == (2**62 / 1e6,) * 3
    assert storage.get_metrics()[0]["duration"] == 2**62 / 1e6


def test_without_an_operation_statistics_list_every_operation_most_total_time_first(storage):
    for name, duration in (("short", 1), ("long", 100), ("middle", 10), ("short", 2)):
        storage.insert_metric(name, duration)
    assert [(each.operation, each.total_ms) for each in storage.get_stats()] == [
        ("long", 100.0),
        ("middle", 10.0),
        ("short", 3.0),
    ]


def test_a_window_of_statistics_says_what_it_covers_in_whole_cells_and_counts_just_that(storage, frozen):
    for age in (1, 15, 100, 4000):
        storage.insert_metric("load", age, timestamp=NOW - age)
    stats = storage.get_stats("load", window_seconds=20)
    start, end = stats.window.start_unix_nano, stats.window.end_unix_nano
    assert (start % 10**10, end % 10**10) == (0, 0)
    assert start <= (NOW - 20) * 1e9
    assert end >= NOW * 1e9
    assert stats.count == len([age for age in (1, 15, 100, 4000) if start <= (NOW - age) * 1e9 < end])
    assert storage.get_stats("load").count == 4
    assert [each.operation for each in storage.get_stats(window_seconds=20)] == ["load"]


def test_the_window_of_an_operation_that_did_not_run_is_whole_cells_too(storage, frozen):
    storage.insert_metric("load", 1)
    frozen.now += 3.5
    seen = storage.get_stats("load", window_seconds=20)
    assert storage.get_stats("never", window_seconds=20).window == seen.window


def test_the_error_rate_is_the_share_of_failed_calls_in_the_window(storage, frozen):
    for number in range(10):
        storage.insert_metric("load", 1, error=number < 3, timestamp=NOW - 5)
    storage.insert_metric("load", 1, error=True, timestamp=NOW - 1000)
    assert storage.get_error_rate("load", 60) == 0.3
    assert storage.get_error_rate("load", 2000) == 4 / 11
    assert storage.get_error_rate("other", 60) == 0.0


def test_all_services_count_together_and_the_store_tells_them_apart(db_path, run_python):
    for service in ("one", "two"):
        run_python(
            f"""
            from otel_perfmon import MetricsStorage
            with MetricsStorage({db_path!r}) as storage:
                storage.insert_metric("load", 5)
            """,
            OTEL_SERVICE_NAME=service,
        )
    with MetricsStorage(db_path) as storage:
        stats = storage.get_stats("load")
        assert (stats.service, stats.count, stats.total_ms) == (None, 2, 10.0)
        assert len(storage.get_metrics("load")) == 2
        assert storage.store.list_services() == ["one", "two"]


# --- cleaning up


def test_cleanup_removes_what_is_older_says_how_many_and_leaves_the_statistics(storage, frozen):
    for age in (0, 10, 100, 5000):
        storage.insert_metric("load", 1, age == 5000, age == 100, timestamp=NOW - age)
    assert storage.cleanup() == 1
    assert storage.cleanup() == 0
    assert storage.cleanup(50) == 1
    assert [each["timestamp"] for each in storage.get_metrics()] == [NOW, NOW - 10]
    stats = storage.get_stats("load")
    assert (stats.count, stats.error_count, stats.slow_count) == (4, 1, 1)
    frozen.move(1)
    assert storage.cleanup(0) == 2
    assert storage.get_metrics() == []
    assert storage.get_stats("load").count == 4


def test_cleanup_without_an_age_goes_by_the_retention_of_the_storage(db_path, frozen):
    with MetricsStorage(db_path, retention_seconds=30) as storage:
        storage.insert_metric("load", 1, timestamp=NOW - 31)
        storage.insert_metric("load", 2, timestamp=NOW - 29)
        assert storage.cleanup() == 1
        assert [each["duration"] for each in storage.get_metrics()] == [2.0]


def test_cleanup_of_many_thousands_removes_each(storage):
    for _ in range(5000):
        storage.insert_metric("load", 1, timestamp=NOW - 10**6)
    storage.insert_metric("load", 2)
    assert storage.cleanup(60) == 5000
    assert len(storage.get_metrics()) == 1
    assert storage.store.get_health().pruned == 5000


@pytest.mark.parametrize("age", [-1, float("nan"), "3600", True, [1]])
def test_an_age_that_is_no_number_of_seconds_is_a_malformed_question(storage, age):
    with pytest.raises(QueryError, match="older_than_seconds"):
        storage.cleanup(age)


@pytest.mark.parametrize("age", [math.inf, 1e300, 10**400], ids=["inf", "1e300", "10**400"])
def test_nothing_is_older_than_for_ever(storage, age):
    storage.insert_metric("load", 1, timestamp=0)
    assert storage.cleanup(age) == 0
    assert len(storage.get_metrics()) == 1


def test_deleting_before_no_moment_at_all_deletes_nothing(storage):
    storage.insert_metric("load", 1)
    with pytest.raises(QueryError):
        storage.store.delete_spans_before(float("nan"))
    assert len(storage.get_metrics()) == 1


def test_cleanup_of_a_store_that_was_never_written_removes_nothing_and_makes_no_file(storage):
    assert storage.cleanup() == 0
    assert not os.path.exists(storage.path)


def test_a_retention_of_a_lifetime_of_the_universe_keeps_everything_and_breaks_nothing(db_path):
    with MetricsStorage(db_path, retention_seconds=1e300) as storage:
        storage.insert_metric("load", 1, timestamp=NOW - 10**6)
        assert len(storage.get_metrics()) == 1
        storage.recorder._writer.maintain()
        assert storage.cleanup() == 0
        assert len(storage.get_metrics()) == 1


# --- opening, closing


def test_the_file_is_made_with_the_first_metric_and_not_before(db_path):
    storage = MetricsStorage(db_path)
    assert storage.get_metrics() == []
    assert storage.get_stats() == []
    assert os.listdir(os.path.dirname(db_path)) == []
    storage.insert_metric("load", 1)
    assert len(storage.get_metrics()) == 1
    assert os.path.exists(db_path)
    assert os.stat(db_path).st_mode & 0o777 == 0o600
    storage.close()


def test_the_path_comes_from_the_argument_else_the_variable_else_the_working_directory(tmp_path, monkeypatch):
    with MetricsStorage() as storage:
        assert storage.path == str(tmp_path / "metrics.db")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_PATH", "other.db")
    with MetricsStorage() as storage:
        assert storage.path == str(tmp_path / "other.db")
    with MetricsStorage(Path("mine.db")) as storage:
        assert storage.path == str(tmp_path / "mine.db")
    with MetricsStorage(b"bytes.db") as storage:
        assert storage.path == str(tmp_path / "bytes.db")


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db", "a\0b", 5])
def test_a_path_that_is_no_file_is_a_wrong_setting(path):
    with pytest.raises(ConfigError, match="path"):
        MetricsStorage(path)


def test_closing_writes_what_there_is_and_later_questions_say_that_it_is_closed(db_path):
    storage = MetricsStorage(db_path)
    storage.insert_metric("load", 1)
    storage.close()
    storage.close()
    questions = (
        storage.get_metrics,
        storage.get_stats,
        storage.cleanup,
        lambda: storage.get_metrics_in_window("load", 60),
        lambda: storage.get_error_rate("load", 60),
    )
    for question in questions:
        with pytest.raises(StoreClosedError, match="closed"):
            question()
    with MetricsStorage(db_path) as again:
        assert len(again.get_metrics()) == 1


def test_leaving_the_with_block_closes_also_after_an_exception(db_path):
    storage = MetricsStorage(db_path)

    def work() -> None:
        with storage:
            storage.insert_metric("load", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with pytest.raises(StoreClosedError):
        storage.get_metrics()
    with open_store(db_path) as store:
        assert len(store.find_spans(SpanQuery())) == 1


def test_a_metric_after_closing_is_kept_without_an_exception(db_path):
    storage = MetricsStorage(db_path)
    storage.close()
    storage.insert_metric("late", 1)
    with MetricsStorage(db_path) as again:
        assert [each["operation"] for each in again.get_metrics()] == ["late"]


def test_two_storages_of_one_file_see_each_others_metrics_also_through_a_link(db_path, tmp_path):
    (tmp_path / "link.db").symlink_to(db_path)
    with MetricsStorage(db_path) as one, MetricsStorage(tmp_path / "link.db") as two:
        one.insert_metric("a", 1)
        two.insert_metric("b", 1)
        assert {each["operation"] for each in one.get_metrics()} == {"a", "b"}
        assert {each["operation"] for each in two.get_metrics()} == {"a", "b"}
        one.close()
        two.insert_metric("c", 1)
        assert len(two.get_metrics()) == 3
        assert one.recorder is two.recorder


def test_a_read_in_the_recording_process_sees_everything_that_was_inserted_before_it(storage):
    for number in range(1, 200):
        storage.insert_metric("load", number)
        assert storage.get_stats("load").count == number


def test_metrics_of_many_threads_are_all_kept_while_others_ask(storage):
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # a thread's failure is the test's
            failures.append(error)

    def insert(name: str) -> None:
        for number in range(500):
            storage.insert_metric(name, number, context={"number": number})

    def ask() -> None:
        for _ in range(20):
            storage.get_metrics("0", limit=5)
            storage.get_stats()
            storage.get_error_rate("1", 60)
            storage.get_metrics_in_window("2", 60, True)

    work = [lambda name=str(number): insert(name) for number in range(8)] + [ask] * 2
    threads = [threading.Thread(target=guarded, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {each.operation: each.count for each in storage.get_stats()} == {str(number): 500 for number in range(8)}
    assert len(storage.get_metrics()) == 4000


# --- odd values: never an exception, never a lost neighbour


@pytest.mark.parametrize(
    "duration",
    [
        float("nan"),
        math.inf,
        -math.inf,
        -1,
        -1e-3,
        None,
        "12",
        b"1",
        [1],
        1j,
        True,
        object(),
        10**400,
        -(10**400),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_duration_that_is_no_finite_number_of_0_or_more_is_counted_and_logged_and_nothing_else(
    storage, caplog, duration
):
    storage.insert_metric("load", duration)
    storage.insert_metric("load", 1)
    assert [each["duration"] for each in storage.get_metrics()] == [1.0]
    assert storage.store.get_health().dropped == {"invalid": 1}
    assert "load" in caplog.text


@pytest.mark.parametrize(
    "timestamp",
    [float("nan"), math.inf, "now", b"", True, [NOW], object(), 10**400, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_a_timestamp_that_is_no_finite_number_is_counted_and_logged_and_nothing_else(storage, caplog, timestamp):
    storage.insert_metric("load", 1, timestamp=timestamp)
    storage.insert_metric("load", 2)
    assert [each["duration"] for each in storage.get_metrics()] == [2.0]
    assert storage.store.get_health().dropped == {"invalid": 1}
    assert "load" in caplog.text


def test_a_dropped_metric_is_in_the_account_as_soon_as_the_process_asks(storage):
    storage.insert_metric("load", 1)
    assert storage.store.get_health().dropped == {}
    for count in range(1, 4):
        storage.insert_metric("load", math.nan)
        health = storage.store.get_health()
        assert health.dropped == {"invalid": count}
        assert health.ended == 1 + count


@pytest.mark.parametrize(("duration", "timestamp"), [(1e300, None), (1, 1e300), (1, -1e300), (2**62 / 1e6, -9.2e9)])
def test_figures_too_large_for_the_file_are_brought_within_it_and_marked(storage, duration, timestamp):
    storage.insert_metric("load", duration, timestamp=timestamp)
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.altered


def test_a_duration_is_the_same_in_the_metric_and_in_the_statistics(storage):
    storage.insert_metric("load", 2**62 / 1e6, timestamp=-9.2e9)
    assert storage.get_metrics()[0]["duration"] == storage.get_stats("load").max_ms


class Evil:
    """An object none of whose methods work."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __bool__ = __len__ = __iter__ = __hash__ = __float__ = __repr__


class EvilMapping(Mapping):
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"operation": Evil()},
        {"operation": Evil(), "duration": math.nan},
        {"operation": None},
        {"operation": 5},
        {"operation": b"bytes"},
        {"error": Evil()},
        {"is_slow": Evil()},
        {"error_type": Evil(), "error_message": Evil(), "stack_trace": Evil()},
        {"error_type": ValueError, "error_message": ValueError("x"), "stack_trace": ["a", "b"]},
        {"error_message": "m" * 10**6, "stack_trace": "s" * 10**7, "error": True},
        {"context": Evil()},
        {"context": EvilMapping()},
        {"context": [("a", 1)]},
        {"context": {"evil": Evil(), "mapping": EvilMapping()}},
        {"context": {Evil: 1, None: 2, 5: 3, ("a", 1): 4, b"k": 5, "": 6}},
        {"duration": Evil()},
        {"timestamp": Evil()},
    ],
    ids=" ".join,
)
def test_whatever_is_inserted_never_raises_is_accounted_for_and_the_next_metric_is_kept(storage, arguments):
    storage.insert_metric(**{"operation": "odd", "duration": 1, **arguments})
    storage.insert_metric("plain", 2)
    metrics = storage.get_metrics()
    assert metrics[0]["operation"] == "plain"
    health = storage.store.get_health()
    assert health.ended == 2
    assert health.stored == len(metrics)


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (2**70, 2**70),
        (-(2**70), -(2**70)),
        (math.inf, math.inf),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        ("\ud800", "\ud800"),
        ("@bytes", "@bytes"),
        ({"@bytes": "x"}, {"@bytes": "x"}),
        ({"@double": "NaN"}, {"@double": "NaN"}),
        ({"@@": {"@": 1}}, {"@@": {"@": 1}}),
        ([1, [2, {"a": (3,)}]], (1, (2, {"a": (3,)}))),
        ([], ()),
        ({}, {}),
        ("", ""),
        (Colour.RED, "red"),
        (Decimal("1.5"), "1.5"),
        (-0.0, -0.0),
    ],
    ids=repr,
)
def test_a_context_value_comes_back_by_opentelemetrys_rules(storage, value, kept):
    storage.insert_metric("load", 1, context={"value": value, "next": 1})
    (metric,) = storage.get_metrics()
    assert repr(metric["context"]) == repr({"value": kept, "next": 1})


def test_nan_in_a_context_comes_back_as_nan(storage):
    storage.insert_metric("load", 1, context={"value": math.nan})
    assert math.isnan(storage.get_metrics()[0]["context"]["value"])


def test_keys_that_are_no_text_become_text_and_the_metric_is_marked(storage):
    storage.insert_metric("load", 1, context={5: "five", None: "none", ("a", 1): "tuple", True: "true"})
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.attributes == {"5": "five", "None": "none", "('a', 1)": "tuple", "True": "true"}
    assert span.altered == ("attributes",)


def test_a_huge_context_is_cut_marked_and_counted(storage):
    storage.insert_metric("load", 1, context={"text": "x" * 10**6, **{f"k{n}": "y" * 50_000 for n in range(50)}})
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.altered == ("attributes",)
    assert 0 < span.dropped_attributes_count < 51
    assert sum(len(value) for value in span.attributes.values()) <= 2**20
    assert storage.store.get_health().altered == 1


def test_a_context_that_contains_itself_is_cut_at_some_depth(storage):
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = cycle
    storage.insert_metric("load", 1, context=cycle)
    storage.insert_metric("plain", 1)
    assert [each["operation"] for each in storage.get_metrics()] == ["plain", "load"]
    (_, span) = storage.store.find_spans(SpanQuery())
    assert span.altered == ("attributes",)
    assert span.attributes["self"]["self"]["a"] == 1


BRANCHING_PROGRAM = """
    from otel_perfmon import MetricsStorage
    parent = {{"children": []}}
    for number in range({count}):
        parent["children"].append({{"number": number, "parent": parent}})
    with MetricsStorage({path!r}) as storage:
        storage.insert_metric("family", 1, context={{"family": parent}})
        storage.insert_metric("plain", 1)
        print([each["operation"] for each in storage.get_metrics()])
"""


@pytest.mark.parametrize("count", [2, 10])
def test_a_context_that_contains_itself_many_times_over_takes_neither_for_ever_nor_all_memory(
    run_python, db_path, count
):
    try:
        printed = run_python(BRANCHING_PROGRAM.format(path=db_path, count=count), timeout=5)
    except subprocess.TimeoutExpired:
        pytest.fail("the writer is still busy with one context after 5 s")
    assert printed.strip() == "['plain', 'family']"


def test_a_context_is_kept_as_it_was_when_it_was_given(storage):
    items, context = [1], {"a": 1}
    storage.insert_metric("load", 1, context={"items": items, "context": context})
    items.append(2)
    context["b"] = 2
    assert storage.get_metrics()[0]["context"] == {"items": (1,), "context": {"a": 1}}


@pytest.mark.parametrize(
    "operation",
    ["", " ", "\0", "a\0b", "\ud800", "é😀", "'\"; --", "n" * 100_000, "é" * 100_000, "(other operations)"],
    ids=lambda name: ascii(name[:10]),
)
def test_an_odd_operation_name_is_kept_and_found_by_the_same_name(storage, operation):
    storage.insert_metric("before", 1)
    storage.insert_metric(operation, 2, True)
    storage.insert_metric("after", 3)
    assert [each["duration"] for each in storage.get_metrics()] == [3.0, 2.0, 1.0]
    assert [each["duration"] for each in storage.get_metrics(operation)] == [2.0]
    assert storage.get_stats(operation).count == 1
    assert storage.get_error_rate(operation, 60) == 1.0
    assert len(storage.get_metrics_in_window(operation, 60)) == 1


def test_a_name_that_was_cut_is_marked(storage):
    storage.insert_metric("n" * 100_000, 1)
    (span,) = storage.store.find_spans(SpanQuery())
    assert len(span.name) == 1000
    assert span.altered == ("name",)


@pytest.mark.parametrize("operation", [5, b"x", object(), ["a"], 2**70])
def test_a_question_about_something_that_is_no_name_is_malformed_or_finds_nothing(storage, operation):
    storage.insert_metric("load", 1)
    with suppress(QueryError):
        assert storage.get_metrics(operation) == []
    with suppress(QueryError):
        assert storage.get_stats(operation).count == 0


# --- paths that cannot be used: recording never raises, a question says why, the file stays as it is


def foreign_database(path: Path, journal_mode: str = "DELETE") -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
        connection.commit()


def newer_store(path: Path) -> None:
    with MetricsStorage(path) as storage:
        storage.insert_metric("load", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm", ".lock"):
        if os.path.exists(f"{path}{suffix}"):
            os.unlink(f"{path}{suffix}")


REFUSED = {
    "text": (lambda path: path.write_text("Dear diary\n"), SchemaError, "not an SQLite database"),
    "long text": (lambda path: path.write_text("Dear diary\n" * 10_000), SchemaError, "not an SQLite database"),
    "foreign": (foreign_database, SchemaError, "another program"),
    "foreign WAL": (lambda path: foreign_database(path, "WAL"), SchemaError, "another program"),
    "newer": (newer_store, SchemaError, "newer"),
    "directory": (Path.mkdir, StoreError, "is a directory"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_path_that_is_not_ours_is_refused_in_a_sentence_and_left_byte_for_byte(tmp_path, kind, caplog):
    make, error, sentence = REFUSED[kind]
    path = tmp_path / "metrics.db"
    make(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
    storage = MetricsStorage(path)
    with pytest.raises(error, match=sentence) as raised:
        storage.get_metrics()
    assert str(path) in str(raised.value)
    storage.insert_metric("load", 1)
    for ask in (storage.get_metrics, storage.get_stats, storage.cleanup, lambda: storage.get_error_rate("load", 60)):
        with pytest.raises(error, match=sentence):
            ask()
    storage.insert_metric("load", 2)
    storage.close()
    assert ((path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None) == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".lock")]
    assert "1 spans were not kept" in caplog.text or "2 spans were not kept" in caplog.text


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_left_beside_a_file_that_is_not_ours(tmp_path, kind):
    path = tmp_path / "metrics.db"
    REFUSED[kind][0](path)
    with MetricsStorage(path) as storage:
        storage.insert_metric("load", 1)
        with pytest.raises(StoreError):
            storage.get_metrics()
    assert os.listdir(tmp_path) == ["metrics.db"]


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_missing_or_a_file_costs_no_exception_but_an_answer(tmp_path, folder):
    (tmp_path / "file").write_text("x")
    storage = MetricsStorage(tmp_path / folder / "metrics.db")
    storage.insert_metric("load", 1)
    with pytest.raises(StoreError, match=r"metrics\.db"):
        storage.get_metrics()
    with pytest.raises(StoreError, match=r"metrics\.db"):
        storage.get_stats("load")
    storage.close()
    assert (tmp_path / "file").read_text() == "x"


def test_what_waited_for_a_broken_path_is_stored_when_it_is_mended(tmp_path):
    folder = tmp_path / "folder"
    folder.write_text("x")
    with MetricsStorage(folder / "metrics.db") as storage:
        storage.insert_metric("load", 1)
        with pytest.raises(StoreError):
            storage.get_metrics()
        folder.unlink()
        folder.mkdir()
        storage.insert_metric("load", 2)
        assert [each["duration"] for each in storage.get_metrics()] == [2.0, 1.0]
        assert storage.store.get_health().dropped == {}


def test_losses_are_logged_at_most_once_a_minute_for_each_kind_with_their_number(storage, caplog, log_clock):
    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == "otel_perfmon"]
        caplog.clear()
        return found

    caplog.set_level(logging.WARNING, "otel_perfmon")
    for _ in range(5):
        storage.insert_metric("load", math.nan)
    (message,) = messages()
    assert message.startswith("1 spans were not kept")
    storage.recorder.lose("another", 1, "a kind of its own")
    (message,) = messages()
    assert "a kind of its own" in message
    log_clock.now += 59.9
    storage.insert_metric("load", math.nan)
    assert messages() == []
    log_clock.now += 0.2
    storage.insert_metric("load", math.nan)
    (message,) = messages()
    assert message.startswith("6 spans were not kept")


def test_a_path_that_cannot_be_written_is_logged_once_however_often_it_is_tried(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    storage = MetricsStorage(tmp_path / "file" / "metrics.db")
    for _ in range(20):
        storage.insert_metric("load", 1)
        storage.recorder.flush(0.1)
    time.sleep(0.3)  # the writer thread tries by itself
    texts = [record.getMessage() for record in caplog.records if record.name == "otel_perfmon"]
    assert len([text for text in texts if "wait to be written" in text]) == 1
    storage.close()
    (last,) = [text for text in (r.getMessage() for r in caplog.records) if "not kept" in text]
    assert last.startswith("20 spans were not kept")


# --- the store makes no spans of its own


INSTRUMENTED_PROGRAM = """
    import os, sqlite3, time
    from opentelemetry import trace
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    SQLite3Instrumentor().instrument()

    from otel_perfmon import SpanQuery, SQLiteMetricExporter, SQLiteSpanExporter, configure, open_store
    connection = sqlite3.connect("mine.db")
    connection.cursor().execute("CREATE TABLE t (x)")
    assert [span.name for span in memory.get_finished_spans()] == ["CREATE"], "the instrumentation works"
    memory.clear()

    monitor = configure({path!r}, durability={durability!r})
    storage = monitor.storage
    with monitor.monitor("op"):
        pass
    monitor.force_flush()
    for n in range(100):
        storage.insert_metric("metric", n, n % 2 == 0, timestamp=time.time() - n)
    time.sleep(0.3)
    storage.get_metrics()
    storage.get_metrics_in_window("metric", 60, True)
    storage.get_stats()
    storage.get_stats("metric", window_seconds=60)
    storage.get_error_rate("metric", 60)
    storage.cleanup(0)
    storage.recorder._writer.maintain()
    with open_store({path!r}) as store:
        store.find_spans(SpanQuery())
        store.list_operations(), store.list_services(), store.summarize_calls(), store.summarize_errors()
        store.get_health(), store.find_points()
        store.delete_spans_before(time.time())
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    meters.get_meter("m").create_counter("c").add(1)
    exporter = SQLiteMetricExporter({path!r})
    exporter.export(reader.get_metrics_data())
    exporter.shutdown()
    spans = SQLiteSpanExporter("second.db")
    spans.export(memory.get_finished_spans())
    spans.shutdown()
    assert os.path.exists("second.db")
    monitor.shutdown()
    print([span.name for span in memory.get_finished_spans()])
"""


@pytest.mark.parametrize("durability", ["batch", "span"])
def test_under_the_sqlite_instrumentation_the_store_makes_no_span_of_its_own(run_python, db_path, durability):
    assert run_python(INSTRUMENTED_PROGRAM.format(path=db_path, durability=durability)).strip() == "['op']"


def test_a_list_of_metrics_is_whole_however_far_it_must_look(storage, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 10)
    for number in range(50):
        storage.insert_metric("op", 1.0, error=True, is_slow=number < 5)
    assert len(storage.get_metrics_in_window("op", 3600, filter_slow=True, filter_errors=True)) == 5


# --- durability


def stored_names(path: str) -> list[str]:
    """What another process would find in the file now."""
    if not os.path.exists(path):
        return []
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT operation FROM metrics ORDER BY end_unix_nano")]


@pytest.mark.parametrize("durability", ["root", "span"])
def test_a_durable_metric_is_in_the_file_when_insert_metric_returns(db_path, durability):
    with MetricsStorage(db_path, durability=durability) as storage:
        for number in range(5):
            storage.insert_metric(f"work {number}", 1.0)
            assert stored_names(db_path)[-1] == f"work {number}"


@pytest.mark.parametrize("durability", ["root", "span"])
def test_the_variable_makes_a_monitor_that_works_alone_durable(db_path, monkeypatch, durability):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_DURABILITY", durability)
    monitor = PerformanceMonitor()
    with monitor.monitor("root"):
        with monitor.monitor("inner"):
            pass
        assert stored_names(db_path) == (["inner"] if durability == "span" else [])
    assert stored_names(db_path) == ["inner", "root"]
    monitor.shutdown()
