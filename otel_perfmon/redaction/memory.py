"""Texts that were met, remembered within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_FRAMES_MAX: Final = 2_048
_FRAME_TEXT_MAX: Final = 512
"""Frames of stacks that are remembered, and the characters of one."""


class Memory:
    """A set of short texts. When there are more than ``count_max``, all are forgotten; longer ones are not kept.

    One thread at a time.
    """

    __slots__ = ("_count_max", "_text_max", "texts")

    def __init__(self, count_max: int = _FRAMES_MAX, text_max: int = _FRAME_TEXT_MAX) -> None:
        self._count_max = count_max
        self._text_max = text_max
        self.texts: set[str] = set()

    def remember(self, texts: Iterable[str]) -> None:
        """Keep those that are short enough."""
        if len(self.texts) > self._count_max:
            self.texts.clear()
        text_max = self._text_max
        self.texts.update([text for text in texts if len(text) <= text_max])
