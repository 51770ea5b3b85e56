"""Rows made beforehand: real spans of the SDK, encoded once, and copies of them at other times."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from otel_perfmon.bench.ways import ATTRIBUTES
from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.sdk.rows import SpanEncoder
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.rows import SpanRow

OPERATIONS: Final = 50
SPANS_PER_TRACE: Final = 5
DAY_NANO: Final = 86_400 * 10**9
_SLOW_NANO: Final = 200_000_000
_ERROR_SHARE: Final = 0.01
_SLOW_SHARE: Final = 0.005
_DURATION_MU: Final = 15.0
"""Of the logarithms of ordinary durations in ns: their median is 3.3 ms."""
_DURATION_SIGMA: Final = 0.8


class _Collector(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def encoded_spans(count: int, *, errors: bool = False) -> list[SpanRow]:
    """Rows of spans with attributes, of `OPERATIONS` operations in turn; with ``errors`` each has an exception."""
    provider, collector = TracerProvider(id_generator=TimeOrderedIdGenerator(), shutdown_on_exit=False), _Collector()
    provider.add_span_processor(collector)
    tracer, encoder = provider.get_tracer("bench"), SpanEncoder()
    for number in range(count):
        with tracer.start_as_current_span(f"operation-{number % OPERATIONS:02}", attributes=ATTRIBUTES) as span:
            span.set_attribute("outcome", "ok")
            if errors:
                span.record_exception(TimeoutError("the gateway did not answer"))
                span.set_status(StatusCode.ERROR)
    return [encoder.encode(span, _SLOW_NANO) for span in collector.spans]


def batch_of(rows: Sequence[SpanRow]) -> Batch:
    """A batch of spans none of which has called another."""
    return Batch(rows, [row.duration_nano for row in rows])


def rows_over_a_day(count: int, end_unix_nano: int) -> Iterator[SpanRow]:
    """So many spans, in traces of `SPANS_PER_TRACE`, ending one after another over the day until ``end_unix_nano``.

    1 in 100 failed, 1 in 200 was slow. In the order of their ends, children before their parents.
    """
    fine, failed = encoded_spans(OPERATIONS), encoded_spans(OPERATIONS, errors=True)
    rng = random.Random(1)  # noqa: S311 - durations, the same in every run
    trace_id = parent = b""
    for number in range(count):
        end = end_unix_nano - (count - number) * DAY_NANO // count
        place = number % SPANS_PER_TRACE
        if not place:
            trace_id = (end // 10**6).to_bytes(6, "big") + rng.randbytes(10)
            parent = rng.randbytes(8)
        is_root = place == SPANS_PER_TRACE - 1
        kind, is_slow = rng.random(), rng.random() < _SLOW_SHARE
        rows = failed if kind < _ERROR_SHARE else fine
        duration = int(rng.lognormvariate(_DURATION_MU, _DURATION_SIGMA)) + is_slow * _SLOW_NANO
        yield rows[number // SPANS_PER_TRACE * 7 % OPERATIONS if is_root else rng.randrange(OPERATIONS)]._replace(
            trace_id=trace_id,
            span_id=parent if is_root else rng.randbytes(8),
            parent_span_id=b"" if is_root else parent,
            start_unix_nano=end - duration,
            end_unix_nano=end,
            duration_nano=duration,
            is_slow=int(is_slow),
        )
