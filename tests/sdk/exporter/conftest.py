"""Fixtures: an exporter, and a span for it."""

from __future__ import annotations

import pytest
from exporter_kit import ended

from otel_perfmon import SQLiteSpanExporter


@pytest.fixture
def span():
    """An ended span of a stock provider."""
    return ended("op")


@pytest.fixture
def exporter(db_path):
    exporter = SQLiteSpanExporter(db_path)
    yield exporter
    exporter.shutdown()
