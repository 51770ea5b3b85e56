"""Secrets within a text that stand behind a name: ``password=…``, ``"token": "…"``, ``--api-key …``, headers, URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from otel_perfmon.redaction import headers, values
from otel_perfmon.redaction.brackets import CLOSED, find_in_brackets
from otel_perfmon.redaction.names import CERTAIN, KEYWORDS, LIKELY, MAYBE, NAME_MAX, weight_of
from otel_perfmon.redaction.patterns import Found
from otel_perfmon.redaction.pieces import FRAME

_NAME_CHARACTERS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_keywords: Final = tuple(keyword.encode() for keyword in KEYWORDS)

NAMES_OF_NAMES: Final = ("name", "key", "field", "header")
"""Under these stands a name, where what it names stands under ``value``."""
_NO_FRAME: Final = r'\n(?!  File ")'
"""An end of line that a value may go on behind; see `otel_perfmon.redaction.pieces.FRAME`."""

_TRIPLE: Final = (
    r'"""(?P<triple>(?:[^"\n]|' + _NO_FRAME + r'|"(?!"")){0,8192})'
    r"|'''(?P<triple_single>(?:[^'\n]|" + _NO_FRAME + r"|'(?!'')){0,8192})"
)
_BLOCK: Final = (
    r"[|>][+\-]?[ \t]{0,4}" + _NO_FRAME + r"(?P<indent>[ \t]{1,64})"
    r"(?P<block>[^\s][^\n]{0,1024}(?:" + _NO_FRAME + r"(?P=indent)[^\n]{1,1024}){0,63})"
)
_QUOTED: Final = (
    r'"(?P<double>(?:[^"\\\r\n]|\\[^\r\n]){0,8192})(?:"|$|(?=[\r\n]))'
    r"|'(?P<single>(?:[^'\\\r\n]|\\[^\r\n]){0,8192})(?:'|$|(?=\\?[\r\n])|(?=\\$))"
    r"|`(?P<back>[^`\r\n]{0,8192})`"
    r"|\\{1,3}(?:\"(?P<escaped>[^\"\\\r\n]{0,8192})|'(?P<escaped_single>[^'\\\r\n]{0,8192}))"
)
SIGN: Final = (
    r"\\{0,3}[\"'`\])]{0,3}(?:[ \t]{1,4}string)?\s{0,8}(?P<sign>:{1,3}=|[?+.|]{1,2}=(?!=)|=>|==?(?!=)|:(?!:)"
    r"|,(?=\s{0,8}[bBuU]?[\"'\\`])|>(?=\w|<!\[CDATA)|>(?=\s{1,8}[^\s<>]{8}))\s{0,20}"
)
"""Between a name and its value."""
match_assignment = re.compile(
    SIGN + r"(?:\\\r?\n\s{0,20})?(?:[bBrRfFuU]{1,2}(?=[\"']))?(?:" + _TRIPLE + "|" + _QUOTED + "|" + _BLOCK + "|"
    r"<!\[CDATA\[(?!\[redacted)(?P<cdata>[^\]\r\n]{1,8192})|"
    r"(?P<crypt>\$[0-9a-z\-]{1,16}\$[A-Za-z0-9./$=,+\-]{8,512})(?![^\s\"'`,;&<>|])|(?P<bare>[^\s\"'`,;&<>|]{1,8192}))"
).match
_PARTS: Final = (
    "triple",
    "triple_single",
    "double",
    "single",
    "back",
    "escaped",
    "escaped_single",
    "block",
    "cdata",
    "crypt",
)
_named = re.compile(
    r"\\{0,3}[\"']?(?:[\s,&]{1,8}\\{0,3}[\"']?[\w\-]{1,32}\\{0,3}[\"']?\s{0,2}[:=]\s{0,2}\\{0,3}[\"'][^\"'\\<>\r\n]{0,64}"
    r"\\{0,3}[\"']){0,4}?[\s,&]{1,8}\\{0,3}[\"']?[vV]alue\\{0,3}[\"']?\s{0,2}(?P<sign>[:=])\s{0,2}"
    r"(?:" + _QUOTED + r"|(?P<bare>[^\s\"'`,;&<>|]{1,8192}))"
).match
is_of_names = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:" + "|".join(NAMES_OF_NAMES) + r")\\{0,3}[\"']?[ \t]{0,2}[:=][ \t]{0,2}\\{0,3}[\"']?$",
    re.IGNORECASE,
).search
BEFORE_MAX: Final = 24
_opens_pair = re.compile(r"[(\[]\s?[bBuU]?\\{0,3}[\"'`]$").search
_closes_pair = re.compile(r"\\{0,3}[\"'`]?\s{0,4},?\s{0,4}[)\]]").match
_header_like = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)+").fullmatch
_name_like = re.compile(r"[A-Za-z_.\-]+").fullmatch
_CERTAIN_HEADERS: Final = ("authorization", "cookie", "api-key", "-token")
_sql_password = re.compile(
    r"[ \t]{0,4}(?:(?:for|FOR)[ \t]{1,4}[^\s]{1,128}[ \t]{0,4}=[ \t]{0,4})?\(?[ \t]{0,4}'(?P<value>[^'\r\n]{1,256})'"
).match
_SQL_BEFORE: Final = ("with", "encrypted", "login", "set")
_identified = re.compile(
    r"identified[ \t]{1,4}(?:with[ \t]{1,4}[^\s]{1,64}[ \t]{1,4})?(?:by|as)[ \t]{1,4}(?:password[ \t]{1,4})?" + CLOSED,
    re.IGNORECASE,
).match
_SQL_VERBS: Final = (b"create ", b"alter ", b"grant ")
_SQL_MAX: Final = 256
_flag = re.compile(r"[ \t]{1,4}(?:" + _QUOTED + r"|(?P<bare>(?!-)[^\s\"'`,;&<>|]{1,8192}))").match
_userinfo = re.compile(
    r"://(?P<user>[^\s/?#@:\"'`<>]{0,256})(?::(?P<value>[^\s/\"'`<>]{1,512}))?@(?=[^\s@/]|[\r\n]|$)"
).match
_curl_user = re.compile(
    r"""\s(?:-u|--user|--proxy-user)[ =]{0,2}["']?(?P<user>[^\s:"']{0,128})["']?:["']?(?P<value>[^\s"']{0,256})"""
)
_opens_list = re.compile(r"[(\[{]{1,4}[bBrRfFuU]{0,2}\\{0,3}[\"']").match
_prose = re.compile(r"[A-Za-z][a-z]*[.,!?]?(?=[ \t]+(?:[A-Za-z(]|\[redacted))").match
_word_only = re.compile(r"[A-Za-z][a-z]*").fullmatch


