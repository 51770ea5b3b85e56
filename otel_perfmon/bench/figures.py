"""Figures: what was measured, how it spread, what it is compared with, and what it should be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["aim", "must", "missed"]
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values; of a single one all three are that one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must be, and what it aims at, if anything.

    Both are bounds of the figure's ratio where it has one, else of its value: upper ones, or lower ones with
    ``is_at_least``.
    """

    must: float
    aim: float | None = None
    is_at_least: bool = False

    def judge(self, value: float) -> Verdict:
        """What ``value`` has met; without an aim the best it can meet is the must."""
        if self.aim is not None and self._is_met(value, self.aim):
            return "aim"
        return "must" if self._is_met(value, self.must) else "missed"

    def _is_met(self, value: float, bound: float) -> bool:
        return value >= bound if self.is_at_least else value <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``name`` is what programs know it by, ``title`` what people read.

    ``value`` in ``unit`` is None where it could not be measured, and then ``note`` says why. ``ratio`` compares it with
    what ``ratio_of`` names, measured at the same time.
    """

    name: str
    title: str
    unit: str
    value: Spread | None
    ratio: Spread | None = None
    ratio_of: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Whether the goal is met; None without a goal or without a value."""
        judged = self.ratio or self.value
        return self.goal.judge(judged.median) if self.goal is not None and judged is not None else None


def unmeasured(name: str, title: str, unit: str, note: str) -> Figure:
    """A figure that could not be measured here, and why."""
    return Figure(name, title, unit, None, note=note)
