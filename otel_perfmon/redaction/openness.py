"""Whether what stands behind a name may be a secret of which a piece of text does not show enough to tell.

Texts are looked at in pieces that end at double quotes and at ends of lines. A name is open unless the whole text, too,
would show no more of its value than the piece does: where no sign of a value follows it, or where its value ends.
"""

from __future__ import annotations

import re
from typing import Final

from otel_perfmon.redaction import headers
from otel_perfmon.redaction.assignments import BEFORE_MAX, SIGN, is_of_names, match_assignment

_only_signs = re.compile(
    r"[\s\\:=>?+\-.|,\[\](){}'`&<]{0,80}(?:string[\s\\:=>?+\-.|]{0,80})?(?:[bBrRfFuU]{1,2})?\\{0,3}$"
).match
_is_signed = re.compile(SIGN).match
_bare_only = re.compile(r"[^\s\"'`,;&<>|\\$bBrRfFuU]").match
"""Begins a value without quotes, which ends where a piece does."""
_is_comma = re.compile(r"\\{0,3}[\"'`\])]{0,3}\s{0,8},\s{0,8}[bBuU]?['\\`]").match
_is_tag = re.compile(r">\s{1,8}[^\s<>]{0,7}$").match
_is_bracket = re.compile(r"\\{0,3}[\"']?\s{0,4}[=:]\s{0,4}[(\[{]").match
_is_header = re.compile(r"\\{0,3}[\"'`]?\s{0,4}[:=]").match
_is_flag = re.compile(r"[ \t]{1,4}['`\\]").match
_is_sql = re.compile(r"[ \t]{1,4}(?:for|FOR)(?![^\s])|[ \t]{0,4}\(?[ \t]{0,4}'").match
_has_value = re.compile(
    r"\\{0,3}[\"']?[\s,&]{1,8}\\{0,3}(?:$|'|[vV]alue|[\w\-]{1,32}(?:$|\\{0,3}['\\]?\s{0,2}(?:$|[:=])))"
).match
_CONTINUED: Final = 3
"""Backslashes that a value in quotes may stop before."""


def is_open(piece: str, start: int, end: int) -> bool:
    """Whether the name from ``start`` to ``end`` may have a value that is not to be judged by its piece."""
    if _only_signs(piece, end) or _is_comma(piece, end) or _is_bracket(piece, end) or _is_tag(piece, end):
        return True
    name = piece[start:end].lower()
    if name.endswith(headers.NAMES) and _is_header(piece, end):
        return True
    if name == "password" and _is_sql(piece, end):
        return True
    if (start == 0 or is_of_names(piece[max(0, start - BEFORE_MAX) : start])) and _has_value(piece, end):
        return True
    if (name.startswith("--") or piece[max(0, start - 2) : start] == "--") and _is_flag(piece, end):
        return True
    return _is_unfinished(piece, end)


def _is_unfinished(piece: str, end: int) -> bool:
    """Whether a value begins in the piece and may go on behind it."""
    signed = _is_signed(piece, end)
    if signed is None or _bare_only(piece, signed.end()):
        return False
    value = match_assignment(piece, end)
    if value is None:
        return True
    if value["bare"] is not None:
        return False
    return value.end() >= len(piece) - _CONTINUED
