"""Files of spans, whoever wrote them: which format one has is told from what it holds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from otel_perfmon.errors import DecodeError
from otel_perfmon.formats.jaeger_decoding import JaegerDecoder
from otel_perfmon.formats.json_stream import JsonStream, NestingError
from otel_perfmon.formats.zipkin_decoding import ZipkinDecoder
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import Piece, decode_file
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.row_maker import RowMaker
from otel_perfmon.storage.rows import SpanRow

LOOK_BYTES: Final = 65_536
"""So much of a file is looked at to tell what it is; the buffer of who opens it must hold that."""
_ROWS_AT_ONCE: Final = 512
_UNFORESEEN: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What Python raises for a value of a kind that no decoder reckoned with; it is the matter of that span alone."""
_OTLP: Final = rb"resource_?[sS]pans|resource_?[mM]etrics|resource_?[lL]ogs|resource_?[pP]rofiles"
_JAEGER: Final = rb"traceID|spanID|processes"
_ZIPKIN: Final = rb"traceId|localEndpoint|annotations"
_ANSWER: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"data"\s*:\s*(?:\[|null)')
"""How an answer of Jaeger's query service begins, which may hold no trace."""
_TELLING: Final = re.compile(rb'"(?:(?P<otlp>%s)|(?P<jaeger>%s)|(?P<zipkin>%s))"\s*:' % (_OTLP, _JAEGER, _ZIPKIN))


class _Decoder(Protocol):
    """Reads one of the foreign formats."""

    def read(self, stream: JsonStream) -> Iterator[Callable[[], SpanRecord]]: ...


def read_spans(file: io.BufferedReader, decoder: SpanDecoder, slow_threshold_nano: int) -> Iterator[Piece]:
    """The pieces of a file in OTLP's JSON or protobuf, Jaeger's JSON or Zipkin's."""
    start = file.peek(LOOK_BYTES)[:LOOK_BYTES]
    telling = None if start[:1] == b"\0" else _TELLING.search(start)
    kind = "jaeger" if _ANSWER.match(start) else telling.lastgroup if telling else None
    if kind == "jaeger":
        yield from _read_json(JsonStream(file), JaegerDecoder(slow_threshold_nano))
    elif kind == "zipkin":
        yield from _read_json(JsonStream(file), ZipkinDecoder(slow_threshold_nano))
    elif start.strip():
        if kind == "otlp":  # JSON, whose first line may be empty: a message in protobuf may begin with such a byte, too
            file.read(len(start) - len(start.lstrip()))
        yield from decode_file(file, decoder)


def _read_json(stream: JsonStream, decoder: _Decoder) -> Iterator[Piece]:
    """Documents one after the other. One that is broken ends where it is, and the next line begins another one."""
    counter = _Counter(RowMaker())
    while stream.peek():
        line = stream.line
        try:
            yield from counter.pieces(decoder.read(stream), stream)
        except DecodeError as error:
            yield Piece(f"line {stream.line:,}", [], error)
            if stream.line != line or isinstance(error, NestingError):
                return
            stream.skip_line()


class _Counter:
    """Spans as pieces, which are told by their number in the file."""

    def __init__(self, rows: RowMaker) -> None:
        self._rows = rows
        self._number = 0

    def pieces(self, spans: Iterator[Callable[[], SpanRecord]], stream: JsonStream) -> Iterator[Piece]:
        """Some spans at a time; those before a broken place come, too."""
        rows: list[SpanRow] = []
        broken: DecodeError | None = None
        try:
            for decode in spans:
                self._number += 1
                place = f"line {stream.line:,}, span {self._number:,}"
                try:
                    rows.append(self._rows.row_of(decode()))
                except DecodeError as error:
                    yield Piece(place, [], error)
                except RecursionError:
                    yield Piece(place, [], DecodeError("It is nested too deep."))
                except _UNFORESEEN as error:
                    yield Piece(place, [], DecodeError(f"It cannot be read: {type(error).__name__}: {error}."))
                if len(rows) >= _ROWS_AT_ONCE:
                    yield Piece(place, rows)
                    rows = []
        except DecodeError as error:
            broken = error
        yield Piece("", rows)
        if broken is not None:
            raise broken
