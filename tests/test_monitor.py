"""PerformanceMonitor alone and beside others: what is measured, who stores it, and what bad input does."""

# ruff: noqa: PT012 - what raises is measured

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor_kit import exported_names, names, stored
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from otel_perfmon import ConfigError, MetricsStorage, PerformanceMonitor, configure, get_monitor
from otel_perfmon.monitor import BUCKET_BOUNDARIES_S

pytestmark = pytest.mark.usefixtures("fresh_process")


def make_provider(sampler: Sampler | None = None) -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def points_of(reader: InMemoryMetricReader) -> list:
    data = reader.get_metrics_data()
    if data is None:
        return []
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "perfmon.operation.duration"
        for point in metric.data.data_points
    ]


# --- measuring


def test_a_sleep_of_100_ms_in_an_empty_folder_gives_one_metric_without_error():
    monitor = PerformanceMonitor()
    began = time.perf_counter()
    with monitor.monitor("sleep"):
        inner_began = time.perf_counter()
        time.sleep(0.1)
        inner_ms = (time.perf_counter() - inner_began) * 1000
    outer_ms = (time.perf_counter() - began) * 1000
    metrics_found = monitor.storage.get_metrics()
    monitor.shutdown()
    assert Path("metrics.db").exists()
    assert len(metrics_found) == 1
    assert metrics_found[0]["operation"] == "sleep"
    assert metrics_found[0]["error"] is False
    assert max(90, inner_ms) <= metrics_found[0]["duration"] <= min(110, inner_ms + 10) or (
        inner_ms <= metrics_found[0]["duration"] <= outer_ms
    )


def test_making_a_monitor_and_recording_nothing_makes_no_file():
    monitor = PerformanceMonitor()
    assert monitor.storage.get_metrics() == []
    monitor.shutdown()
    assert os.listdir() == []


def test_ten_threads_give_ten_metrics(monitor):
    def work() -> None:
        with monitor.monitor("threaded"):
            pass

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = monitor.storage.get_metrics("threaded")
    assert len(found) == 10
    assert len({metric["trace_id"] for metric in found}) == 10
    assert monitor.storage.get_stats("threaded").count == 10


def test_entering_gives_the_current_span_with_its_name_kind_and_attributes(monitor):
    with monitor.monitor("op", attributes={"cart.items": 3}, kind=SpanKind.CLIENT) as span:
        assert trace.get_current_span() is span
        assert span.is_recording()
        span.set_attribute("cart.total", 41.5)
    assert trace.get_current_span() is trace.INVALID_SPAN
    record = stored(monitor.storage)["op"]
    assert record.kind_name == "client"
    assert dict(record.attributes) == {"cart.items": 3, "cart.total": 41.5}


def test_a_block_inside_a_block_is_its_child_and_siblings_share_the_trace(monitor):
    with monitor.monitor("root"):
        with monitor.monitor("first"):
            pass
        with monitor.monitor("second"):
            pass
    with monitor.monitor("other"):
        pass
    spans = stored(monitor.storage)
    assert spans["root"].parent_span_id is None
    assert spans["first"].parent_span_id == spans["second"].parent_span_id == spans["root"].span_id
    assert spans["first"].trace_id == spans["second"].trace_id == spans["root"].trace_id
    assert spans["other"].trace_id != spans["root"].trace_id


def test_an_operation_can_be_used_again_after_it_was_left(monitor):
    operation = monitor.monitor("again")
    for _ in range(3):
        with operation:
            pass
    assert monitor.storage.get_stats("again").count == 3


def test_an_operation_entered_twice_at_once_raises_a_runtime_error_that_names_it(monitor):
    operation = monitor.monitor("twice")
    with operation as span:
        with pytest.raises(RuntimeError, match="twice"), operation:
            pytest.fail("entered twice")
        assert trace.get_current_span() is span
    with operation:
        pass
    assert monitor.storage.get_stats("twice").count == 2
    assert monitor.storage.get_stats("twice").error_count == 0


