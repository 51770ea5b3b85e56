"""A stack as a page shows it: what is the program's own stands out, and where it was most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_perfmon.frames import Frame, innermost, parse_stack


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as text and as its parts, of which one frame is the place to look at."""

    text: str
    parts: Sequence[Frame | str]
    place: Frame | None

    @classmethod
    def of(cls, text: str) -> Stack | None:
        """The stack that a text tells; None where it is empty."""
        if not text.strip():
            return None
        parts = parse_stack(text.rstrip("\n"))
        return cls(text, parts, innermost(parts))
