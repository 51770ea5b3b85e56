"""The frames of a Python stack as text: where each is, and which of them is the program's own and innermost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_FRAME: Final = re.compile(r'  File "(.*)", line (\d+), in (.*)')
_LIBRARY: Final = re.compile(r"[/\\](lib[/\\]python\d|[Ll]ib[/\\](?!python)|site-packages|<frozen)")
"""Paths of what Python brings and of what was installed."""
_INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, with the lines of code that stand below it in the text."""

    path: str
    line: int
    function: str
    code: tuple[str, ...] = ()

    @property
    def is_library(self) -> bool:
        """Whether it is in what Python brings or in what was installed."""
        return _LIBRARY.search(self.path) is not None

    @property
    def place(self) -> str:
        """In short: ``shop.py:12 in charge``."""
        return f"{os.path.basename(self.path)}:{self.line} in {self.function}"

    @property
    def short_path(self) -> str:
        """The file and the folder it is in: ``shop/pay.py``."""
        return "/".join(self.path.replace("\\", "/").split("/")[-2:])


def parse_stack(text: str) -> list[Frame | str]:
    """The frames of a stack, outermost first, and the other lines of the text where they stand."""
    parts: list[Frame | str] = []
    for frame, line in _lines(text):
        if frame is not None:
            parts.append(frame)
        elif parts and isinstance(last := parts[-1], Frame) and line.startswith(_INDENT):
            parts[-1] = Frame(last.path, last.line, last.function, (*last.code, line[len(_INDENT) :]))
        else:
            parts.append(line)
    return parts


def innermost(parts: Sequence[Frame | str]) -> Frame | None:
    """The innermost frame of the program's own, else of all; None where there is none."""
    frames = [part for part in parts if isinstance(part, Frame)]
    found = [frame for frame in frames if not frame.is_library] or frames
    return found[-1] if found else None


def place_of(stack: str) -> str:
    """That frame of a stack in short; empty without."""
    frame = innermost(parse_stack(stack))
    return frame.place if frame else ""


def _lines(text: str) -> Iterator[tuple[Frame | None, str]]:
    for line in text.split("\n"):
        match = _FRAME.fullmatch(line)
        yield (Frame(match[1], int(match[2]), match[3]) if match else None), line
