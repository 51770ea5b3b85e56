"""What a message of protobuf says, whatever kind of message it is: its texts and numbers, for a look for secrets.

Without its description a field of bytes may be a text or another message: what can be read as a message is, and as a
text besides, unless there are control characters in it, as every message has them. A message with a text as its first
field and something in its second is taken for a name with its value, as OTLP has them. Of several names the last
counts, as for protobuf's own libraries, which read groups, an older form of messages within a message, as well.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

_DEPTH_MAX: Final = 100
"""Levels that protobuf's own libraries read at most."""
_FIELDS_MAX: Final = 200_000
"""Fields of one message that are looked at: about four seconds."""
_ROOM_SHARE: Final = 8
_ROOM_BYTES: Final = 65_536
_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX: Final = 10
_NAME, _VALUE = 1, 2
_Field = tuple[int, int | bytes]


_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class _TooMuchError(ValueError):
    """So many fields, or levels of the same bytes read both ways, that no real message is."""


def say(message: bytes) -> list[Any]:
    """All that is in the message, as JSON has it; names stand before their values. Raises `ValueError` for a bomb."""
    return _Reader(len(message) * _ROOM_SHARE + _ROOM_BYTES).read(message, _DEPTH_MAX)


class _Reader:
    def __init__(self, room: int) -> None:
        self._room = room
        self._fields_room = _FIELDS_MAX

    def read(self, content: bytes, depth: int) -> list[Any]:
        self._room -= len(content)
        if self._room < 0 or not depth:
            raise _TooMuchError
        fields = _fields_of(content)
        self._fields_room -= len(fields)
        if self._fields_room < 0:
            raise _TooMuchError
        is_text = content and not (fields and _CONTROLS.search(content))
        said = [_as_value(content)] if is_text else []
        name = next((value for number, value in reversed(fields) if number == _NAME), None)
        key = _text_of(name) if isinstance(name, bytes) else None
        for number, value in fields:
            inner = self.read(value, depth - 1) if isinstance(value, bytes) else [value]
            said += [{key: inner}] if key and number == _VALUE else inner
        return said


def _as_value(content: bytes) -> Any:
    text = _text_of(content)
    return {"@bytes": base64.b64encode(content).decode()} if text is None else text


def _text_of(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _fields_of(content: bytes) -> list[_Field]:
    """The numbers of the fields with their values; nothing for what is no message."""
    try:
        return list(_fields(content))
    except (IndexError, ValueError):
        return []


def _fields(content: bytes) -> Iterator[_Field]:
    place = 0
    while place < len(content):
        number, kind, value, place = _field(content, place)
        if kind == _GROUP_END:
            raise ValueError
        if kind == _GROUP:
            start = place
            end, place = _group_end(content, start, number)
            value = content[start:end]
        if value is not None:
            yield number, value


def _group_end(content: bytes, place: int, number: int) -> tuple[int, int]:
    """Where the tag stands that ends the group ``number``, in which ``place`` is, and what comes behind it."""
    open_groups = [number]
    while True:
        start = place
        number, kind, _, place = _field(content, start)
        if kind == _GROUP:
            open_groups.append(number)
        elif kind == _GROUP_END:
            if open_groups.pop() != number:
                raise ValueError
            if not open_groups:
                return start, place


def _field(content: bytes, place: int) -> tuple[int, int, int | bytes | None, int]:
    """The field at ``place``: its number, its kind, its value, and where the next one begins.

    There is no value of a fraction, nor of what only begins or ends a group.
    """
    tag, place = _varint(content, place)
    number, kind = tag >> 3, tag & 7
    if number == 0 or kind > _FIXED32:
        raise ValueError
    if kind == _VARINT:
        value, place = _varint(content, place)
        return number, kind, value, place
    if kind == _LENGTH:
        size, place = _varint(content, place)
    else:
        size = _FIXED_BYTES.get(kind, 0)
    if place + size > len(content):
        raise ValueError
    return number, kind, content[place : place + size] if kind == _LENGTH else None, place + size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for number in range(_VARINT_BYTES_MAX):
        byte = content[place + number]
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:  # noqa: PLR2004
            return value, place + number + 1
    raise ValueError
