"""The user's own patterns: refused when they could hang the writer, and run over a bounded piece of text at a time.

Python's regular expressions go back and try again, which takes a pattern such as ``(a+)+$`` longer than the universe
lasts, and nothing can interrupt one: it holds the interpreter. So a pattern's worst case is worked out before it is
taken, from how often its repeats may be repeated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

if sys.version_info >= (3, 11):
    from re import _constants as _codes  # type: ignore[attr-defined]
    from re import _parser  # type: ignore[attr-defined]
else:
    import sre_constants as _codes
    import sre_parse as _parser

Found = tuple[int, int]
"""Where a secret begins and ends in a text."""
PIECE: Final = 1_000
"""Characters that a pattern is run over at a time."""
OVERLAP: Final = 200
"""Characters that a piece shares with the next one: what a pattern finds may be so long, wherever it stands."""
COST_MAX: Final = 2_000
"""Ways to try at one place: then a piece takes at most about 10 ms."""
PATTERN_MAX: Final = 1_000
"""Characters of a pattern."""
_ONE_WAY: Final = frozenset(
    (_codes.LITERAL, _codes.NOT_LITERAL, _codes.ANY, _codes.IN, _codes.AT, _codes.CATEGORY, _codes.RANGE)
)
_REPEATS: Final = frozenset(
    getattr(_codes, name) for name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") if hasattr(_codes, name)
)


def compile_pattern(text: object) -> re.Pattern[str]:
    """The pattern; `ValueError` with the reason when it is none, matches nothing at all, or may take too long."""
    if not isinstance(text, str):
        message = "it is no text"
        raise ValueError(message)  # noqa: TRY004 - one kind of error for whatever is wrong with it
    if len(text) > PATTERN_MAX:
        message = f"it is longer than {PATTERN_MAX} characters"
        raise ValueError(message)
    try:
        pattern = re.compile(text)
        cost = _cost(_parser.parse(text))
    except (re.error, RecursionError, OverflowError) as error:
        message = f"it is no regular expression: {error}"
        raise ValueError(message) from None
    if cost > COST_MAX:
        message = "it may take too long: bound its repeats, such as {1,40} in the place of +, and put none into another"
        raise ValueError(message)
    if pattern.search(""):
        message = "it matches where nothing stands"
        raise ValueError(message)
    return pattern


def fault_of(text: object) -> str:
    """Why a text is no pattern to be run, or ''."""
    try:
        compile_pattern(text)
    except ValueError as error:
        return str(error)
    return ""


def find_all(patterns: Sequence[re.Pattern[str]], text: str) -> Iterator[Found]:
    """What the patterns find; of a match with a group named ``secret`` that group only."""
    for start in range(0, max(1, len(text) - OVERLAP), PIECE - OVERLAP):
        piece = text[start : start + PIECE]
        for pattern in patterns:
            for found in pattern.finditer(piece):
                first, last = found.span("secret") if "secret" in pattern.groupindex else found.span()
                if 0 <= first < last:
                    yield start + first, start + last


def _cost(items: Any) -> int:
    """In how many ways a sequence of items may match from one place, at worst."""
    cost = 1
    for code, argument in items:
        cost = min(cost * _cost_of(code, argument), COST_MAX + 1)
    return cost


def _cost_of(code: Any, argument: Any) -> int:
    if code in _ONE_WAY:
        return 1
    if code in _REPEATS:
        least, most, body = argument
        most = min(int(most), PIECE)
        inner = _cost(body)
        if inner > 1 and most > 1:  # inner ** most, and there are most of those
            return COST_MAX + 1 if most > COST_MAX.bit_length() else int(inner**most)
        return max(1, most - int(least) + 1) * inner
    if code is _codes.BRANCH:
        return sum(map(_cost, argument[1]))
    if code is _codes.SUBPATTERN:
        return _cost(argument[-1])
    if code in (_codes.ASSERT, _codes.ASSERT_NOT):
        return _cost(argument[1])
    if code is getattr(_codes, "ATOMIC_GROUP", None):
        return _cost(argument)
    return COST_MAX + 1  # a reference back, a condition
