"""What `export` answered with success is in the file."""

from __future__ import annotations

import threading

from exporter_kit import FAILURE, SUCCESS, count_of, ended
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_perfmon import SQLiteSpanExporter, open_store


def test_what_export_answered_with_success_another_process_sees(exporter, db_path, run_python):
    assert exporter.export([ended(f"op{n}") for n in range(3)]) is SUCCESS
    printed = run_python(f"""
        import sqlite3
        print(sqlite3.connect({db_path!r}).execute("SELECT count(*) FROM metrics").fetchone()[0])
    """)
    assert printed.strip() == "3"


def test_an_empty_export_succeeds(exporter):
    assert exporter.export([]) is SUCCESS
    assert exporter.export(()) is SUCCESS


def test_after_shutdown_export_fails_and_stores_nothing(exporter, span, db_path):
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export([span]) is FAILURE
    assert count_of(db_path) == 1


def test_an_exporter_that_is_shut_down_leaves_the_file_to_the_others(db_path, span):
    first, second = SQLiteSpanExporter(db_path), SQLiteSpanExporter(db_path)
    first.shutdown()
    assert second.export([span]) is SUCCESS
    second.shutdown()
    third = SQLiteSpanExporter(db_path)
    assert third.export([span]) is SUCCESS
    third.shutdown()
    assert count_of(db_path) == 2


def test_simple_processors_on_eight_threads_store_every_span_once(db_path):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db_path)))
    tracer = provider.get_tracer("t")

    def work(number: int) -> None:
        for n in range(100):
            tracer.start_span(f"op{number}", attributes={"n": n}).end()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_store(db_path) as store:
        assert {each.operation: each.count for each in store.summarize_operations()} == {
            f"op{n}": 100 for n in range(8)
        }
        assert store.get_health().dropped == {}
    provider.shutdown()
    assert count_of(db_path) == 800


def test_spans_are_kept_when_the_program_ends_without_a_word(run_python, db_path):
    run_python(f"""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from otel_perfmon import SQLiteSpanExporter
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter({db_path!r})))
        for n in range(1000):
            provider.get_tracer("t").start_span("op").end()
    """)
    assert count_of(db_path) == 1000
