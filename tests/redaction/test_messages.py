"""What a message of protobuf says is looked through for secrets, whatever kind of message it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_perfmon.redaction import messages
from otel_perfmon.redaction.redaction import Redaction

TOKEN = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7R8"


def span(key: str, value: AnyValue) -> bytes:
    made = Span(name="op", trace_id=bytes(range(100, 116)), start_time_unix_nano=10**18)
    made.attributes.add(key=key).value.CopyFrom(value)
    return made.SerializeToString()


def nested(value: AnyValue) -> AnyValue:
    outer = AnyValue()
    outer.kvlist_value.values.add(key="inner").value.array_value.values.add().CopyFrom(value)
    return outer


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("note", AnyValue(string_value=f"the token is {TOKEN}")),
        ("note", AnyValue(bytes_value=TOKEN.encode())),
        ("password", AnyValue(string_value="hunter22")),
        ("password", nested(AnyValue(string_value="hunter22"))),
        ("note", nested(AnyValue(string_value=TOKEN))),
        (TOKEN, AnyValue(int_value=5)),
    ],
    ids=str,
)
def test_a_secret_is_found_wherever_it_stands(key, value):
    redaction = Redaction()
    assert redaction.is_secret_in(span(key, value))
    assert redaction.is_secret_in(b"\xc2\x3e" + bytes([len(span(key, value))]) + span(key, value))


def test_a_value_may_stand_before_its_name():
    assert Redaction().is_secret_in(b"\x12\x08hunter22\x0a\x08password")


PASSWORD = b"\x0a\x08password\x12\x0a\x0a\x08hunter22"


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x13" + bytes(19) + b"\x9a\x06\x16" + PASSWORD + b"\x9b\x06\x08\x01\x9c\x06",
        b"\x9b\x06" + PASSWORD + b"\x9c\x06",
        b"\x9b\x06\x0b\x0b\x0c\x23" + PASSWORD + b"\x24\x0c\x9c\x06",
        b"\x0a\x08password\x13\x0a\x08hunter22\x14",
    ],
    ids=["beside it", "in it", "in several", "as a value"],
)
def test_a_group_hides_no_secret(message):
    assert len(Span.FromString(message).SerializeToString()) > 0
    assert Redaction().is_secret_in(message)


def test_of_two_names_the_last_counts():
    assert Redaction().is_secret_in(b"\x4a\x19\x0a\x01a" + PASSWORD)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.route", AnyValue(string_value="/cart")),
        ("n", AnyValue(int_value=-5)),
        ("list", nested(AnyValue(double_value=2.5))),
        ("text", AnyValue(string_value="a longer text, with\nlines, that holds nothing")),
    ],
    ids=str,
)
def test_nothing_is_found_where_there_is_none(key, value):
    assert not Redaction().is_secret_in(span(key, value))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_and_every_text_by_itself_is_said(content):
    assert isinstance(messages.say(content), list)
    text = content.hex()
    assert text in str(messages.say(text.encode())) or not text


def test_what_nests_or_repeats_too_much_to_be_read_counts_as_a_secret():
    deep = b"x"
    while len(deep) < 10_000:
        deep = (
            b"\x0a" + (bytes([len(deep)]) if len(deep) < 128 else bytes([len(deep) & 127 | 128, len(deep) >> 7])) + deep
        )
    assert Redaction().is_secret_in(deep)
    assert Redaction().is_secret_in(b"\x0a\x00" * 300_000)
    assert Redaction().is_secret_in(b"\x0b" * 5_000 + b"\x0c" * 5_000)
