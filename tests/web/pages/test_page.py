"""The time range of a page, and whether it goes on until now."""

from __future__ import annotations

import time

import pytest

from otel_perfmon.errors import QueryError
from otel_perfmon.web.pages.page import WINDOW_DEFAULT, WINDOWS, Asked, SeeOtherError, TimeRange


@pytest.mark.parametrize(
    ("given", "is_live"),
    [
        *((each, True) for each in WINDOWS),
        ("2026-01-31/", True),
        ("2026-01-31T09:00:00Z/2026-01-31T10:00:00Z", False),
        ("/2026-01-31", False),
    ],
)
def test_a_range_without_an_end_is_live(given, is_live):
    assert TimeRange.parse(given).is_live is is_live
    assert TimeRange.parse(given).text == given


def test_a_range_is_a_window_and_all_is_none():
    assert TimeRange.parse("all").window is None
    assert TimeRange.parse("15m").window.seconds == pytest.approx(900, abs=0.01)
    assert abs(TimeRange.parse(WINDOW_DEFAULT).window.end_unix_nano - time.time_ns()) < 60 * 10**9


@pytest.mark.parametrize("given", ["", "x", "1", "2026-01-31/x", "b/a/c", "1h<script>"])
def test_what_is_none_is_refused(given):
    with pytest.raises(QueryError):
        TimeRange.parse(given)


def test_what_was_asked_is_told_as_a_store_takes_it():
    asked = Asked(None, TimeRange.parse("all"), {"service": "shop", "find": "x"})
    assert asked.scope == {"service": "shop", "window": None}
    assert (asked.get("find"), asked.get("sort"), asked.get("sort", "time")) == ("x", None, "time")


def test_another_page_is_known_by_its_address():
    assert SeeOtherError("/trace/1").address == "/trace/1"
