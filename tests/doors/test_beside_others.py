"""Beside other providers, exporters, propagators and instrumentations: the real packages, each in its own process."""

from __future__ import annotations

import pytest
from shop_kit import collector, stored

PRINT_SPANS = """
    monitor.force_flush()
    from otel_perfmon import SpanQuery
    found = monitor.storage.store.find_spans(SpanQuery(limit=100))
    names = {span.span_id: span.name for span in found}
    print(*sorted(f"{span.name} < {names.get(span.parent_span_id)}" for span in found), sep="\\n")
"""


def test_a_batch_processor_with_otlp_on_the_same_provider_gets_every_span_too(run_python):
    with collector() as (address, names):
        run_python(
            f"""
            import otel_perfmon
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter({address!r} + "/v1/traces")))
            trace.set_tracer_provider(provider)
            monitor = otel_perfmon.configure("metrics.db", slow_threshold_ms=0)
            with trace.get_tracer("shop").start_as_current_span("checkout"), monitor.monitor("charge"):
                pass
            """
        )
    assert [(span.name, span.is_slow) for span in stored()] == [("charge", True), ("checkout", True)]
    assert names == ["charge", "checkout"]


OWN_PROVIDER = """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter = InMemorySpanExporter()
    theirs = TracerProvider(resource=Resource({"service.name": "theirs"}))
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(theirs)
"""


@pytest.mark.parametrize("door", ["configure", "environment"])
def test_a_provider_that_the_program_sets_after_ours_takes_its_place_and_is_stored(run_python, door):
    variables = {"OTEL_PYTHON_TRACER_PROVIDER": "perfmon"} if door == "environment" else {}
    printed = run_python(
        """
    import logging, sys, otel_perfmon
    from opentelemetry import trace
    logging.basicConfig(stream=sys.stdout)
"""
        + ("    monitor = otel_perfmon.configure('metrics.db')\n" if door == "configure" else "")
        + """
    early = trace.get_tracer("early", "1.0", attributes={"a": 1})
    with early.start_as_current_span("before"):
        pass
"""
        + OWN_PROVIDER
        + """
    monitor = otel_perfmon.get_monitor()
    late = trace.get_tracer("late")
    with early.start_as_current_span("early"), monitor.monitor("ours"), late.start_as_current_span("late"):
        pass
    early.start_span("alone").end()
    print(trace.get_tracer_provider() is theirs, [span.name for span in exporter.get_finished_spans()])
    print(dict(exporter.get_finished_spans()[-1].instrumentation_scope.attributes))
    trace.set_tracer_provider(TracerProvider())
    print(trace.get_tracer_provider() is theirs)
""",
        **variables,
    )
    assert printed.splitlines() == [
        "True ['late', 'ours', 'early', 'alone']",
        "{'a': 1}",
        "WARNING:opentelemetry.trace:Overriding of current TracerProvider is not allowed",
        "True",
    ]
    spans = {span.name: span for span in stored()}
    assert sorted(spans) == ["alone", "before", "early", "late", "ours"]
    assert spans["late"].parent_span_id == spans["ours"].span_id
    assert spans["ours"].parent_span_id == spans["early"].span_id
    assert {span.service for name, span in spans.items() if name != "before"} == {"theirs"}


@pytest.mark.parametrize("is_logfire_first", [True, False])
def test_beside_logfire_both_have_every_span(run_python, is_logfire_first):
    set_up = [
        "logfire.configure(**settings)",
        "monitor = otel_perfmon.configure('metrics.db', slow_threshold_ms=0)",
    ]
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


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_context_that_came_by_a_header_is_the_parent_of_an_operation(run_python):
    headers = {"tracecontext": {"traceparent": PARENT}, "b3": {"b3": "-".join([*PARENT.split("-")[1:3], "1"])}}
    for propagator, carrier in headers.items():
        printed = run_python(
            f"""
            import otel_perfmon
            from opentelemetry import context, propagate
            monitor = otel_perfmon.configure("metrics.db")
            token = context.attach(propagate.extract({carrier!r}))
            with monitor.monitor("op"):
                sent = {{}}
                propagate.inject(sent)
            context.detach(token)
            print(sent)
            """,
            OTEL_PROPAGATORS=propagator,
        )
        *_, span = stored()
        assert (span.trace_id, span.parent_span_id) == tuple(PARENT.split("-")[1:3])
        assert span.span_id in printed


def test_an_operation_in_a_thread_has_its_parent_with_the_threading_instrumentation_and_is_a_root_without(run_python):
    printed = run_python(
        """
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context
    import threading
    import otel_perfmon
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor
    monitor = otel_perfmon.configure("metrics.db")
    work = monitor.monitor("in a pool")(lambda: None)
    with monitor.monitor("without"), ThreadPoolExecutor(2) as pool:
        pool.submit(work).result()
        pool.submit(copy_context().run, monitor.monitor("in a copied context")(lambda: None)).result()
    ThreadingInstrumentor().instrument()
    with monitor.monitor("with"), ThreadPoolExecutor(2) as pool:
        pool.submit(work).result()
        thread = threading.Thread(target=monitor.monitor("in a thread")(lambda: None))
        thread.start()
        thread.join()
"""
        + PRINT_SPANS
    )
    assert printed.splitlines() == [
        "in a copied context < without",
        "in a pool < None",
        "in a pool < with",
        "in a thread < with",
        "with < None",
        "without < None",
    ]
