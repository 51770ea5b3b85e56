"""A box over the heatmap is read from an address, and becomes filters of spans."""

from __future__ import annotations

import pytest

from otel_perfmon.errors import QueryError
from otel_perfmon.query import Window
from otel_perfmon.web.pages.box import Box

START, END = "2026-01-31T09:00:00Z", "2026-01-31T10:00:00Z"
WINDOW = Window.parse(f"{START}/{END}")


def test_a_box_is_a_time_and_durations():
    assert Box.parse(f"{START}/{END}/12.5/300") == Box(WINDOW, 12.5, 300.0)
    assert Box.parse(f"{START}/{END}/0/") == Box(WINDOW, 0.0, None)


def test_its_spans_are_found_by_the_same():
    window = "2026-01-31T09:00:00.000000Z/2026-01-31T10:00:00.000000Z"
    assert Box.parse(f"{START}/{END}/12.5/300").filters == {
        "window": window,
        "min_duration_ms": "12.5",
        "max_duration_ms": "300",
    }
    assert Box.parse(f"{START}/{END}/0/").filters == {"window": window}


@pytest.mark.parametrize(
    "durations",
    ["1", "1/2/3", "x/2", "1/x", "/2", "nan/2", "1/nan", "inf/", "1/inf", "-1/2", "0/-1", "3/2"],
)
def test_what_is_none_is_refused(durations):
    with pytest.raises(QueryError, match="A box is START/END/LEAST/MOST"):
        Box.parse(f"{START}/{END}/{durations}")


@pytest.mark.parametrize("given", ["", "/", "///", f"{END}/{START}/0/", "x/y/0/1"])
def test_so_is_one_without_a_time(given):
    with pytest.raises(QueryError):
        Box.parse(given)
