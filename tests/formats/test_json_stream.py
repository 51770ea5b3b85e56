"""JSON of any size is read in pieces, whatever the pieces in which it comes."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perfmon.errors import DecodeError
from otel_perfmon.formats import json_stream
from otel_perfmon.formats.json_stream import JsonStream

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
)


def whole(stream: JsonStream):
    """A value, gone into as deep as it goes."""
    if stream.peek() == "{":
        return {name: whole(stream) for name in stream.members()}
    if stream.peek() == "[":
        return [whole(stream) for _ in stream.elements()]
    return stream.value()[0]


@pytest.mark.parametrize("take", [whole, lambda stream: stream.value()[0]])
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_what_is_read_in_pieces_is_what_is_read_at_once(monkeypatch, take, size):
    monkeypatch.setattr(json_stream, "_READ_BYTES", size)

    @settings(max_examples=40)
    @given(st.lists(json_values, max_size=3), st.sampled_from((None, 1)), st.booleans())
    def check(values, indent, is_ascii):
        text = "\n".join(json.dumps(value, indent=indent, ensure_ascii=is_ascii) for value in values)
        stream = JsonStream(io.BytesIO(text.encode()))
        found = []
        while stream.peek():
            found.append(take(stream))
        assert found == values
        assert stream.line == text.count("\n") + 1

    check()


@pytest.mark.parametrize(
    "text",
    ["{", "[1,", '{"a"', '{"a":', '{"a":1', '"x', "[1 2]", "{1:2}", '{"a":1,}', "nul", "-", "[" * 100_000, "]"],
)
@pytest.mark.parametrize("take", [whole, lambda stream: stream.value()[0]])
def test_what_is_no_json_is_a_decode_error(text, take):
    if take is whole and len(text) > 1_000:  # who goes into it says how deep
        return
    stream = JsonStream(io.BytesIO(text.encode()))
    with pytest.raises(DecodeError, match=r"^This is no JSON.*: .*\.$"):
        take(stream)


def test_a_text_without_end_is_held_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(json_stream, "VALUE_CHARACTERS_MAX", 1_000_000)
    stream = JsonStream(io.BytesIO(b'"' + b"x" * 10_000_000))
    with pytest.raises(DecodeError, match="more than 1,000,000 characters"):
        stream.value()
    assert len(stream._text) < 4_000_000


def test_a_place_is_told_by_its_line_and_the_next_line_can_be_gone_to():
    stream = JsonStream(io.BytesIO(b'\xef\xbb\xbf{"a":\n1}\r\n nonsense {\r\n"end"'))
    assert stream.value()[0] == {"a": 1}
    assert stream.peek() == "n"
    assert stream.line == 3
    stream.skip_line()
    assert (stream.line, stream.value()[0], stream.peek()) == (4, "end", "")


def test_a_number_of_a_million_digits_and_bytes_that_are_no_text_are_taken():
    assert JsonStream(io.BytesIO(b"-" + b"9" * 1_000_000)).value()[0] == float("-inf")
    assert JsonStream(io.BytesIO(b'"\xff"')).value()[0] == "\udcff"
