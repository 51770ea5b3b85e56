"""Figures have three digits and the unit that suits them."""

from __future__ import annotations

import pytest

from otel_perfmon import quantities


@pytest.mark.parametrize(
    ("part", "text"), [(0.0, "0%"), (0.0095, "0.95%"), (0.05, "5%"), (0.0996, "10%"), (0.4, "40%"), (1.0, "100%")]
)
def test_a_share_is_given_in_percent(part, text) -> None:
    assert quantities.share(part) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(46.0, "46 ms"), (1.5, "1.5 ms"), (100.0, "100 ms"), (0.0, "0 µs"), (1000.0, "1 s")]
)
def test_a_round_duration_has_no_zeros_behind_the_point(milliseconds, text) -> None:
    assert quantities.round_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0.0, "0/s"), (1234.5, "1,230/s"), (1.0, "1.00/s"), (0.9999, "1.00/s"), (0.5, "30.0/min"), (1 / 7200, "12.0/d")],
)
def test_a_rate_is_told_in_the_unit_that_suits_it(per_second, text) -> None:
    assert quantities.rate(per_second) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (2048, "2.00 kB"), (10_485_760, "10.0 MB"), (5 * 1024**4, "5,120 GB")],
)
def test_a_size_has_three_digits_and_the_unit_that_suits_it(size_bytes, text) -> None:
    assert quantities.size(size_bytes) == text
