"""Addresses keep what stays the same, and nothing in them can become another address."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from otel_perfmon.web.pages.address import Address, address

GIVEN = [("window", "6h"), ("service", "shop"), ("find", "cart"), ("empty", "")]
ODD = "a&b=c#d?e/f:g%20\u202e\ud800 é\n"


@pytest.fixture
def page() -> Address:
    return Address("/operation", GIVEN, "6h")


def test_here_is_this_page_with_something_changed(page):
    assert page.here() == "/operation?window=6h&service=shop&find=cart"
    assert page.here(find="x", sort="p95") == "/operation?window=6h&service=shop&find=x&sort=p95"
    assert page.here(find=None, service="") == "/operation?window=6h"


def test_another_page_is_about_the_same_time_and_service(page):
    assert page.to("/errors") == "/errors?window=6h&service=shop"
    assert page.to("/errors", service=None, window="all") == "/errors?window=all"
    assert Address("/", [], "1h").to("/store") == "/store"


def test_a_question_to_the_api_has_the_window_that_is_shown(page):
    assert page.api("/api/heatmap", rows_max=3) == "/api/heatmap?service=shop&window=6h&rows_max=3"
    assert Address("/", [], "1h").api("/api/series") == "/api/series?window=1h"
    assert Address("/", [("window", "all")], "all").api("/api/series") == "/api/series"


def test_truths_are_written_as_they_are_read():
    assert (
        address("/", {"ascending": True, "is_slow": False, "limit": 0}.items())
        == "/?ascending=true&is_slow=false&limit=0"
    )


def test_whatever_a_value_is_it_stays_that_value(page):
    found = urlsplit(page.here(find=ODD))
    assert found.path == "/operation"
    assert dict(parse_qsl(found.query))["find"] == ODD.replace("\ud800", "?")
    assert "\n" not in page.here(find=ODD)
    assert page.here(find=ODD).isascii()
