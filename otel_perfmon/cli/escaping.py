"""Text from data as something that does nothing to a terminal, hides nothing, and that the output can show."""

from __future__ import annotations

import sys
import unicodedata
from typing import Final

from otel_perfmon.visible import is_visible

_RIGHT_TO_LEFT: Final = frozenset(("R", "AL", "AN"))
LEFT_TO_RIGHT: Final = "\N{LEFT-TO-RIGHT MARK}"
"""Takes no room."""


def escape(value: object) -> str:
    r"""``str(value)`` in one line, what does not print escaped as Python would: ``\n``, ``\x1b``, ``\u202e``.

    Control, format (such as those that turn the direction of writing) and private characters, every space but the
    plain one, invisible ones, and those that the encoding of the output lacks.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_shown(char) else ascii(char)[1:-1] for char in text)


def shown(value: object) -> str:
    """As `escape`; and where it runs from right to left, it leaves what stands behind it in its place."""
    return isolate(escape(value))


def isolate(text: str) -> str:
    """``text`` with marks around it if it runs from right to left, lest a terminal turn the figures after it around."""
    if text.isascii() or not any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return text
    mark = LEFT_TO_RIGHT if can_show(LEFT_TO_RIGHT) else ""
    return f"{mark}{text.strip(LEFT_TO_RIGHT)}{mark}"


def can_show(text: str) -> bool:
    """Whether the encoding of the output has the characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if encoding.lower().startswith("utf"):
        return True
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _is_shown(char: str) -> bool:
    return is_visible(char) and can_show(char)
