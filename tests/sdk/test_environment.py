"""The environment carries the trace context into a process, and out to those that it starts."""

from __future__ import annotations

import os
import sys

import pytest
from monitor_kit import use_provider
from opentelemetry import context, trace
from shop_kit import stored

from otel_perfmon import configure, extract_environment, inject_environment
from otel_perfmon.sdk.environment import parent_of_process

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IDS = tuple(PARENT.split("-")[1:3])


def record() -> list:
    """Three root spans, of which the first has a child; gives what is stored of them."""
    monitor = configure("metrics.db")
    with monitor.monitor("first"), monitor.monitor("inner"):
        pass
    tracer = trace.get_tracer("library")
    with tracer.start_as_current_span("second"):
        pass
    tracer.start_span("third").end()
    monitor.force_flush()
    return stored()


@pytest.mark.usefixtures("fresh_process")
def test_the_root_spans_of_a_process_continue_the_trace_of_who_started_it(monkeypatch):
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "vendor=1")
    inner, *roots = record()
    assert [(span.trace_id, span.parent_span_id) for span in roots] == [IDS] * 3
    assert {span.trace_state for span in roots} == {"vendor=1"}
    assert (inner.trace_id, inner.parent_span_id) == (IDS[0], roots[0].span_id)


def test_other_propagators_have_their_own_variables(run_python):
    program = "import otel_perfmon\nwith otel_perfmon.configure('metrics.db').monitor('op'): pass"
    run_python(program, B3="-".join([*IDS, "1"]), OTEL_PROPAGATORS="b3")
    assert [(span.trace_id, span.parent_span_id) for span in stored()] == [IDS]


@pytest.mark.parametrize("value", ["", "nonsense", PARENT.replace("b7ad6b7169203331", "0" * 16)])
def test_a_value_that_tells_no_span_is_none(monkeypatch, value):
    monkeypatch.setenv("TRACEPARENT", value)
    assert parent_of_process() is None


@pytest.mark.usefixtures("fresh_process")
def test_a_trace_that_was_not_sampled_elsewhere_is_stored_and_goes_nowhere(monkeypatch):
    monkeypatch.setenv("TRACEPARENT", PARENT[:-1] + "0")
    assert [span.flags & 1 for span in record()] == [0] * 4


@pytest.mark.usefixtures("fresh_process")
def test_a_span_with_a_parent_has_that_one(monkeypatch):
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monitor = configure("metrics.db")
    other = trace.SpanContext(5, 6, is_remote=True, trace_flags=trace.TraceFlags(1))
    trace.get_tracer("x").start_span("op", trace.set_span_in_context(trace.NonRecordingSpan(other))).end()
    monitor.force_flush()
    (span,) = stored()
    assert (int(span.trace_id, 16), int(span.parent_span_id, 16)) == (5, 6)


@pytest.mark.usefixtures("fresh_process")
def test_on_a_provider_of_the_programs_what_was_attached_is_continued(monkeypatch):
    monkeypatch.setenv("TRACEPARENT", PARENT)
    use_provider()
    token = context.attach(extract_environment())
    _inner, *roots = record()
    context.detach(token)
    assert [(span.trace_id, span.parent_span_id) for span in roots] == [IDS] * 3


@pytest.mark.usefixtures("fresh_process")
def test_what_is_handed_on_is_the_current_span_and_nothing_of_another_trace(monkeypatch):
    monitor = configure("metrics.db")
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "vendor=1")
    assert inject_environment() == dict(os.environ)
    with monitor.monitor("op") as span:
        current = span.get_span_context()
        carried = inject_environment({"PATH": "/bin", "TRACESTATE": "vendor=1", "BAGGAGE": "a=1"})
    assert carried == {
        "PATH": "/bin",
        "BAGGAGE": "a=1",
        "TRACEPARENT": f"00-{current.trace_id:032x}-{current.span_id:016x}-03",
    }
    assert trace.get_current_span(extract_environment(carried)).get_span_context().span_id == current.span_id
    assert os.environ["TRACEPARENT"] == PARENT


def test_a_propagator_that_is_not_installed_is_logged_and_stops_nothing(run_python):
    printed = run_python(
        """
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("op"):
            print(len(otel_perfmon.inject_environment({"A": "1"})))
        """,
        OTEL_PROPAGATORS="no-such-propagator",
    )
    assert printed == "1\n"
    assert [span.name for span in stored()] == ["op"]


def test_a_subprocess_continues_the_trace_in_the_same_file(run_python):
    run_python(
        f"""
        import subprocess, otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        script = "import otel_perfmon\\nwith otel_perfmon.configure('metrics.db').monitor('child'): pass"
        with monitor.monitor("parent"):
            subprocess.run([{sys.executable!r}, "-c", script], env=otel_perfmon.inject_environment(), check=True)
        """
    )
    child, parent = stored()
    assert (child.name, child.trace_id, child.parent_span_id) == ("child", parent.trace_id, parent.span_id)
