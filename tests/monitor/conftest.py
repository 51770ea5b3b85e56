"""Fixtures: a clock that is moved by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest


@pytest.fixture
def clock() -> Iterator[list[int]]:
    """A monotonic clock that stands still until its one element is changed."""
    now = [10**12]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter_ns", lambda: now[0])
        yield now
