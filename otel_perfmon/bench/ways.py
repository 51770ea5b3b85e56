"""Ways of measuring an operation: the monitor, the bare SDK, and what else people do. Each runs a number of them."""

from __future__ import annotations

import inspect
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_perfmon.bench.surroundings import environment
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.sdk.provider import make_provider

OPERATION: Final = "operation"
ATTRIBUTES: Final[dict[str, Any]] = {"cart.items": 3, "user.tier": "gold"}
FLUSH_MS: Final = 600_000
UNSAMPLED: Final[dict[str, Any]] = {"sample_rate": 0.0}
_ENCODER: Final = "opentelemetry.exporter.otlp.proto.common"

Run = Callable[[int], None]
"""Measures so many operations, one after another."""


def bare(*, with_attributes: bool = False) -> Run:
    """The bare SDK, which keeps nothing: the R of all ratios; ``with_attributes`` it sets the monitor's own."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bare")

    def run(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span(OPERATION):
                pass

    def run_with_attributes(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span(OPERATION, attributes=ATTRIBUTES) as span:
                span.set_attribute("outcome", "ok")

    return run_with_attributes if with_attributes else run


def monitored(monitor: PerformanceMonitor, *, with_attributes: bool = False) -> Run:
    """The monitor; ``with_attributes`` some are given and one is set inside."""

    def run(count: int) -> None:
        for _ in range(count):
            with monitor.monitor(OPERATION):
                pass

    def run_with_attributes(count: int) -> None:
        for _ in range(count):
            with monitor.monitor(OPERATION, attributes=ATTRIBUTES) as span:
                span.set_attribute("outcome", "ok")

    return run_with_attributes if with_attributes else run


def until_stored(monitor: PerformanceMonitor, run: Run) -> Run:
    """The same, and then all of it written into the file."""

    def run_and_flush(count: int) -> None:
        run(count)
        monitor.force_flush(FLUSH_MS)

    return run_and_flush


def alone(storage: MetricsStorage) -> PerformanceMonitor:
    """A monitor with a provider of its own, whatever is global in this process."""
    return PerformanceMonitor(storage, tracer_provider=make_provider(shutdown_on_exit=False))


@contextmanager
def disabled(path: str) -> Iterator[PerformanceMonitor]:
    """A monitor as it is made where ``OTEL_SDK_DISABLED=true``."""
    with environment(OTEL_SDK_DISABLED="true"):
        storage = MetricsStorage(path)
        monitor = alone(storage)
    with storage:
        yield monitor


@contextmanager
def unsampled(path: str) -> Iterator[PerformanceMonitor]:
    """A monitor that counts every operation and keeps only slow and failed ones."""
    with MetricsStorage(path, **UNSAMPLED) as storage:
        yield alone(storage)


def can_sample() -> bool:
    """Whether a storage can be told to keep a part of the operations only."""
    return set(UNSAMPLED) <= set(inspect.signature(MetricsStorage.__init__).parameters)


def with_reader(monitor: PerformanceMonitor) -> PerformanceMonitor:
    """A monitor with the same store, whose histogram somebody reads."""
    meter_provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return PerformanceMonitor(monitor.storage, meter_provider=meter_provider)


@contextmanager
def exporting(exporter: SpanExporter, queue_size: int) -> Iterator[Run]:
    """The SDK with a BatchSpanProcessor before ``exporter``, until all is exported.

    Its queue takes what one run makes: by default it would drop most of a tight loop, and so be spared the work.
    """
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=max(2048, 2 * queue_size)))
    tracer = provider.get_tracer("batch")

    def run(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span(OPERATION):
                pass
        provider.force_flush(FLUSH_MS)

    try:
        yield run
    finally:
        provider.shutdown()


class NullExporter(SpanExporter):
    """Takes spans and does nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say that it went well."""
        return SpanExportResult.SUCCESS


class EncodingExporter(SpanExporter):
    """Encodes spans as OTLP and sends them nowhere."""

    def __init__(self) -> None:
        self._encode = import_module(f"{_ENCODER}.trace_encoder").encode_spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode, down to the bytes that would be sent."""
        self._encode(spans).SerializeToString()
        return SpanExportResult.SUCCESS

    @staticmethod
    def is_installed() -> bool:
        """Whether OpenTelemetry's own encoder is there."""
        try:
            return find_spec(_ENCODER) is not None
        except ModuleNotFoundError:  # nor any package above it
            return False


def timed() -> Run:
    """A timer as programs have them: a generator with ``@contextmanager``, and a list of durations."""
    durations: list[float] = []

    @contextmanager
    def timer() -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            durations.append(time.perf_counter() - start)

    def run(count: int) -> None:
        durations.clear()
        for _ in range(count):
            with timer():
                pass

    return run


def naive(path: str) -> Run:
    """The design that comes to mind first: for each operation one connection to SQLite and one commit."""
    _store_naively(path, "CREATE TABLE metrics (operation TEXT, timestamp REAL, duration REAL, error INTEGER)", ())

    def run(count: int) -> None:
        for _ in range(count):
            start = time.perf_counter()
            values = (OPERATION, time.time(), time.perf_counter() - start, 0)
            _store_naively(path, "INSERT INTO metrics VALUES (?, ?, ?, ?)", values)

    return run


def _store_naively(path: str, statement: str, values: Sequence[Any]) -> None:
    with closing(sqlite3.Connection(os.fspath(path))) as connection, connection:
        connection.execute(statement, values)
