"""What a value looks like that stands under a name: a secret, a placeholder for one, or an ordinary word."""

from __future__ import annotations

import re
from typing import Final

from otel_perfmon.redaction.names import CERTAIN, HARMLESS, LIKELY, MAYBE

MARKER: Final = "[redacted]"
"""Stands where a secret was."""
_OPAQUE_MIN: Final = 8
"""Characters of a value that is told from a word by its look."""
_LETTERS_MAX: Final = 24
"""A longer run of letters is no word."""

_is_masked = re.compile(
    r"(?i)[*•.#_\-?]+|x{3,}|\W+|\[[\w ]{0,40}\]|\(?(?:redacted|filtered|hidden|masked|removed|scrubbed)\)?"
).fullmatch
_is_placeholder = re.compile(
    r"\$(?:[A-Za-z_][\w.]{0,80}|[0-9]{1,2}|\{[\w.]{1,80}\}?|\(\w[\w \-./]{0,80}\)?)"  # a shell's, a template's
    r"|\$?\{\{[^{}]{0,80}\}\}|[@#]?\{[\w.]{0,80}(?:![rsa])?\}"
    r"|%\(\w{1,80}\)[sdr]|%[sdr]|%\{\w{1,80}\}|%\w{1,80}%"
    r"|<[\w \-./:'*]{0,80}>"
).fullmatch
_interpolated = re.compile(r"\{[\w.()\[\]]{1,80}(?:![rsa])?\}")
"""What a template has filled in: `f"{kind}Attributes"` is no secret for its length."""
_is_taken = re.compile(r"[(\[{]{0,4}(?:[bBrRfFuU]{1,2}|[\w\-]{0,32}[ :=]{1,4})?\[redacted\].{0,3}", re.DOTALL).fullmatch
_is_literal = re.compile(
    r"(?i)(?:none|null|nil|true|false|undefined|nan|str|string|int|float|bool|bytes|any|object|secretstr|secretbytes|optional|required|invalid"
    r"|incorrect|wrong|missing|expired|unauthorized|denied|failed|unknown|empty|not|is|must|the|for|was|has|cannot|too)"
).fullmatch
_is_code = re.compile(r"[A-Za-z_]\w{0,63}(?:\.[A-Za-z_]\w{0,63}){1,8}").fullmatch
_is_call = re.compile(r"[A-Za-z_][\w.]{0,127}[(\[](?:[A-Za-z_*(\[)\]][\w.()\[\]=*]*)?").fullmatch
_is_number = re.compile(r"[-+]?[0-9][0-9.,:eETZ+\-]*").fullmatch
_is_words = re.compile(
    r"[A-Z]?[a-z]*(?:[ _./\-](?:[A-Z]?[a-z]*|[0-9]{1,4}))*|[A-Z]+(?:[_\-](?:[A-Z]+|[0-9]{1,4}))*"
).fullmatch
_mixed = re.compile(r"(?=[^0-9\s]*[0-9])(?=[^A-Za-z\s]*[A-Za-z])[^\s]{4,}").fullmatch
_is_place = re.compile(r"(?:[a-z][a-z0-9+.\-]{0,15}:/)?/|[A-Za-z]:\\|arn:|[A-Za-z0-9.\-]{1,255}:[0-9]{1,5}$").match
_is_uuid = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch
_has_separator = re.compile(r"[_\-./]").search


def is_nothing(value: str) -> bool:
    """Whether the value is empty, masked already, or names a place where the secret would be."""
    return not value or bool(_is_masked(value) or _is_placeholder(value)) or bool(_is_taken(value))


def is_literal(value: str) -> bool:
    """Whether an unquoted value is a word of a language, or of a sentence about the name before it."""
    return _is_literal(value.strip(".!?:()[]")) is not None


def is_code(value: str) -> bool:
    """Whether an unquoted value is an expression that would yield the secret: ``self.password``, ``get_token(x)``."""
    if _is_call(value):
        return True
    return _is_code(value) is not None and not is_opaque(value.replace(".", "")[:_LETTERS_MAX])


def is_number(value: str) -> bool:
    """Whether the value is a number, a date, a time or a version."""
    return _is_number(value) is not None


def is_id(value: str) -> bool:
    """Whether the value is a UUID."""
    return _is_uuid(value) is not None


def is_mixed(value: str) -> bool:
    """Whether a value too short to be opaque has letters and digits in one word, as few words have: ``hunter2``."""
    if len(value) > _OPAQUE_MIN or is_number(value) or _is_words(value) or _is_place(value) or is_id(value):
        return False
    return _mixed(value) is not None


def is_opaque(value: str) -> bool:
    """Whether the value is none that a person would read: no words, no number, no place, no id of ours."""
    value = value.rstrip(".,:;!?")
    if len(value) < _OPAQUE_MIN or " " in value or is_number(value) or _is_place(value) or is_id(value):
        return False
    if _is_words(value):
        return len(value) > _LETTERS_MAX and not _has_separator(value)
    return len(value) > _LETTERS_MAX or any(map(str.isdigit, value))


def is_secret(value: str, weight: int) -> bool:
    """Whether what stands under a name of that weight is a secret; see `otel_perfmon.redaction.names`."""
    if weight == HARMLESS or is_nothing(value):
        return False
    if weight <= LIKELY and "{" in value:
        value = _interpolated.sub("", value)
    if weight == MAYBE:
        return is_opaque(value)
    if weight == LIKELY:
        return is_opaque(value) or is_mixed(value)
    return weight == CERTAIN or not is_number(value)
