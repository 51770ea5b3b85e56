"""What texts are taken apart into where secrets are looked for: frames of a stack, and pieces within one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

FRAME: Final = '\n  File "'
"""Begins a frame of a stack. No secret reaches from one frame into the next, nor is it announced there: the word in
here is neither a name nor a value that goes on, and all that is searched across ends of lines stops at the quote."""
FRAME_IN_JSON: Final = '\\n  File \\"'
_FRAME_WORD: Final = b"file"
_FRAMES_MAX: Final = 256
"""Frames of a text that are worth being told apart; one with more is taken as it is."""
_JSON: Final = ('{"', '[{"', '["')
_BACKSLASH: Final = "\0"
"""Stands for a backslash that JSON doubled; stands in no JSON itself."""
_rare_escapes = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([bf/]))")
_RARE: Final = {"b": "\b", "f": "\f", "/": "/"}


def find_plain(texts: Sequence[str]) -> list[int]:
    """The numbers of the texts with backslashes that are not JSON's: those do not begin as ours does.

    What only looks so is taken for it.
    """
    return [
        number
        for number, text in enumerate(texts)
        if ("\\" in text and not text.startswith(_JSON)) or _BACKSLASH in text
    ]


def pieces_of(text: str) -> list[str]:
    """What stands between double quotes and ends of lines."""
    return text.replace("\n", '"').split('"')


def pieces_of_json(text: str) -> list[str]:
    """The pieces of the texts in JSON, whose escapes are undone, and of what stands between them."""
    if "\\" not in text:
        return pieces_of(text)
    text = text.replace("\\\\", _BACKSLASH)
    text = text.replace("\\n", '"').replace('\\"', '"').replace("\\t", "\t").replace("\\r", "\r")
    if "\\" in text:
        text = _rare_escapes.sub(_undone, text)
    return pieces_of(text.replace(_BACKSLASH, "\\"))


def _undone(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16) or 1) if escape[1] else _RARE[escape[2]]  # `_BACKSLASH` is taken


def parts_of(text: str, frame: str = FRAME) -> list[str]:
    """The text divided where frames begin; all of it where they are none or too many."""
    parts = text.split(frame)
    return parts if len(parts) <= _FRAMES_MAX else [text]


def has_frames_apart(needles: Iterable[bytes]) -> bool:
    """Whether `FRAME` announces no secret by itself, as it could where the user's own names have its word in them."""
    return not any(needle in _FRAME_WORD for needle in needles)
