"""All secrets of one text, and which of many short texts may have one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from otel_perfmon.redaction import assignments, brackets, headers, tokens
from otel_perfmon.redaction.names import NAME_MAX
from otel_perfmon.redaction.openness import is_open
from otel_perfmon.redaction.patterns import Found
from otel_perfmon.redaction.tokens import WORD_MIN

_long_word: Final = b"w" * WORD_MIN
_to_words: Final = bytes(
    ord("w") if chr(each).isascii() and (chr(each).isalnum() or chr(each) in "_-") else ord(" ") for each in range(256)
)
_CARD_MIN: Final = b"0" * 13
_to_digits: Final = bytes(ord("0") if each in b"0123456789" else ord("x") for each in range(256))
_card_digits = re.compile(rb"[0-9](?:[ \-]?[0-9]){12}").finditer
_BEFORE_NUMBERS: Final = b":[, "
_is_no_card = re.compile(rb"(?<=[:\[, ])[0-17-9][0-9]{12,18}(?![ \-]?[0-9])").match
"""A number by itself that begins as no card does, such as the time of an event."""
_no_word = re.compile(rb"[^A-Za-z0-9_\-]").search
_plain_word = re.compile(rb"[0-9a-f\-]+|[0-9A-F\-]+|[a-z_\-]+|[A-Z_\-]+|[0-9_\-]+").fullmatch
_LOOSE: Final = (
    *(
        b"-----begin",
        b"bearer",
        b"basic ",
        b"flyv1 ",
        b"@bytes",
        b"q~",
        b"hooks.slack",
        b"/api/webhooks",
        b"webhook.office",
        b"curl",
    ),
    *(b"login(", b"log_in(", b"authenticate(", b"basicauth(", b"identified "),
)
"""What else than names, long words and long numbers a text with a secret may have in it, in small letters."""
_LOOSE_OF_ZEROS: Final = tuple(each.replace(b"1", b"0") for each in _LOOSE)


def find_secrets(text: str, weigh: Callable[[str], int], needles: Iterable[bytes] = ()) -> Iterator[Found]:
    """The secrets of a text, in no order; they may overlap. ``needles``: see `assignments.find_names`."""
    data = text.encode("latin-1", "replace")  # a byte for each character, so that places are the same
    low = data.lower()
    yield from assignments.find_assigned(text, data, low, weigh, needles)
    for start, end in _long_words(data):
        token = tokens.token_at(text, start, end)
        if token:
            yield token
    if b"://" in data and b"@" in data:
        yield from assignments.find_userinfo(text)
    if [needle for needle in _LOOSE if needle in low]:
        yield from tokens.find_private_keys(text)
        yield from headers.find_schemed(text, low)
        yield from assignments.find_curl_users(text, low)
        yield from brackets.find_logins(text, low)
        yield from assignments.find_identified(text, low)
        yield from tokens.find_azure_secrets(text)
        yield from tokens.find_hooks(text)
    if has_digits_enough(data):
        yield from tokens.find_cards(text)


def find_suspicious(texts: Sequence[str], weigh: Callable[[str], int], needles: Iterable[bytes] = ()) -> set[int]:
    """The numbers of those texts, each of one line, that a secret may stand in, or behind, or be announced by."""
    text = "\n".join(texts)
    data = text.encode("latin-1", "replace")
    places = sorted(_suspicious_places(text, data, data.lower(), weigh, needles))
    found: set[int] = set()
    line = last = 0
    for place in places:
        line += data.count(b"\n", last, place)
        last = place
        found.add(line)
    return found


def has_signs(lines: bytes, weigh: Callable[[str], int], needles: Iterable[bytes] = ()) -> bool:
    """Whether there is anything in lines by which a secret could be suspected, but for a card, had they other digits.

    All digits of ``lines`` and ``needles`` are zeros. True of more than `find_suspicious` finds, never of less.
    """
    low = lines.lower()
    if any(needle in low for needle in chain(_LOOSE_OF_ZEROS, needles)) or (b"://" in low and b"@" in low):
        return True
    return any(assignments.find_names(lines, low, weigh)) or any(_long_words(lines))


def has_digits_enough(lines: bytes) -> bool:
    """Whether there are as many digits, perhaps with blanks or hyphens, as a card has."""
    return _CARD_MIN in lines.translate(_to_digits, b" -")


def has_card_digits(lines: bytes) -> bool:
    """Whether there are so many that do not begin as no card does."""
    return next(_card_places(lines), None) is not None


def _suspicious_places(
    text: str, data: bytes, low: bytes, weigh: Callable[[str], int], needles: Iterable[bytes]
) -> Iterator[int]:
    yield from chain.from_iterable(_places(low, needle) for needle in _LOOSE)
    yield from _suspicious_words(text, data, weigh, assignments.find_words(data, low, needles))
    yield from (start for start, end in _long_words(data) if tokens.token_at(text, start, end))
    if b"://" in data and b"@" in data:
        yield from (start for start, _ in assignments.find_userinfo(text))
    if has_digits_enough(data):
        yield from _card_places(data)


def _suspicious_words(
    text: str, data: bytes, weigh: Callable[[str], int], words: Iterable[tuple[int, int]]
) -> Iterator[int]:
    """Where the names stand that have a value in their line, or may have one beyond it."""
    begin = stop = -1
    is_known = False
    line = ""
    for start, end in words:
        is_new = not begin <= start <= stop
        if is_new:
            begin, stop = text.rfind("\n", 0, start) + 1, text.find("\n", end)
            stop = len(text) if stop < 0 else stop
            line = text[begin:stop]
            is_known = False
        if is_known:
            continue
        is_known = _is_suspicious(line, start - begin, end - begin, weigh(data[start:end].decode("latin-1")))
        if is_known or (is_new and weigh(line[-NAME_MAX:])):  # all of it may be a name, of several words
            is_known = True
            yield start


def _is_suspicious(line: str, start: int, end: int, weight: int) -> bool:
    if not weight:
        return False
    return is_open(line, start, end) or assignments.found_at(line, start, end, weight) is not None


def _card_places(data: bytes) -> Iterator[int]:
    for found in _card_digits(data):
        place = found.start()
        if not (place and data[place - 1] in _BEFORE_NUMBERS and _is_no_card(data, place)):
            yield place


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    place = data.find(needle)
    while place >= 0:
        yield place
        place = data.find(needle, place + len(needle))


def _long_words(data: bytes) -> Iterator[Found]:
    """The words that may be a token or its part: long, and neither of small letters nor hexadecimal digits alone."""
    words = data.translate(_to_words)
    place = words.find(_long_word)
    while place >= 0:
        stop = _no_word(data, place)
        end = stop.start() if stop else len(data)
        if not _plain_word(data, place, end):
            yield place, end
        place = words.find(_long_word, end)
