"""What the tests of operations ask: which of them are stored, exported and measured; and providers to look on."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from otel_perfmon import MetricsStorage, SpanQuery, SpanRecord


def found(storage: MetricsStorage) -> list[SpanRecord]:
    """What is stored, in the order of its end."""
    storage.recorder.flush_or_raise()
    if not os.path.exists(storage.path):
        return []
    return list(storage.store.find_spans(SpanQuery(limit=10_000, order="oldest")))


def stored(storage: MetricsStorage) -> dict[str, SpanRecord]:
    """The same by name."""
    return {span.name: span for span in found(storage)}


def names(storage: MetricsStorage) -> list[str]:
    """The name of each that is stored."""
    return sorted(metric["operation"] for metric in storage.get_metrics())


def exported_names(exporter: InMemorySpanExporter) -> list[str]:
    """The name of each that was exported."""
    return sorted(span.name for span in exporter.get_finished_spans())


def points_of(reader: InMemoryMetricReader) -> list:
    """The points of the operations' histogram."""
    data = reader.get_metrics_data()
    if data is None:
        return []
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "perfmon.operation.duration"
        for point in metric.data.data_points
    ]


def point_counts(reader: InMemoryMetricReader) -> dict:
    """How many measurements each operation has, by its error's type, which is None without one."""
    return {
        (point.attributes["perfmon.operation"], point.attributes.get("error.type")): point.count
        for point in points_of(reader)
    }


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Each message of a warning, or worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def current_id() -> str:
    """The id of the current span."""
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


def make_provider(sampler: Sampler | None = None, **arguments: Any) -> tuple[TracerProvider, InMemorySpanExporter]:
    """An SDK provider with an exporter."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, **arguments)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def use_provider(**arguments: Any) -> tuple[TracerProvider, InMemorySpanExporter]:
    """The same, set as the global one, as a user's program does."""
    provider, exporter = make_provider(**arguments)
    trace.set_tracer_provider(provider)
    return provider, exporter
