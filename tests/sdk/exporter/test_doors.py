"""Two doors, one result: a stock pipeline and `configure()` store the same."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from exporter_kit import count_of, rows_of
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otel_perfmon import SQLiteSpanExporter, configure

SPAN_COUNT = 500


def generated_value(rng: random.Random, depth: int = 2) -> Any:
    choices = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-(2**63), 2**63 - 1),
        lambda: rng.choice([rng.gauss(0, 1e6), 0.0, -0.0, float("nan"), float("inf"), 1e-300]),
        lambda: "".join(rng.choice('aé€😀"\\\n\0@{}') for _ in range(rng.randint(0, 12))),
        lambda: rng.randbytes(rng.randint(0, 9)),
    ]
    if depth:
        choices.append(lambda: [generated_value(rng, depth - 1) for _ in range(rng.randint(0, 3))])
        choices.append(lambda: generated_attributes(rng, depth - 1))
    return rng.choice(choices)()


def generated_attributes(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    return {f"{rng.choice(['k', '@k', 'a.b'])}{n}": generated_value(rng, depth) for n in range(rng.randint(0, 4))}


def generated_context(rng: random.Random) -> SpanContext:
    state = TraceState([(f"k{n}", str(rng.random())) for n in range(rng.randint(0, 2))])
    flags = TraceFlags(rng.choice([1, 3]))
    return SpanContext(rng.getrandbits(128) | 1, rng.getrandbits(64) | 1, rng.random() < 0.5, flags, state)


def generate_spans(provider: trace.TracerProvider, count: int, seed: int = 7) -> None:
    """End ``count`` spans of every kind on the provider."""
    rng = random.Random(seed)
    tracers = [
        provider.get_tracer(
            f"lib{n}", f"{n}.0" if n else None, "https://e.org/s" if n else None, {"n": n} if n else None
        )
        for n in range(3)
    ]
    for n in range(count):
        parent = rng.choice([None, NonRecordingSpan(generated_context(rng))])
        start = 10**18 + n * 10**7
        span = rng.choice(tracers).start_span(
            rng.choice(["GET /", "SELECT", "work é", "", f"op{n % 50}"]),
            context=trace.set_span_in_context(parent) if parent else None,
            kind=rng.choice(list(SpanKind)),
            attributes=generated_attributes(rng),
            links=[Link(generated_context(rng), generated_attributes(rng)) for _ in range(rng.randint(0, 5))],
            start_time=start,
        )
        for _ in range(rng.randint(0, 5)):
            span.add_event(rng.choice(["e", "log", ""]), generated_attributes(rng), start + rng.randint(0, 10**6))
        if rng.random() < 0.2:
            span.record_exception(ValueError(f"no {n}"), timestamp=start)
        if rng.random() < 0.3:
            span.set_status(rng.choice([StatusCode.OK, StatusCode.ERROR]), "it failed")
        span.end(start + rng.choice([0, 1, rng.randint(0, 10**9), rng.randint(10**9, 10**12)]))


def make_provider() -> TracerProvider:
    return TracerProvider(
        resource=Resource({"service.name": "shop", "service.version": "2"}, "https://opentelemetry.io/schemas/1.29.0"),
        span_limits=SpanLimits(max_span_attributes=3, max_events=4, max_links=4, max_link_attributes=2),
        shutdown_on_exit=False,
    )


def test_a_stock_pipeline_and_configure_store_the_same_spans_with_the_same_columns(fresh_process, tmp_path):
    stock, ours = str(tmp_path / "stock.db"), str(tmp_path / "ours.db")
    provider = make_provider()
    provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(stock)))
    trace.set_tracer_provider(provider)
    configure(ours)
    generate_spans(provider, SPAN_COUNT)
    assert provider.force_flush()
    stored, same = rows_of(stock), rows_of(ours)
    assert len(stored) == SPAN_COUNT
    assert len(stored[0]) == 24
    for left, right in zip(stored, same, strict=True):
        assert left == right


@pytest.mark.parametrize("count", [150, pytest.param(SPAN_COUNT, marks=pytest.mark.long)])
@pytest.mark.parametrize("processor", [BatchSpanProcessor, SimpleSpanProcessor])
@pytest.mark.parametrize("is_exporter_first", [True, False])
def test_both_doors_on_one_file_at_once_store_each_span_once(
    fresh_process, tmp_path, processor, is_exporter_first, count
):
    db_path, alone = str(tmp_path / "metrics.db"), str(tmp_path / "alone.db")
    provider = make_provider()
    provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(alone)))
    trace.set_tracer_provider(provider)
    if is_exporter_first:
        provider.add_span_processor(processor(SQLiteSpanExporter(db_path)))
        monitor = configure(db_path)
    else:
        monitor = configure(db_path)
        provider.add_span_processor(processor(SQLiteSpanExporter(os.path.join("..", tmp_path.name, "metrics.db"))))
    generate_spans(provider, count)
    assert provider.force_flush()
    assert rows_of(db_path) == rows_of(alone)
    assert monitor.storage.store.get_health().ended == count


def test_a_span_that_one_exporter_is_given_twice_is_two_spans(exporter, span, db_path):
    exporter.export([span])
    exporter.export([span])
    assert count_of(db_path) == 2


def test_spans_with_repeated_ids_are_all_kept_through_both_doors(fresh_process, db_path):
    class Repeating(IdGenerator):
        def generate_trace_id(self) -> int:
            return 5

        def generate_span_id(self) -> int:
            return 6

    provider = TracerProvider(id_generator=Repeating(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db_path)))
    trace.set_tracer_provider(provider)
    configure(db_path)
    for n in range(10):
        provider.get_tracer("t").start_span("op", start_time=n).end(10 + n)
    assert provider.force_flush()
    assert count_of(db_path) == 10
