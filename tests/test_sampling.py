from __future__ import annotations

import os

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_perfmon import MetricsStorage, PerformanceMonitor, configure


def names(storage: MetricsStorage) -> list[str]:
    return sorted(metric["operation"] for metric in storage.get_metrics())


def fail() -> None:
    raise ValueError("boom")


def test_what_is_not_sampled_is_counted_and_not_stored(db_path):
    reader = InMemoryMetricReader()
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))
        for _ in range(100):
            with monitor.monitor("outer"), monitor.monitor("inner"):
                pass
        assert names(storage) == []
        assert {stats.operation: stats.count for stats in storage.get_stats()} == {"outer": 100, "inner": 100}
        data = reader.get_metrics_data()
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert sum(point.count for point in points) == 200
        health = storage.store.get_health()
        assert (health.ended, health.counted, health.stored, health.sampled_out) == (200, 200, 0, 200)


def test_a_trace_of_which_any_operation_failed_or_was_slow_is_stored_whole(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("fine"), monitor.monitor("fine inside"):
            pass
        with monitor.monitor("outer"):
            with monitor.monitor("before"):
                pass
            with pytest.raises(ValueError, match="boom"), monitor.monitor("failing"):
                fail()
            with monitor.monitor("after"):
                pass
        with monitor.monitor("slow outer"), monitor.monitor("slow", slow_threshold_ms=0):
            pass
        assert names(storage) == ["after", "before", "failing", "outer", "slow", "slow outer"]
        health = storage.store.get_health()
        assert (health.ended, health.counted, health.stored, health.sampled_out) == (8, 8, 6, 2)
        assert storage.get_error_rate("failing", 60) == 1


def test_the_rate_of_the_root_operation_holds_for_every_tracer_of_the_provider(db_path, fresh_process):
    monitor = configure(db_path, sample_rate=0, sample_rates={"checkout": 1})
    tracer = trace.get_tracer("shop")
    for root in ("checkout", "GET /health"):
        with tracer.start_as_current_span(root), monitor.monitor(f"inside {root}"):
            pass
    assert names(monitor.storage) == ["checkout", "inside checkout"]
    assert monitor.storage.get_stats("GET /health").count == 1
    monitor.shutdown()


def test_an_open_trace_is_held_over_a_flush_and_given_up_at_the_end(db_path):
    with MetricsStorage(db_path, sample_rate=0) as storage:
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("outer"):
            with monitor.monitor("inner"):
                pass
            assert monitor.force_flush()
            assert storage.get_stats("inner").count == 1
            storage.close()
    with MetricsStorage(db_path) as storage:
        health = storage.store.get_health()
        assert (health.counted, health.stored, health.sampled_out) == (2, 0, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_store_what_its_parent_holds(run_python):
    program = """
        import os
        from otel_perfmon import MetricsStorage, PerformanceMonitor
        storage = MetricsStorage("metrics.db", sample_rate=0)
        monitor = PerformanceMonitor(storage)
        with monitor.monitor("outer"):
            with monitor.monitor("inner"):
                pass
            monitor.force_flush()
            if not os.fork():
                with monitor.monitor("of the child", slow_threshold_ms=0):
                    pass
                monitor.force_flush()
                os._exit(0)
            os.wait()
            with monitor.monitor("slow", slow_threshold_ms=0):
                pass
        print(sorted(metric["operation"] for metric in storage.get_metrics()))
    """
    assert run_python(program).splitlines() == ["['inner', 'of the child', 'outer', 'slow']"]


def test_the_samplers_variable_is_for_what_goes_elsewhere(run_python):
    program = """
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        exporter = InMemorySpanExporter()
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        for _ in range(10):
            with monitor.monitor("op"):
                pass
        print(len(monitor.storage.get_metrics()), len(exporter.get_finished_spans()))
    """
    assert run_python(program, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0") == "10 0\n"


PROGRAM = """
    from opentelemetry import trace
    tracer = trace.get_tracer("app")
    {configure}
    with tracer.start_as_current_span("checkout"):
        pass
    from otel_perfmon import get_monitor, open_store
    get_monitor().force_flush()
    spans = list(open_store("stored.db").find_spans())
    print([span.name for span in spans], spans[0].resource.attributes["service.name"])
"""
PERFMON = {
    "OTEL_PYTHON_TRACER_PROVIDER": "perfmon",
    "OTEL_PYTHON_PERFMON_PATH": "stored.db",
    "OTEL_SERVICE_NAME": "shop",
}


def test_a_program_without_a_line_of_ours_is_stored(run_python):
    assert run_python(PROGRAM.format(configure=""), **PERFMON) == "['checkout'] shop\n"


def test_a_wrong_setting_does_not_stop_a_program_that_did_not_ask(run_python):
    printed = run_python(PROGRAM.format(configure=""), **PERFMON, OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS="soon")
    assert printed == "['checkout'] shop\n"


def test_configure_beside_the_variable_stores_each_span_once(run_python):
    before = "import otel_perfmon; otel_perfmon.configure(service_name='mine')"
    printed = run_python(
        before + "\n" + "\n".join(line[4:] for line in PROGRAM.format(configure="").splitlines()), **PERFMON
    )
    assert printed == "['checkout'] mine\n"
    after = run_python(PROGRAM.format(configure="import otel_perfmon; otel_perfmon.configure()"), **PERFMON)
    assert after == "['checkout', 'checkout'] shop\n"  # the first program's is there too