def test_an_operation_left_without_being_entered_can_still_not_be_entered_twice(monitor):
    operation = monitor.monitor("twice")
    operation.__exit__(None, None, None)
    with operation, pytest.raises(RuntimeError), operation:
        pytest.fail("entered twice")


def test_threads_that_share_one_operation_get_in_one_at_a_time(monitor):
    operation = monitor.monitor("shared")
    barrier = threading.Barrier(8)
    entered, refused = [], []

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            try:
                with operation:
                    entered.append(1)
                    time.sleep(0)
            except RuntimeError:  # noqa: PERF203 - most of them are refused
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) + len(refused) == 8 * 200
    assert monitor.storage.get_stats("shared").count == len(entered)
    with operation:
        pass


def test_async_with_measures_and_restores_the_current_span(monitor):
    async def main() -> None:
        async with monitor.monitor("async") as span:
            await asyncio.sleep(0)
            assert trace.get_current_span() is span
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())
    assert names(monitor.storage) == ["async"]


def test_tasks_do_not_see_each_others_spans(monitor):
    async def work(i: int) -> None:
        async with monitor.monitor(f"outer {i}"):
            await asyncio.sleep(0)
            async with monitor.monitor(f"inner {i}"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(i) for i in range(10)))

    asyncio.run(main())
    spans = stored(monitor.storage)
    for i in range(10):
        assert spans[f"inner {i}"].parent_span_id == spans[f"outer {i}"].span_id
        assert spans[f"outer {i}"].parent_span_id is None


def test_a_block_left_in_another_context_leaves_that_contexts_span_alone(monitor):
    operation = monitor.monitor("wandering")
    contextvars.copy_context().run(operation.__enter__)
    with monitor.monitor("here") as span:
        operation.__exit__(None, None, None)
        assert trace.get_current_span() is span
    assert names(monitor.storage) == ["here", "wandering"]


def test_a_remote_parent_joins_the_trace_and_a_local_one_inside_it_too(monitor):
    remote = SpanContext(0x1234, 0x5678, is_remote=True, trace_flags=TraceFlags(1))
    token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
    with monitor.monitor("server"), monitor.monitor("work"):
        pass
    otel_context.detach(token)
    spans = stored(monitor.storage)
    assert spans["server"].trace_id == spans["work"].trace_id == f"{0x1234:032x}"
    assert spans["server"].parent_span_id == f"{0x5678:016x}"
    assert spans["work"].parent_span_id == spans["server"].span_id
    assert spans["server"].flags & 0x300 == 0x300
    assert spans["work"].flags & 0x300 == 0x100


def test_the_trace_goes_on_over_inject_and_extract(monitor):
    carrier: dict[str, str] = {}
    with monitor.monitor("client"):
        inject(carrier)
    token = otel_context.attach(extract(carrier))
    with monitor.monitor("server"):
        pass
    otel_context.detach(token)
    spans = stored(monitor.storage)
    assert spans["server"].trace_id == spans["client"].trace_id
    assert spans["server"].parent_span_id == spans["client"].span_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_inside_a_block_stores_the_parents_span_and_the_childs_own_once(monitor):
    with monitor.monitor("before"):
        pass
    with monitor.monitor("parent"):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with monitor.monitor("child"):
                    pass
                code = 0 if monitor.force_flush(10_000) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert names(monitor.storage) == ["before", "child", "parent"]
    spans = stored(monitor.storage)
    assert spans["child"].parent_span_id == spans["parent"].span_id
    assert monitor.storage.get_stats("before").count == 1


# --- slow operations


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A monotonic clock that stands still until its one element is changed."""
    now = [10**12]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    yield now
    monkeypatch.undo()


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


# --- who stores what


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


class _ApiSpan(trace.NonRecordingSpan):
    """What a provider that is not the SDK's may hand out."""

    def __init__(self) -> None:
        super().__init__(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
        self.ended_at: int | None = None
        self.noted: dict = {}

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key, value) -> None:
        self.noted[key] = value

    def end(self, end_time=None) -> None:
        self.ended_at = end_time


