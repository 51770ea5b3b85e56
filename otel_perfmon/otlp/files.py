"""OTLP in files, as the Collector's file exporter writes them and its ``otlpjsonfile`` receiver reads them.

JSON Lines: one ``TracesData`` a line, in UTF-8 (opentelemetry-specification, ``protocol/file-exporter.md``). Protobuf:
one ``TracesData`` after another, each behind its size as four bytes, the highest first. With ``compression: zstd`` each
message, of either form, is a frame of zstd behind its size.
"""

from __future__ import annotations

import codecs
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Final, NamedTuple, TypeVar

from otel_perfmon.errors import DecodeError
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_documents import JsonLines, goes_on, take_document
from otel_perfmon.otlp.json_encoding import encode_traces
from otel_perfmon.otlp.zstd import MAGIC, unpack_zstd
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.rows import SpanRow

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""So large a message or a line may be: what OTLP's receivers take at most."""
_WRITTEN_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page that takes more is written in parts."""
_ROWS_AT_ONCE: Final = 4_096
_EMPTY_MAX: Final = 100
"""So many messages without a byte may follow each other; in a file of zeros there are more."""
SIZE: Final = struct.Struct(">I")
"""How the size of a message is written before it."""
_PROTOBUF_STARTS: Final = (b"\0", b"\n")
"""A size of less than 16 MiB, and the tag of the only field of a message that stands alone."""


class Piece(NamedTuple):
    """What stood at one place of a file: some of its spans, or why they cannot be told."""

    place: str
    rows: list[SpanRow]
    error: DecodeError | None = None


_Item = TypeVar("_Item")


def encode_json_lines(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """A line for each page of spans, or some for a large one."""
    for page in pages:
        yield from in_parts(page, _json_line)


def encode_protobuf_messages(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """A message, behind its size, for each page of spans, or some for a large one."""
    encoder = SpanEncoder()
    for page in pages:
        for message in in_parts(page, encoder.encode_request):
            yield SIZE.pack(len(message)) + message


def _json_line(spans: Sequence[SpanRecord]) -> bytes:
    return json.dumps(encode_traces(spans), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def in_parts(spans: Sequence[_Item], encode: Callable[[Sequence[_Item]], bytes]) -> Iterator[bytes]:
    """The spans of a page, or its points or log records, encoded; in halves, and those again, where it is large."""
    encoded = encode(spans)
    if len(encoded) <= _WRITTEN_BYTES_MAX or len(spans) == 1:
        yield encoded
        return
    del encoded
    half = len(spans) // 2
    yield from in_parts(spans[:half], encode)
    yield from in_parts(spans[half:], encode)


def decode_file(file: BinaryIO, decoder: SpanDecoder) -> Iterator[Piece]:
    """The pieces of a file in OTLP's JSON or protobuf, whichever it is; also of one that is a single document.

    A piece that is no OTLP does not keep those behind it from being read, but where a size is wrong, or always 0.
    """
    start = file.read(SIZE.size)
    if start[:1] in _PROTOBUF_STARTS:
        yield from _decode_protobuf(start, file, decoder)
    elif start:
        yield from _decode_json(start.removeprefix(codecs.BOM_UTF8), file, decoder)


def _decode_json(start: bytes, file: BinaryIO, decoder: SpanDecoder) -> Iterator[Piece]:
    lines = JsonLines(start, file, MESSAGE_BYTES_MAX)
    while line := lines.take():
        place = f"line {lines.number:,}"
        if len(line) > MESSAGE_BYTES_MAX:
            yield Piece(place, [], _too_large())
        elif line.strip():
            is_cut = not line.rstrip().endswith((b"}", b"]")) and goes_on(line)
            for piece in () if is_cut else _pieces(place, decoder.decode_json, line):
                if piece.error is not None and goes_on(line):
                    is_cut = True
                else:
                    yield piece
            if is_cut:
                place, data, error = take_document(line, lines)
                yield from [Piece(place, [], error)] if error else _pieces(place, decoder.decode_json, data)


def _decode_protobuf(start: bytes, file: BinaryIO, decoder: SpanDecoder) -> Iterator[Piece]:
    number = empty_count = 0
    while start or (start := file.read(SIZE.size)):
        number += 1
        place = f"message {number:,}"
        if number == 1 and start[:1] == b"\n":  # a message alone, or sizes of 160 MiB
            whole = start + file.read(MESSAGE_BYTES_MAX + 1)
            if len(whole) > MESSAGE_BYTES_MAX:
                yield Piece("the document", [], _too_large())
            else:
                yield from _pieces("the document", decoder.decode_protobuf, whole)
            return
        size = SIZE.unpack(start)[0] if len(start) == SIZE.size else 0
        message = file.read(size) if size <= MESSAGE_BYTES_MAX else b""
        if len(start) < SIZE.size or len(message) < size:
            error = _too_large() if size > MESSAGE_BYTES_MAX else DecodeError("The file ends within it.")
            yield Piece(place, [], error)
            return
        start = b""
        empty_count = 0 if message else empty_count + 1
        if empty_count > _EMPTY_MAX:
            yield Piece(place, [], DecodeError(f"{empty_count:,} empty messages follow each other: this is no OTLP."))
            return
        yield from _decode_message(place, message, decoder)


def _decode_message(place: str, message: bytes, decoder: SpanDecoder) -> Iterator[Piece]:
    """A message behind its size: protobuf, or a frame of zstd that holds either form."""
    if not message.startswith(MAGIC):
        yield from _pieces(place, decoder.decode_protobuf, message)
        return
    try:
        unpacked = unpack_zstd(message, MESSAGE_BYTES_MAX)
    except (EOFError, OSError) as error:
        yield Piece(place, [], DecodeError(f"It cannot be unpacked: {error}."))
        return
    if len(unpacked) > MESSAGE_BYTES_MAX:
        yield Piece(place, [], _too_large())
        return
    yield from _pieces(place, decoder.decode_json if unpacked[:1] == b"{" else decoder.decode_protobuf, unpacked)


def _too_large() -> DecodeError:
    return DecodeError(f"It has more than {MESSAGE_BYTES_MAX:,} bytes.")


def _pieces(place: str, decode: Callable[[bytes], Iterator[SpanRow]], data: bytes) -> Iterator[Piece]:
    """Some spans at a time: a message of a few bytes a span may hold millions."""
    try:
        rows = decode(data)
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            yield Piece(place, part)
    except DecodeError as error:
        yield Piece(place, [], error)
