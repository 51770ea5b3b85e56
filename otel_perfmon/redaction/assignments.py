"""Secrets within a text that stand behind a name: ``password=…``, ``"token": "…"``, ``--api-key …``, headers, URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from otel_perfmon.redaction import values
from otel_perfmon.redaction.names import HARMLESS, KEYWORDS, MAYBE, NAME_MAX, PASSWORD
from otel_perfmon.redaction.patterns import Found

_HEADERS: Final = ("authorization", "cookie")
_SCHEME_MAX: Final = 64
_OPEN_MAX: Final = 32
_OPENING: Final = tuple("=:>,([")
_SIGNS: Final = " \t\\:=>?+.|,[](){}'`&<"
_NAME_CHARACTERS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_keywords: Final = tuple(keyword.encode() for keyword in KEYWORDS)

_QUOTED: Final = (
    r'"(?P<double>(?:[^"\\\r\n]|\\[^\r\n]){0,8192})(?:"|$|(?=[\r\n]))'
    r"|'(?P<single>(?:[^'\\\r\n]|\\[^\r\n]){0,8192})(?:'|$|(?=[\r\n]))"
    r"|`(?P<back>[^`\r\n]{0,8192})`"
    r"|\\{1,3}[\"'](?P<escaped>[^\"'\\\r\n]{0,8192})"
)
_assignment = re.compile(
    r"\\{0,3}[\"'`\])]{0,3}(?:[ \t]{1,4}string)?\s{0,8}"
    r"(?P<sign>:{1,3}=|[?+.|]{1,2}=(?!=)|=>|==?(?!=)|:(?!:)|,(?=\s{0,8}[\"'\\`])|>(?=\w)|>(?=\s{1,8}[^\s<>]{8}))\s{0,20}"
    r"(?:[bBrRfFuU]{1,2}(?=[\"']))?(?:" + _QUOTED + r"|(?P<bare>[^\s\"'`,;&<>|]{1,8192}))"
).match
_flag = re.compile(r"[ \t]{1,4}(?:" + _QUOTED + r"|(?P<bare>(?!-)[^\s\"'`,;&<>|]{1,8192}))").match
_header = re.compile(
    r"\\{0,3}[\"'`]?\s{0,4}[:=]\s{0,4}\\{0,3}[\"'`\[]{0,2}(?P<value>[^\"'`\\\r\n]{1,8192})", re.IGNORECASE
).match
_scheme = re.compile(
    r"(?:bearer|basic|token|digest|apikey|negotiate|splunk|ssws|flyv1|sso-key)[ \t:]{1,4}", re.IGNORECASE
).match
_schemed = re.compile(r"(?P<value>[A-Za-z0-9_\-.~+/=|,:]{6,8192})").match
_userinfo = re.compile(r"://(?P<user>[^\s/?#@:\"'`<>]{0,256})(?::(?P<value>[^\s/\"'`<>]{1,512}))?@(?=[^\s@/])").match
_curl_user = re.compile(
    r"""\s(?:-u|--user|--proxy-user)[ =]{0,2}["']?(?P<user>[^\s:"']{0,128})["']?:["']?(?P<value>[^\s"']{0,256})"""
)
_login = re.compile(r"""\s{0,8}[^\s,()]{1,128},\s{0,8}(?P<open>["'])(?P<value>[^"'\r\n]{1,256})(?P=open)""").match
_any_scheme = re.compile(r"[A-Za-z][A-Za-z0-9\-]{0,31}[ \t:]{1,4}").match
_prose = re.compile(r"[A-Za-z][a-z]*[.,!?]?(?=[ \t]+[A-Za-z(])").match
_word_only = re.compile(r"[A-Za-z][a-z]*").fullmatch


def find_names(
    data: bytes, low: bytes, weigh: Callable[[str], int], needles: Iterable[bytes] = ()
) -> Iterator[tuple[int, int, int]]:
    """The names in a text that announce a secret, by ``weigh``: where each begins and ends, and its weight.

    ``low`` is ``data`` in small letters. Names that have neither a keyword nor one of ``needles`` in them are none.
    """
    ends: set[int] = set()
    for needle in [each for each in chain(_keywords, needles) if each in low]:
        place = low.find(needle)
        while place >= 0:
            after = data[place : place + NAME_MAX]
            end = place + len(after) - len(after.lstrip(_NAME_CHARACTERS))
            if end not in ends:
                ends.add(end)
                before = data[max(0, place - NAME_MAX) : place]
                start = place - (len(before) - len(before.rstrip(_NAME_CHARACTERS)))
                weight = weigh(data[start:end].decode("latin-1"))
                if weight:
                    yield start, end, weight
            place = low.find(needle, end if end > place else place + 1)


