"""What texts are taken apart into where secrets are looked for: frames of a stack, and pieces within one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

FRAME: Final = '\n  File "'
"""Begins a frame of a stack. No secret reaches from one frame into the next, nor is it announced there: the word in
here is neither a name nor a value that goes on, and all that is searched across ends of lines stops at the quote."""
FRAME_IN_JSON: Final = '\\n  File \\"'
_FRAME_WORD: Final = b"file"
_FRAMES_MAX: Final = 256
"""Frames of a text that are worth being told apart; one with more is taken as it is."""


def pieces_of(text: str) -> list[str]:
    """What stands between quotes and ends of lines, as they are or escaped."""
    if "\\" in text:  # JSON's escapes must not grow together with the word behind them
        text = text.replace("\\n", '"').replace("\\t", " ").replace("\\r", " ")
    if "\n" in text:
        text = text.replace("\n", '"')
    return text.split('"')


def parts_of(text: str, frame: str = FRAME) -> list[str]:
    """The text divided where frames begin; all of it where they are none or too many."""
    parts = text.split(frame)
    return parts if len(parts) <= _FRAMES_MAX else [text]


def has_frames_apart(needles: Iterable[bytes]) -> bool:
    """Whether `FRAME` announces no secret by itself, as it could where the user's own names have its word in them."""
    return not any(needle in _FRAME_WORD for needle in needles)
