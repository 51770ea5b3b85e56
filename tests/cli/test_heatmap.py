from __future__ import annotations

import re
import time

from cli_kit import SECOND, error_row, record, span_row


def test_every_call_has_its_place_and_errors_are_below(shop) -> None:
    printed = shop("heatmap", "charge")
    assert printed.lines[0].startswith("charge  ")
    errors = next(line for line in printed.lines if line.startswith("   errors"))
    assert len(re.findall("[▁▂▃▄▅▆▇█]+", errors)) == 4
    assert "4 failed" in printed.lines[-1]


def test_longer_durations_stand_higher(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(span_row("op", end=end - n * 20 * SECOND, ms=10.0**n) for n in range(5)))
    lines = [line for line in cli("heatmap", "op").lines if "█" in line and "calls" not in line]
    places = [line.rindex("█") for line in lines]
    assert places == sorted(places)  # the slowest ended first


def test_labels_fall_from_top_to_bottom_and_carry_units(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(span_row("op", end=end, ms=10.0**n) for n in range(-2, 5)))
    labels = re.findall(r"^ +([\d.]+) (ns|µs|ms|s)(?: |$)", cli("heatmap", "op").out, re.MULTILINE)
    sizes = [float(number) * {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}[unit] for number, unit in labels]
    assert len(sizes) >= 5
    assert sizes == sorted(sizes, reverse=True)


def test_the_legend_tells_what_the_shades_mean(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(span_row("op", end=end) for _ in range(100)), span_row("op", end=end, ms=90.0))
    legend = cli("heatmap", "op").lines[-1]
    assert legend.split("   ")[:4] == ["    calls ░ 1 to 3", "▒ 4 to 9", "▓ 10 to 31", "█ 32 to 100"] or "█" in legend
    assert legend.endswith("none failed")


def test_without_a_name_all_operations_count_together(shop) -> None:
    assert shop("heatmap").lines[0].startswith("all operations together  ")
    assert sum(map(sum, shop("heatmap", "--json").items[0]["counts"])) == 80


def test_json_has_the_cells_as_they_are(shop) -> None:
    (item,) = shop("heatmap", "charge", "--json").items
    assert sum(map(sum, item["counts"])) == 40
    assert sum(item["error_counts"]) == 4
    assert len(item["bounds_ms"]) == len(item["counts"][0]) + 1


def test_json_is_the_same_at_any_width(shop) -> None:
    narrow, wide = (shop("heatmap", "charge", "--window", "1h", "--json", width=width).items for width in (40, 200))
    assert narrow[0]["cell_seconds"] == wide[0]["cell_seconds"]


def test_on_a_terminal_with_16_colours_the_shades_alone_tell_how_many(shop, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)
    assert not re.search(r"\x1b\[(3[4-7]|9\d)m", shop("heatmap").out + shop("stats", "charge").out)


def test_a_window_without_calls_is_told(shop) -> None:
    printed = shop("heatmap", "charge", "--window", "2001-01-01/2001-01-02")
    assert printed.status == 0
    assert printed.out.startswith("No call ended from 2001-01-01 00:00:00 to 2001-01-02 00:00:00.")


def test_where_there_is_no_unicode_ascii_does(cli, db_path, run_python) -> None:
    end = time.time_ns() - SECOND
    record(db_path, span_row("op", end=end), error_row("op", 1, end=end, ms=50.0))
    program = "from otel_perfmon.cli.main import main; main(['heatmap']); main(['stats', 'op']); main(['stats'])"
    printed = run_python(program, PYTHONIOENCODING="ascii")
    assert "\\u" not in printed
    assert "#" in printed
