"""How much a request in protobuf would be as objects, found without making them: 7 KB in gzip may be millions.

What is counted is what takes memory for each of it: messages, and the values of repeated fields. It is met in the order
in which protobuf's library would make it, so where the bytes turn out to be no OTLP, that library may be asked: it
has made no more by then than was counted here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from otel_perfmon.otlp.messages import Kind, new_message

ITEMS_MAX: Final = 250_000
"""Items of one request, and groups of them: 64 MiB of the smallest spans would be a gibibyte of rows."""
VALUES_MAX: Final = 4_000_000
"""All the rest of it: attributes and what they hold, events, links, buckets."""
_BYTES_WITHOUT_EXCESS: Final = 4 * ITEMS_MAX
"""A request of fewer bytes may be decoded, whatever it holds."""
_DENSE_BYTES: Final = 2
"""The smallest message. Numbers may be packed closer; they take least."""
_DEPTH_MAX: Final = 100
"""Messages in messages, as protobuf's library has it."""
_SHORT: Final = 0x80
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_GROUP: Final = frozenset((3, 4))
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_VALUE: Final = "a value"
_Below = dict[int, tuple[str, Any, int]]
"""By the tag of a field that is counted: as what, the same of its message, if it is one, and the bytes of a value."""


def excess_of(kind: Kind, data: bytes) -> str:
    """What a request with that message may have, where it has more, in words; nothing where it may be decoded."""
    if len(data) < _BYTES_WITHOUT_EXCESS:
        return ""
    message = new_message(kind).DESCRIPTOR
    has_few_values = len(data) < _DENSE_BYTES * VALUES_MAX
    try:
        return _excess_below(_items_below(message) if has_few_values else _all_below(message), data)
    except IndexError:  # it ends within a field
        return ""


def _excess_below(below: _Below, data: bytes) -> str:  # noqa: C901, PLR0912 - without a call for each field
    counts: dict[str, int] = {}
    above: list[tuple[_Below, int]] = []
    at, end = 0, len(data)
    while True:
        while at < end:
            tag, at = data[at], at + 1
            if tag >= _SHORT:
                tag, at = _long(data, at)
            wire_type = tag & 7
            size = _SIZES.get(wire_type, 0)
            if wire_type == _LENGTH:
                size, at = data[at], at + 1
                if size >= _SHORT:
                    size, at = _long(data, at)
            elif wire_type == _VARINT:
                while data[at] >= _SHORT:
                    at += 1
                at += 1
            elif not size and wire_type not in _GROUP:
                return ""
            if at + size > end:
                return ""
            if tag in below:
                name, inner, value_bytes = below[tag]
                count = counts[name] = counts.get(name, 0) + (size // value_bytes if value_bytes else 1)
                if count > ITEMS_MAX and (count > VALUES_MAX or name != _VALUE):
                    return f"{VALUES_MAX:,} values" if name == _VALUE else f"{ITEMS_MAX:,} items"
                if inner is not None and size:
                    if len(above) == _DEPTH_MAX:
                        return ""
                    above.append((below, end))
                    below, end = inner, at + size
                    continue
            at += size
        if not above:
            return ""
        below, end = above.pop()


def _long(data: bytes, at: int) -> tuple[int, int]:
    """The number whose first byte stands before ``at``, and where it ends."""
    value, shift = data[at - 1] & 0x7F, 7
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < _SHORT:
            return value, at
        shift += 7
        if shift > 63:  # noqa: PLR2004 - bits
            raise IndexError


@cache
def _all_below(message: Any) -> _Below:
    """The counted fields of a message, by its descriptor."""
    return _fill(message, {})


@cache
def _items_below(message: Any) -> _Below:
    """Of those the items, and what leads to them: a tenth of the way."""
    return _items_of(_all_below(message))


def _items_of(below: _Below) -> _Below:
    return {
        tag: (name, _items_of(inner) or None, 0)
        for tag, (name, inner, _) in below.items()
        if inner and (name != _VALUE or any(each[0] != _VALUE for each in inner.values()))
    }


def _fill(message: Any, known: dict[str, _Below]) -> _Below:
    if message.full_name in known:  # an array has values, which may be arrays
        return known[message.full_name]
    below = known[message.full_name] = {}
    for field in message.fields:
        tag = field.number << 3
        if field.message_type is not None:
            below[tag | _LENGTH] = (_name_of(field), _fill(field.message_type, known), 0)
        elif field.default_value == []:
            below |= _repeated(field, tag)
    return below


def _repeated(field: Any, tag: int) -> _Below:
    """A repeated field without messages: packed together, and each by itself."""
    if field.cpp_type == field.CPPTYPE_STRING:
        return {tag | _LENGTH: (_VALUE, None, 0)}
    wire_type = _VARINT
    if field.type in {field.TYPE_FIXED64, field.TYPE_SFIXED64, field.TYPE_DOUBLE}:
        wire_type = _FIXED64
    elif field.type in {field.TYPE_FIXED32, field.TYPE_SFIXED32, field.TYPE_FLOAT}:
        wire_type = _FIXED32
    return {tag | _LENGTH: (_VALUE, None, _SIZES.get(wire_type, 1)), tag | wire_type: (_VALUE, None, 0)}


def _name_of(field: Any) -> str:
    """As what the messages of a field are counted: those that become rows, or are above them, by their own name."""
    is_item = field.name.startswith(("resource_", "scope_")) or field.name in {
        "spans",
        "log_records",
        "metrics",
        "data_points",
    }
    return str(field.full_name) if is_item else _VALUE
