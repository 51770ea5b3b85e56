"""Spans of OTLP's protobuf read by hand, straight into rows: those that are as most are.

Attributes repeat: for the bytes of one that came before, its JSON is at hand, which takes a third of what reading it
through protobuf's library takes. What is not as expected anywhere in a span (nested values, links, fields nobody
knows, a cut) is left to that library, the judge of all that is read here.
"""

from __future__ import annotations

import json.encoder
import struct
from collections.abc import Iterator
from math import isfinite
from typing import Final

from otel_perfmon.errors import DecodeError
from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.attributes import TEXT_MAX, decode_attributes
from otel_perfmon.storage.row_parts import ERROR_TYPE, EXCEPTION_EVENT, SLOW_ATTRIBUTE, error_of
from otel_perfmon.storage.rows import (
    NO_DETAILS,
    OPERATION_NAME_MAX,
    STATUS_ERROR,
    ResourceRow,
    ScopeRow,
    SpanDetails,
    SpanRow,
)

_REMOTE: Final = 0x200
_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME = 0x0A, 0x12, 0x1A, 0x22, 0x2A
_KIND, _START, _END, _ATTRIBUTE, _EVENT, _STATUS, _FLAGS = 0x30, 0x39, 0x41, 0x4A, 0x5A, 0x7A, 0x85
"""The tags of a span's fields; the last one has a second byte."""
_EVENT_TIME, _EVENT_NAME, _EVENT_ATTRIBUTE = 0x09, 0x12, 0x1A
_STATUS_MESSAGE, _STATUS_CODE = 0x12, 0x18
_KEY, _VALUE = 0x0A, 0x12
_DOUBLE_BYTES: Final = 9
_TEXT, _TRUTH, _INTEGER, _DOUBLE = 0x0A, 0x10, 0x18, 0x21
_SHORT: Final = 0x80
_UINT64_MAX: Final = (1 << 64) - 1
_LENGTH, _GROUP, _GROUP_END = 2, 3, 4
_SIZES: Final = {1: 8, 5: 4}
_GROUPS_MAX: Final = 100
"""One in the other; protobuf's library takes no more either."""
_PLACES_MAX: Final = 2_500_000
"""More than 64 MiB can hold of spans with ids."""
_HEAD_BYTES_MAX: Final = 3
_REMEMBERED_MAX: Final = 4_096
"""Attributes whose JSON is at hand; when there are more, all are forgotten."""
_REMEMBERED_BYTES_MAX: Final = 128
_uint64 = struct.Struct("<Q").unpack_from
_two_times = struct.Struct("<QxQ").unpack_from
_uint32 = struct.Struct("<I").unpack_from
_double = struct.Struct("<d").unpack_from
_quote = json.encoder.encode_basestring
_Attribute = tuple[str, str]
"""Its key, and its JSON with the key."""
_Event = tuple[str, str, str]
"""Its name, the JSON of its attributes, and that of all of it."""
_OTHERS: Final = frozenset((_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME, _STATUS))
_PLAIN: Final = frozenset((_TRACE_ID, _SPAN_ID, _PARENT, _NAME))
_ID_SIZES: Final = (16, 8)
_NO_SPAN, _NO_TRACE = bytes(8), bytes(16)


class Unlike(Exception):  # noqa: N818 - no error: another way is taken
    """It is not as most are."""


