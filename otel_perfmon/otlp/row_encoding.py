"""Rows of the store as OTLP's protobuf, straight from the columns: what the outbox sends.

The bytes are those of `SpanEncoder` for the same spans; no record is made on the way. Each span is encoded once, and a
request is put together of any run of them, so that a batch which is refused can be halved without encoding it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from struct import Struct
from typing import Any, Final

from otel_perfmon.otlp.encoding import encode_attributes, encode_key, encode_resource, encode_scope, encode_value
from otel_perfmon.otlp.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    number,
    pack_double,
    pack_fixed32,
    sized,
    tag,
    text,
    varint,
)
from otel_perfmon.records import ResourceRecord, ScopeRecord
from otel_perfmon.storage.attributes import decode_attributes, untag
from otel_perfmon.storage.outbox import OutboxSpans, SpanNames
from otel_perfmon.storage.sqlite.details import decode_details

_ONE, _TWO, _THREE, _FOUR, _FIVE = (tag(each, LENGTH) for each in range(1, 6))
_NINE, _ELEVEN, _THIRTEEN, _FIFTEEN = (tag(each, LENGTH) for each in (9, 11, 13, 15))
_TRACE_ID, _SPAN_ID, _PARENT = _ONE + b"\x10", _TWO + b"\x08", _FOUR + b"\x08"
_KIND, _DROPPED_ATTRIBUTES, _DROPPED_EVENTS, _DROPPED_LINKS = (tag(each, VARINT) for each in (6, 10, 12, 14))
_START, _END, _TIME = tag(7, FIXED64), tag(8, FIXED64), tag(1, FIXED64)
_STATUS_CODE, _FLAGS, _LINK_FLAGS = tag(3, VARINT), tag(16, FIXED32), tag(6, FIXED32)
_EVENT_DROPPED, _LINK_DROPPED = tag(4, VARINT), tag(5, VARINT)
_pack_times = Struct("<cQcQ").pack
_pack_fixed64 = Struct("<Q").pack
_decode = json.JSONDecoder().decode
_PAIRS_MAX: Final = 4_096
_PAIR_BYTES_MAX: Final = 128
_pairs: Final[dict[type, dict[tuple[str, Any], bytes]]] = {str: {}, int: {}, bool: {}}
_double_heads: Final[dict[str, bytes]] = {}
"""Attributes as bytes, since few of them differ from span to span; those of a double up to its value."""


class EncodedSpans:
    """Spans in the order of their rows, each as the bytes of a ``Span``."""

    def __init__(self, spans: OutboxSpans) -> None:
        self.row_ids: Sequence[int] = spans.row_ids
        self._names = spans.names
        self._makers = list(zip(spans.resource_ids, spans.scope_ids, strict=True))
        self._encoded = _RowEncoder(spans.names).encode(spans)
        self._heads: dict[tuple[str, int], bytes] = {}

    def size_bytes(self, number: int) -> int:
        """What a span takes in a request, nearly."""
        return len(self._encoded[number])

    def encode_request(self, start: int, end: int) -> bytes:
        """An ``ExportTraceServiceRequest`` of those from ``start`` to before ``end``: by resource, then by scope."""
        resources: dict[int, dict[int, list[bytes]]] = {}
        part = zip(self._makers[start:end], self._encoded[start:end], strict=True)
        for (resource_id, scope_id), run in groupby(part, lambda pair: pair[0]):
            spans = resources.setdefault(resource_id, {}).setdefault(scope_id, [])
            spans += [sized(_TWO, encoded) for _, encoded in run]
        return b"".join([self._resource_spans(key, scopes) for key, scopes in resources.items()])

    def _resource_spans(self, resource_id: int, scopes: dict[int, list[bytes]]) -> bytes:
        schema_url = self._names.resources[resource_id][1]
        parts = [self._head(("resource", resource_id))]
        for scope_id, spans in scopes.items():
            tail = text(_THREE, self._names.scopes[scope_id][2])
            parts.append(sized(_TWO, b"".join((self._head(("scope", scope_id)), *spans, tail))))
        parts.append(text(_THREE, schema_url))
        return sized(_ONE, b"".join(parts))

    def _head(self, key: tuple[str, int]) -> bytes:
        if key not in self._heads:
            kind, row_id = key
            if kind == "resource":
                attributes, schema_url = self._names.resources[row_id]
                encoded = encode_resource(ResourceRecord(decode_attributes(attributes), schema_url))
            else:
                name, version, schema_url, attributes = self._names.scopes[row_id]
                encoded = encode_scope(ScopeRecord(name, version, schema_url, decode_attributes(attributes)))
            self._heads[key] = sized(_ONE, encoded)
        return self._heads[key]


class _RowEncoder:
    """Remembers what the spans of one batch have in common."""

    def __init__(self, names: SpanNames) -> None:
        self._names = names
        self._named: dict[tuple[int, int], bytes] = {}
        self._tails: dict[tuple[int, int], bytes] = {}

    def encode(self, spans: OutboxSpans) -> list[bytes]:
        """Each span; what came as bytes that a row cannot hold goes out as it came."""
        ids = (spans.trace_ids, spans.span_ids, spans.parent_span_ids, spans.operation_ids)
        figures = (spans.kinds, spans.flags, spans.start_unix_nano, spans.end_unix_nano, spans.status_codes)
        encoded = list(map(self._encode_span, *ids, *figures, spans.attributes, spans.details))
        for place, row_id in enumerate(spans.row_ids if spans.raw else ()):
            encoded[place] = spans.raw.get(row_id, encoded[place])
        return encoded

    def _encode_span(  # noqa: PLR0917 - a row
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_span_id: bytes,
        operation_id: int,
        kind: int,
        flags: int,
        start: int,
        end: int,
        status_code: int,
        attributes: str,
        details: str,
    ) -> bytes:
        parent = _PARENT + parent_span_id if parent_span_id else b""
        pairs = _encode_pairs(attributes) if attributes else b""
        if details:
            found = decode_details(details)
            ids = (_TRACE_ID, trace_id, _SPAN_ID, span_id, text(_THREE, found.get("trace_state", "")), parent)
            own = found.get("name")
            name = self._name(operation_id, kind) if own is None else text(_FIVE, own) + number(_KIND, kind)
            times = _times(found.get("start_unix_nano", start), end)
            return b"".join((*ids, name, times, pairs, *_encode_details(found, status_code), _flags(_FLAGS, flags)))
        name = self._named.get((operation_id, kind)) or self._name(operation_id, kind)
        tail = self._tails.get((status_code, flags)) or self._tail(status_code, flags)
        times = _pack_times(_START, start, _END, end) if start > 0 and end > 0 else _times(start, end)
        return b"".join((_TRACE_ID, trace_id, _SPAN_ID, span_id, parent, name, times, pairs, tail))

    def _name(self, operation_id: int, kind: int) -> bytes:
        encoded = text(_FIVE, self._names.operations[operation_id]) + number(_KIND, kind)
        self._named[operation_id, kind] = encoded
        return encoded

    def _tail(self, status_code: int, flags: int) -> bytes:
        encoded = sized(_FIFTEEN, number(_STATUS_CODE, status_code)) + _flags(_FLAGS, flags)
        self._tails[status_code, flags] = encoded
        return encoded


def _encode_pairs(attributes: str) -> bytes:
    """The attributes of a span, from their JSON. Texts and numbers take the short way, which gives the same bytes."""
    if '"@' in attributes:  # bytes, NaN, and keys that pose as such
        return encode_attributes(_NINE, decode_attributes(attributes))
    parts: list[bytes] = []
    for key, value in _decode(attributes).items():
        kind = type(value)
        if kind is float:
            parts.append((_double_heads.get(key) or _encode_double_head(key)) + pack_double(value))
        elif kind in _pairs:
            parts.append(_pairs[kind].get((key, value)) or _encode_pair(kind, key, value))
        else:
            parts.append(encode_attributes(_NINE, {key: value}))
    return b"".join(parts)


def _encode_pair(kind: type, key: str, value: Any) -> bytes:
    pair = encode_key(key) + sized(_TWO, encode_value(value))
    encoded = _NINE + varint(len(pair)) + pair
    if len(encoded) <= _PAIR_BYTES_MAX:
        pairs = _pairs[kind]
        if len(pairs) >= _PAIRS_MAX:
            pairs.clear()
        pairs[key, value] = encoded
    return encoded


def _encode_double_head(key: str) -> bytes:
    if len(_double_heads) >= _PAIRS_MAX:
        _double_heads.clear()
    head = _double_heads[key] = encode_attributes(_NINE, {key: 0.0})[:-8]
    return head


def _encode_details(found: dict[str, Any], status_code: int) -> list[bytes]:
    """What comes behind a span's attributes, up to its status."""
    status = text(_TWO, found.get("status_message", "")) + number(_STATUS_CODE, status_code)
    return [
        number(_DROPPED_ATTRIBUTES, found.get("dropped_attributes_count", 0)),
        *[sized(_ELEVEN, _encode_event(event)) for event in found.get("events", ())],
        number(_DROPPED_EVENTS, found.get("dropped_events_count", 0)),
        *[sized(_THIRTEEN, _encode_link(link)) for link in found.get("links", ())],
        number(_DROPPED_LINKS, found.get("dropped_links_count", 0)),
        sized(_FIFTEEN, status),
    ]


