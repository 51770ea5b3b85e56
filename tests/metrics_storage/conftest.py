"""Fixtures: the program's clocks, standing still."""

from __future__ import annotations

import time

import pytest
from metrics_kit import NOW


@pytest.fixture
def frozen(monkeypatch):
    """Both clocks of the program stand still; ``move`` moves them."""

    class Clock:
        def __init__(self) -> None:
            self.now = NOW

        def move(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    monkeypatch.setattr(time, "time_ns", lambda: int(clock.now * 1e9))
    return clock
