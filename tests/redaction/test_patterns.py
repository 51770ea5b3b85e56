from __future__ import annotations

import time

import pytest

from otel_perfmon.redaction.patterns import OVERLAP, PIECE, compile_pattern, fault_of, find_all

GOOD = (
    *("corp-[0-9]{6}", "[A-Z]{2}[0-9]{2}(?: ?[0-9]{4}){4}", "(?i)x-[a-z]{1,40}", "foo|bar", "(?<=pin )[0-9]{4}", "a+b"),
    *("(?P<secret>[a-f0-9]{32})", "(?:ab){2,9}", r"\bcust_\w{8,64}\b", "(?:foo|bar){1,3}"),
)
BAD = {
    "(": "no regular expression",
    "(a+)+$": "too long",
    "(a|a)*b": "too long",
    ".*.*x": "too long",
    "(?:a{1,50}){1,50}": "too long",
    r"(a)\1": "too long",
    "x*": "matches where nothing stands",
    "a" * 1_001: "longer than",
    5: "no text",
}


@pytest.mark.parametrize("pattern", GOOD)
def test_a_pattern_that_is_safe_to_run_is_taken(pattern):
    assert fault_of(pattern) == ""


@pytest.mark.parametrize("pattern", BAD, ids=lambda pattern: repr(pattern)[:20])
def test_a_pattern_that_could_hang_the_writer_is_refused_and_says_why(pattern):
    assert BAD[pattern] in fault_of(pattern)


@pytest.mark.parametrize("pattern", [*GOOD, "a{1,40}a{1,40}b", "(?:a|aa){1,7}b", "[ab]{0,1000}c"])
def test_what_is_taken_is_quick_on_a_text_made_to_be_slow(pattern):
    compiled = compile_pattern(pattern)
    began = time.perf_counter()
    for text in ("a" * 65_536, "0" * 65_536, "ab" * 32_768, "x-" * 32_768):
        list(find_all([compiled], text))
    assert time.perf_counter() - began < 10


def test_what_a_pattern_finds_is_found_across_the_pieces_of_a_text():
    compiled = compile_pattern("<[a-z]{1,150}>")
    found = "<" + "s" * (OVERLAP - 60) + ">"
    for start in range(PIECE - OVERLAP - 5, PIECE + 5, 7):
        assert (start, start + len(found)) in set(find_all([compiled], "." * start + found + "." * 300))
