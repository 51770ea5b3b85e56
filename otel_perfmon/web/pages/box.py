"""A box drawn over a heatmap: a stretch of time and of durations, as it stands in an address."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from otel_perfmon.errors import QueryError
from otel_perfmon.query import Window
from otel_perfmon.web.api.parameters import Parameter
from otel_perfmon.web.pages.address import window_text


@dataclass(frozen=True, slots=True)
class Box:
    """``START/END/LEAST/MOST``: two moments in ISO 8601, and two durations in milliseconds, the last empty for any."""

    window: Window
    min_ms: float
    max_ms: float | None

    @classmethod
    def parse(cls, given: str) -> Box:
        """What an address says. Raises `QueryError`."""
        parts = given.split("/")
        try:
            start, end, least, most = parts
            low, high = float(least), float(most) if most else None
            if not (0 <= low <= (math.inf if high is None else high) and low < math.inf and high != math.inf):
                raise ValueError  # noqa: TRY301 - as of every other part
        except ValueError:
            message = f"A box is START/END/LEAST/MOST, the last two in ms, 0 or more; {given!r:.100} is none."
            raise QueryError(message) from None
        return cls(Window.parse(f"{start}/{end}"), low, high)

    @property
    def filters(self) -> dict[str, str]:
        """The same as parameters of the spans' page."""
        least = {"min_duration_ms": f"{self.min_ms:.9g}"} if self.min_ms else {}
        most = {"max_duration_ms": f"{self.max_ms:.9g}"} if self.max_ms is not None else {}
        return {"window": window_text(self.window), **least, **most}


BOX: Final = Parameter("box", "START/END/LEAST/MOST: what was drawn over the heatmap.", Box.parse)
