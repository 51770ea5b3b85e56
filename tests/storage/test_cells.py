from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, NOW_S, SECOND

from otel_perfmon.query import Window
from otel_perfmon.storage.cells import ALIGNED_TO_S, KEEP_SECONDS, align_window, cover

DAY = 86_400
GRACE = 120
"""So much later than its time a cell may still be counted on: retention waits that long."""

edges = st.sampled_from((0, 3600, DAY, 90 * DAY))
ages = st.one_of(st.integers(-100, 3 * DAY), st.tuples(edges, st.integers(-4000, 4000)).map(sum))
moments = st.tuples(ages, ages, st.integers(0, SECOND - 1), st.integers(NOW_S, NOW_S + 4000))


def window_of(moment):
    one_age, other_age, nano, now = moment
    start, end = sorted((now - one_age, now - other_age))
    return Window(start * SECOND + nano, end * SECOND + nano), now


@given(moments)
def test_an_aligned_window_holds_the_one_that_was_asked_for_and_is_wider_by_less_than_two_cells(moment):
    window, now = window_of(moment)
    aligned = align_window(window, now)
    assert aligned.start_unix_nano <= window.start_unix_nano
    assert aligned.end_unix_nano >= window.end_unix_nano
    assert window.start_unix_nano - aligned.start_unix_nano < 3600 * SECOND
    assert aligned.end_unix_nano - window.end_unix_nano < 3600 * SECOND
    if now * SECOND - window.start_unix_nano <= 3500 * SECOND:
        assert window.start_unix_nano - aligned.start_unix_nano < 10 * SECOND


@given(moments)
def test_the_cells_tile_the_aligned_window_exactly(moment):
    window, now = window_of(moment)
    aligned = align_window(window, now)
    ranges = sorted((each for each in cover(aligned) if each[1] < each[2]), key=lambda each: each[1])
    position = aligned.start_unix_nano // SECOND
    for resolution, first, last in ranges:
        assert first == position
        assert first % resolution == last % resolution == 0
        position = last
    assert position * SECOND == aligned.end_unix_nano


@given(moments)
def test_every_cell_that_a_window_is_made_of_is_still_kept_at_its_age(moment):
    window, now = window_of(moment)
    for resolution, first, last in cover(align_window(window, now)):
        if first < last and resolution != 3600:
            assert first >= now - KEEP_SECONDS[resolution] - ALIGNED_TO_S[resolution] - GRACE


def test_a_day_of_operations_costs_hours_and_edges_and_no_minutes_of_the_whole_day():
    ranges = cover(align_window(Window.last(DAY, now_unix_nano=NOW + 1234 * SECOND), NOW_S + 1234))
    assert len(ranges) <= 5
    assert sum((last - first) // resolution for resolution, first, last in ranges) < 24 + 2 * 60 + 2 * 6


@pytest.mark.parametrize("end", [0, 2**62, 2**63 - 1, 2**80, 2**101])
def test_a_window_however_wide_is_made_of_few_ranges_and_holds_all_that_can_be_stored(end):
    window = align_window(Window(-end, end), NOW_S)
    assert window.start_unix_nano <= max(-end, -(2**63))
    assert window.end_unix_nano >= min(end, 2**63)
    assert len(cover(window)) <= 5
