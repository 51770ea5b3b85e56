"""Values on a page: text is only text, figures have small units, bars and lines stay within their bounds."""

from __future__ import annotations

import math
import re

import pytest

from otel_perfmon.web.pages.filters import (
    ABSENT,
    as_title,
    duration,
    duration_of_nano,
    hint,
    lapse,
    moment,
    moment_of_seconds,
    share_bar,
    shown,
    shown_lines,
    shown_name,
    sparkline,
    with_unit,
)

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e\u2028\u200b\x1b[31m\ud800\x00"


def plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


@pytest.mark.parametrize("filtered", [shown, shown_name])
def test_text_from_data_is_no_markup_and_all_of_it_is_seen(filtered):
    html = filtered(HOSTILE)
    assert html.startswith("<bdi>&lt;img")
    assert not any(char in html for char in "\u202e\u2028\u200b\x1b\ud800\x00")
    assert html.count("<") == 2
    assert "\\u202e" in html


def test_an_empty_name_is_told():
    assert plain(shown_name("")) == "(no name)"


def test_lines_stay_where_they_stood():
    assert shown_lines("a\n\tb\r\x1b\u2028") == "a\n\tb\\r\\x1b\\u2028"


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("1.64 s", "1.64", "s"),
        ("40%", "40", "%"),
        ("5.06/s", "5.06", "/s"),
        ("-3.00 ms", "-3.00", "ms"),
        ("12", "12", ""),
    ],
)
def test_a_figure_has_a_small_unit(text, number, unit):
    assert with_unit(text) == number + (f'<span class="u">{unit}</span>' if unit else "")


def test_durations_are_rounded_and_exact_for_who_points_at_them():
    assert plain(duration(1234.5)) == "1.23s"
    assert duration(None) == ABSENT
    assert duration_of_nano(1_234_567) == '<span title="1,234,567 ns">1.23<span class="u">ms</span></span>'


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1min00s"),
        (185, "3min05s"),
        (3_599, "59min59s"),
        (7_380, "2h03min"),
        (90_000, "1d01h"),
        (1e8, "1,157d09h"),
    ],
)
def test_what_goes_on_is_told_in_whole_seconds_and_two_units(seconds, told):
    assert plain(lapse(seconds)) == told


def test_moments_carry_all_their_digits():
    html = moment(1_764_000_000_123_456_789)
    assert 'datetime="2025-11-24T16:00:00.123456Z" data-unix-nano="1764000000123456789" data-form="clock"' in html
    assert 'data-form="ago"' in moment_of_seconds(1_764_000_000.5, "ago")
    assert moment(None) == moment(0) == moment_of_seconds(None) == ABSENT


@pytest.mark.parametrize(
    ("part", "width"),
    [(0.5, "50.0%"), (0, "0.0%"), (7, "100.0%"), (-7, "0.0%"), (math.nan, "0.0%"), (math.inf, "0.0%")],
)
def test_a_bar_stays_within_its_length(part, width):
    assert f'width="{width}"' in share_bar(part)
    assert "style" not in share_bar(part)


@pytest.mark.parametrize("counts", [(), (5,), (0, 0, 0)])
def test_of_nothing_there_is_no_line(counts):
    assert sparkline(counts) == ""


def test_a_line_begins_at_zero_and_has_a_dot_where_some_failed():
    html = sparkline((0, 10, 5), (0, 0, 5))
    path = re.search(r'd="M(.*?)"', html)[1]
    assert [tuple(map(float, point.split())) for point in path.split("L")] == [(0, 20), (48, 3), (96, 11.5)]
    assert html.count("<circle") == 1
    assert 'cx="96.0"' in html


def test_what_is_cut_is_read_by_who_points_at_it_as_far_as_there_is_room():
    assert hint("a\u202eb\nc") == "a\\u202eb\nc"
    assert len(hint("x" * 10_000)) == 1_000


def test_a_page_is_called_by_the_beginning_of_a_name():
    assert as_title("GET /cart") == "GET /cart"
    assert as_title("") == "(no name)"
    assert len(as_title("x" * 10_000)) == 80
