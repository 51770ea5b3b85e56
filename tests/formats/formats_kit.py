"""Any record that a store may answer, and files that are read from bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator

from hypothesis import strategies as st
from otlp_kit import attribute_dicts, keys, names, scalars
from records_kit import span_record

from otel_perfmon.formats.reading import LOOK_BYTES, read_spans
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import Piece
from otel_perfmon.records import EventRecord, LinkRecord, ResourceRecord, ScopeRecord

SECOND = 10**9
trace_ids = st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}")
span_ids = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
times = st.integers(0, 2**62)
counts = st.sampled_from((0, 0, 2, 2**32 - 1))
attributes = st.one_of(st.dictionaries(keys, scalars, max_size=4), attribute_dicts)
events = st.builds(EventRecord, names, times, attributes, counts)
links = st.builds(LinkRecord, trace_ids, span_ids)


@st.composite
def records(draw):
    """A span with everything in it that a row has, its flags as they follow from it."""
    start, end = sorted((draw(times), draw(times)))
    status = draw(st.integers(0, 2))
    return span_record(
        trace_id=draw(trace_ids),
        span_id=draw(span_ids),
        parent_span_id=draw(st.one_of(st.none(), span_ids)),
        name=draw(names),
        kind=draw(st.integers(0, 5)),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=status,
        status_message=draw(names) if status else "",
        trace_state=draw(st.sampled_from(("", "a=b"))),
        flags=draw(st.integers(0, 2**10 - 1)),
        attributes=draw(attributes),
        events=tuple(draw(st.lists(events, max_size=2))),
        links=tuple(draw(st.lists(links, max_size=2))),
        dropped_attributes_count=draw(counts),
        dropped_events_count=draw(counts),
        dropped_links_count=draw(counts),
        resource=ResourceRecord(draw(attributes), draw(st.sampled_from(("", "https://x")))),
        scope=ScopeRecord(draw(names), draw(names)),
        is_error=status == 2,
        is_slow=end - start > SECOND,
    )


def pieces_in(data: bytes) -> Iterator[Piece]:
    """The pieces of a file that has these bytes, as they are read."""
    file = io.BufferedReader(io.BytesIO(data), LOOK_BYTES)
    return read_spans(file, SpanDecoder(SECOND), SECOND)


def read(data: bytes) -> list[Piece]:
    """The same, all of them."""
    return list(pieces_in(data))


def rows_in(data: bytes) -> list:
    """The rows of a file in which everything can be read."""
    pieces = read(data)
    assert [piece for piece in pieces if piece.error is not None] == []
    return [row for piece in pieces for row in piece.rows]


def errors_in(data: bytes) -> list[tuple[str, str]]:
    """What could not be read, with its place."""
    return [(piece.place, str(piece.error)) for piece in read(data) if piece.error is not None]
