"""Who stores what: monitors alone and beside others, made before and after `configure()`."""

from __future__ import annotations

import pytest
from monitor_kit import exported_names, make_provider, names, stored
from opentelemetry import trace

from otel_perfmon import MetricsStorage, PerformanceMonitor, configure

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_two_monitors_with_two_files_never_see_each_others_operations():
    first, second = PerformanceMonitor(MetricsStorage("1.db")), PerformanceMonitor(MetricsStorage("2.db"))
    with first.monitor("outer of 1"), second.monitor("inner of 2"), first.monitor("innermost of 1"):
        pass
    assert names(first.storage) == ["innermost of 1", "outer of 1"]
    assert names(second.storage) == ["inner of 2"]
    outer, inner = stored(first.storage), stored(second.storage)
    assert inner["inner of 2"].parent_span_id == outer["outer of 1"].span_id
    assert outer["innermost of 1"].parent_span_id == inner["inner of 2"].span_id
    for monitor in (first, second):
        monitor.shutdown()
        monitor.storage.close()


def test_two_monitors_with_two_files_in_a_configured_process_keep_apart_and_the_process_keeps_all():
    configured = configure("process.db")
    first, second = PerformanceMonitor(MetricsStorage("1.db")), PerformanceMonitor(MetricsStorage("2.db"))
    with first.monitor("a"), second.monitor("b"), configured.monitor("c"):
        pass
    with trace.get_tracer("someone").start_as_current_span("d"):
        pass
    assert names(first.storage) == ["a"]
    assert names(second.storage) == ["b"]
    assert names(configured.storage) == ["a", "b", "c", "d"]
    for monitor in (first, second):
        monitor.storage.close()


def test_two_monitors_on_one_file_store_each_operation_once():
    first, second = PerformanceMonitor(MetricsStorage("1.db")), PerformanceMonitor(MetricsStorage("1.db"))
    with first.monitor("a"), second.monitor("b"):
        pass
    assert names(first.storage) == names(second.storage) == ["a", "b"]
    assert first.storage.get_stats("a").count == 1
    for monitor in (first, second):
        monitor.storage.close()


def test_a_monitor_on_the_configured_file_by_a_storage_of_its_own_stores_each_operation_once():
    configured = configure("metrics.db")
    own = PerformanceMonitor(MetricsStorage("metrics.db"))
    with own.monitor("own"), configured.monitor("configured"):
        pass
    assert names(own.storage) == ["configured", "own"]
    assert own.storage.get_stats("own").count == 1
    own.storage.close()


def test_a_monitor_on_the_configured_file_goes_on_storing_after_the_configured_one_is_shut_down():
    configured = configure("metrics.db")
    own = PerformanceMonitor(MetricsStorage("metrics.db"))
    with own.monitor("before"):
        pass
    configured.shutdown()
    with own.monitor("after"):
        pass
    assert names(own.storage) == ["after", "before"]
    own.storage.close()


def test_a_block_on_the_configured_file_that_is_open_while_the_configured_monitor_shuts_down_is_stored():
    configured = configure("metrics.db")
    own = PerformanceMonitor(MetricsStorage("metrics.db"))
    with own.monitor("open"):
        configured.shutdown()
    assert names(own.storage) == ["open"]
    own.storage.close()


def test_a_block_open_while_its_file_is_configured_on_the_provider_it_uses_is_stored_once():
    provider, exporter = make_provider()
    trace.set_tracer_provider(provider)
    monitor = PerformanceMonitor(MetricsStorage("metrics.db"))
    with monitor.monitor("open"):
        configure("metrics.db")
    assert names(monitor.storage) == exported_names(exporter) == ["open"]
    assert monitor.storage.get_stats("open").count == 1
    monitor.storage.close()


def test_a_block_open_while_its_file_is_configured_is_stored_although_its_monitor_moved_on():
    monitor = PerformanceMonitor(MetricsStorage("metrics.db"))
    with monitor.monitor("open"):
        configure("metrics.db")
        with monitor.monitor("moved on"):
            pass
    assert names(monitor.storage) == ["moved on", "open"]
    monitor.storage.close()


def test_a_monitor_made_after_configure_shares_its_store_and_leaves_it_open():
    configured = configure("metrics.db")
    other = PerformanceMonitor()
    assert other.storage is configured.storage
    with other.monitor("shared"):
        pass
    other.shutdown()
    with configured.monitor("after"):
        pass
    assert names(configured.storage) == ["after", "shared"]
    assert configured.storage.get_stats("shared").count == 1


def test_a_monitor_made_before_configure_keeps_its_own_store_and_joins_the_global_provider():
    monitor = PerformanceMonitor(MetricsStorage("own.db"))
    with monitor.monitor("before"):
        pass
    configured = configure("process.db")
    with monitor.monitor("after"):
        pass
    assert names(monitor.storage) == ["after", "before"]
    assert names(configured.storage) == ["after"]
    monitor.storage.close()


def test_a_global_sdk_provider_set_later_gets_the_later_operations_as_well(monitor):
    with monitor.monitor("before"):
        pass
    provider, exporter = make_provider()
    trace.set_tracer_provider(provider)
    with monitor.monitor("after"):
        pass
    assert names(monitor.storage) == ["after", "before"]
    assert exported_names(exporter) == ["after"]


def test_an_operation_open_while_the_global_provider_is_set_is_stored_and_its_children_join_it(monitor):
    provider, exporter = make_provider()
    with monitor.monitor("open"):
        trace.set_tracer_provider(provider)
        with monitor.monitor("child"):
            pass
    spans = stored(monitor.storage)
    assert spans["child"].parent_span_id == spans["open"].span_id
    assert spans["child"].trace_id == spans["open"].trace_id
    assert exported_names(exporter) == ["child"]


def test_a_given_provider_makes_the_spans_and_its_other_spans_are_not_stored(storage):
    provider, exporter = make_provider()
    other, other_exporter = make_provider()
    trace.set_tracer_provider(other)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("ours"), provider.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(storage) == ["ours"]
    assert exported_names(exporter) == ["ours", "theirs"]
    assert exported_names(other_exporter) == []


def test_shutdown_leaves_a_given_provider_and_a_given_storage_alone(storage):
    provider, exporter = make_provider()
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("ours"):
        pass
    monitor.shutdown()
    with provider.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert exported_names(exporter) == ["ours", "theirs"]
    storage.insert_metric("by hand", 1.0)
    assert names(storage) == ["by hand", "ours"]


def test_shutdown_leaves_a_global_provider_alone(monitor):
    provider, exporter = make_provider()
    trace.set_tracer_provider(provider)
    with monitor.monitor("ours"):
        pass
    monitor.shutdown()
    with trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert exported_names(exporter) == ["ours", "theirs"]


def test_operations_after_shutdown_and_a_second_shutdown_do_not_break_the_program():
    monitor = PerformanceMonitor()
    with monitor.monitor("before"):
        pass
    monitor.shutdown()
    monitor.shutdown()
    with monitor.monitor("after"):
        pass
    assert isinstance(monitor.force_flush(1000), bool)
    with MetricsStorage() as storage:
        assert "before" in names(storage)
