from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.storage.fingerprint import PATTERN_MAX, message_pattern


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("", ""),
        ("plain words stay", "plain words stay"),
        ("took 12 ms", "took <n> ms"),
        ("line 3, column 14", "line <n>, column <n>"),
        ("from 10.0.0.1:5432", "from <n>"),
        ("user 'ann' and \"bob\"", "user <text> and <text>"),
        ("id 123e4567-e89b-12d3-a456-426614174000 gone", "id <uuid> gone"),
        ("object at 0x7F3a2b", "object at <hex>"),
        ("commit deadbeef01 missing", "commit <hex> missing"),
        ("facade decade", "facade decade"),
        ("utf8 and http2 stay", "utf8 and http2 stay"),
        ("first line 1\nsecond line", "first line <n>"),
        ("\n\n  indented 5", "indented <n>"),
    ],
)
def test_the_variable_parts_are_taken_out(message, pattern):
    assert message_pattern(message) == pattern


@pytest.mark.parametrize(
    "template",
    [
        "no key {!r}",
        "can't open {!r}",
        "Can't connect to server on {!r} (111)",
        "column {!r} doesn't exist",
        "{!r} isn't in the list",
    ],
)
def test_messages_that_differ_only_in_a_quoted_text_are_alike(template):
    assert message_pattern(template.format("alpha")) == message_pattern(template.format("beta"))


@pytest.mark.parametrize("ending", ["'", "'; try again", ""])
def test_messages_that_differ_only_in_a_long_quoted_text_are_alike(ending):
    one, other = (f"bad value '{letter * 2000}{ending}" for letter in "xy")
    assert message_pattern(one) == message_pattern(other)


def test_messages_that_differ_in_their_words_are_not_alike():
    assert message_pattern("no such table") != message_pattern("no such column")


@given(st.text())
def test_a_pattern_is_one_short_line_of_any_message(message):
    pattern = message_pattern(message)
    assert len(pattern) <= PATTERN_MAX
    assert "\n" not in pattern


@pytest.mark.parametrize("message", ["a" * 10**7, "1" * 10**7, "'" * 10**6, "0x" * 10**6, "1." * 10**6, "f1" * 10**6])
def test_a_hostile_message_takes_no_time(message):
    start = time.monotonic()
    message_pattern(message)
    assert time.monotonic() - start < 0.5
