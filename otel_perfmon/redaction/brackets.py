"""Secrets within brackets behind a name: ``passwords=['…', '…']``, ``secret = {"a": "…"}``, ``auth=("bob", "…")``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from otel_perfmon.redaction import values
from otel_perfmon.redaction.names import NAME_MAX, weight_of
from otel_perfmon.redaction.patterns import Found

_ITEMS_MAX: Final = 32
_SPAN_MAX: Final = 4_096
"""Items of a list or a mapping that are looked at, and the characters from the first to the last."""
CLOSED: Final = (
    r"(?:\"(?P<double>(?:[^\"\\\r\n]|\\[^\r\n]){1,512})\"|'(?P<single>(?:[^'\\\r\n]|\\[^\r\n]){1,512})'"
    r"|\\{1,3}\"(?P<escaped>[^\"\\\r\n]{1,512})\\{1,3}\"|\\{1,3}'(?P<escaped_single>[^'\\\r\n]{1,512})\\{1,3}')"
)
"""A value in quotes that ends; the other quote may stand in it. The last group that matched is the value."""
_USER: Final = r"(?:[bBuU]?(?:\"[^\"\r\n]{0,128}\"|'[^'\r\n]{0,128}')|[^\s,()]{1,128})"
_assigned: Final = r"\\{0,3}[\"']?\s{0,4}[=:]\s{0,4}"
_list = re.compile(_assigned + r"[(\[]{1,3}").match
_mapping = re.compile(_assigned + r"(?=\{)").match
_item = re.compile(r"\s{0,4},?\s{0,8}[bBrRuU]{0,2}" + CLOSED).match
_key: Final = r"(?:\\{0,3}[\"'][^\"'\\\r\n]{0,128}\\{0,3}[\"']|[\w.\-]{1,64})"
_pair = re.compile(
    r"[\s,{]{1,9}" + _key + r"\s{0,4}:\s{0,4}(?:[bBrRuU]{0,2}" + CLOSED + r"|[^\s,{}\[\]\"'`\\]{1,64}|(?=\{))"
).match
_login_pair = re.compile(_assigned + r"[(\[]\s{0,4}" + _USER + r",\s{0,4}[bBuU]?" + CLOSED).match
_second_argument = re.compile(r"\s{0,8}" + _USER + r"\s{0,4},\s{0,8}[bBuU]?" + CLOSED).match
_LOGINS: Final = (b"login(", b"log_in(", b"authenticate(", b"basicauth(")


def find_in_brackets(text: str, name: str, end: int, weight: int) -> Found | None:
    """What stands in brackets behind a name that ends there: from the first secret in them to the last."""
    opening = _list(text, end)
    if opening:
        first = _item(text, opening.end())
        if first and _is_value(_value(first), weight):
            *_, last = _follow(_item, text, opening.end())
            return _from_to(text, first, last)
        if name.lower().endswith("auth"):
            return _secret_in(_login_pair(text, end))
        return None
    opening = _mapping(text, end)
    if opening is None:
        return None
    found = [each for each in _follow(_pair, text, opening.end()) if _is_in_mapping(each, weight)]
    return _from_to(text, found[0], found[-1]) if found else None


def find_logins(text: str, low: bytes) -> Iterator[Found]:
    """The second argument of ``login(user, "password")`` and its like, as stack traces quote it."""
    for needle in _LOGINS:
        place = low.find(needle)
        while place >= 0:
            found = _secret_in(_second_argument(text, place + len(needle)))
            if found:
                yield found
            place = low.find(needle, place + len(needle))


def _follow(item: Callable[[str, int], re.Match[str] | None], text: str, begin: int) -> Iterator[re.Match[str]]:
    """The items that stand one behind the other."""
    place = begin
    for _ in range(_ITEMS_MAX):
        found = item(text, place)
        if found is None or found.end() > begin + _SPAN_MAX:
            return
        yield found
        place = found.end()


def _from_to(text: str, first: re.Match[str], last: re.Match[str]) -> Found:
    """From one value to another, and with their quotes where these differ: half of a pair would open what follows."""
    start, end = first.start(first.lastgroup or 0), last.end(last.lastgroup or 0)
    if text[start - 1] == text[last.end() - 1]:
        return start, end
    opening = text[first.start() : start - 1]
    return first.start() + len(opening.rstrip("\\")), last.end()


def _value(found: re.Match[str]) -> str:
    return found[found.lastgroup or 0] or ""


def _is_value(value: str, weight: int) -> bool:
    """Whether it is a secret, and not one more name of some."""
    return values.is_secret(value, weight) and not weight_of(value[-NAME_MAX:])


def _is_in_mapping(found: re.Match[str], weight: int) -> bool:
    return found.lastgroup is not None and _is_value(_value(found), weight) and not values.is_literal(_value(found))


def _secret_in(found: re.Match[str] | None) -> Found | None:
    return found.span(found.lastgroup or 0) if found and not values.is_nothing(_value(found)) else None
