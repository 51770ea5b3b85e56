"""A span that is read by hand is the one that protobuf's library reads."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given, settings
from hypothesis import strategies as st
from message_kit import traces
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from otlp_kit import EXAMPLES

from otel_perfmon.errors import DecodeError
from otel_perfmon.otlp.decoding import SpanDecoder

SLOW_NANO = 10**9
texts = st.one_of(st.sampled_from(("", "GET", "/cart", "@bytes", "ü", '"quoted"', "x" * 300)), st.text(max_size=5))
keys = st.sampled_from(("http.method", "error.type", "perfmon.slow", "ü", "@a", "exception.type", "exception.message"))
small = st.sampled_from((0, 1, 5, 127, 128, 300, 2**31, 2**63 - 1, 2**63, 2**64 - 1))


def values(draw, value) -> None:
    kind = draw(st.sampled_from(("string_value", "bool_value", "int_value", "double_value", "bytes_value", "none")))
    if kind == "string_value":
        value.string_value = draw(texts)
    elif kind == "bool_value":
        value.bool_value = draw(st.booleans())
    elif kind == "int_value":
        value.int_value = draw(st.integers(-(2**63), 2**63 - 1))
    elif kind == "double_value":
        value.double_value = draw(st.floats())
    elif kind == "bytes_value":
        value.bytes_value = draw(st.binary(max_size=3))
    else:
        value.SetInParent()


def pairs(draw, into) -> None:
    for key in draw(st.lists(keys, max_size=4)):
        pair = into.add(key=key)
        values(draw, pair.value)


@st.composite
def plain_traces(draw) -> TracesData:
    """Spans as programs make them, with repeated attributes, and odd ones among them."""
    data = TracesData()
    scope_spans = data.resource_spans.add().scope_spans.add()
    for _ in range(draw(st.integers(1, 3))):
        span = scope_spans.spans.add(
            trace_id=draw(st.sampled_from((b"t" * 16, bytes(16), b"", b"t" * 15))),
            span_id=draw(st.sampled_from((b"s" * 8, b"s" * 8, bytes(8), b""))),
            parent_span_id=draw(st.sampled_from((b"", b"p" * 8, b"p"))),
            name=draw(texts),
            kind=draw(st.integers(0, 5)),
            flags=draw(st.sampled_from((0, 1, 0x101, 0x301, 2**32 - 1))),
            trace_state=draw(st.sampled_from(("", "", "a=1"))),
            start_time_unix_nano=draw(small),
            end_time_unix_nano=draw(small),
            dropped_attributes_count=draw(st.sampled_from((0, 0, 3))),
        )
        pairs(draw, span.attributes)
        for _ in range(draw(st.integers(0, 2))):
            event = span.events.add(name=draw(st.sampled_from(("exception", "cache.miss"))), time_unix_nano=draw(small))
            pairs(draw, event.attributes)
        if draw(st.booleans()):
            span.status.code = draw(st.integers(0, 2))
            span.status.message = draw(texts)
    return data


class ByTheLibrary(SpanDecoder):
    """Leaves every span to protobuf's library."""

    def __init__(self) -> None:
        super().__init__(SLOW_NANO)
        self._scanner.scan = lambda *_: None


def told(decoder: SpanDecoder, data: bytes) -> tuple[list[object], int] | str:
    """What is made of the bytes, with resources and scopes as what they say."""
    before_count = decoder.refused_count
    try:
        rows = [
            row._replace(resource=repr(row.resource), scope=repr(row.scope)) for row in decoder.decode_protobuf(data)
        ]
    except DecodeError:
        return "no OTLP"
    return rows, decoder.refused_count - before_count


@EXAMPLES
def test_plain_spans_are_read_as_the_library_reads_them(examples: int) -> None:
    decoder = SpanDecoder(SLOW_NANO)  # one, so that it remembers

    @settings(max_examples=7 * examples)
    @given(plain_traces())
    def check(data: TracesData) -> None:
        assert told(decoder, data.SerializeToString()) == told(ByTheLibrary(), data.SerializeToString())

    check()


