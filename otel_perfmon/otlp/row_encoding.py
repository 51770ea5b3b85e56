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

from otel_perfmon.otlp.encoding import around_items, around_scopes, encode_attributes, encode_value
from otel_perfmon.otlp.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    fixed32,
    fixed64,
    number,
    pack_double,
    sized,
    tag,
    text,
)
from otel_perfmon.storage.attributes import decode_attributes, untag
from otel_perfmon.storage.outbox import OutboxSpans, SpanNames, SpanShape
from otel_perfmon.storage.sqlite.details import decode_details

_ONE, _TWO, _THREE, _FOUR, _FIVE = (tag(each, LENGTH) for each in range(1, 6))
_NINE, _ELEVEN, _THIRTEEN, _FIFTEEN = (tag(each, LENGTH) for each in (9, 11, 13, 15))
_TRACE_ID, _SPAN_ID, _PARENT = _ONE + b"\x10", _TWO + b"\x08", _FOUR + b"\x08"
_KIND, _DROPPED_ATTRIBUTES, _DROPPED_EVENTS, _DROPPED_LINKS = (tag(each, VARINT) for each in (6, 10, 12, 14))
_START, _END, _TIME = tag(7, FIXED64), tag(8, FIXED64), tag(1, FIXED64)
_STATUS_CODE, _FLAGS, _LINK_FLAGS = tag(3, VARINT), tag(16, FIXED32), tag(6, FIXED32)
_EVENT_DROPPED, _LINK_DROPPED = tag(4, VARINT), tag(5, VARINT)
_pack_times = Struct("<cQcQ").pack
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
        self._makers = [shape[:2] for shape in spans.shapes]
        self._encoded = _RowEncoder(spans.names).encode(spans)

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
        parts = [
            sized(_TWO, around_items(self._names.scopes[scope_id], b"".join(spans)))
            for scope_id, spans in scopes.items()
        ]
        return sized(_ONE, around_scopes(self._names.resources[resource_id], b"".join(parts)))


class _RowEncoder:
    """Encodes the spans of one batch."""

    def __init__(self, names: SpanNames) -> None:
        self._names = names

    def encode(self, spans: OutboxSpans) -> list[bytes]:
        """Each span; what came as bytes that a row cannot hold goes out as it came."""
        shaped = {shape: self._encode_shape(shape) for shape in set(spans.shapes)}
        heads, tails = zip(*map(shaped.__getitem__, spans.shapes), strict=True) if shaped else ((), ())
        ids = (spans.trace_ids, spans.span_ids, spans.parent_span_ids)
        times = map(_encode_times, spans.start_unix_nano, spans.end_unix_nano)
        pairs = _encode_attributes(spans.attributes)
        encoded = list(map(_encode_plain, *ids, heads, times, pairs, tails))
        for place, details in enumerate(spans.details if any(spans.details) else ()):
            if details:
                encoded[place] = self._encode_rich(spans, place, pairs[place])
        for place, row_id in enumerate(spans.row_ids if spans.raw else ()):
            encoded[place] = spans.raw.get(row_id, encoded[place])
        return encoded

    def _encode_shape(self, shape: SpanShape) -> tuple[bytes, bytes]:
        """What stands behind the ids of a span without details, and what stands at its end."""
        head = text(_FIVE, self._names.operations[shape.operation_id]) + number(_KIND, shape.kind)
        return head, sized(_FIFTEEN, number(_STATUS_CODE, shape.status_code)) + fixed32(_FLAGS, shape.flags)

    def _encode_rich(self, spans: OutboxSpans, place: int, pairs: bytes) -> bytes:
        """A span that has what few have."""
        found, shape = decode_details(spans.details[place]), spans.shapes[place]
        name = found.get("name", self._names.operations[shape.operation_id])
        parent = spans.parent_span_ids[place]
        parts = [
            _TRACE_ID + spans.trace_ids[place] + _SPAN_ID + spans.span_ids[place],
            text(_THREE, found.get("trace_state", "")),
            _PARENT + parent if parent else b"",
            text(_FIVE, name) + number(_KIND, shape.kind),
            _encode_times(found.get("start_unix_nano", spans.start_unix_nano[place]), spans.end_unix_nano[place]),
            pairs,
            *_encode_details(found, shape.status_code),
            fixed32(_FLAGS, shape.flags),
        ]
        return b"".join(parts)


def _encode_plain(  # noqa: PLR0917 - a row
    trace_id: bytes, span_id: bytes, parent: bytes, head: bytes, times: bytes, pairs: bytes, tail: bytes
) -> bytes:
    if parent:
        return b"".join((_TRACE_ID, trace_id, _SPAN_ID, span_id, _PARENT, parent, head, times, pairs, tail))
    return b"".join((_TRACE_ID, trace_id, _SPAN_ID, span_id, head, times, pairs, tail))


def _encode_attributes(texts: Sequence[str]) -> list[bytes]:
    """Those of each span, from their JSON: of all spans in one go, which takes half of what it takes for each."""
    whole = f"[{','.join([text or '{}' for text in texts])}]"
    if '"@' in whole:  # bytes, NaN, and keys that pose as such
        return [encode_attributes(_NINE, decode_attributes(text)) for text in texts]
    decoded = _decode(whole)
    if len(decoded) != len(texts):
        message = "Attributes of a span are no JSON object."
        raise ValueError(message)
    return list(map(_encode_pairs, decoded))


def _encode_pairs(attributes: dict[str, Any]) -> bytes:
    """Texts and numbers take the short way, which gives the same bytes."""
    parts: list[bytes] = []
    for key, value in attributes.items():
        kind = type(value)
        if kind is float:
            parts.append((_double_heads.get(key) or _encode_double_head(key)) + pack_double(value))
        elif kind in _pairs:
            parts.append(_pairs[kind].get((key, value)) or _encode_pair(kind, key, value))
        else:
            parts.append(encode_attributes(_NINE, {key: value}))
    return b"".join(parts)


def _encode_pair(kind: type, key: str, value: Any) -> bytes:
    encoded = sized(_NINE, text(_ONE, key) + sized(_TWO, encode_value(value)))
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
            fixed64(_TIME, event["time_unix_nano"]),
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
            fixed32(_LINK_FLAGS, link.get("flags", 0)),
        )
    )


def _encode_times(start: int, end: int) -> bytes:
    if start > 0 and end > 0:
        return _pack_times(_START, start, _END, end)
    return fixed64(_START, start) + fixed64(_END, end)