class _ApiTracer(trace.Tracer):
    def __init__(self) -> None:
        self.spans: list[_ApiSpan] = []

    def start_span(self, *args, **kwargs):
        self.spans.append(_ApiSpan())
        return self.spans[-1]

    def start_as_current_span(self, *args, **kwargs):
        raise NotImplementedError


class _ApiProvider(trace.TracerProvider):
    def __init__(self) -> None:
        self.tracer = _ApiTracer()

    def get_tracer(self, *args, **kwargs):
        return self.tracer


def test_a_given_provider_that_is_not_the_sdks_gets_the_operations_with_what_is_said_of_them(storage, clock):
    provider = _ApiProvider()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, slow_threshold_ms=1)
    with pytest.raises(ValueError, match="boom"), monitor.monitor("op"):
        clock[0] += 5_000_000
        raise ValueError("boom")
    (span,) = provider.tracer.spans
    assert span.ended_at is not None
    assert span.noted == {"error.type": "ValueError", "perfmon.slow": True}


def test_a_global_provider_that_is_not_the_sdks_leaves_a_lone_monitor_storing_its_operations(monitor):
    provider = _ApiProvider()
    trace.set_tracer_provider(provider)
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]
    assert provider.tracer.spans == []


def test_a_sampler_that_drops_everything_stores_nothing_and_measures_the_histogram(storage):
    provider, exporter = make_provider(ALWAYS_OFF)
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, meter_provider=MeterProvider([reader]))
    with monitor.monitor("op"):
        pass
    assert names(storage) == []
    assert exported_names(exporter) == []
    assert [point.count for point in points_of(reader)] == [1]


class _Deciding(Sampler):
    def __init__(self, decide) -> None:
        self.decide = decide

    def should_sample(self, parent_context, trace_id, name, *others, **more):
        return SamplingResult(self.decide(name))

    def get_description(self) -> str:
        return "deciding"


def test_spans_that_are_only_recorded_are_stored(storage):
    provider, exporter = make_provider(_Deciding(lambda name: Decision.RECORD_ONLY))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("op"):
        pass
    assert names(storage) == ["op"]
    assert exported_names(exporter) == []


def _refuse(name: str) -> Decision:
    if name.startswith("refused"):
        raise LookupError(name)
    return Decision.RECORD_AND_SAMPLE


def test_a_sampler_that_raises_costs_that_operation_only(storage):
    provider, _ = make_provider(_Deciding(_refuse))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("root"), monitor.monitor("refused", attributes={"a": 1}), monitor.monitor("leaf"):
        pass
    spans = stored(storage)
    assert sorted(spans) == ["leaf", "root"]
    assert spans["leaf"].trace_id == spans["root"].trace_id
    assert storage.store.get_health().dropped == {"unreadable": 1}
    assert trace.get_current_span() is trace.INVALID_SPAN


class _Raising(SpanProcessor):
    def __init__(self, *moments: str) -> None:
        self.moments = moments

    def on_start(self, span, parent_context=None) -> None:
        if "start" in self.moments:
            raise LookupError("on_start")

    def on_end(self, span) -> None:
        if "end" in self.moments:
            raise LookupError("on_end")


def test_a_processor_that_raises_at_the_end_of_a_span_does_not_keep_it_from_a_lone_monitors_store(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("end"))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("op"):
        pass
    assert names(storage) == ["op"]


def test_a_processor_that_raises_at_the_end_of_a_span_does_not_keep_it_from_the_configured_store():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("end"))
    trace.set_tracer_provider(provider)
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]


def test_a_processor_that_raises_at_the_start_of_a_span_does_not_break_the_program(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Raising("start"))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    ran = []
    with monitor.monitor("op", attributes={"a": 1}):
        ran.append(1)
    with pytest.raises(ValueError, match="unchanged"), monitor.monitor("op"):
        raise ValueError("unchanged")
    assert ran == [1]


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise self

    __repr__ = __str__


def test_an_unprintable_error_of_a_sampler_does_not_break_the_program(storage):
    def fail(name: str) -> Decision:
        raise _UnprintableError

    provider, _ = make_provider(_Deciding(fail))
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    ran = []
    with monitor.monitor("op"):
        ran.append(1)
    assert ran == [1]