@EXAMPLES
def test_so_are_spans_with_anything_that_otlp_has(examples: int) -> None:
    @settings(max_examples=examples)
    @given(traces())
    def check(data: TracesData) -> None:
        assert told(SpanDecoder(SLOW_NANO), data.SerializeToString()) == told(ByTheLibrary(), data.SerializeToString())

    check()


@EXAMPLES
def test_so_are_bytes_that_were_changed_on_the_way(examples: int) -> None:
    @settings(max_examples=7 * examples)
    @given(plain_traces(), st.integers(0, 2**31), st.integers(0, 255), st.sampled_from(("put", "cut", "add")))
    def check(data: TracesData, place: int, byte: int, what: str) -> None:
        sent = bytearray(data.SerializeToString())
        place %= len(sent)
        if what == "put":
            sent[place] = byte
        elif what == "cut":
            del sent[place:]
        else:
            sent.insert(place, byte)
        assert told(SpanDecoder(SLOW_NANO), bytes(sent)) == told(ByTheLibrary(), bytes(sent))

    check()


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


GROUP = b"\x9b\x06\x08\x01\x12\x01x\x23\x29" + bytes(8) + b"\x24\x35" + bytes(4) + b"\x9c\x06"
"""A field 99 that holds one of each wire type, another group among them."""
SPAN = field(1, b"t" * 16) + field(2, b"s" * 8) + field(5, b"op")


@pytest.mark.parametrize("level", ["request", "resource", "scope", "span"])
def test_a_group_is_a_field_that_is_not_known_wherever_it_stands(level):
    of = {each: GROUP if each == level else b"" for each in ("request", "resource", "scope", "span")}
    scope_spans = of["scope"] + field(2, SPAN + of["span"])
    sent = of["request"] + field(1, of["resource"] + field(2, scope_spans))
    (row,) = SpanDecoder(SLOW_NANO).decode_protobuf(sent)
    assert row.name == "op"
    kept = {"resource": row.resource.otlp, "scope": row.scope.otlp, "span": row.details.otlp if row.details else b""}
    assert [GROUP in each for each in kept.values()] == [each == level for each in kept]


@pytest.mark.parametrize(
    "group",
    [
        GROUP[:-2],
        GROUP[:-2] + b"\x24",
        b"\x9c\x06",
        b"\x9b\x06" * 101 + b"\x9c\x06" * 101,
        b"\x9b\x06" * 100_000 + b"\x9c\x06" * 100_000,
        b"\x03\x04",
    ],
)
def test_a_group_that_does_not_end_as_it_began_is_no_otlp_as_to_the_library(group):
    for sent in (group, field(1, field(2, field(2, SPAN))) + group):
        with pytest.raises(ProtobufError):
            TracesData.FromString(sent)
        assert told(SpanDecoder(SLOW_NANO), sent) == "no OTLP"


@pytest.mark.parametrize("size", [100, 1_000, 20_000, 70_000])
def test_long_texts_are_read_as_the_library_reads_them(size):
    data = TracesData()
    span = data.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n" * size)
    span.attributes.add(key="long").value.string_value = "v" * size
    span.status.message = "m" * size
    assert told(SpanDecoder(SLOW_NANO), data.SerializeToString()) == told(ByTheLibrary(), data.SerializeToString())


def test_most_spans_are_read_by_hand():
    data = TracesData()
    span = data.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="op")
    span.start_time_unix_nano, span.end_time_unix_nano, span.flags, span.kind = 5, 10, 0x101, 2
    for key, value in {"a": "text", "b": True, "c": 7, "d": 1.5, "e": -1}.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(span.attributes.add(key=key).value, kind, value)
    span.events.add(name="exception", time_unix_nano=7).attributes.add(key="exception.type").value.string_value = "E"
    span.status.code = 2
    decoder = SpanDecoder(SLOW_NANO)
    decoder._read = None
    (row,) = decoder.decode_protobuf(data.SerializeToString())
    assert row.attributes == '{"a":"text","b":true,"c":7,"d":1.5,"e":-1}'
    assert row.details.error_type == "E"
