"""What a form offers to choose from, which span data may have made very much of."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Final

_CHOICES_MAX: Final = 500
_CHARACTERS_MAX: Final = 100_000
"""Of all of them together: each page has them in it."""


def choices(names: Iterable[str], chosen: str | None) -> list[str]:
    """The first names, as many as a page has room for, and the chosen one."""
    known = list(names)
    ends = accumulate(len(name) for name in known[:_CHOICES_MAX])
    some = [name for name, end in zip(known, ends, strict=False) if end <= _CHARACTERS_MAX]
    return [chosen, *some] if chosen and chosen not in some else some
