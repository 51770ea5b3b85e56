"""What a flush says is true."""

from __future__ import annotations

import sqlite3
import time

import pytest
from monitor_kit import names

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_force_flush_says_false_in_bounded_time_while_another_process_holds_the_file_and_true_after(monitor):
    with monitor.monitor("first"):
        pass
    assert monitor.force_flush() is True
    other = sqlite3.connect("metrics.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with monitor.monitor("second"):
        pass
    began = time.monotonic()
    assert monitor.force_flush(200) is False
    assert time.monotonic() - began < 2
    other.execute("ROLLBACK")
    other.close()
    assert monitor.force_flush(10_000) is True
    assert names(monitor.storage) == ["first", "second"]


def test_what_force_flush_wrote_is_in_the_file_for_another_process(monitor, run_python):
    with monitor.monitor("op"):
        pass
    assert monitor.force_flush() is True
    printed = run_python("import otel_perfmon as o; print(o.MetricsStorage('metrics.db').get_stats('op').count)")
    assert printed.strip() == "1"
