"""Secrets in headers: cookies, and credentials behind the scheme of an ``Authorization`` header, wherever that stands.

A header's value may have quotes of its own (``sid="a b"``, ``Digest username="ada"``), so that it goes on behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_perfmon.redaction import values
from otel_perfmon.redaction.patterns import Found

NAMES: Final = ("authorization", "cookie")
"""What the names of these headers end with, in small letters."""
_MARKED_MAX: Final = 64
_NUMBER_MIN: Final = 5
"""Digits of a number that is no status: ``authorization: HTTP 401``."""
_QUOTED: Final = r"\\{0,3}\"[^\"\\\r\n]{0,1024}(?:\\[^\"\r\n][^\"\\\r\n]{0,1024}){0,64}\\{0,3}\"(?!\w)"
"""Not the end of one text and the beginning of the next."""
header_at = re.compile(
    r"\\{0,3}[\"'`]?\s{0,4}[:=]\s{0,4}(?:[bBrRfFuU]{1,2}(?=[\"']))?\\{0,3}[\"'`\[]{0,2}"
    r"(?P<value>[^\"'`\\\r\n]{1,8192}(?:(?<==)(?!\\{0,3}\"[\s,;:)\]}])" + _QUOTED + r"[^\"'`\\\r\n]{0,8192}){0,64})"
).match
"""The value of the header whose name ends at a place."""
_scheme = re.compile(
    r"(?:bearer|basic|token|digest|apikey|negotiate|splunk|ssws|flyv1|sso-key)[ \t:]{1,4}", re.IGNORECASE
).match
_any_scheme = re.compile(r"[A-Za-z][A-Za-z0-9\-]{0,31}[ \t:]{1,4}").match
_schemed = re.compile(r"(?P<value>[A-Za-z0-9_\-.~+/=|,:]{6,8192})").match
_parameter: Final = r"[A-Za-z][\w\-]{0,31}=(?:" + _QUOTED + r"|[^\s,\"'\\]{0,1024})"
_parameters = re.compile(_parameter + r"(?:[,; \t]{1,4}" + _parameter + r"){0,31}").match
_is_parameter = re.compile(r"[A-Za-z][\w\-]{0,31}=(?:\\{0,3}\"|[^\s=\"'\\])").match
_more_words = re.compile(r"(?:[ \t,;]{1,4}(?=[A-Za-z\-]{0,64}[^A-Za-z\s\-\"'\\])[^\s,;\"'\\]{1,1024}){0,31}").match


def is_clean(text: str, end: int, header: re.Match[str]) -> bool:
    """Whether the secret was taken out of a header already, whose name ends there."""
    return values.MARKER in text[end : header.end()][:_MARKED_MAX]


def find_in_header(text: str, name: str, header: re.Match[str]) -> Found | None:
    """All of a header's value: cookies, credentials of any scheme. ``name`` is in small letters."""
    value = header["value"]
    if values.is_nothing(value.strip()) or value[0] in "({":
        return None
    if name.endswith("cookie"):
        return header.span("value") if "=" in value else None
    return _credentials(text, *header.span("value"))


def find_schemed(text: str, low: bytes) -> Iterator[Found]:
    """Credentials behind the scheme of an ``Authorization`` header, wherever that stands."""
    for needle in (b"bearer", b"basic ", b"flyv1 "):
        place = low.find(needle)
        while place >= 0:
            scheme = _scheme(text, place)
            value = _schemed(text, scheme.end()) if scheme else None
            if value and values.is_opaque(value["value"]) and not values.is_nothing(value["value"]):
                yield value.span("value")
            place = low.find(needle, place + len(needle))


def _credentials(text: str, start: int, stop: int) -> Found | None:
    """What stands behind a scheme, unless scheme and all are a sentence: ``authorization: see the manual``."""
    scheme = _any_scheme(text, start)
    if scheme is None or scheme.end() >= stop:
        return None
    begin = scheme.end()
    first, _, more = text[begin:stop].partition(" ")
    if values.is_nothing(first):
        return None
    word = first.split(None, 1)[0].rstrip(",;") if first.strip() else ""
    is_known = _scheme(text, start) is not None
    parameters = _parameters(text, begin) if _is_parameter(text, begin) else None
    if parameters:
        has_more = not is_known or scheme[0].lower().startswith("digest")
        return begin, max(stop, parameters.end()) if has_more else parameters.end()
    if not word:
        return None
    if is_known:
        return begin, begin + len(word)
    is_alone = word != first or not more.strip()
    if values.is_opaque(word) or values.is_mixed(word) or (is_alone and _is_named(scheme[0]) and _is_credential(word)):
        end = begin + len(word)
        others = _more_words(text, end, stop)
        return begin, others.end() if others else end
    return None


def _is_named(scheme: str) -> bool:
    """Whether it is a scheme's name, which has capitals, rather than the first word of a remark."""
    return not scheme.islower() and not values.is_literal(scheme.rstrip(" \t:"))


def _is_credential(word: str) -> bool:
    return not values.is_literal(word) and not (values.is_number(word) and len(word) < _NUMBER_MIN)