def find_words(data: bytes, low: bytes, needles: Iterable[bytes] = ()) -> Iterator[Found]:
    """Where the words begin and end that may be names of secrets: those with a keyword or one of ``needles`` in them.

    ``low`` is ``data`` in small letters.
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
                yield place - (len(before) - len(before.rstrip(_NAME_CHARACTERS))), end
            place = low.find(needle, end if end > place else place + 1)


def find_names(
    data: bytes, low: bytes, weigh: Callable[[str], int], needles: Iterable[bytes] = ()
) -> Iterator[tuple[int, int, int]]:
    """Those of the words that announce a secret, by ``weigh``, and their weight."""
    for start, end in find_words(data, low, needles):
        weight = weigh(data[start:end].decode("latin-1"))
        if weight:
            yield start, end, weight


def find_assigned(
    text: str, data: bytes, low: bytes, weigh: Callable[[str], int], needles: Iterable[bytes] = ()
) -> Iterator[Found]:
    """What is assigned to names that announce a secret; the arguments are those of `find_words`."""
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
    if weight == LIKELY and text[start - 1 : start] in {"?", "&"} and name[-1] != "s":
        weight = CERTAIN  # in a query there are no tokens of a language
    if name.lower().endswith(headers.NAMES):
        header = headers.header_at(text, end)
        if header and headers.is_clean(text, end, header):
            return None
        found = headers.find_in_header(text, name.lower(), header) if header else None
        if found:
            return found
    found = _of_neighbours(text, name, start, end, weight)
    if found:
        return found
    return _of_assignment(text, name, start, end, weight)


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


def find_identified(text: str, low: bytes) -> Iterator[Found]:
    """Passwords in SQL's ``IDENTIFIED BY 'password'``, in capitals or of a statement that changes a user."""
    place = low.find(b"identified ")
    while place >= 0:
        found = _identified(text, place)
        before = low[max(0, place - _SQL_MAX) : place]
        is_sql = text[place] == "I" or any(verb in before for verb in _SQL_VERBS)
        if found and is_sql and not values.is_nothing(found[found.lastgroup or 0]):
            yield found.span(found.lastgroup or 0)
        place = low.find(b"identified ", place + 1)


