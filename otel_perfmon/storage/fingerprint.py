"""What stays of an error message when its variable parts are taken out, so that alike errors group together."""

from __future__ import annotations

import re
from typing import Final

PATTERN_MAX: Final = 200
"""Characters of a pattern; the rest is cut."""

_VARIABLE = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "<hex>"),
    # An apostrophe stands behind a letter; a quote that the end of the line cuts off is one all the same.
    (re.compile(r"(?<!\w)'[^']*(?:'|$)|\"[^\"]*(?:\"|$)"), "<text>"),
    (re.compile(r"(?<!\w)\d+(?:[.,:]\d+)*"), "<n>"),
)


def message_pattern(message: str) -> str:
    """The first line of ``message`` with ids, quoted texts and numbers replaced by placeholders."""
    line = message[: 4 * PATTERN_MAX].strip().partition("\n")[0]
    for expression, placeholder in _VARIABLE:
        line = expression.sub(placeholder, line)
    return line[:PATTERN_MAX]
