"""The documents of a file of JSON: one a line, or over many lines, one after the other.

A line that is cut looks like the beginning of a document over many lines. What comes behind it tells: it fits, or the
document is broken, and the next line that could begin another one is where reading goes on.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO, Final, NamedTuple

from otel_perfmon.errors import DecodeError

_LOOK_BYTES: Final = 512
"""Behind so many, then twice as many each time, it is looked whether a document is broken: so it is parsed twice."""
_AGAIN_MAX: Final = 8
"""So many times as much as was read may come again because a document was none; more is made to take for ever."""
_BEGINS: Final = re.compile(rb'\{|\s+\{\s*"resource_?(?:[sS]pans|[mM]etrics|[lL]ogs|[pP]rofiles)"')
"""What a line begins with that is not in the midst of a document: there braces are indented."""
_raw_decode = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # numbers are for who reads the document


class Document(NamedTuple):
    """A document, or why it is none."""

    place: str
    data: bytes
    error: DecodeError | None = None


class JsonLines:
    """The lines of a file, of which some may be put back. ``number`` is that of the last one that was taken."""

    def __init__(self, start: bytes, file: BinaryIO, bytes_max: int) -> None:
        self.number = 0
        self.bytes_max = bytes_max
        self._read_bytes = self._again_bytes = 0
        self._start = start
        self._file = file
        self._is_within = False
        self._back: deque[bytes] = deque()

    def take(self) -> bytes:
        """The next line, nothing at the end; of one that has more than ``bytes_max`` so many and one more."""
        line = self._back.popleft() if self._back else self._read()
        self.number += bool(line)
        return line

    def put_back(self, lines: Sequence[bytes]) -> None:
        """Have these come again; the first may be the rest of a line."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)
        self._again_bytes += sum(map(len, lines))

    @property
    def come_too_often(self) -> bool:
        """Whether what was put back is out of all proportion to what was read."""
        return self._again_bytes > _AGAIN_MAX * self._read_bytes

    def _read(self) -> bytes:
        while self._is_within and (rest := self._file.readline(self.bytes_max)):
            self._is_within = not rest.endswith(b"\n")
        start, end, self._start = self._start.partition(b"\n")  # it may be some lines
        line = start + (end or self._file.readline(self.bytes_max + 1))
        self._read_bytes += len(line)
        self._is_within = len(line) > self.bytes_max and not line.endswith(b"\n")
        return line


def goes_on(line: bytes) -> bool:
    """Whether a line of JSON may be the beginning of a longer document."""
    return line.lstrip()[:1] in {b"{", b"["} and _end_of([line]) is None


def take_document(first: bytes, lines: JsonLines) -> Document:
    """The document that begins with a line that was taken, and was none by itself."""
    begin = lines.number
    held, size, look_bytes = [first], len(first), _LOOK_BYTES
    end: int | Exception | None = None
    while end is None and (line := lines.take()):
        held.append(line)
        size += len(line)
        if size > lines.bytes_max:
            end = DecodeError(f"It has more than {lines.bytes_max:,} bytes.")
        elif size >= look_bytes or line.startswith((b"}", b"]")):
            end, look_bytes = _end_of(held), 2 * size
    if end is None:
        end = _end_of(held)
    if isinstance(end, int):
        return _cut_behind(end, held, begin, lines)
    # Of what is nested so deep nobody can tell where it ends; else any line behind the first may be a good one.
    lines.put_back([] if isinstance(end, RecursionError) or lines.come_too_often else held[1:])
    while (line := lines.take()) and not _BEGINS.match(line):
        pass
    lines.put_back([line] if line else [])
    # When the first line alone is no good, its own end is where it is broken.
    error = _error_of(_parse([first.rstrip()]) if lines.number == begin else end, begin)
    return Document(_place(begin, lines.number), b"", error)


def _end_of(lines: Sequence[bytes]) -> int | Exception | None:
    """Behind which character the document ends that these begin with, or why it is none; None when it may go on."""
    end = _parse(lines)
    return None if isinstance(end, json.JSONDecodeError) and end.pos >= len(end.doc.rstrip()) else end


def _parse(lines: Sequence[bytes]) -> int | Exception:
    try:
        text = b"".join(lines).decode()
        return _raw_decode(text, len(text) - len(text.lstrip()))[1]
    except (ValueError, RecursionError) as error:
        return error


def _cut_behind(end: int, held: Sequence[bytes], begin: int, lines: JsonLines) -> Document:
    text = b"".join(held).decode()
    last = text.count("\n", 0, end)
    rest = text[end : text.find("\n", end) + 1 or len(text)]
    lines.put_back([*([rest.encode()] if rest.strip() else ()), *held[last + 1 :]])
    return Document(_place(begin, begin + last), text[:end].encode())


def _place(begin: int, end: int) -> str:
    return f"line {begin:,}" if begin == end else f"lines {begin:,} to {end:,}"


def _error_of(end: int | Exception | None, begin: int) -> DecodeError:
    if isinstance(end, DecodeError):
        return end
    if end is None:
        return DecodeError("The file ends within it.")
    if isinstance(end, RecursionError):
        return DecodeError("This is no JSON that can be read: it is nested too deep.")
    if isinstance(end, json.JSONDecodeError):
        return DecodeError(f"This is no JSON: {end.msg}: line {begin - 1 + end.lineno:,} column {end.colno:,}.")
    return DecodeError(f"This is no JSON: {end}.")
