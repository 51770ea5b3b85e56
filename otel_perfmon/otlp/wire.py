"""Protobuf's wire format, as far as OTLP needs it to be written (protobuf.dev/programming-guides/encoding).

A message is its fields one after the other, each a tag and a value. A field of its default value is left out, but for
messages, which may be there and empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

VARINT, FIXED64, LENGTH, FIXED32 = range(4)
_WIRE_TYPES: Final = (0, 1, 2, 5)
_SIZES: Final = {1: 8, 5: 4}
_SHORT: Final = 1 << 14
_UINT64: Final = (1 << 64) - 1
_UINT32: Final = (1 << 32) - 1

_pack_fixed64 = Struct("<Q").pack
_pack_fixed32 = Struct("<I").pack
pack_double = Struct("<d").pack


def tag(number: int, wire_type: int) -> bytes:
    """What begins a field."""
    return _varint(number << 3 | _WIRE_TYPES[wire_type])


def varint(value: int) -> bytes:
    """A number in groups of 7 bits; negative ones as 64 bits in two's complement."""
    return _SHORT_VARINTS[value] if 0 <= value < _SHORT else _varint(value & _UINT64)


def sized(tag: bytes, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return tag + varint(len(content)) + content


def text(tag: bytes, value: str) -> bytes:
    """A field of text; nothing where it is empty."""
    return sized(tag, utf8(value)) if value else b""


def utf8(value: str) -> bytes:
    """The bytes of a text; what is no Unicode (half a surrogate pair) is written as Python would escape it."""
    return value.encode("utf-8", "backslashreplace")


def number(tag: bytes, value: int) -> bytes:
    """A field of a number as varint; nothing where it is 0."""
    return tag + varint(value) if value else b""


def unsigned(value: int) -> int:
    """A time as OTLP can tell it: one before 1970 has no place in its ``fixed64``, and becomes 0, the nearest."""
    return max(0, value)


def fixed64(tag: bytes, value: int) -> bytes:
    """A field of a time; nothing where it is 0."""
    value = unsigned(value)
    return tag + _pack_fixed64(value) if value else b""


def fixed32(tag: bytes, value: int) -> bytes:
    """A field of flags, of which there are 32; nothing where none is set."""
    value &= _UINT32
    return tag + _pack_fixed32(value) if value else b""


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message by number, integers as they are, all else as bytes; `ValueError` for what is none."""
    place = 0
    while place < len(message):
        head, place = _read_varint(message, place)
        kind = head & 7
        if kind == _WIRE_TYPES[VARINT]:
            value, place = _read_varint(message, place)
            yield head >> 3, value
            continue
        size, place = _read_varint(message, place) if kind == _WIRE_TYPES[LENGTH] else (_size_of(kind), place)
        if place + size > len(message):
            message_text = "The message ends within a field."
            raise ValueError(message_text)
        yield head >> 3, message[place : place + size]
        place += size


def _size_of(kind: int) -> int:
    if kind not in _SIZES:
        message_text = f"There is no wire type {kind}."
        raise ValueError(message_text)
    return _SIZES[kind]


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:  # noqa: PLR2004
        value |= (message[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if message[place - 1] < 0x80:  # noqa: PLR2004
            return value & _UINT64, place
    message_text = "The message holds a number that does not end."
    raise ValueError(message_text)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


_SHORT_VARINTS: Final = tuple(map(_varint, range(_SHORT)))