# --- the histogram


def test_the_histogram_has_the_name_unit_and_bucket_bounds_of_seconds_from_100_microseconds_up(storage, clock):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))
    with monitor.monitor("op", attributes={"user.id": 7}):
        clock[0] += 30_000_000
    with pytest.raises(KeyError), monitor.monitor("op"):
        raise KeyError("x")
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("perfmon.operation.duration", "s")
    points = {frozenset(point.attributes.items()): point for point in metric.data.data_points}
    good = points[frozenset({("perfmon.operation", "op")})]
    assert (good.count, good.sum) == (1, 0.03)
    assert good.explicit_bounds == BUCKET_BOUNDARIES_S
    assert good.explicit_bounds[0] == 0.0001
    failed = points[frozenset({("perfmon.operation", "op"), ("error.type", "KeyError")})]
    assert failed.count == 1
    assert len(points) == 2


def test_exemplars_link_to_the_operations_own_span_and_not_to_its_parent(storage):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))

    @monitor.monitor("generated")
    def generate():
        yield trace.get_current_span().get_span_context().span_id

    expected = {}
    with monitor.monitor("outer") as outer:
        with monitor.monitor("inner") as inner:
            expected["inner"] = inner.get_span_context().span_id
        (expected["generated"],) = generate()
        expected["outer"] = outer.get_span_context().span_id
    found = {
        point.attributes["perfmon.operation"]: exemplar.span_id
        for point in points_of(reader)
        for exemplar in point.exemplars
    }
    assert found == expected


def test_a_meter_provider_set_later_sees_the_later_operations(monitor):
    with monitor.monitor("before"):
        pass
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    with monitor.monitor("after"):
        pass
    assert [(point.attributes["perfmon.operation"], point.count) for point in points_of(reader)] == [("after", 1)]


def test_no_global_provider_is_installed_by_a_lone_monitor(monitor):
    with monitor.monitor("op"):
        pass
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)


# --- flushing


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


# --- switched off


@pytest.mark.parametrize(
    "variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_SAMPLER": "always_off"}], ids=["disabled", "sampler"]
)
@pytest.mark.parametrize(
    "opening", ["o.PerformanceMonitor()", "o.configure('metrics.db')"], ids=["alone", "configured"]
)
def test_opentelemetrys_own_switches_leave_no_file_and_a_working_program(run_python, variables, opening):
    program = f"""
        import os
        import otel_perfmon as o
        m = {opening}
        @m.monitor("gen")
        def gen():
            yield 1
        with m.monitor("op", attributes={{"a": 1}}) as span:
            span.set_attribute("b", 2)
            print(list(gen()))
        try:
            with m.monitor("failing"):
                raise ValueError("x")
        except ValueError:
            print("passed")
        print(m.storage.get_metrics(), m.storage.get_stats("op").count, m.force_flush())
        m.shutdown()
        print(os.listdir())
    """
    assert run_python(program, **variables).splitlines() == ["[1]", "passed", "[] 0 True", "[]"]


# --- bad input


class _BadStr:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


class _BadTruth:
    def __len__(self) -> int:
        raise ValueError("no")

    __bool__ = __len__


class _BadMapping(dict):
    def items(self):
        raise ValueError("no")

    __iter__ = items


_NESTED: dict = {"deep": {"list": [1, [2, {"x": b"\xff"}]]}}
_NESTED["self"] = _NESTED
BAD_ATTRIBUTES = {
    "nested": _NESTED,
    "huge": {"text": "x" * 3_000_000, "list": list(range(100_000))},
    "surrogates": {"a\ud800": "b\udfff"},
    "not finite": {"nan": math.nan, "inf": math.inf, "minus": -math.inf},
    "large integer": {"n": 2**70, "list": [2**70]},
    "none value": {"a": None, "list": [None]},
    "bytes": {"a": b"\xff\x00"},
    "other keys": {1: "a", None: "b", (1, 2): "c", "": "d", b"x": "e"},
    "object": {"a": object()},
    "bad str value": {"a": _BadStr()},
    "bad str in list": {"a": [_BadStr(), 1, "x"]},
    "bad truth value": {"a": _BadTruth()},
    "bad str key": {_BadStr(): 1},
    "number": 5,
    "list": ["a", "b"],
    "pairs": [("a", 1)],
    "text": "abc",
    "generator": (x for x in "abc"),
    "object itself": object(),
    "bad truth": _BadTruth(),
    "bad mapping": _BadMapping(a=1),
    "type": dict,
}


