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
def test_a_row_can_be_put_in_and_rows_picked_by_their_numbers(rows, data):
    columns = SpanColumns.of(rows)
    place = data.draw(st.integers(0, len(rows)))
    columns.insert(place, ROWS[0])
    rows = [*rows[:place], ROWS[0], *rows[place:]]
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(rows))))))
    assert list(columns.pick(numbers)) == [rows[number] for number in numbers]
    assert list(columns) == rows


@given(rows_of_some)
def test_failed_and_altered_rows_are_found(rows):
    columns = SpanColumns.of(rows)
    assert list(columns.failed()) == [number for number, row in enumerate(rows) if row.is_error]
    assert columns.altered_count == sum(1 for row in rows if row.name == "altered")
