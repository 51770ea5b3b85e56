r"""Text from data made visible: what does not print, or is drawn as nothing, stands there as Python would escape it."""

from __future__ import annotations

from typing import Final

_INVISIBLE: Final = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160),  # Hangul fillers
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),  # the Braille blank
        (0x3164, 0x3164),
        (0xFE00, 0xFE0E),  # variation selectors; the last of them, FE0F, makes an emoji of a sign and stays
        (0xFFA0, 0xFFA0),
        (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
)
"""What Unicode has drawn as nothing, though it counts as printable (Default_Ignorable_Code_Point)."""


def visible(text: str, kept: str = "") -> str:
    r"""``text`` with ``\n``, ``\x1b``, ``\u202e`` for what cannot be seen, but for the characters ``kept``.

    That are control, format (such as those that turn the direction of writing) and private characters, every space
    but the plain one, and invisible ones.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if is_visible(char) or char in kept else ascii(char)[1:-1] for char in text)


def is_visible(char: str) -> bool:
    """Whether one sees that the character is there, and nothing else of it."""
    return char.isprintable() and char not in _INVISIBLE