@pytest.mark.parametrize("attributes", BAD_ATTRIBUTES.values(), ids=list(BAD_ATTRIBUTES))
@pytest.mark.parametrize("is_configured", [False, True], ids=["alone", "configured"])
def test_bad_attributes_neither_break_the_program_nor_lose_the_operation(attributes, is_configured):
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        monitor = configure("metrics.db") if is_configured else PerformanceMonitor(MetricsStorage("metrics.db"))
        with monitor.monitor("outer", attributes=attributes), monitor.monitor("inner"):
            pass
        spans = stored(monitor.storage)
    finally:
        logging.getLogger("opentelemetry").setLevel(logging.NOTSET)
    assert sorted(spans) == ["inner", "outer"]
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    monitor.storage.close()


def test_attributes_the_sdk_allows_come_back_as_they_went_in(monitor):
    attributes = {"s": "ü\n", "b": True, "i": -(2**62), "f": 0.1, "l": ["a", "b"], "t": (1, 2), "e": []}
    with monitor.monitor("op", attributes=attributes):
        pass
    found = dict(stored(monitor.storage)["op"].attributes)
    assert found == {**attributes, "l": ("a", "b"), "e": ()}


def test_an_empty_name_is_kept(monitor):
    with monitor.monitor(""):
        pass
    assert names(monitor.storage) == [""]


@pytest.mark.parametrize("name", [None, 5, b"bytes", _BadStr(), ["a"], "\ud800surrogate", "nul\0byte", "a" * 100_000])
def test_a_strange_name_keeps_the_operation(monitor, name):
    with monitor.monitor(name):
        pass
    assert len(monitor.storage.get_metrics()) == 1
    assert len(monitor.storage.get_metrics()[0]["operation"]) <= 1000


@pytest.mark.parametrize("name", ["\ud800surrogate", "a" * 100_000, "nul\0byte"], ids=["surrogate", "long", "nul"])
def test_statistics_are_found_under_the_name_the_operation_was_given(monitor, name):
    with monitor.monitor(name):
        pass
    assert monitor.storage.get_stats(name).count == 1
    assert len(monitor.storage.get_metrics(name)) == 1


def test_a_name_with_lone_surrogates_reaches_other_pipelines_as_valid_text(storage):
    provider, exporter = make_provider()
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, meter_provider=MeterProvider([reader]))
    with monitor.monitor("bad\ud800"):
        pass
    (span,) = exporter.get_finished_spans()
    span.name.encode()
    points_of(reader)[0].attributes["perfmon.operation"].encode()


@pytest.mark.parametrize("kind", ["server", None, 7, object()], ids=["text", "none", "number", "object"])
def test_a_kind_that_is_none_keeps_the_operation(monitor, kind):
    with monitor.monitor("op", kind=kind):
        pass
    assert names(monitor.storage) == ["op"]


def test_the_decorator_without_a_name_says_what_is_missing(monitor):
    with pytest.raises(TypeError, match="name"):

        @monitor.monitor
        def function() -> None: ...


def test_a_span_that_the_user_ended_inside_the_block_is_stored_once(monitor):
    with monitor.monitor("op") as span:
        span.end()
    assert names(monitor.storage) == ["op"]
    assert monitor.storage.get_stats("op").count == 1


def test_a_user_may_rename_the_span(monitor):
    with monitor.monitor("op") as span:
        span.update_name("GET /cart")
    assert names(monitor.storage) == ["GET /cart"]
