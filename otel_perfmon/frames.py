"""A stack as Python writes it, read again: its frames, and which of them are the program's own."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import Final, NamedTuple

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+), in (.*)$', re.MULTILINE)
_LIBRARY: Final = re.compile(r"[/\\](lib[/\\]python\d|[Ll]ib[/\\](?!python)|site-packages|<frozen)")
"""Paths of what Python brings and of what was installed."""


class Frame(NamedTuple):
    """One frame: where it is, its ``text`` as it stands in the stack, and whether it is of a library."""

    path: str
    line: int
    function: str
    text: str
    is_library: bool

    @property
    def place(self) -> str:
        """In short: ``shop.py:12 in charge``."""
        return f"{os.path.basename(self.path)}:{self.line} in {self.function}"


def split_stack(stack: str) -> tuple[str, list[Frame]]:
    """What stands before the first frame, and the frames, innermost last; together all of the text."""
    found = list(_FRAME.finditer(stack))
    bounds = [*(each.start() for each in found), len(stack)]
    frames = [
        Frame(each[1], int(each[2]), each[3], stack[start:end], _LIBRARY.search(each[1]) is not None)
        for each, (start, end) in zip(found, pairwise(bounds), strict=True)
    ]
    return stack[: bounds[0]], frames


def place_among(frames: list[Frame]) -> int | None:
    """Which frame is the innermost of the program's own, else the innermost; None where there is none."""
    own = [number for number, frame in enumerate(frames) if not frame.is_library]
    return own[-1] if own else len(frames) - 1 if frames else None


def place_of(stack: str) -> str:
    """That frame in short; empty without."""
    _, frames = split_stack(stack)
    number = place_among(frames)
    return "" if number is None else frames[number].place
