"""Sampling through the doors: all is counted, what matters is stored whole, and the account agrees."""

# ruff: noqa: PT012, TRY301 - what raises is measured

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from monitor_kit import names
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon import ConfigError, Health, MetricsStorage, PerformanceMonitor, configure, open_store

pytestmark = pytest.mark.usefixtures("fresh_process")
ALWAYS_SLOW = {"slow_threshold_ms": 0}


def counts(storage: MetricsStorage) -> dict[str, int]:
    return {stats.operation: stats.count for stats in storage.get_stats()}


def account(path: str) -> Health:
    """What the file says of itself once it is closed; it must agree with what is in it."""
    with open_store(path) as store:
        health = store.get_health()
    assert health.ended == health.counted + sum(health.dropped.values()) + health.queued
    assert health.counted == health.stored + health.sampled_out
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone()[0] == health.stored - health.pruned
        for resolution in (10, 60, 3600):
            query = "SELECT total(count) FROM rollups WHERE resolution_s = ?"
            assert connection.execute(query, (resolution,)).fetchone()[0] == health.counted
    return health


def figures(health: Health) -> tuple[int, int, int, int]:
    assert health.dropped == {}
    return health.ended, health.counted, health.stored, health.sampled_out


def work(monitor: PerformanceMonitor, count: int, **child) -> None:
    for _ in range(count):
        with monitor.monitor("request"), monitor.monitor("query", **child):
            pass


# --- a storage of one's own


def test_all_operations_are_counted_and_only_the_asked_share_of_traces_is_stored(db_path):
    with MetricsStorage(db_path, sample_rate=0.5) as storage:
        monitor = PerformanceMonitor(storage)
        work(monitor, 400)
        assert counts(storage) == {"request": 400, "query": 400}
        kept = names(storage)
        assert 120 < kept.count("request") == kept.count("query") < 280
        assert storage.get_stats("query", window_seconds=60).count == 400
    assert figures(account(db_path)) == (800, 800, len(kept), 800 - len(kept))


