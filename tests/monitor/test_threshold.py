"""An operation is slow by the threshold that holds for it when it starts."""

from __future__ import annotations

import math

import pytest
from monitor_kit import stored
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_perfmon import ConfigError, MetricsStorage, PerformanceMonitor, configure, get_monitor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_a_threshold_changed_between_two_operations_flags_the_second_only(monitor, clock):
    monitor.slow_threshold_ms = 100
    for name, threshold in (("first", 100), ("second", 20)):
        monitor.slow_threshold_ms = threshold
        with monitor.monitor(name):
            clock[0] += 50_000_000
    spans = stored(monitor.storage)
    assert (spans["first"].is_slow, spans["second"].is_slow) == (False, True)
    assert "perfmon.slow" not in spans["first"].attributes
    assert spans["second"].attributes["perfmon.slow"] is True
    assert monitor.slow_threshold_ms == 20


def test_a_threshold_changed_inside_a_block_holds_for_it(monitor, clock):
    monitor.slow_threshold_ms = 100
    with monitor.monitor("op"):
        clock[0] += 50_000_000
        monitor.slow_threshold_ms = 20
    assert stored(monitor.storage)["op"].is_slow


def test_a_threshold_changed_after_an_operation_does_not_change_its_flag(monitor, clock):
    monitor.slow_threshold_ms = 100
    with monitor.monitor("op"):
        clock[0] += 50_000_000
    monitor.slow_threshold_ms = 20
    assert not stored(monitor.storage)["op"].is_slow


def test_an_operations_own_threshold_wins_in_both_directions(monitor, clock):
    monitor.slow_threshold_ms = 100
    with monitor.monitor("stricter", slow_threshold_ms=10):
        clock[0] += 50_000_000
    with monitor.monitor("laxer", slow_threshold_ms=1000):
        clock[0] += 500_000_000
    spans = stored(monitor.storage)
    assert (spans["stricter"].is_slow, spans["laxer"].is_slow) == (True, False)
    assert monitor.storage.get_stats("stricter").slow_count == 1
    assert monitor.storage.get_stats("laxer").slow_count == 0


def test_slow_means_longer_than_the_threshold_to_the_nanosecond(monitor, clock):
    for threshold_ms, nanos in ((1.001, 1_001_000), (0.3, 300_000), (2.3, 2_300_000), (0, 0)):
        with monitor.monitor(f"at {threshold_ms}", slow_threshold_ms=threshold_ms):
            clock[0] += nanos
        with monitor.monitor(f"above {threshold_ms}", slow_threshold_ms=threshold_ms):
            clock[0] += nanos + 1
    flags = {name: span.is_slow for name, span in stored(monitor.storage).items()}
    assert flags == {name: name.startswith("above") for name in flags}


def test_the_threshold_of_a_monitor_that_shares_the_store_holds_for_its_operations(clock):
    configure("metrics.db", slow_threshold_ms=100)
    lax = PerformanceMonitor(slow_threshold_ms=1000)
    strict = PerformanceMonitor(slow_threshold_ms=10)
    for monitor in (lax, strict):
        with monitor.monitor(f"at {monitor.slow_threshold_ms}"):
            clock[0] += 500_000_000 if monitor is lax else 50_000_000
    spans = stored(get_monitor().storage)
    assert (spans["at 1000.0"].is_slow, spans["at 10.0"].is_slow) == (False, True)


def test_all_stores_agree_whether_an_operation_was_slow_by_the_threshold_of_its_monitor(clock):
    configured = configure("process.db", slow_threshold_ms=100)
    lax = PerformanceMonitor(MetricsStorage("own.db"), slow_threshold_ms=1000)
    strict = PerformanceMonitor(lax.storage, slow_threshold_ms=10)
    for name, monitor, nano in (("lax", lax, 500_000_000), ("strict", strict, 50_000_000)):
        with monitor.monitor(name):
            clock[0] += nano
    for storage in (configured.storage, lax.storage):
        assert {name: span.is_slow for name, span in stored(storage).items()} == {"lax": False, "strict": True}
    lax.storage.close()


def test_an_operations_own_threshold_holds_although_the_monitors_changes_before_it_is_stored(storage):
    class Changing(SpanProcessor):
        def on_end(self, span) -> None:
            monitor.slow_threshold_ms = 0

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Changing())
    monitor = PerformanceMonitor(storage, tracer_provider=provider, slow_threshold_ms=1000)
    with monitor.monitor("never", slow_threshold_ms=10**6):
        pass
    assert not stored(storage)["never"].is_slow


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, "fast", True, [], 10**400])
def test_a_wrong_threshold_is_a_config_error_and_changes_nothing(monitor, wrong):
    before = monitor.slow_threshold_ms
    with pytest.raises(ConfigError, match="slow_threshold_ms"):
        monitor.slow_threshold_ms = wrong
    with pytest.raises(ConfigError, match="slow_threshold_ms"):
        monitor.monitor("op", slow_threshold_ms=wrong)
    with pytest.raises(ConfigError, match="slow_threshold_ms"):
        PerformanceMonitor(monitor.storage, slow_threshold_ms=wrong)
    assert monitor.slow_threshold_ms == before


def test_the_largest_float_as_threshold_means_never_slow(monitor, clock):
    largest = 1.7e308
    monitor.slow_threshold_ms = largest
    assert PerformanceMonitor(monitor.storage, slow_threshold_ms=largest).slow_threshold_ms == largest
    with monitor.monitor("by default"), monitor.monitor("by its own", slow_threshold_ms=largest):
        clock[0] += 10**15
    assert not any(span.is_slow for span in stored(monitor.storage).values())


def test_batch_and_simple_pipelines_see_that_a_span_is_slow(storage, clock):
    simple, batch = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(simple))
    provider.add_span_processor(BatchSpanProcessor(batch))
    monitor = PerformanceMonitor(storage, slow_threshold_ms=10, tracer_provider=provider)
    with monitor.monitor("slow"):
        clock[0] += 20_000_000
    with monitor.monitor("fast"):
        clock[0] += 5_000_000
    provider.force_flush()
    for exporter in (simple, batch):
        slow = {span.name: span.attributes.get("perfmon.slow") for span in exporter.get_finished_spans()}
        assert slow == {"slow": True, "fast": None}
    provider.shutdown()
