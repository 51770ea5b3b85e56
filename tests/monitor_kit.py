"""What the tests of operations ask: which of them are stored, and which were exported."""

from __future__ import annotations

import os

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

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
