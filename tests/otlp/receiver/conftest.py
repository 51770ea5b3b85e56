"""One receiver for the tests of a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "faults"))

from serve_kit import Served, serving

from otel_perfmon import Store, open_store


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(str(tmp_path_factory.mktemp("served") / "metrics.db")) as served:
        yield served


@pytest.fixture
def store(served: Served) -> Iterator[Store]:
    with open_store(served.path) as store:
        yield store