def find_assigned(
    text: str, data: bytes, low: bytes, weigh: Callable[[str], int], needles: Iterable[bytes] = ()
) -> Iterator[Found]:
    """What is assigned to names that announce a secret; the arguments are those of `find_names`."""
    last = (0, 0)
    for start, end, weight in find_names(data, low, weigh, needles):
        if last[0] <= start < last[1]:
            continue  # within that value; a hostile text could have thousands of such, each as long as the rest
        found = found_at(text, start, end, weight)
        if found:
            last = found
            yield found


def found_at(text: str, start: int, end: int, weight: int) -> Found | None:
    """What is assigned to the name from ``start`` to ``end``, if that is a secret."""
    name = text[start:end]
    if name.lower().endswith(_HEADERS):
        header = _header(text, end)
        if header and values.MARKER in header["value"][:_SCHEME_MAX]:
            return None  # taken out already
        found = _of_header(text, name.lower(), header) if header else None
        if found:
            return found
    return _of_assignment(text, name, start, end, weight)


def is_open(text: str, end: int) -> bool:
    """Whether a name that ends there is followed by nothing, in its line, that would be its value."""
    rest = text[end : end + _OPEN_MAX].partition("\n")[0]
    return not rest.strip(_SIGNS) or (len(rest) < _OPEN_MAX and rest.rstrip(" \\")[-1:] in _OPENING)


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


def find_userinfo(text: str) -> Iterator[Found]:
    """Passwords in URLs, and users that are tokens."""
    place = text.find("://")
    while place >= 0:
        found = _userinfo(text, place)
        if found:
            part = "value" if found["value"] is not None else "user"
            value = found[part]
            if not values.is_nothing(value) and (part == "value" or values.is_opaque(value)):
                yield found.span(part)
        place = text.find("://", place + 3)


def find_curl_users(text: str, low: bytes) -> Iterator[Found]:
    """Passwords in ``curl -u user:password``."""
    if b"curl" in low:
        for found in _curl_user.finditer(text):
            if not found["value"]:
                if values.is_opaque(found["user"]):
                    yield found.span("user")
            elif not values.is_nothing(found["value"]) and not found["value"].startswith("//"):
                yield found.span("value")


def find_logins(text: str, low: bytes) -> Iterator[Found]:
    """The second argument of ``login(user, "password")`` and its like, as stack traces quote it."""
    for needle in (b"login(", b"log_in(", b"authenticate("):
        place = low.find(needle)
        while place >= 0:
            found = _login(text, place + len(needle))
            if found and not values.is_nothing(found["value"]):
                yield found.span("value")
            place = low.find(needle, place + len(needle))


def _of_header(text: str, name: str, found: re.Match[str]) -> Found | None:
    """All of a header's value: cookies, credentials of any scheme."""
    start, stop = found.span("value")
    value = found["value"]
    if values.is_nothing(value.strip()) or value[0] in "({":
        return None
    if name.endswith("cookie"):
        return (start, stop) if "=" in value else None
    scheme = _any_scheme(text, start)
    if scheme is None or scheme.end() >= stop:
        return None
    value = text[scheme.end() : stop]
    if not _scheme(text, start) and not values.is_opaque(value.split(" ", 1)[0]):
        return None
    if values.is_nothing(value.split(" ", 1)[0]):
        return None
    if scheme[0].lower().startswith("digest"):
        return scheme.end(), stop
    word = value.split(None, 1)[0].rstrip(",;")
    return (scheme.end(), scheme.end() + len(word)) if word else None


def _of_assignment(text: str, name: str, start: int, end: int, weight: int) -> Found | None:
    found = _assignment(text, end)
    sign = found["sign"] if found else ""
    if sign == ">" and text[start - 1 : start] != "<":
        found = None
    if (found is None and text[max(0, start - 2) : start] == "--") or name.startswith("--"):
        found, sign = _flag(text, end) or found, sign or "--"
    if found is None:
        return None
    for part in ("double", "single", "back", "escaped"):
        if found[part] is not None:
            value = found[part]
            if sign == "," and not values.is_opaque(value) and not values.is_id(value):
                return None  # one of several names
            return found.span(part) if _is_secret(value, weight) else None
    return _of_bare(text, name, found, sign, weight)


def _of_bare(text: str, name: str, found: re.Match[str], sign: str, weight: int) -> Found | None:
    """An unquoted value: perhaps an expression, perhaps the next word of a sentence."""
    start = found.start("bare")
    if values.is_code(found["bare"]) or values.is_nothing(found["bare"]):
        return None
    value = found["bare"].rstrip(")]}.")
    if not value or values.is_literal(value) or value == name.rpartition(".")[2]:
        return None
    is_said = sign == ":"  # not assigned
    if is_said and (_prose(text, start) or (_word_only(value) and weight < PASSWORD)):
        return None
    return (start, start + len(value)) if _is_secret(value, weight) else None


def _is_secret(value: str, weight: int) -> bool:
    if weight == HARMLESS or values.is_nothing(value):
        return False
    if weight == MAYBE:
        return values.is_opaque(value)
    return weight == PASSWORD or not values.is_number(value)
