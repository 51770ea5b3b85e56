"""Which metrics a question is answered with, and in which order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from metrics_kit import NOW

from otel_perfmon import QueryError
from otel_perfmon.storage.sqlite import search


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


def test_a_list_of_metrics_is_whole_however_far_it_must_look(storage, monkeypatch):
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 10)
    for number in range(50):
        storage.insert_metric("op", 1.0, error=True, is_slow=number < 5)
    assert len(storage.get_metrics_in_window("op", 3600, filter_slow=True, filter_errors=True)) == 5
