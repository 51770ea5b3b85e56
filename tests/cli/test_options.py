from __future__ import annotations

import argparse

import pytest

from otel_perfmon import Window
from otel_perfmon.cli import options


def _parse(add, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(arguments)


def test_a_window_is_the_windows_own_text() -> None:
    window = _parse(options.add_window_option, "--window", "15m").window
    assert isinstance(window, Window)
    assert window.seconds == pytest.approx(900)
    assert _parse(options.add_window_option).window is None


def test_a_wrong_window_is_wrong_usage_and_says_what_is_wanted(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parse(options.add_window_option, "--window", "soon")
    assert "such as 200ms, 1.5s, 15m, 1h or 7d; 'soon' is none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("200ms", 200.0), ("1.5s", 1500.0), ("250µs", 0.25), ("2m", 120_000.0)]
)
def test_a_duration_carries_its_unit(text, milliseconds) -> None:
    assert options.duration_ms(text) == milliseconds
    assert options.duration_seconds(text) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512MB", 512 * 1024**2),
        ("2 GB", 2 * 1024**3),
        ("100000000", 100_000_000),
        ("70000kb", 70_000 * 1024),
        ("64MiB", 64 * 1024**2),
    ],
)
def test_a_size_carries_its_unit(text, size_bytes) -> None:
    assert options.size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1.5GB", "1 XB", "63MB", "0", "\u0661MB"])
def test_what_is_no_size_is_refused(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.size_bytes(text)


def test_counts_begin_where_they_say() -> None:
    assert options.count_at_least_0("0") == 0
    assert options.count_at_least_1("1000") == 1000


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "ten", "9" * 40, "²"])
def test_what_is_no_count_is_refused(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.count_at_least_1(text)
