"""The store makes no spans of its own."""

from __future__ import annotations

import pytest

INSTRUMENTED_PROGRAM = """
    import os, sqlite3, time
    from opentelemetry import trace
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    SQLite3Instrumentor().instrument()

    from otel_perfmon import SpanQuery, SQLiteMetricExporter, SQLiteSpanExporter, configure, open_store
    connection = sqlite3.connect("mine.db")
    connection.cursor().execute("CREATE TABLE t (x)")
    assert [span.name for span in memory.get_finished_spans()] == ["CREATE"], "the instrumentation works"
    memory.clear()

    monitor = configure({path!r}, durability={durability!r})
    storage = monitor.storage
    with monitor.monitor("op"):
        pass
    monitor.force_flush()
    for n in range(100):
        storage.insert_metric("metric", n, n % 2 == 0, timestamp=time.time() - n)
    time.sleep(0.3)
    storage.get_metrics()
    storage.get_metrics_in_window("metric", 60, True)
    storage.get_stats()
    storage.get_stats("metric", window_seconds=60)
    storage.get_error_rate("metric", 60)
    storage.cleanup(0)
    storage.recorder._writer.maintain()
    with open_store({path!r}) as store:
        store.find_spans(SpanQuery())
        store.list_operations(), store.list_services(), store.summarize_calls(), store.summarize_errors()
        store.get_health(), store.find_points()
        store.delete_spans_before(time.time())
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    meters.get_meter("m").create_counter("c").add(1)
    exporter = SQLiteMetricExporter({path!r})
    exporter.export(reader.get_metrics_data())
    exporter.shutdown()
    spans = SQLiteSpanExporter("second.db")
    spans.export(memory.get_finished_spans())
    spans.shutdown()
    assert os.path.exists("second.db")
    monitor.shutdown()
    print([span.name for span in memory.get_finished_spans()])
"""


@pytest.mark.parametrize("durability", ["batch", "span"])
def test_under_the_sqlite_instrumentation_the_store_makes_no_span_of_its_own(run_python, db_path, durability):
    assert run_python(INSTRUMENTED_PROGRAM.format(path=db_path, durability=durability)).strip() == "['op']"
