"""Many threads at once: nothing lost, nothing twice, statistics equal to the exact ones."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections import defaultdict
from contextlib import closing

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, set_tracer_provider

import otel_perfmon
from otel_perfmon import MetricsStorage, PerformanceMonitor

pytestmark = pytest.mark.usefixtures("fresh_process")

THREADS = 8


def run_in_threads(works) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def nearest_rank(sorted_values: list[int], share: float) -> int:
    return sorted_values[max(1, math.ceil(share * len(sorted_values))) - 1]


@pytest.mark.parametrize("operations_each", [1_000, pytest.param(5_000, marks=pytest.mark.long)])
def test_the_operations_of_eight_threads_are_stored_counted_and_measured_once_each_with_exact_statistics(
    operations_each,
):
    total = THREADS * operations_each
    oracle = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(oracle))
    set_tracer_provider(provider)
    reader = InMemoryMetricReader()
    monitor = otel_perfmon.configure("metrics.db", slow_threshold_ms=0.02, metric_readers=[reader])

    def work() -> None:
        for i in range(operations_each):
            try:
                with monitor.monitor(f"op {i % 4}", slow_threshold_ms=0.05 if i % 4 == 3 else None):
                    if i % 10 == 0:
                        raise LookupError(i)  # noqa: TRY301 - measured here
            except LookupError:  # noqa: PERF203 - as above
                pass

    run_in_threads([work] * THREADS)
    assert monitor.force_flush(30_000) is True

    spans = oracle.get_finished_spans()
    assert len(spans) == total
    exact: dict[str, list] = defaultdict(list)
    for span in spans:
        exact[span.name].append(span)
    stats = {each.operation: each for each in monitor.storage.get_stats()}
    assert set(stats) == set(exact) == {f"op {i}" for i in range(4)}
    assert sum(each.count for each in stats.values()) == total
    for name, found in stats.items():
        nanos = sorted(span.end_time - span.start_time for span in exact[name])
        threshold = 50_000 if name == "op 3" else 20_000
        assert found.count == len(nanos) == total // 4
        assert found.error_count == sum(span.status.status_code is StatusCode.ERROR for span in exact[name])
        assert found.slow_count == sum(nano > threshold for nano in nanos)
        assert found.min_ms == nanos[0] / 1e6
        assert found.max_ms == nanos[-1] / 1e6
        assert found.total_ms == sum(nanos) / 1e6
        assert found.avg_ms == pytest.approx(sum(nanos) / len(nanos) / 1e6, rel=1e-12)
        for share, got in ((0.5, found.p50_ms), (0.9, found.p90_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
            assert got == pytest.approx(nearest_rank(nanos, share) / 1e6, rel=0.011)

    stored = {(metric["trace_id"], metric["span_id"]) for metric in monitor.storage.get_metrics()}
    assert stored == {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in spans}
    assert len(stored) == total
    health = monitor.storage.store.get_health()
    assert (health.ended, health.counted, health.stored, dict(health.dropped)) == (total, total, total, {})
    with closing(sqlite3.connect("metrics.db")) as connection:
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (total,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert metric.name == "perfmon.operation.duration"
    points = metric.data.data_points
    assert sum(point.count for point in points) == total
    assert sum(point.count for point in points if "error.type" in point.attributes) == total // 10
    for name, each in exact.items():
        total_s = sum(point.sum for point in points if point.attributes["perfmon.operation"] == name)
        assert total_s == pytest.approx(sum(span.end_time - span.start_time for span in each) / 1e9)


def _tight_loop_beside_a_busy_thread(count: int) -> None:
    reader = InMemoryMetricReader()
    monitor = otel_perfmon.configure("metrics.db", metric_readers=[reader])
    is_over = threading.Event()

    def burn() -> None:
        number = 0
        while not is_over.is_set():
            for i in range(1_000):
                number += i * i

    burning = threading.Thread(target=burn)
    burning.start()
    try:
        operation = monitor.monitor("tight")
        for _ in range(count):
            with operation:
                pass
    finally:
        is_over.set()
        burning.join()
    assert monitor.force_flush(60_000) is True
    stats = monitor.storage.get_stats("tight")
    health = monitor.storage.store.get_health()
    assert (stats.count, stats.error_count) == (count, 0)
    assert (health.stored, health.counted, dict(health.dropped)) == (count, count, {})
    with closing(sqlite3.connect("metrics.db")) as connection:
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (count,)
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert sum(point.count for point in metric.data.data_points) == count


def test_a_tight_loop_of_20000_operations_beside_a_cpu_bound_thread_loses_none():
    _tight_loop_beside_a_busy_thread(20_000)


@pytest.mark.long
def test_a_tight_loop_of_200000_operations_beside_a_cpu_bound_thread_loses_none():
    _tight_loop_beside_a_busy_thread(200_000)


def test_threads_that_use_a_new_monitor_at_once_settle_on_one_private_provider(storage):
    monitor = PerformanceMonitor(storage)
    barrier = threading.Barrier(8)
    resources: set[int] = set()

    def work() -> None:
        barrier.wait()
        with monitor.monitor("op") as span:
            resources.add(id(span.resource))

    run_in_threads([work] * 8)
    assert storage.get_stats("op").count == 8
    monitor.shutdown()


def test_threads_that_configure_at_once_get_one_monitor_and_one_processor():
    barrier = threading.Barrier(8)
    monitors = []

    def work() -> None:
        barrier.wait()
        monitors.append(otel_perfmon.configure("metrics.db"))

    run_in_threads([work] * 8)
    assert len({id(each) for each in monitors}) == 1
    with monitors[0].monitor("op"):
        pass
    assert monitors[0].storage.get_stats("op").count == 1


def test_reading_while_threads_record_sees_what_ended_before_the_question(storage):
    monitor = PerformanceMonitor(storage)
    is_over = threading.Event()

    def noise() -> None:
        while not is_over.is_set():
            with monitor.monitor("noise"):
                time.sleep(0)

    threads = [threading.Thread(target=noise) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(1, 6):
            with monitor.monitor("mine"):
                pass
            assert storage.get_stats("mine").count == i
            assert len(storage.get_metrics("mine")) == i
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_two_monitors_with_two_files_under_threads_never_see_each_others():
    monitors = [PerformanceMonitor(MetricsStorage(f"{i}.db")) for i in range(2)]

    def work() -> None:
        for _ in range(500):
            for i, monitor in enumerate(monitors):
                with monitor.monitor(f"op {i}"):
                    pass

    run_in_threads([work] * 4)
    for i, monitor in enumerate(monitors):
        assert {each.operation: each.count for each in monitor.storage.get_stats()} == {f"op {i}": 2_000}
        monitor.storage.close()


def test_pruning_at_full_speed_loses_no_span_and_no_figure_and_keeps_the_file_within_its_limit():
    """Four threads write twice as much as the file may hold; what is slow stays."""
    size_max_bytes = 64 * 1024 * 1024
    sizes = []
    with MetricsStorage("small.db", size_max_bytes=size_max_bytes) as storage:
        monitor = PerformanceMonitor(storage, slow_threshold_ms=60_000)
        is_done = threading.Event()

        def work() -> None:
            for i in range(1_600):
                with monitor.monitor("op", attributes={"note": "x" * 20_000, "perfmon.slow": i % 100 == 0}):
                    pass

        def watch() -> None:
            while not is_done.wait(0.003):
                sizes.append(
                    sum(os.stat(name).st_size for name in ("small.db", "small.db-wal") if os.path.exists(name))
                )

        watcher = threading.Thread(target=watch)
        watcher.start()
        run_in_threads([work] * 4)
        monitor.force_flush(30_000)
        is_done.set()
        watcher.join()
        health, summary = storage.store.get_health(), storage.store.summarize_store()
        assert (health.ended, health.stored, dict(health.dropped)) == (6_400, 6_400, {})
        assert storage.get_stats("op").count == 6_400
        assert len(storage.get_metrics_in_window("op", 3600, filter_slow=True)) == 64
        assert health.pruned == 6_400 - summary.span_count > 2_000
    assert max(sizes) <= 1.1 * size_max_bytes