def fields_of(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: each one's number, where it begins, where its content begins, and where that ends.

    Raises `DecodeError` where it is no message.
    """
    while start < end:
        begin = start
        tag, start = varint_at(data, start, end)
        content, start = _content_at(data, start, end, tag)
        if tag < 8:  # noqa: PLR2004 - a field's number is 1 or more
            raise _broken()
        yield tag >> 3, begin, content, start


def _content_at(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of a field begins, whose tag ends at ``start``, and where it ends."""
    wire_type, content = tag & 7, start
    if wire_type == _LENGTH:
        size, content = varint_at(data, start, end)
        start = content + size
    elif wire_type == 0:
        _, start = varint_at(data, start, end)
    elif wire_type in _SIZES:
        start += _SIZES[wire_type]
    elif wire_type == _GROUP:
        start = _end_of_group(data, start, end, tag)
    else:
        raise _broken()
    if start > end:
        raise _broken()
    return content, start


def _end_of_group(data: bytes, start: int, end: int, tag: int) -> int:
    """Behind a group, which OTLP has not, but which protobuf takes for a field that it does not know."""
    groups = [tag]
    while groups:
        tag, start = varint_at(data, start, end)
        if tag & 7 == _GROUP:
            groups.append(tag)
        elif tag & 7 != _GROUP_END:
            _, start = _content_at(data, start, end, tag)
        elif groups.pop() != tag - 1:
            raise _broken()
        if len(groups) > _GROUPS_MAX:
            raise _broken()
    return start


def varint_at(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while start < end and shift < 64:  # noqa: PLR2004 - bits
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < _SHORT:
            return value, start
        shift += 7
    raise _broken()


def places_of(number: int, data: bytes, start: int, end: int) -> tuple[bytes, list[tuple[int, int]]]:
    """Where the fields of that number, which are messages, have their content; before that, the bytes of all others.

    The number is below 16.
    """
    wanted = number << 3 | _LENGTH
    others: list[bytes] = []
    places: list[tuple[int, int]] = []
    while start < end:
        if len(places) + len(others) > _PLACES_MAX:
            raise _broken()
        if data[start] == wanted and end - start > _HEAD_BYTES_MAX:  # the rule; without a call for each
            size, content = data[start + 1], start + 2
            if size >= _SHORT:
                size, content = size & 0x7F | data[content] << 7, content + 1
            if size < _SHORT << 7 and content + size <= end:
                places.append((content, start := content + size))
                continue
        found, begin, content, start = next(fields_of(data, start, end))
        if found == number and data[begin] & 7 == _LENGTH:
            places.append((content, start))
        else:
            others.append(data[begin:start])
    return b"".join(others), places


def _broken() -> DecodeError:
    return DecodeError(
        "This is no TracesData of OTLP in protobuf: it ends within a field, or has millions, or is none."
    )


class SpanScanner:
    """Makes rows of spans; remembers attributes."""

    def __init__(self, slow_threshold_nano: int) -> None:
        self._slow_threshold_nano = slow_threshold_nano
        self._remembered: dict[bytes, _Attribute] = {}
        self._keys: dict[bytes, _Attribute] = {}

    def scan(self, data: bytes, start: int, end: int, resource: ResourceRow, scope: ScopeRow) -> SpanRow | None:
        """The row of the span between ``start`` and ``end``; None when it takes protobuf's library."""
        try:
            return self._scan(data, start, end, resource, scope)
        except (Unlike, LookupError, struct.error, UnicodeDecodeError):
            return None

    def _scan(  # noqa: C901 - one branch a kind of field
        self, data: bytes, at: int, end: int, resource: ResourceRow, scope: ScopeRow
    ) -> SpanRow:
        kind = flags = start = stop = 0
        attributes: list[_Attribute] = []
        events: list[_Event] = []
        others: dict[int, bytes] = {}
        remembered = self._remembered
        while at < end:
            tag, size = data[at], data[at + 1]
            at += 2
            if tag == _ATTRIBUTE:
                if size >= _SHORT:
                    size, at = _long_size(data, at)
                pair = data[at : at + size]
                at += size
                attributes.append(remembered.get(pair) or self._attribute(pair))
            elif tag == _START and data[at + 7] == _END:
                start, stop = _two_times(data, at - 1)
                at += 16
            elif tag == _KIND:
                kind = _small(size)
            elif tag == _FLAGS and size == 1:
                flags, at = _uint32(data, at)[0], at + 4
            else:
                if size >= _SHORT:
                    size, at = _long_size(data, at)
                content = data[at : at + size]
                at += size
                if tag == _EVENT:
                    events.append(self._event(content))
                elif tag in _OTHERS and tag not in others:
                    others[tag] = content
                else:
                    raise Unlike
        if at != end or start > INT64_MAX or stop > INT64_MAX:
            raise Unlike
        duration = stop - start if stop > start else 0
        is_slow = 1 if duration > self._slow_threshold_nano else 0
        name, ids = _name_of(others), _ids_of(others)
        attributes_by_key = _by_key(attributes)
        code, details = (
            _details(others, attributes_by_key, events) if events or not _PLAIN.issuperset(others) else (0, None)
        )
        text = _short("{" + ",".join(attributes_by_key.values()) + "}") if attributes else ""
        is_remote = flags & _REMOTE > 0
        times = (start, stop, duration)
        return SpanRow(*ids, is_remote, name, resource, scope, kind, flags, *times, code, is_slow, text, details)

    def _event(self, data: bytes) -> _Event:
        """An event."""
        name, time, at, end = "", 0, 0, len(data)
        attributes: list[_Attribute] = []
        while at < end:
            tag = data[at]
            if tag == _EVENT_TIME:
                time, at = _uint64(data, at + 1)[0], at + 9
                continue
            size = data[at + 1]
            at += 2
            if size >= _SHORT:
                size, at = _long_size(data, at)
            content = data[at : at + size]
            at += size
            if tag == _EVENT_ATTRIBUTE:
                attributes.append(self._remembered.get(content) or self._attribute(content))
            elif tag == _EVENT_NAME:
                name = content.decode()
            else:
                raise Unlike
        if at != end or time > INT64_MAX or len(name) > OPERATION_NAME_MAX:
            raise Unlike
        text = _short("{" + ",".join(_by_key(attributes).values()) + "}")
        return name, text, f'{{"name":{_quote(name)},"time_unix_nano":{time},"attributes":{text}}}'

    def _attribute(self, pair: bytes) -> _Attribute:
        """The key and the JSON of an attribute that is text, a truth or a number."""
        value = pair[1] + 2
        key = self._keys.get(pair[:value]) or self._key(pair[:value])
        if pair[value] != _VALUE:
            raise Unlike
        size, at = pair[value + 1], value + 2
        if size >= _SHORT:
            size, at = _long_size(pair, at)
        if at + size != len(pair):
            raise Unlike
        head = pair[at]
        if head == _INTEGER:
            return key[0], key[1] + _integer(pair, at + 1)
        if head == _DOUBLE and size == _DOUBLE_BYTES:
            double = _double(pair, at + 1)[0]
            if not isfinite(double):
                raise Unlike
            return key[0], key[1] + repr(double)
        attribute = key[0], key[1] + _text_or_truth(pair, at)
        if len(pair) <= _REMEMBERED_BYTES_MAX:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[pair] = attribute
        return attribute

    def _key(self, head: bytes) -> _Attribute:
        """The key and what its JSON begins with, from the bytes before a value."""
        size = head[1]
        if head[0] != _KEY or not 0 < size < _SHORT or size + 2 != len(head):
            raise Unlike
        key = head[2:].decode()
        if key[0] == "@" or key == SLOW_ATTRIBUTE:
            raise Unlike
        if len(self._keys) >= _REMEMBERED_MAX:
            self._keys.clear()
        self._keys[head] = key, _quote(key) + ":"
        return self._keys[head]


def _integer(pair: bytes, at: int) -> str:
    """The number that stands from there to the end."""
    if pair[at] < _SHORT and at + 1 == len(pair):
        return str(pair[at])
    number, end = varint_at(pair, at, len(pair))
    if end != len(pair):
        raise Unlike
    number &= _UINT64_MAX
    return str(number if number <= INT64_MAX else number - _UINT64_MAX - 1)


def _text_or_truth(pair: bytes, at: int) -> str:
    """The JSON of the value that stands from there to the end."""
    if pair[at] == _TRUTH and pair[at + 1] <= 1 and at + 2 == len(pair):
        return ("false", "true")[pair[at + 1]]
    if pair[at] != _TEXT:
        raise Unlike
    size, at = pair[at + 1], at + 2
    if size >= _SHORT:
        size, at = _long_size(pair, at)
    if at + size != len(pair):
        raise Unlike
    return _quote(pair[at:].decode())


def _ids_of(others: dict[int, bytes]) -> tuple[bytes, bytes, bytes]:
    trace_id, span_id, parent_id = others[_TRACE_ID], others[_SPAN_ID], others.get(_PARENT, b"")
    if (len(trace_id), len(span_id)) != _ID_SIZES or len(parent_id) not in {0, 8}:
        raise Unlike
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        raise Unlike
    return trace_id, span_id, parent_id


def _name_of(others: dict[int, bytes]) -> str:
    name = others[_NAME].decode()
    if len(name) > OPERATION_NAME_MAX:
        raise Unlike
    return name


def _details(
    others: dict[int, bytes], attributes: dict[str, str], events: list[_Event]
) -> tuple[int, SpanDetails | None]:
    """The status code, and what few spans have; None where it turns out to be nothing."""
    message, code = _status(others.get(_STATUS, b""))
    error_type = error_message = ""
    if code == STATUS_ERROR:
        own = decode_attributes("{" + attributes[ERROR_TYPE] + "}") if ERROR_TYPE in attributes else {}
        latest = (decode_attributes(text) for name, text, _ in reversed(events) if name == EXCEPTION_EVENT)
        error_type, error_message = error_of(own, latest, message)
    details = SpanDetails(
        status_message=_short(message),
        error_type=error_type,
        error_message=error_message,
        trace_state=_short(others.get(_TRACE_STATE, b"").decode()),
        events=_short(f"[{','.join([text for _, _, text in events])}]") if events else "",
    )
    return code, None if details == NO_DETAILS else details


def _status(data: bytes) -> tuple[str, int]:
    """Its message and its code."""
    message, code, at, end = "", 0, 0, len(data)
    while at < end:
        tag, size = data[at], data[at + 1]
        at += 2
        if tag == _STATUS_CODE:
            code = _small(size)
        elif tag == _STATUS_MESSAGE:
            if size >= _SHORT:
                size, at = _long_size(data, at)
            message = data[at : at + size].decode()
            at += size
        else:
            raise Unlike
    if at != end:
        raise Unlike
    return message, code


def _by_key(attributes: list[_Attribute]) -> dict[str, str]:
    """The JSON of each attribute by its key, of which each has one of its own."""
    by_key = dict(attributes)
    if len(by_key) != len(attributes):
        raise Unlike
    return by_key


def _short(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise Unlike
    return text


def _small(number: int) -> int:
    """A varint of one byte."""
    if number >= _SHORT:
        raise Unlike
    return number


def _long_size(data: bytes, at: int) -> tuple[int, int]:
    """A size of two bytes, of which the second stands at ``at``, and where the content begins."""
    if data[at] >= _SHORT:
        raise Unlike
    return (data[at - 1] & 0x7F) | (data[at] << 7), at + 1