def _encode_event(event: dict[str, Any]) -> bytes:
    return b"".join(
        (
            _fixed64(_TIME, event["time_unix_nano"]),
            text(_TWO, event["name"]),
            encode_attributes(_THREE, untag(event.get("attributes", {}))),
            number(_EVENT_DROPPED, event.get("dropped_attributes_count", 0)),
        )
    )


def _encode_link(link: dict[str, Any]) -> bytes:
    return b"".join(
        (
            sized(_ONE, bytes.fromhex(link["trace_id"])),
            sized(_TWO, bytes.fromhex(link["span_id"])),
            text(_THREE, link.get("trace_state", "")),
            encode_attributes(_FOUR, untag(link.get("attributes", {}))),
            number(_LINK_DROPPED, link.get("dropped_attributes_count", 0)),
            _flags(_LINK_FLAGS, link.get("flags", 0)),
        )
    )


def _times(start: int, end: int) -> bytes:
    return _fixed64(_START, start) + _fixed64(_END, end)


def _fixed64(tag: bytes, value: int) -> bytes:
    return tag + _pack_fixed64(value & _UINT64) if value else b""


def _flags(tag: bytes, flags: int) -> bytes:
    return tag + pack_fixed32(flags & _UINT32) if flags else b""


_UINT64: Final = (1 << 64) - 1
_UINT32: Final = (1 << 32) - 1
