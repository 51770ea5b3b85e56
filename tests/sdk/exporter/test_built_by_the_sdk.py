"""The SDK builds the exporters from its own variables."""

from __future__ import annotations

import time
from importlib.metadata import entry_points

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from otel_perfmon import SpanQuery, SQLiteMetricExporter, SQLiteSpanExporter, TimeOrderedIdGenerator, open_store


def test_the_entry_points_lead_to_our_classes():
    wanted = {
        ("opentelemetry_traces_exporter", "sqlite"): SQLiteSpanExporter,
        ("opentelemetry_metrics_exporter", "sqlite"): SQLiteMetricExporter,
        ("opentelemetry_id_generator", "perfmon"): TimeOrderedIdGenerator,
    }
    for (group, name), kind in wanted.items():
        (found,) = entry_points(group=group, name=name)
        assert found.load() is kind
    assert issubclass(SQLiteSpanExporter, SpanExporter)
    assert issubclass(SQLiteMetricExporter, MetricExporter)


CONFIGURED_PROGRAM = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    _OTelSDKConfigurator()._configure()
    with trace.get_tracer("t").start_as_current_span("outer"):
        with trace.get_tracer("t").start_as_current_span("inner"):
            metrics.get_meter("m").create_counter("clicks").add(3)
    print(type(trace.get_tracer_provider()).__module__)
"""
SDK_ENVIRONMENT = {
    "OTEL_TRACES_EXPORTER": "sqlite",
    "OTEL_METRICS_EXPORTER": "sqlite",
    "OTEL_PYTHON_ID_GENERATOR": "perfmon",
    "OTEL_SERVICE_NAME": "configured",
}


def test_the_sdk_builds_the_exporters_from_its_own_variables(run_python, db_path):
    run_python(CONFIGURED_PROGRAM, OTEL_PYTHON_PERFMON_PATH=db_path, **SDK_ENVIRONMENT)
    with open_store(db_path) as store:
        spans = store.find_spans(SpanQuery(order="oldest"))
        assert [each.name for each in spans] == ["inner", "outer"]
        assert {each.service for each in spans} == {"configured"}
        (point,) = store.find_points("clicks")
        assert (point.data["value"], point.temporality) == (3, AggregationTemporality.DELTA)
    now_ms = time.time_ns() // 10**6
    assert 0 <= now_ms - (int(spans[0].trace_id, 16) >> 80) < 60_000


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "soon", "OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "never"},
        {"OTEL_PYTHON_PERFMON_PATH": "/dev/null/metrics.db"},
    ],
    ids=["settings", "path"],
)
def test_a_program_that_the_sdk_configured_runs_on_whatever_our_settings_are(run_python, environment):
    assert run_python(CONFIGURED_PROGRAM, **environment, **SDK_ENVIRONMENT).strip() == "opentelemetry.sdk.trace"
