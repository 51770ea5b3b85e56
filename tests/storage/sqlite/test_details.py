from __future__ import annotations

import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, ask_one, span_row, write

from otel_perfmon.query import INT64_MAX, SpanQuery
from otel_perfmon.storage.attributes import encode_attributes, encode_items
from otel_perfmon.storage.rows import NO_DETAILS, SpanDetails
from otel_perfmon.storage.sqlite.details import decode_details, encode_details, has_error_type
from otel_perfmon.storage.sqlite.reader import SqliteReader

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**63 - 1)
details = st.builds(
    SpanDetails,
    status_message=texts,
    error_type=texts,
    trace_state=texts,
    altered=texts,
    events=st.just(""),
    links=st.just(""),
    dropped_attributes_count=counts,
    dropped_events_count=counts,
    dropped_links_count=counts,
    otlp=st.binary(max_size=9),
)


@given(details, texts)
def test_what_is_present_comes_back_and_nothing_else(details, own_name):
    wanted = {"name": own_name, **details._asdict()}
    del wanted["error_message"], wanted["otlp"]  # kept by error groups, and in a table of its own
    assert decode_details(encode_details(details, own_name)) == {key: value for key, value in wanted.items() if value}


@given(st.dictionaries(texts, texts | st.integers() | st.floats(allow_nan=False), max_size=3))
def test_events_stand_in_the_details_as_they_are(attributes):
    item = {"name": "\ud800 \0", "time_unix_nano": 10**18, "attributes": encode_attributes(attributes)}
    events = encode_items([item]).text
    text = encode_details(SpanDetails(events=events))
    assert events in text
    assert decode_details(text) == {"events": json.loads(events)}


@pytest.mark.parametrize("nothing", [None, NO_DETAILS])
def test_nothing_takes_no_room(nothing):
    assert encode_details(nothing) == ""
    assert decode_details("") == {}


@given(texts, texts)
def test_an_error_type_is_found_and_no_other(stored, wanted):
    events = json.dumps([{"attributes": {"error_type": wanted}}], separators=(",", ":"), ensure_ascii=False)
    text = encode_details(SpanDetails(error_type=stored, events=events))
    assert has_error_type(text, wanted) is (stored == wanted)
    assert has_error_type(text, stored)
    assert has_error_type("", wanted) is (wanted == "")


@pytest.mark.parametrize(
    ("start", "end", "duration"),
    [
        (INT64_MAX, -INT64_MAX, 0),
        (-INT64_MAX, INT64_MAX, INT64_MAX),
        (INT64_MAX, INT64_MAX, 0),
        (-INT64_MAX, -INT64_MAX, 0),
        (NOW + 5, NOW, 0),
        (NOW, NOW, 7),
        (0, -1, INT64_MAX),
    ],
)
def test_a_start_comes_back_wherever_the_clock_was(writer, db_path, start, end, duration):
    write(writer, span_row(start_unix_nano=start, end=end, duration_nano=duration), span_row())
    with closing(SqliteReader(db_path)) as reader:
        found = {span.start_unix_nano for span in reader.find_spans(SpanQuery())}
    assert found == {start, NOW - 1_000_000}


def test_a_start_that_its_columns_tell_takes_no_details(writer, db_path):
    write(writer, span_row(start_unix_nano=NOW + 5, duration_nano=0))
    assert ask_one(db_path, "SELECT details FROM _spans") == ""
    assert ask_one(db_path, "SELECT start_unix_nano FROM _spans") == NOW + 5
