"""OTLP's JSON as protobuf's messages, for what nearly all of it is: a third of what protobuf's own parser takes.

Only what the protocol's own words for JSON are is taken here: names in lowerCamelCase, numbers for enums, no null. For
the rest, and to say what is wrong, there is protobuf's parser, of which this must never differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

_UINT32: Final = range(1 << 32)
_UINT64: Final = range(1 << 64)
_INT64: Final = range(-(1 << 63), 1 << 63)
_EXACT: Final = range(-(1 << 53), 1 << 53)
_KINDS: Final = range(6)
_STATUS_CODES: Final = range(3)
_DEPTH_MAX: Final = 20
_DIGITS_MAX: Final = 20

_Fill = Callable[[Any, Any], None]


class UnusualError(Exception):
    """It is for protobuf's own parser to read, or to refuse."""


def fill_traces(read: Any, traces: Any) -> None:
    """Put what was read as JSON into an empty ``TracesData``. Raises `UnusualError`."""
    try:
        _fill(read, traces, _TRACES)
    except (TypeError, ValueError, AttributeError) as error:  # a value that is not of its field's type
        raise UnusualError from error


def _fill(read: Any, message: Any, fields: dict[str, _Fill]) -> None:
    if type(read) is not dict:
        raise UnusualError
    for name, value in read.items():
        fill = fields.get(name)
        if fill is None or value is None:
            raise UnusualError
        fill(value, message)


def _message(name: str, fields: dict[str, _Fill]) -> _Fill:
    def fill(value: Any, message: Any) -> None:
        part = getattr(message, name)
        part.SetInParent()
        _fill(value, part, fields)

    return fill


def _messages(name: str, fields: dict[str, _Fill]) -> _Fill:
    def fill(value: Any, message: Any) -> None:
        if type(value) is not list:
            raise UnusualError
        add = getattr(message, name).add
        for each in value:
            _fill(each, add(), fields)

    return fill


def _text(name: str) -> _Fill:
    def fill(value: Any, message: Any) -> None:
        if type(value) is not str:
            raise UnusualError
        setattr(message, name, value)

    return fill


def _id(name: str) -> _Fill:
    return lambda value, message: setattr(message, name, bytes.fromhex(value))


def _number(name: str, allowed: range) -> _Fill:
    """An integer; those of 64 bits may be text."""
    is_long = allowed.stop > _UINT32.stop

    def fill(value: Any, message: Any) -> None:
        setattr(message, name, _integer(value, allowed, may_be_text=is_long))

    return fill


def _integer(value: Any, allowed: range, *, may_be_text: bool) -> int:
    if (
        may_be_text
        and type(value) is str
        and value.isascii()
        and value.removeprefix("-").isdigit()
        and len(value) <= _DIGITS_MAX
    ):
        value = int(value)
    if type(value) is not int or value not in allowed:
        raise UnusualError
    return value


def _pairs(value: Any, message: Any) -> None:
    _fill_pairs(value, message.attributes, 0)


def _fill_pairs(read: Any, pairs: Any, depth: int) -> None:
    if type(read) is not list:
        raise UnusualError
    for item in read:
        pair = pairs.add()
        if item.keys() == _PAIR and type(item["key"]) is str:
            pair.key = item["key"]
        elif item.keys() != _VALUE_ALONE:
            raise UnusualError
        _fill_value(item["value"], pair.value, depth)


_PAIR: Final = {"key", "value"}
_VALUE_ALONE: Final = {"value"}


def _fill_value(read: Any, message: Any, depth: int) -> None:
    if type(read) is not dict or len(read) > 1 or depth > _DEPTH_MAX:
        raise UnusualError
    message.SetInParent()
    for name, value in read.items():
        kind = type(value)
        if name == "stringValue" and kind is str:
            message.string_value = value
        elif name == "intValue":
            message.int_value = _integer(value, _INT64, may_be_text=True)
        elif name == "boolValue" and kind is bool:
            message.bool_value = value
        elif name == "doubleValue" and ((kind is float and math.isfinite(value)) or (kind is int and value in _EXACT)):
            message.double_value = value
        elif name == "arrayValue" and kind is dict:
            _fill_values(value, message.array_value, depth + 1)
        elif name == "kvlistValue" and kind is dict:
            message.kvlist_value.SetInParent()
            if value and value.keys() != _VALUES:
                raise UnusualError
            _fill_pairs(value.get("values", []), message.kvlist_value.values, depth + 1)
        else:
            raise UnusualError


_VALUES: Final = {"values"}


def _fill_values(read: dict[str, Any], message: Any, depth: int) -> None:
    message.SetInParent()
    values = read.get("values", [])
    if (read and read.keys() != _VALUES) or type(values) is not list:
        raise UnusualError
    for each in values:
        _fill_value(each, message.values.add(), depth)


_DROPPED: Final = {"droppedAttributesCount": _number("dropped_attributes_count", _UINT32)}
_WITH_ATTRIBUTES: Final[dict[str, _Fill]] = {"attributes": _pairs, **_DROPPED}
_EVENT: Final = {"timeUnixNano": _number("time_unix_nano", _UINT64), "name": _text("name"), **_WITH_ATTRIBUTES}
_IDS: Final[dict[str, _Fill]] = {
    "traceId": _id("trace_id"),
    "spanId": _id("span_id"),
    "traceState": _text("trace_state"),
    "flags": _number("flags", _UINT32),
}
_SPAN: Final[dict[str, _Fill]] = {
    **_IDS,
    **_WITH_ATTRIBUTES,
    "parentSpanId": _id("parent_span_id"),
    "name": _text("name"),
    "kind": _number("kind", _KINDS),
    "startTimeUnixNano": _number("start_time_unix_nano", _UINT64),
    "endTimeUnixNano": _number("end_time_unix_nano", _UINT64),
    "events": _messages("events", _EVENT),
    "droppedEventsCount": _number("dropped_events_count", _UINT32),
    "links": _messages("links", {**_IDS, **_WITH_ATTRIBUTES}),
    "droppedLinksCount": _number("dropped_links_count", _UINT32),
    "status": _message("status", {"message": _text("message"), "code": _number("code", _STATUS_CODES)}),
}
_SCOPE: Final = {"name": _text("name"), "version": _text("version"), **_WITH_ATTRIBUTES}
_SCOPE_SPANS: Final[dict[str, _Fill]] = {
    "scope": _message("scope", _SCOPE),
    "spans": _messages("spans", _SPAN),
    "schemaUrl": _text("schema_url"),
}
_RESOURCE_SPANS: Final[dict[str, _Fill]] = {
    "resource": _message("resource", _WITH_ATTRIBUTES),
    "scopeSpans": _messages("scope_spans", _SCOPE_SPANS),
    "schemaUrl": _text("schema_url"),
}
_TRACES: Final[dict[str, _Fill]] = {"resourceSpans": _messages("resource_spans", _RESOURCE_SPANS)}