def is_pair(name: str, value: str) -> bool:
    """Whether a secret's name and what follows it are a header or a field, rather than two names of some."""
    if weight_of(value[-NAME_MAX:]):
        return False
    return not (_header_like if name.lower().endswith(_CERTAIN_HEADERS) else _name_like)(value)


def _of_neighbours(text: str, name: str, start: int, end: int, weight: int) -> Found | None:
    """What stands near a name in a way of its own: ``name=password value=…``, in brackets, in SQL."""
    before = text[max(0, start - BEFORE_MAX) : start]
    if is_of_names(before):
        named = _named(text, end)
        if named:
            return _of_match(text, name, named, weight)
    found = find_in_brackets(text, name, end, weight)
    if found or name.lower() != "password":
        return found
    if name.isupper() or before.rstrip().lower().endswith(_SQL_BEFORE):
        password = _sql_password(text, end)
        if password and not values.is_nothing(password["value"]):
            return password.span("value")
    return None


def _of_assignment(text: str, name: str, start: int, end: int, weight: int) -> Found | None:
    found = match_assignment(text, end)
    sign = found["sign"] if found else ""
    if sign == ">" and text[start - 1 : start] != "<":
        found = None
    if (found is None and text[max(0, start - 2) : start] == "--") or name.startswith("--"):
        found, sign = _flag(text, end) or found, sign or "--"
    if found is None:
        return None
    if sign == "," and not _is_in_pair(text, name, start, found):
        return None  # one of several names
    return _of_match(text, name, found, weight)


def _is_in_pair(text: str, name: str, start: int, found: re.Match[str]) -> bool:
    """Whether the text behind a name and a comma is its value."""
    value = next((found[part] for part in _PARTS if found[part] is not None), "")
    if values.is_opaque(value) or values.is_id(value):
        return True
    is_closed = _opens_pair(text[max(0, start - 8) : start]) and _closes_pair(text, found.end())
    return bool(is_closed) and is_pair(name, value)


def _of_match(text: str, name: str, found: re.Match[str], weight: int) -> Found | None:
    """The value that was matched, quoted or not, if it is a secret."""
    groups = found.groupdict()
    for part in _PARTS:
        value = groups.get(part)
        if value is not None:
            return found.span(part) if values.is_secret(value, weight) else None
    return _of_bare(text, name, found, groups.get("sign") or "--", weight)


def _of_bare(text: str, name: str, found: re.Match[str], sign: str, weight: int) -> Found | None:
    """An unquoted value: perhaps an expression, perhaps the next word of a sentence."""
    start = found.start("bare")
    if text.startswith(FRAME, start - FRAME.index("F")) or _opens_list(text, start):
        return None
    if values.is_code(found["bare"]) or values.is_nothing(found["bare"]):
        return None
    value = found["bare"].rstrip(")]}.")
    if not value or values.is_literal(value) or value == name.rpartition(".")[2]:
        return None
    is_said = sign == ":"  # not assigned
    if is_said and (_prose(text, start) or (_word_only(value) and weight < CERTAIN)):
        return None
    if is_said and weight == LIKELY:
        weight = MAYBE  # unexpected token: x1
    return (start, start + len(value)) if values.is_secret(value, weight) else None
