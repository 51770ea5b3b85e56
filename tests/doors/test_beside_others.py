"""Beside other providers, exporters, propagators and instrumentations: the real packages."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module

import pytest
from monitor_kit import exported_names, use_provider, warnings_in
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from shop_kit import collector, stored

from otel_perfmon import configure, get_monitor

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.usefixtures("fresh_process")
def test_a_batch_processor_with_otlp_on_the_same_provider_gets_every_span_too():
    with collector() as (address, names):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{address}/v1/traces")))
        trace.set_tracer_provider(provider)
        monitor = configure("metrics.db", slow_threshold_ms=0)
        with trace.get_tracer("shop").start_as_current_span("checkout"), monitor.monitor("charge"):
            pass
        provider.shutdown()
    assert [(span.name, span.is_slow) for span in stored()] == [("charge", True), ("checkout", True)]
    assert names == ["charge", "checkout"]


@pytest.mark.usefixtures("fresh_process")
def test_a_provider_that_the_program_sets_after_ours_takes_its_place_and_is_stored(caplog):
    monitor = configure("metrics.db", service_name="ours")
    early = trace.get_tracer("early", "1.0", attributes={"a": 1})
    early.start_span("before").end()
    theirs, exporter = use_provider(resource=Resource({"service.name": "theirs"}))
    assert trace.get_tracer_provider() is theirs
    assert [("its resource stands" in each) for each in warnings_in(caplog)] == [True]
    late = trace.get_tracer("late")
    with early.start_as_current_span("early"), monitor.monitor("ours"), late.start_as_current_span("late"):
        pass
    early.start_span("alone").end()
    monitor.force_flush()
    spans = {span.name: span for span in stored()}
    assert len(stored()) == len(spans) == 5
    assert exported_names(exporter) == sorted(spans.keys() - {"before"})
    assert spans["late"].parent_span_id == spans["ours"].span_id
    assert spans["ours"].parent_span_id == spans["early"].span_id
    assert spans["alone"].scope == spans["before"].scope
    assert {span.service for name, span in spans.items() if name != "before"} == {"theirs"}


@pytest.mark.usefixtures("fresh_process")
def test_a_second_provider_that_the_program_sets_is_refused_by_opentelemetry_as_ever(caplog):
    configure("metrics.db")
    theirs, _ = use_provider()
    use_provider()
    assert trace.get_tracer_provider() is theirs
    assert [("Overriding" in each) for each in warnings_in(caplog)] == [True]


@pytest.mark.usefixtures("fresh_process")
def test_our_own_provider_set_once_more_is_refused_and_another_may_still_follow():
    configure("metrics.db")
    trace.set_tracer_provider(trace.get_tracer_provider())
    theirs, _ = use_provider()
    assert trace.get_tracer_provider() is theirs


@pytest.mark.usefixtures("fresh_process")
def test_the_sampler_of_a_provider_that_follows_ours_holds_for_every_tracer():
    monitor = configure("metrics.db")
    early = trace.get_tracer("early")
    use_provider(sampler=ALWAYS_OFF)
    for tracer in (early, trace.get_tracer("late")):
        tracer.start_span("op").end()
    with monitor.monitor("ours"):
        pass
    assert monitor.storage.get_metrics() == []


@pytest.mark.usefixtures("fresh_process")
def test_after_shutdown_a_provider_that_follows_ours_is_left_alone():
    monitor = configure("metrics.db")
    get_monitor().shutdown()
    theirs, exporter = use_provider(sampler=ALWAYS_ON)
    trace.get_tracer("x").start_span("op").end()
    assert trace.get_tracer_provider() is theirs
    assert exported_names(exporter) == ["op"]
    assert monitor.force_flush()


@pytest.mark.usefixtures("fresh_process")
def test_a_provider_that_follows_after_shutdown_and_another_configure_is_stored():
    configure("first.db")
    early = trace.get_tracer("early")
    get_monitor().shutdown()
    monitor = configure("second.db")
    _, exporter = use_provider()
    for tracer in (early, trace.get_tracer("late")):
        tracer.start_span("early" if tracer is early else "late").end()
    with monitor.monitor("ours"):
        pass
    monitor.force_flush()
    assert exported_names(exporter) == sorted(span.name for span in stored("second.db")) == ["early", "late", "ours"]


class _Broken(TracerProvider):
    is_broken = True

    def get_tracer(self, *args, **kwargs):
        if self.is_broken:
            raise RuntimeError
        return super().get_tracer(*args, **kwargs)


@pytest.mark.usefixtures("fresh_process")
def test_a_provider_that_breaks_when_it_is_asked_for_a_tracer_is_set_all_the_same(caplog):
    configure("metrics.db")
    trace.get_tracer("early")
    theirs = _Broken(shutdown_on_exit=False)
    trace.set_tracer_provider(theirs)
    assert trace.get_tracer_provider() is theirs
    assert any("could not move" in each for each in warnings_in(caplog))
    theirs.is_broken = False


def test_a_provider_set_by_the_environment_gives_way_too(run_python):
    run_python(
        """
        from opentelemetry import trace
        early = trace.get_tracer("early")
        from opentelemetry.sdk.trace import TracerProvider
        theirs = TracerProvider()
        trace.set_tracer_provider(theirs)
        for tracer in (early, trace.get_tracer("late")):
            tracer.start_span("op").end()
        assert trace.get_tracer_provider() is theirs
        """,
        OTEL_PYTHON_TRACER_PROVIDER="perfmon",
    )
    assert [span.scope.name for span in stored()] == ["early", "late"]


@pytest.mark.parametrize("is_logfire_first", [True, pytest.param(False, marks=pytest.mark.faults)])
def test_beside_logfire_both_have_every_span(run_python, is_logfire_first):
    set_up = ["logfire.configure(**settings)", "monitor = otel_perfmon.configure('metrics.db', slow_threshold_ms=0)"]
    first, second = set_up if is_logfire_first else reversed(set_up)
    printed = run_python(
        f"""
        import logfire, otel_perfmon
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        kept = InMemorySpanExporter()
        settings = {{"send_to_logfire": False, "console": False, "inspect_arguments": False}}
        settings["additional_span_processors"] = [SimpleSpanProcessor(kept)]
        {first}
        early = trace.get_tracer("early")
        {second}
        with logfire.span("order {{number}}", number=7), monitor.monitor("charge"):
            with early.start_as_current_span("query"):
                pass
        kinds = [(each.name, each.attributes.get("logfire.span_type")) for each in kept.get_finished_spans()]
        print([name for name, kind in kinds if kind != "pending_span"])
        """
    )
    assert printed == "['query', 'charge', 'order {number}']\n"
    query, charge, order = stored()
    assert [span.name for span in (query, charge, order)] == ["query", "charge", "order {number}"]
    assert (query.parent_span_id, charge.parent_span_id) == (charge.span_id, order.span_id)
    assert (order.attributes["number"], order.is_slow) == (7, True)


@pytest.mark.usefixtures("fresh_process")
@pytest.mark.parametrize(
    ("propagator", "headers"),
    [
        (TraceContextTextMapPropagator(), {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}),
        (B3SingleFormat(), {"b3": f"{TRACE_ID}-{SPAN_ID}-1"}),
        (B3MultiFormat(), {"x-b3-traceid": TRACE_ID, "x-b3-spanid": SPAN_ID, "x-b3-sampled": "1"}),
    ],
    ids=["W3C", "B3 single", "B3 multi"],
)
def test_a_context_that_came_in_headers_is_the_parent_of_an_operation_which_goes_on_in_others(propagator, headers):
    monitor = configure("metrics.db")
    token = context.attach(propagator.extract(headers))
    sent: dict[str, str] = {}
    with monitor.monitor("op"):
        propagator.inject(sent)
    context.detach(token)
    monitor.force_flush()
    (span,) = stored()
    assert (span.trace_id, span.parent_span_id) == (TRACE_ID, SPAN_ID)
    assert span.span_id in str(sent)


@pytest.mark.usefixtures("fresh_process")
def test_a_context_of_none_which_a_missing_propagator_leaves_behind_stops_neither_operation_nor_writer():
    monitor = configure("metrics.db")
    none = import_module("opentelemetry.propagators.composite").CompositePropagator([]).extract({})
    token = context.attach(none)
    with monitor.monitor("op"):
        pass
    assert monitor.force_flush()
    context.detach(token)
    assert none is None
    assert [span.name for span in stored()] == ["op"]


@pytest.mark.usefixtures("fresh_process")
def test_an_operation_in_a_thread_has_its_parent_with_the_threading_instrumentation_and_is_a_root_without():
    monitor = configure("metrics.db")
    work = monitor.monitor("in a pool")(lambda: None)
    with monitor.monitor("without"), ThreadPoolExecutor(2) as pool:
        pool.submit(work).result()
        pool.submit(copy_context().run, monitor.monitor("in a copied context")(lambda: None)).result()
    ThreadingInstrumentor().instrument()
    try:
        with monitor.monitor("with"), ThreadPoolExecutor(2) as pool:
            pool.submit(work).result()
            thread = threading.Thread(target=monitor.monitor("in a thread")(lambda: None))
            thread.start()
            thread.join()
    finally:
        ThreadingInstrumentor().uninstrument()
    monitor.force_flush()
    names = {span.span_id: span.name for span in stored()}
    assert sorted((span.name, names.get(span.parent_span_id, "")) for span in stored()) == [
        ("in a copied context", "without"),
        ("in a pool", ""),
        ("in a pool", "with"),
        ("in a thread", "with"),
        ("with", ""),
        ("without", ""),
    ]
