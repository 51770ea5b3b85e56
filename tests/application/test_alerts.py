"""Alarms by the settings of `configure()`, and who is told of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import pytest
from monitor_kit import warnings_in
from opentelemetry import trace

from otel_perfmon import Alert, ConfigError, MetricsStorage, PerformanceMonitor, configure
from otel_perfmon.alerts import AlertRule
from otel_perfmon.sdk.exporter import SQLiteMetricExporter, SQLiteSpanExporter

pytestmark = pytest.mark.usefixtures("fresh_process")


def fail(monitor: PerformanceMonitor, operation: str, count: int = 20) -> None:
    """An operation that fails often enough, and the minute tick that notices."""
    for _ in range(count):
        with pytest.raises(ValueError, match="boom"), monitor.monitor(operation):
            raise ValueError("boom")
    monitor.storage.recorder.maintain()


def arrived(alerts: Sequence[Alert], *operations: str) -> bool:
    deadline = time.monotonic() + 5
    while len(alerts) < len(operations) and time.monotonic() < deadline:
        time.sleep(0.005)
    return [alert.operation for alert in alerts] == list(operations)


def test_configure_raises_alarms_by_its_settings_and_hands_them_to_its_callback_until_shutdown(caplog):
    alerts: list[Alert] = []
    monitor = configure(
        "metrics.db", service_name="shop", error_rate_threshold=0.5, error_rate_min_count=3, on_alert=alerts.append
    )
    assert monitor.error_rate_threshold == 0.5
    with monitor.monitor("pay"):
        pass
    fail(monitor, "pay", 1)
    fail(monitor, "charge", 2)
    fail(monitor, "pay", 2)
    assert arrived(alerts, "pay")
    assert (alerts[0].service, alerts[0].is_firing, alerts[0].count, alerts[0].error_count) == ("shop", True, 4, 3)
    assert [message for message in warnings_in(caplog) if "'pay'" in message] == [alerts[0].sentence]
    recorder = monitor.storage.recorder
    monitor.shutdown()
    assert recorder.alarm.callbacks._callbacks == []


def test_after_a_shutdown_configure_takes_another_callback():
    first: list[Alert] = []
    second: list[Alert] = []
    configure("metrics.db", on_alert=first.append).shutdown()
    fail(configure("metrics.db", on_alert=second.append), "pay")
    assert arrived(second, "pay")
    assert first == []


def test_a_monitor_of_its_own_has_its_callback_beside_that_of_configure_until_its_shutdown(db_path):
    ours: list[Alert] = []
    theirs: list[Alert] = []
    configured = configure(db_path, on_alert=ours.append)
    monitor = PerformanceMonitor(on_alert=theirs.append)
    fail(monitor, "pay")
    assert arrived(ours, "pay")
    assert arrived(theirs, "pay")
    monitor.shutdown()
    monitor.shutdown()
    fail(configured, "charge")
    assert arrived(ours, "pay", "charge")
    assert arrived(theirs, "pay")


def test_another_callback_in_a_later_call_of_configure_is_warned_of_and_the_same_is_not(caplog):
    alerts: list[Alert] = []
    configure("metrics.db", on_alert=alerts.append)
    configure("metrics.db", on_alert=alerts.append)
    assert warnings_in(caplog) == []
    configure("metrics.db", on_alert=print)
    (warning,) = warnings_in(caplog)
    assert "on_alert" in warning


def test_a_callback_that_is_none_leaves_nothing_behind():
    for make in (configure, PerformanceMonitor):
        with pytest.raises(ConfigError, match="on_alert must be a function"):
            make(on_alert="print")
    assert os.listdir() == []
    assert trace.get_tracer_provider().__class__.__name__ == "ProxyTracerProvider"


def test_every_door_has_the_alarm_of_the_settings(monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "0.25")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_MIN_COUNT", "5")
    for number, door in enumerate((MetricsStorage, SQLiteSpanExporter, SQLiteMetricExporter)):
        opened = door(f"{number}.db")
        assert opened._recorder.alarm.rule == AlertRule(0.25, 5)
        (opened.close if isinstance(opened, MetricsStorage) else opened.shutdown)()
