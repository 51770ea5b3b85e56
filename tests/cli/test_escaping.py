from __future__ import annotations

import sys
import unicodedata

import pytest

from otel_perfmon.cli.escaping import escape


@pytest.mark.parametrize("text", ["GET /cart", "größe", "שלום", "文字", "❤\ufe0f", "e\u0301", "[bold]x[/bold]", ""])
def test_what_can_be_read_stays_as_it_is(text) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202ereversed\u202c", "\\u202ereversed\\u202c"),
        ("\u2066isolated\u2069", "\\u2066isolated\\u2069"),
        ("a\u200bb\u200dc\ufeff", "a\\u200bb\\u200dc\\ufeff"),
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164\u115f", "\\u3164\\u115f"),
        ("non\u00a0breaking", "non\\xa0breaking"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_shown(text, shown) -> None:
    assert escape(text) == shown


def test_no_control_format_surrogate_or_private_character_passes() -> None:
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    passed = [chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in hidden]
    assert [char for char in passed if char in escape(char)] == []


def test_anything_can_be_shown() -> None:
    assert escape(None) == "None"
    assert escape(3.5) == "3.5"
