"""The statistics of `MetricsStorage` are those of a plain computation."""

from __future__ import annotations

import math
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_kit import NOW

from otel_perfmon import MetricsStorage


def nearest_rank(durations: list[float], share: float) -> float:
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


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
