"""JSON of any size, read piece by piece: what is in memory is one value, never the document.

Who reads goes into objects and arrays member by member, as deep as they like, and takes a value where they want one.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from otel_perfmon.errors import DecodeError

VALUE_CHARACTERS_MAX: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_SPACE: Final = " \t\n\r"
_LITERAL_MAX: Final = 12
"""Characters of the longest token that is no text or number: an error this near to the end may be the end's."""
_DIGITS_MAX: Final = 400
"""Of a whole number; longer ones are infinite as doubles."""


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS_MAX else float(text)


_DECODER: Final = json.JSONDecoder(parse_int=_integer)
_raw_decode = _DECODER.raw_decode


def parse_json(text: str) -> Any:
    """The value of a text that a stream gave, the same again."""
    return _DECODER.decode(text)


class NestingError(DecodeError):
    """A value is nested so deep that nobody can tell where it ends."""


class JsonStream:
    """A place in a stream of JSON. Raises `DecodeError` where it is none; bytes that are no UTF-8 come as surrogates.

    ``line`` is the number of the line at which it stands.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.line = 1
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text = ""
        self._at = 0
        self._is_whole = False

    def peek(self) -> str:
        """The next character that is no space; an empty string at the end."""
        while True:
            while self._at < len(self._text):
                char = self._text[self._at]
                if char not in _SPACE:
                    return char
                self.line += char == "\n"
                self._at += 1
            if not self._read(_READ_BYTES):
                return ""

    def members(self) -> Iterator[str]:
        """Go into an object: each name, behind which the stream stands at its value, which has to be taken."""
        self._take("{")
        is_first = True
        while self.peek() != "}":
            if not is_first:
                self._take(",")
            is_first = False
            if self.peek() != '"':
                raise self._error("a name was expected")
            name, _ = self.value()
            self._take(":")
            yield name
        self._take("}")

    def elements(self) -> Iterator[None]:
        """Go into an array: before each of its values."""
        self._take("[")
        is_first = True
        while self.peek() != "]":
            if not is_first:
                self._take(",")
            is_first = False
            yield
        self._take("]")

    def value(self) -> tuple[Any, str]:
        """The value at which it stands, and its text."""
        self.peek()
        size = _READ_BYTES
        while True:
            try:
                value, end = _raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._is_cut(error):
                    raise self._error(error.msg) from error
            except RecursionError as error:
                raise NestingError("This is no JSON that can be read: it is nested too deep.") from error
            else:
                # A number may go on: behind "1" could come ".5", "e-5" or another digit.
                if self._text[self._at] in '{["' or end + _LITERAL_MAX <= len(self._text) or self._is_whole:
                    return value, self._passed(end)
            if len(self._text) - self._at > VALUE_CHARACTERS_MAX:
                raise self._error(f"a value has more than {VALUE_CHARACTERS_MAX:,} characters")
            self._read(size)
            size *= 2  # so that what is parsed again and again is twice the whole at most

    def skip_line(self) -> None:
        """Go on behind the end of the line."""
        while (end := self._text.find("\n", self._at)) < 0:
            self._at = len(self._text)
            if not self._read(_READ_BYTES):
                return
        self._at = end + 1
        self.line += 1

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more text may mend it."""
        is_near = error.pos >= len(self._text) - _LITERAL_MAX
        return not self._is_whole and (is_near or error.msg.startswith("Unterminated string"))

    def _passed(self, end: int) -> str:
        text = self._text[self._at : end]
        self.line += text.count("\n")
        self._at = end
        return text

    def _take(self, char: str) -> None:
        if self.peek() != char:
            raise self._error(f"{char} was expected")
        self._at += 1

    def _read(self, size: int) -> bool:
        """Have more text behind the place; False when there is none."""
        if self._is_whole:
            return False
        data = self._file.read(size)
        self._is_whole = not data
        self._text = self._text[self._at :] + self._decoder.decode(data, final=not data)
        self._at = 0
        return bool(data)

    def _error(self, what: str) -> DecodeError:
        return DecodeError(f"This is no JSON: {what[:1].lower()}{what[1:]}.")
