from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon import Distribution, DurationBucket
from otel_perfmon.cli import charts

HOUR = 1_800_000_000
"""2027-01-15 08:00:00 UTC."""


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


def _distribution(*buckets: tuple[float, float, int]) -> Distribution:
    return Distribution("op", None, None, tuple(DurationBucket(*bucket) for bucket in buckets))


def test_a_sparkline_goes_from_nothing_to_the_largest() -> None:
    assert charts.sparkline([0, 1, 4, 8, None]) == "·▁▄█·"
    assert charts.sparkline([0, 1, 8], charts.ASCII) == " _#"
    assert charts.sparkline([]) == ""
    assert charts.sparkline([0, 0]) == "··"


def test_a_bar_is_as_long_as_its_part_and_never_invisible() -> None:
    assert charts.bar(5, 10, 10) == "█████"
    assert charts.bar(1, 16, 10) == "▋"
    assert charts.bar(1, 10**9, 10) == "▏"
    assert charts.bar(0, 10, 10) == ""
    assert charts.bar(0, 0, 10) == ""
    assert charts.bar(5, 10, 10, charts.ASCII) == "#####"


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_more_calls_are_never_lighter(few, many) -> None:
    few, many = sorted((few, many))
    assert 0 <= charts.shade(few, many) <= charts.shade(many, many) == 3


@given(st.integers(1, 10**6))
def test_the_legend_tells_where_each_shade_begins(most) -> None:
    starts = charts.shade_starts(most)
    assert starts == sorted(starts)
    for index, start in enumerate(starts):
        end = starts[index + 1] - 1 if index + 1 < len(starts) else most
        if start <= end:
            assert charts.shade(start, most) == index
            assert charts.shade(end, most) == index


buckets = st.lists(
    st.tuples(st.integers(-300, 900), st.integers(1, 1000)), min_size=1, max_size=50, unique_by=lambda b: b[0]
)


@given(buckets, st.integers(10, 40))
def test_a_histogram_counts_every_call_in_few_rows_without_gaps(places, rows_max) -> None:
    spread = _distribution(*((1.022**n, 1.022 ** (n + 1), count) for n, count in sorted(places)))
    rows = charts.regroup(spread, rows_max)
    assert sum(row.count for row in rows) == spread.count
    assert len(rows) <= max(rows_max, 12)  # one for each decade
    assert all(left.upper_ms == right.lower_ms for left, right in pairwise(rows))
    assert rows[0].count
    assert rows[-1].count


def test_a_histograms_bounds_are_round() -> None:
    rows = charts.regroup(_distribution((1.0, 1.02, 5), (90.0, 92.0, 1)), 10)
    assert [row.lower_ms for row in rows] == [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]


def test_calls_that_took_no_time_have_a_row_of_their_own() -> None:
    rows = charts.regroup(_distribution((0.0, 0.0, 7), (1.0, 1.02, 1)), 10)
    assert rows[0] == DurationBucket(0.0, 0.0, 7)
    assert charts.regroup(_distribution((0.0, 0.0, 7)), 10) == [DurationBucket(0.0, 0.0, 7)]
    assert charts.regroup(_distribution(), 10) == []


@pytest.mark.usefixtures("_utc")
def test_a_time_axis_has_its_ticks_at_round_times() -> None:
    assert charts.time_axis((HOUR - 120) * 10**9, 60, 36) == (
        "──┴─────────┴─────────┴─────────────",
        "  08:00     08:10     08:20",
    )


@pytest.mark.usefixtures("_utc")
@pytest.mark.parametrize(
    ("cell_seconds", "cells", "first"),
    [(10, 50, "08:00:00"), (60, 60, "08:00"), (3600, 100, "01-16 00:00"), (86_400, 90, "01-28")],
)
def test_labels_tell_as_much_as_the_length_needs(cell_seconds, cells, first) -> None:
    line, labels = charts.time_axis(HOUR * 10**9, cell_seconds, cells)
    assert len(line) == cells
    assert labels.split("   ")[0].strip() == first or first in labels


@given(
    st.integers(0, 2 * 10**9),
    st.sampled_from([10, 60, 600, 3600, 86_400, 30 * 86_400]),
    st.integers(1, 160),
    st.integers(1, 4),
)
def test_an_axis_is_never_wider_than_its_picture(start, cell_seconds, cells, cell_width) -> None:
    line, labels = charts.time_axis(start * 10**9, cell_seconds, cells, cell_width=cell_width)
    assert len(line) == cells * cell_width
    assert len(labels) <= len(line)
