"""What it costs to make OTLP requests: rows of the store to bytes, against the SDK's encoder on the same spans.

Run:  python tests/benchmarks/encoding.py [--rounds N]

In interleaved rounds, each batch of 512 spans is read from its file and encoded, and beside it encoded by upstream's
``encode_spans`` and ``SerializeToString`` from the SDK's spans in memory. Values differ from span to span. The figures
are medians of the rounds in microseconds of processor time a span; exit status 1 when one is not twice as fast. The
bytes must be as many: upstream leaves out the lower 8 bits of the flags, which have their place all the same.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, SpanKind

from otel_perfmon import SQLiteSpanExporter
from otel_perfmon.otlp.row_encoding import EncodedSpans
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.outbox_rows import read_outbox_spans

BATCH = 512
BATCHES = 8
MUST, AIM = 2.0, 4.0


class Keeping(SpanProcessor):
    """Keeps the ended spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def plain(span: Span, number: int) -> None:
    span.set_attribute("order.id", number)
    span.set_attribute("customer", f"customer-{number % 97}")
    span.set_attribute("order.total", number * 1.25)
    span.set_attribute("is_new", number % 3 == 0)


def server(span: Span, number: int) -> None:
    """What an instrumentation of HTTP servers sets."""
    span.set_attributes(
        {
            "http.request.method": "GET",
            "url.scheme": "https",
            "url.path": f"/orders/{number}",
            "http.route": "/orders/{id}",
            "server.address": "shop.example",
            "server.port": 443,
            "client.address": f"10.0.{number % 256}.{number % 199}",
            "network.protocol.version": "1.1",
            "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "http.response.status_code": 200 if number % 50 else 503,
        }
    )


def bare(span: Span, number: int) -> None:
    """No attributes."""


def failed(span: Span, number: int) -> None:
    """An exception with its stack, in one span of ten; the others as `plain`."""
    plain(span, number)
    if number % 10 == 0:
        try:
            int(f"no order {number}")
        except ValueError as error:
            span.record_exception(error)


def make_spans(dress: Callable[[Span, int], None]) -> Sequence[ReadableSpan]:
    keeping = Keeping()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "service.version": "1.0"}))
    provider.add_span_processor(keeping)
    tracer = provider.get_tracer("shop.orders", "1.0")
    for number in range(BATCH * BATCHES):
        with tracer.start_as_current_span("GET /orders/{id}", kind=SpanKind.SERVER) as span:
            dress(span, number)
    return keeping.spans


def measure(folder: str, dress: Callable[[Span, int], None], rounds: int) -> tuple[float, float]:
    """Microseconds a span of upstream and of ours."""
    spans = make_spans(dress)
    path = str(Path(folder) / f"{dress.__name__}.db")
    exporter = SQLiteSpanExporter(path)
    exporter.export(spans)
    exporter.shutdown()
    theirs, ours = [], []
    with closing(connections.open_reader(path)) as connection:
        ids = [row_id for (row_id,) in connection.execute("SELECT id FROM _spans ORDER BY id")]
        for number in range(rounds * BATCHES):
            start = number % BATCHES * BATCH
            part, row_ids = spans[start : start + BATCH], ids[start : start + BATCH]
            upstream, expected = timed(lambda part=part: encode_spans(part).SerializeToString())
            own, found = timed(
                lambda row_ids=row_ids: EncodedSpans(read_outbox_spans(connection, row_ids)).encode_request(0, BATCH)
            )
            assert len(found) == len(expected)
            theirs.append(upstream)
            ours.append(own)
    return statistics.median(theirs), statistics.median(ours)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.thread_time()
    result = run()
    return (time.thread_time() - began) / BATCH * 1e6, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    gc.disable()
    is_missed = False
    print(f"{'spans':<10}{'upstream':>12}{'ours':>12}{'ratio':>8}   (must: {MUST:g}, aim: {AIM:g})")
    with tempfile.TemporaryDirectory() as folder:
        for dress in (bare, plain, server, failed):
            upstream, own = measure(folder, dress, rounds)
            is_missed = is_missed or upstream / own < MUST
            print(f"{dress.__name__:<10}{upstream:>9.1f} µs{own:>9.1f} µs{upstream / own:>8.1f}", flush=True)
    return int(is_missed)


if __name__ == "__main__":
    sys.exit(main())
