"""Files of OTLP are read as the Collector writes them, and what is none of it is named by its place."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace

import pytest

from otel_perfmon.otlp import files
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import MESSAGE_BYTES_MAX, decode_file, encode_json_lines, encode_protobuf_messages
from otel_perfmon.records import EventRecord, ResourceRecord, ScopeRecord, SpanRecord

RESOURCE, SCOPE = ResourceRecord({"service.name": "shop"}), ScopeRecord("shop.cart")


def span(number: int) -> SpanRecord:
    return SpanRecord(
        trace_id=f"{number:032x}", span_id=f"{number:016x}", parent_span_id=None, name=f"op {number}", kind=1,
        start_unix_nano=1, end_unix_nano=2, status_code=0, status_message="", trace_state="", flags=1, attributes={},
        events=(), links=(), dropped_attributes_count=0, dropped_events_count=0, dropped_links_count=0,
        resource=RESOURCE, scope=SCOPE, is_error=False, is_slow=False, error_type=None,
    )  # fmt: skip


PAGES = [[span(1), span(2)], [span(3)]]
LINES = b"".join(encode_json_lines(PAGES))
MESSAGES = b"".join(encode_protobuf_messages(PAGES))


def read(data: bytes) -> list[tuple[str, list[str], str]]:
    pieces = decode_file(io.BufferedReader(io.BytesIO(data)), SpanDecoder(10**9))
    return [(piece.place, [row.name for row in piece.rows], str(piece.error or "")) for piece in pieces]


@pytest.mark.parametrize(("data", "place"), [(LINES, "line"), (MESSAGES, "message")], ids=["json", "protobuf"])
def test_each_page_is_a_piece_of_the_file(data, place):
    assert read(data) == [(f"{place} 1", ["op 1", "op 2"], ""), (f"{place} 2", ["op 3"], "")]


def test_a_single_document_of_either_kind_is_read():
    whole = json.dumps(json.loads(LINES.splitlines()[0]), indent=2).encode()
    assert read(whole) == [(f"lines 1 to {len(whole.splitlines())}", ["op 1", "op 2"], "")]
    size = struct.unpack(">I", MESSAGES[:4])[0]
    assert read(MESSAGES[4 : 4 + size]) == [("the document", ["op 1", "op 2"], "")]


def test_a_line_that_is_no_otlp_is_named_and_the_rest_goes_on():
    first, second = LINES.splitlines(keepends=True)
    found = read(first + b'not json\n\n{"resourceSpans": 5}\n' + second)
    assert [(place, names) for place, names, _ in found] == [
        ("line 1", ["op 1", "op 2"]),
        ("line 2", []),
        ("line 4", []),
        ("line 5", ["op 3"]),
    ]
    assert all("no TracesData of OTLP" in error for place, _, error in found if place in {"line 2", "line 4"})


def test_a_message_that_is_no_otlp_is_named_and_the_rest_goes_on():
    found = read(struct.pack(">I", 3) + b"\xff\xff\xff" + MESSAGES)
    assert [(place, names) for place, names, _ in found] == [
        ("message 1", []),
        ("message 2", ["op 1", "op 2"]),
        ("message 3", ["op 3"]),
    ]


@pytest.mark.parametrize("end", [MESSAGES[:-5], MESSAGES + b"\0", MESSAGES + struct.pack(">I", MESSAGE_BYTES_MAX + 1)])
def test_a_file_that_ends_too_soon_gives_what_is_whole(end):
    *whole, (place, names, error) = read(end)
    assert whole[0] == ("message 1", ["op 1", "op 2"], "")
    assert (place.split()[0], names) == ("message", [])
    assert "The file ends within it." in error or "more than" in error


def test_a_first_line_that_is_no_otlp_keeps_none_of_the_others_from_being_read():
    for first in (b"nonsense\n", b"\xef\xbb\xbf\n", b'{"resourceSpans": [}\n', b"[1, 2]\n"):
        assert [name for _, names, _ in read(first + LINES) for name in names] == ["op 1", "op 2", "op 3"]
    assert read(b"\xef\xbb\xbf" + LINES)[0] == ("line 1", ["op 1", "op 2"], "")


def test_what_is_too_large_is_told_and_never_held(monkeypatch):
    monkeypatch.setattr(files, "MESSAGE_BYTES_MAX", 2_000)
    line = b'{"a": "' + b"x" * 5_000 + b'"}\n'
    (first, _, error), *rest = read(line + LINES)
    assert (first, "more than 2,000 bytes" in error) == ("line 1", True)
    assert [names for _, names, _ in rest] == [["op 1", "op 2"], ["op 3"]]
    for endless in (b"{\n" + b" " * 9_000, b"\n" + b"\xff" * 9_000, b"\xff" * 9_000):
        assert [(names, "more than" in error) for _, names, error in read(endless)] == [([], True)]


def test_a_page_that_takes_much_is_written_in_parts_that_can_be_read(monkeypatch):
    monkeypatch.setattr(files, "_WRITTEN_BYTES_MAX", 300)
    many = [span(number) for number in range(1, 30)]
    for encode in (encode_json_lines, encode_protobuf_messages):
        pieces = read(b"".join(encode([many])))
        assert len(pieces) > 5
        assert [name for _, names, _ in pieces for name in names] == [each.name for each in many]


def test_a_file_of_zeros_is_refused_and_one_of_some_empty_messages_is_read():
    reading = io.BytesIO(bytes(8_000_000))
    (piece,) = decode_file(reading, SpanDecoder(10**9))
    assert (piece.place, piece.rows) == ("message 101", [])
    assert str(piece.error) == "101 empty messages follow each other: this is no OTLP."
    assert reading.tell() < 1_000
    empty = bytes(4 * 100)
    names = [name for _, names, _ in read(empty + MESSAGES + empty + MESSAGES + bytes(9_000)) for name in names]
    assert names == ["op 1", "op 2", "op 3"] * 2


def test_a_message_of_many_spans_comes_in_some_at_a_time(monkeypatch):
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 10)
    found = read(b"".join(encode_protobuf_messages([[span(number) for number in range(1, 26)]])))
    assert [(place, len(names)) for place, names, _ in found] == [
        ("message 1", 10),
        ("message 1", 10),
        ("message 1", 5),
    ]


def test_half_a_surrogate_pair_is_written_as_text_that_everybody_reads():
    event = EventRecord("e", 1, {"x": "\ud800"})
    odd = replace(span(1), attributes={"a\ud800": "b\udfff", "list": ("\ud800",)}, events=(event,))
    for encode in (encode_json_lines, encode_protobuf_messages):
        pieces = decode_file(io.BufferedReader(io.BytesIO(b"".join(encode([[odd]])))), SpanDecoder(10**9))
        (row,) = next(iter(pieces)).rows
        assert json.loads(row.attributes) == {"a\\ud800": "b\\udfff", "list": ["\\ud800"]}


def test_an_empty_file_holds_nothing():
    assert read(b"") == []
