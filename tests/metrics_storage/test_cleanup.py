"""Cleaning up removes what is older than it is told, and no statistics."""

from __future__ import annotations

import math
import os

import pytest
from metrics_kit import NOW

from otel_perfmon import MetricsStorage, QueryError


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
