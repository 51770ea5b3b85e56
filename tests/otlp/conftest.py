"""Puts the kits of these tests on the path, and a store at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(__file__), os.pardir, "storage"))

import pytest
from forwarding_kit import release_all
from otlp_kit import Station


@pytest.fixture
def station(tmp_path, monkeypatch) -> Station:
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_REDACT", "false")
    return Station(str(tmp_path / "metrics.db"))


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    release_all()
