from __future__ import annotations

import time

import pytest

from otel_perfmon import moments
from otel_perfmon.query import INT64_MAX, Window

SECOND = 10**9
MOMENT = 1_800_000_000 * SECOND + 123_456_789
"""2027-01-15 08:00:00 UTC."""


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "CET-1")
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of a process cannot be set here")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_machines_get_utc() -> None:
    assert moments.iso(MOMENT) == "2027-01-15T08:00:00.123456Z"


def test_people_get_their_own_time() -> None:
    assert moments.clock(MOMENT) == "2027-01-15 09:00:00"
    assert moments.clock(MOMENT, is_dated=False, digits=3) == "09:00:00.123"


def test_a_moment_is_told_as_far_as_it_differs_from_now() -> None:
    assert moments.stamp(MOMENT, MOMENT + SECOND) == "09:00:00.123"
    assert moments.stamp(MOMENT, MOMENT + 86_400 * SECOND) == "01-15 09:00:00"
    assert moments.stamp(MOMENT, MOMENT - 30 * 86_400 * SECOND) == "2027-01-15 09:00"


def test_a_window_names_its_day_once() -> None:
    hour = 3_600 * SECOND
    assert moments.spread(Window(MOMENT, MOMENT + hour)) == "2027-01-15 09:00:00 to 10:00:00"
    assert moments.spread(Window(MOMENT, MOMENT + 24 * hour)) == "2027-01-15 09:00:00 to 2027-01-16 09:00:00"
    assert moments.spread(Window(0, MOMENT)) == "everything until 2027-01-15 09:00:00"


def test_a_window_fits_behind_what_happened_in_it() -> None:
    assert moments.during(Window(MOMENT, MOMENT + SECOND)) == "from 2027-01-15 09:00:00 to 09:00:01"
    assert moments.during(Window(0, MOMENT)) == "until 2027-01-15 09:00:00"


@pytest.mark.parametrize("unix_nano", [0, -1, INT64_MAX, -INT64_MAX, 10**30, -(10**30)])
def test_every_moment_can_be_told(unix_nano) -> None:
    assert len(moments.iso(unix_nano)) == 27
    assert moments.clock(unix_nano)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (12.9, "12 s ago"),
        (200, "3 min ago"),
        (7_300, "2 h ago"),
        (9 * 86_400, "9 d ago"),
        (-300, "in 5 min"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(seconds, text) -> None:
    assert moments.ago(1_000_000.0, 1_000_000.0 + seconds) == text