def test_a_rate_of_zero_counts_everything_and_stores_nothing(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        work(PerformanceMonitor(storage), 100)
        assert (names(storage), counts(storage)) == ([], {"request": 100, "query": 100})
        query, request = storage.get_stats("query"), storage.get_stats("request")
        assert 0 < query.p50_ms <= query.max_ms <= request.max_ms
    assert figures(account(db_path)) == (200, 200, 0, 200)


def test_statistics_are_those_of_a_storage_without_sampling(db_path, tmp_path):
    found = []
    for path, rate in ((db_path, 0.0), (str(tmp_path / "all.db"), 1.0)):
        with MetricsStorage(path, sample_rate=rate) as storage:
            for number in range(1, 101):
                storage.insert_metric("op", number, error=number % 10 == 0, is_slow=number > 95, timestamp=1.8e9)
            found.append(storage.get_stats("op"))
            assert len(names(storage)) == (14 if rate == 0 else 100)
    assert found[0] == found[1]


def test_a_slow_or_failed_child_has_its_whole_trace_stored(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        for trouble in ("slow", "failed"):
            with monitor.monitor(f"{trouble} root"):
                with monitor.monitor("before"), monitor.monitor("deep"):
                    pass
                try:
                    with monitor.monitor(trouble, slow_threshold_ms=0 if trouble == "slow" else None):
                        if trouble == "failed":
                            raise ValueError(trouble)
                except ValueError:
                    pass
                with monitor.monitor("after"):
                    pass
        work(monitor, 10)
        of_one = ["after", "before", "deep"]
        assert names(storage) == sorted([*of_one, *of_one, "slow", "slow root", "failed", "failed root"])
        assert counts(storage)["deep"] == 2
        (root,) = storage.get_metrics("failed root")
        tree = storage.store.get_trace(root["trace_id"])
        assert len(tree.spans) == 5
    assert figures(account(db_path)) == (30, 30, 10, 20)


def test_an_exception_that_leaves_the_root_keeps_every_operation_it_passed(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        with pytest.raises(ValueError, match="no"), monitor.monitor("root"):
            with monitor.monitor("fine"):
                pass
            with monitor.monitor("middle"), monitor.monitor("deep"):
                raise ValueError("no")
        assert names(storage) == ["deep", "fine", "middle", "root"]
        assert storage.get_error_rate("deep", 60) == 1
    assert figures(account(db_path)) == (4, 4, 4, 0)


def test_a_rate_of_its_own_goes_by_the_root_of_the_local_trace(db_path):
    with MetricsStorage(db_path, sample_rate=1, sample_rates={"GET /health": 0}) as storage:
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("GET /health"), monitor.monitor("query"):
            pass
        with monitor.monitor("checkout"), monitor.monitor("GET /health"):
            pass
        assert names(storage) == ["GET /health", "checkout"]
    assert figures(account(db_path)) == (4, 4, 2, 2)


def test_what_came_from_another_process_is_sampled_at_its_local_root(db_path):
    with MetricsStorage(db_path, sample_rate=0, sample_rates={"serve": 1}) as storage:
        monitor = PerformanceMonitor(storage)
        remote = NonRecordingSpan(SpanContext(2**100, 5, is_remote=True, trace_flags=TraceFlags(1)))
        with trace.use_span(remote), monitor.monitor("serve"), monitor.monitor("query"):
            pass
        with trace.use_span(NonRecordingSpan(SpanContext(2**101, 5, is_remote=True))), monitor.monitor("other"):
            pass
        assert names(storage) == ["query", "serve"]


def test_a_flush_does_not_judge_a_trace_that_is_open(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("root", **ALWAYS_SLOW):
            for name in ("first", "second"):
                with monitor.monitor(name):
                    pass
                assert monitor.force_flush()
                assert names(storage) == []
            assert counts(storage) == {"first": 1, "second": 1}
        assert names(storage) == ["first", "root", "second"]
    assert figures(account(db_path)) == (3, 3, 3, 0)


@pytest.mark.parametrize("durability", ["root", "span"])
def test_durable_spans_are_sampled_as_well(db_path, durability):
    monitor = configure(db_path, sample_rate=0, durability=durability)
    with monitor.monitor("fine"), monitor.monitor("child"):
        pass
    with monitor.monitor("slow", **ALWAYS_SLOW), monitor.monitor("child"):
        pass
    with open_store(db_path) as store:
        assert store.get_health().counted == 4
        assert len(store.get_trace(store.find_spans().spans[0].trace_id).spans) == 2
    monitor.shutdown()
    assert figures(account(db_path)) == (4, 4, 2, 2)


def test_closing_gives_up_what_is_held_and_the_account_agrees(db_path):
    storage = MetricsStorage(db_path, sample_rate=0)
    monitor = PerformanceMonitor(storage)
    with monitor.monitor("open"):
        for _ in range(3):
            with monitor.monitor("child"):
                pass
        storage.close()
        assert figures(account(db_path)) == (3, 3, 0, 3)


def test_more_held_spans_than_fit_are_told_of_when_their_trace_is_kept(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("root", **ALWAYS_SLOW):
            for _ in range(200):
                with monitor.monitor("child"):
                    pass
        assert len(storage.get_metrics("child")) == 128
        assert counts(storage)["child"] == 200
    health = account(db_path)
    assert (health.ended, health.counted, health.stored, health.sampled_out) == (201, 201, 129, 72)
    assert (health.dropped, health.not_kept) == ({}, {"not_held": 72})


def test_the_histogram_counts_what_is_sampled_out_too(db_path):
    reader = InMemoryMetricReader()
    with MetricsStorage(db_path, sample_rate=0) as storage:
        work(PerformanceMonitor(storage, meter_provider=MeterProvider([reader])), 50)
        assert names(storage) == []
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    found = {point.attributes["perfmon.operation"]: point.count for point in metric.data.data_points}
    assert found == {"request": 50, "query": 50}


def test_the_rate_that_was_given_last_holds_for_every_user_of_the_file(db_path):
    with MetricsStorage(db_path) as first, MetricsStorage(db_path, sample_rate=0):
        first.insert_metric("after", 1)
        assert (names(first), counts(first)) == ([], {"after": 1})
        with MetricsStorage(db_path):  # says nothing of sampling
            first.insert_metric("after", 1)
            assert names(first) == []


# --- configure(), tracers of others, and OpenTelemetry's own samplers


def test_configure_samples_the_spans_of_every_tracer(db_path):
    monitor = configure(db_path, sample_rate=0, sample_rates={"theirs": 1})
    tracer = trace.get_tracer("library")
    with tracer.start_as_current_span("theirs"), monitor.monitor("ours"), tracer.start_as_current_span("deep"):
        pass
    with tracer.start_as_current_span("unsampled"), monitor.monitor("ours"):
        pass
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("failing"), monitor.monitor("ours"):
        raise ValueError("no")
    assert names(monitor.storage) == ["deep", "failing", "ours", "ours", "theirs"]
    assert counts(monitor.storage) == {"theirs": 1, "ours": 3, "deep": 1, "unsampled": 1, "failing": 1}
    monitor.shutdown()
    assert figures(account(db_path)) == (7, 7, 5, 2)


def test_the_rates_come_from_the_environment(db_path, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SAMPLE_RATE", "0")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SAMPLE_RATES", "GET /health=0,checkout=1")
    monitor = configure(db_path)
    for name in ("GET /health", "checkout", "other"):
        with monitor.monitor(name):
            pass
    assert names(monitor.storage) == ["checkout"]


@pytest.mark.parametrize("variable", ["SAMPLE_RATE", "SAMPLE_RATES"])
def test_a_wrong_rate_in_the_environment_is_a_config_error_that_names_the_variable(variable, monkeypatch):
    monkeypatch.setenv(f"OTEL_PYTHON_PERFMON_{variable}", "checkout=2")
    for opened in (configure, MetricsStorage):
        with pytest.raises(ConfigError, match=f"OTEL_PYTHON_PERFMON_{variable} is 'checkout=2'"):
            opened()
    assert os.listdir() == []


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_opentelemetrys_sampler_is_for_other_pipelines_and_here_all_is_stored(db_path, monkeypatch, sampler):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.0")
    monitor = configure(db_path)
    exporter = InMemorySpanExporter()
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
    with trace.get_tracer("library").start_as_current_span("theirs"), monitor.monitor("ours"):
        pass
    assert trace.get_tracer_provider().force_flush()
    assert names(monitor.storage) == ["ours", "theirs"]
    assert exporter.get_finished_spans() == ()


def test_both_kinds_of_sampling_work_side_by_side(db_path, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1.0")
    monitor = configure(db_path, sample_rate=0)
    exporter = InMemorySpanExporter()
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
    work(monitor, 5)
    assert trace.get_tracer_provider().force_flush()
    assert (names(monitor.storage), len(exporter.get_finished_spans())) == ([], 10)
    assert counts(monitor.storage) == {"request": 5, "query": 5}


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
def test_always_off_turns_tracing_off(db_path, monkeypatch, sampler):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monitor = configure(db_path)
    with monitor.monitor("op") as span:
        assert not span.is_recording()
    assert (monitor.storage.get_metrics(), monitor.storage.get_stats(), os.listdir()) == ([], [], [])


# --- fork

FORK = """
import os
from otel_perfmon import configure
monitor = configure("metrics.db", sample_rate=0)
with monitor.monitor("around", slow_threshold_ms=0):
    with monitor.monitor("before"):
        pass
    monitor.force_flush()  # so that sampling holds it
    pid = os.fork()
    with monitor.monitor("child" if pid == 0 else "parent"):
        pass
if pid:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_is_held_at_a_fork_stays_the_parents(run_python, tmp_path):
    run_python(FORK)
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        assert names(storage) == ["around", "around", "before", "child", "parent"]
        assert counts(storage)["before"] == 1
    assert figures(account(str(tmp_path / "metrics.db"))) == (5, 5, 5, 0)
