"""A durable metric is in the file when its insertion returns."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from otel_perfmon import MetricsStorage, PerformanceMonitor


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
