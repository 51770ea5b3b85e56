"""Columns are a sequence of rows, whatever is done to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from storage_kit import span_row

from otel_perfmon.storage.columns import SpanColumns

ROWS = [
    span_row("plain"),
    span_row("failed", error="boom"),
    span_row("altered", altered="name"),
    span_row("slow", slow=True),
]
rows_of_some = st.lists(st.sampled_from(ROWS), max_size=6)


@given(rows_of_some, st.integers(-8, 8), st.integers(-8, 8))
def test_columns_are_the_rows_that_they_were_made_of(rows, start, end):
    columns = SpanColumns.of(rows)
    assert (list(columns), len(columns), bool(columns)) == (rows, len(rows), bool(rows))
    assert list(columns[start:end]) == rows[start:end]
    assert SpanColumns.of(columns) is columns


@given(st.lists(rows_of_some, max_size=4))
def test_joined_parts_follow_one_another(parts):
    assert list(SpanColumns.joined([SpanColumns.of(part) for part in parts])) == [row for part in parts for row in part]


@given(rows_of_some, st.data())
def test_rows_can_be_sorted_by_keys_and_picked_by_their_numbers(rows, data):
    keys = data.draw(st.permutations(range(len(rows))))
    columns = SpanColumns.of(rows).sorted_by(keys)
    rows = [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])]
    numbers = [number for number in range(len(rows)) if data.draw(st.booleans())]
    assert list(columns.pick(numbers)) == [rows[number] for number in numbers]
    assert list(columns) == rows


@given(rows_of_some)
def test_failed_and_altered_rows_are_found(rows):
    columns = SpanColumns.of(rows)
    assert list(columns.failed()) == [number for number, row in enumerate(rows) if row.is_error]
    assert columns.altered_count == sum(1 for row in rows if row.name == "altered")
