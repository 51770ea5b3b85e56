"""The program goes on, and what it recorded is in the file however it ends."""

from __future__ import annotations

import logging

import pytest
from monitor_kit import exported_names, names, stored, use_provider, warnings_in
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor

from otel_perfmon import MetricsStorage, configure, get_monitor

pytestmark = pytest.mark.usefixtures("fresh_process")


class _Broken(SpanProcessor):
    def on_end(self, span) -> None:
        raise LookupError("on_end")


def test_a_users_processor_that_raises_costs_only_itself():
    provider, exporter = use_provider()
    provider.add_span_processor(_Broken())
    monitor = configure("metrics.db")
    ran = []
    with monitor.monitor("op"):
        ran.append(1)
    assert ran == [1]
    assert names(monitor.storage) == exported_names(exporter) == ["op"]


def test_spans_with_a_resource_of_the_users_keep_it_and_a_service_name_given_in_vain_is_warned_of(caplog):
    use_provider(resource=Resource({"service.name": "theirs"}))
    monitor = configure("metrics.db", service_name="ours")
    with monitor.monitor("op"):
        pass
    assert stored(monitor.storage)["op"].service == "theirs"
    assert any("service_name" in message for message in warnings_in(caplog))


def test_everything_is_in_the_file_when_the_program_ends_without_saying_so(run_python, tmp_path):
    program = """
        import otel_perfmon as o
        from opentelemetry import trace
        m = o.configure("metrics.db")
        for i in range(1000):
            with m.monitor("op"):
                pass
        with trace.get_tracer("x").start_as_current_span("theirs"):
            pass
    """
    run_python(program)
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        assert storage.get_stats("op").count == 1000
        assert len(storage.get_metrics("theirs")) == 1


def test_a_program_that_ends_by_an_exception_keeps_its_stack_trace_in_the_file(run_python, tmp_path):
    program = """
        import otel_perfmon as o
        m = o.configure("metrics.db")
        with m.monitor("op"):
            1 / 0
    """
    run_python(program, check=False)
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        (metric,) = storage.get_metrics("op")
    assert metric["error_type"] == "ZeroDivisionError"
    assert "1 / 0" in metric["stack_trace"] or "<string>" in metric["stack_trace"]


def test_a_handler_that_measures_each_log_record_makes_no_endless_loop():
    monitor = configure("metrics.db")

    class Handler(logging.Handler):
        def emit(self, record) -> None:
            with get_monitor().monitor("log"):
                pass

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        with monitor.monitor("op"):
            monitor.storage.insert_metric("cannot be stored", float("nan"))  # which is logged on this thread
        trace.get_tracer("x").start_span("cannot be read", kind="none").end()  # and on the writer's
        assert monitor.force_flush() is True
    finally:
        logging.getLogger().removeHandler(handler)
    assert monitor.storage.get_stats("log").count >= 1
