"""`configure()` called again, with wrong settings, and after the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from monitor_kit import exported_names, names, use_provider, warnings_in
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import ConfigError, MetricsStorage, StoreError, configure, get_monitor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_called_again_it_returns_the_same_monitor_and_is_silent_when_nothing_differs(caplog):
    arguments = {
        "service_name": "checkout",
        "slow_threshold_ms": 500,
        "retention_seconds": 60,
        "error_rate_threshold": 0.5,
        "resource_attributes": {"a": 1},
    }
    monitor = configure("metrics.db", **arguments)
    assert configure("metrics.db", **arguments) is configure() is get_monitor() is monitor
    assert configure(os.path.abspath("metrics.db"), slow_threshold_ms=500.0) is monitor
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", "other.db"),
        ("service_name", "other"),
        ("slow_threshold_ms", 1),
        ("retention_seconds", 1),
        ("error_rate_threshold", 0.9),
        ("resource_attributes", {"a": 2}),
        ("metric_readers", [InMemoryMetricReader()]),
        ("durability", "span"),
    ],
)
def test_called_again_with_another_argument_it_warns_which_one_and_changes_nothing(caplog, name, value):
    monitor = configure("metrics.db", slow_threshold_ms=500)
    assert configure(**{name: value}) is monitor
    (message,) = warnings_in(caplog)
    assert name in message
    assert monitor.slow_threshold_ms == 500
    assert monitor.storage.path.endswith("metrics.db")


@pytest.mark.parametrize("argument", [{"slow_threshold_ms": -1}, {"path": ""}, {"error_rate_threshold": 2}])
def test_a_wrong_setting_is_a_config_error_and_leaves_the_process_as_it_was(argument):
    with pytest.raises(ConfigError, match=next(iter(argument))):
        configure(**argument)
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)
    with pytest.raises(StoreError):
        get_monitor().storage  # noqa: B018 - the property raises
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]


@pytest.mark.parametrize(
    "argument", [{"resource_attributes": 5}, {"metric_readers": 5}, {"metric_readers": [5]}], ids=repr
)
def test_an_argument_of_a_wrong_type_raises_and_a_right_call_after_it_works(argument):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        configure("wrong.db", **argument)
    monitor = configure("metrics.db")
    with monitor.monitor("op"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(monitor.storage) == ["op", "theirs"]
    assert not Path("wrong.db").exists()


def test_shutdown_writes_everything_and_lets_configure_begin_anew_with_another_file():
    first = configure("1.db")
    with first.monitor("first"):
        pass
    first.shutdown()
    with pytest.raises(StoreError):
        first.storage  # noqa: B018 - the property raises
    second = configure("2.db")
    with second.monitor("second"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(second.storage) == ["second", "theirs"]
    with MetricsStorage("1.db") as storage:
        assert names(storage) == ["first"]


def test_shutdown_leaves_a_provider_that_was_there_working_and_stores_no_more():
    _, exporter = use_provider()
    monitor = configure("metrics.db")
    with monitor.monitor("before"):
        pass
    monitor.shutdown()
    monitor.shutdown()
    with monitor.monitor("after"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert exported_names(exporter) == ["after", "before", "theirs"]
    with MetricsStorage("metrics.db") as storage:
        assert names(storage) == ["before"]


def test_shutdown_closes_the_meter_provider_that_it_installed_and_no_other():
    class Reader(InMemoryMetricReader):
        is_shut_down = False

        def shutdown(self, *args, **kwargs) -> None:
            self.is_shut_down = True
            super().shutdown(*args, **kwargs)

    ours = Reader()
    configure("metrics.db", metric_readers=[ours]).shutdown()
    assert ours.is_shut_down


def test_shutdown_before_configure_does_nothing():
    get_monitor().shutdown()
    assert get_monitor().force_flush() is True
    assert os.listdir() == []


def test_an_operation_that_is_open_during_shutdown_passes_through():
    monitor = configure("metrics.db")
    with monitor.monitor("open"):
        monitor.shutdown()
    with MetricsStorage("metrics.db") as storage:
        assert storage.get_stats("open").count in (0, 1)
