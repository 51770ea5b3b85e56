"""Where in a stack its secrets are: looked for in what comes new, since most of its frames come again and again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from otel_perfmon.redaction.finding import find_secrets
from otel_perfmon.redaction.memory import Memory
from otel_perfmon.redaction.patterns import Found
from otel_perfmon.redaction.pieces import FRAME, has_frames_apart, parts_of

_FAR: Final = (b"-----begin", b"curl")
"""What makes a secret of something in another frame, in small letters: a private key, the options of a command."""


class Frames:
    """Finds the secrets of texts that may be stacks. One thread at a time: it remembers frames without any.

    ``weigh`` and ``needles`` are those of `assignments.find_names`.
    """

    def __init__(self, weigh: Callable[[str], int], needles: Sequence[bytes] = ()) -> None:
        self._weigh = weigh
        self._needles = needles
        self._has_frames = has_frames_apart(needles)
        self._barren = Memory()

    def find_secrets(self, text: str) -> list[Found]:
        """The secrets of a text as `finding.find_secrets` finds them, in no order."""
        parts = parts_of(text) if self._has_frames else [text]
        if len(parts) == 1 or _has_far(text):
            return list(find_secrets(text, self._weigh, self._needles))
        kept = self._kept(parts)
        places, shifts = _places(parts, kept)
        found: list[Found] = []
        touched: set[int] = set()
        searched = FRAME.join([parts[number] for number in kept])
        for start, end in find_secrets(searched, self._weigh, self._needles):
            at = bisect_right(places, start) - 1
            found.append((start + shifts[at], end + shifts[at]))
            touched.add(kept[at])
        self._barren.remember(parts[number] for number in kept[1:-1] if number not in touched)
        return found

    def _kept(self, parts: Sequence[str]) -> list[int]:
        """The numbers of the parts to be searched: the first, the last, and frames not known to be without secrets."""
        barren, last = self._barren.texts, len(parts) - 1
        return [number for number, part in enumerate(parts) if part not in barren or number in (0, last)]


def _has_far(text: str) -> bool:
    low = text.encode("latin-1", "replace").lower()
    return any(needle in low for needle in _FAR)


def _places(parts: Sequence[str], kept: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where each part that is kept begins in the shorter text, and how much was left out before it."""
    begins = [0, *accumulate(len(part) + len(FRAME) for part in parts)]
    places = [0, *accumulate(len(parts[number]) + len(FRAME) for number in kept)]
    return places[:-1], [begins[number] - place for number, place in zip(kept, places, strict=False)]
