from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, NOW_S, SECOND

from otel_perfmon.query import Window
from otel_perfmon.storage.cells import (
    ALIGNED_TO_S,
    KEEP_SECONDS,
    Kept,
    align_window,
    choose_grid,
    cover,
    cover_coarsely,
)

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
    aligned = align_window(window, Kept(now))
    assert aligned.start_unix_nano <= window.start_unix_nano
    assert aligned.end_unix_nano >= window.end_unix_nano
    assert window.start_unix_nano - aligned.start_unix_nano < 3600 * SECOND
    assert aligned.end_unix_nano - window.end_unix_nano < 3600 * SECOND
    if now * SECOND - window.start_unix_nano <= 3500 * SECOND:
        assert window.start_unix_nano - aligned.start_unix_nano < 10 * SECOND


@given(moments)
def test_the_cells_tile_the_aligned_window_exactly(moment):
    window, now = window_of(moment)
    aligned = align_window(window, Kept(now))
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
    for resolution, first, last in cover(align_window(window, Kept(now))):
        if first < last and resolution != 3600:
            assert first >= now - KEEP_SECONDS[resolution] - ALIGNED_TO_S[resolution] - GRACE


def test_a_day_of_operations_costs_hours_and_edges_and_no_minutes_of_the_whole_day():
    ranges = cover(align_window(Window.last(DAY, now_unix_nano=NOW + 1234 * SECOND), Kept(NOW_S + 1234)))
    assert len(ranges) <= 5
    assert sum((last - first) // resolution for resolution, first, last in ranges) < 24 + 2 * 60 + 2 * 6


@pytest.mark.parametrize("end", [0, 2**62, 2**63 - 1, 2**80, 2**101])
def test_a_window_however_wide_is_made_of_few_ranges_and_holds_all_that_can_be_stored(end):
    window = align_window(Window(-end, end), Kept(NOW_S))
    assert window.start_unix_nano <= max(-end, -(2**63))
    assert window.end_unix_nano >= min(end, 2**63)
    assert len(cover(window)) <= 5


@given(moments, st.integers(1, 200), st.sampled_from((10, 400, 3_000)))
def test_a_grid_covers_its_window_in_few_cells_of_rollups_that_are_still_kept(moment, cells_max, rollups_max):
    window, now = window_of(moment)
    grid = choose_grid(window, cells_max, rollups_max, Kept(now))
    assert grid.window.start_unix_nano <= window.start_unix_nano
    assert grid.window.end_unix_nano >= window.end_unix_nano
    assert window.start_unix_nano - grid.window.start_unix_nano < grid.width_s * SECOND
    assert grid.start_unix_s % grid.width_s == grid.width_s % grid.resolution_s == 0
    assert grid.count <= max(2, cells_max)
    assert grid.window.end_unix_nano - window.end_unix_nano < max(1, grid.width_s) * SECOND or grid.count == 1
    if grid.resolution_s in (10, 60):
        assert grid.start_unix_s >= now - KEEP_SECONDS[grid.resolution_s] - ALIGNED_TO_S[grid.resolution_s] - GRACE
    assert (grid.cell(0).start_unix_nano, grid.cell(grid.count - 1).end_unix_nano) == (
        grid.window.start_unix_nano,
        grid.window.end_unix_nano,
    )


@pytest.mark.parametrize("end", [0, 2**62, 2**63 - 1])
def test_a_grid_over_all_time_has_no_more_cells_than_asked_for(end):
    grid = choose_grid(Window(-end, end), 60, 400, Kept(NOW_S))
    assert 1 <= grid.count <= 60
    assert grid.window.end_unix_nano >= end


@given(moments)
def test_calls_and_errors_are_counted_in_whole_hours_and_days(moment):
    window, _ = window_of(moment)
    aligned, ranges = cover_coarsely(window)
    assert aligned.start_unix_nano <= window.start_unix_nano
    assert aligned.end_unix_nano >= window.end_unix_nano
    assert sum(last - first for _, first, last in ranges) * SECOND == aligned.end_unix_nano - aligned.start_unix_nano
    assert {resolution for resolution, _, _ in ranges} <= {3600, DAY}
    assert len(ranges) <= 3
