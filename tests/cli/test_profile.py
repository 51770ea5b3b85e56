from __future__ import annotations

import re
import time

from cli_kit import SECOND, edge_row, record, span_row, write

from otel_perfmon.storage.base import Batch


def _section(lines: list[str], heading: str) -> list[str]:
    start = next(n for n, line in enumerate(lines) if line.startswith(heading))
    return lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]


def test_the_histogram_counts_every_call_and_marks_the_percentiles(shop) -> None:
    rows = _section(shop("stats", "GET /cart").lines, "Durations")
    assert sum(int(re.search(r"[█▏▎▍▌▋▊▉] (\d+)", row)[1]) for row in rows) == 40
    marked = [re.findall(r"p\d\d", row) for row in rows]
    assert [mark for marks in marked for mark in marks] == ["p50", "p90", "p95", "p99"]


def test_the_lines_over_time_stand_one_under_the_other(shop) -> None:
    calls, errors, p95, axis, times = _section(shop("stats", "charge").lines, "Over time")
    assert calls.split()[0] == "calls"
    assert errors.split()[0] == "errors"
    assert p95.split()[0] == "p95"
    end = axis.rindex("─") + 1 if axis.endswith("─") else len(axis)
    assert calls[end:].startswith("  up to ")
    assert errors[end:].startswith("  up to ")
    assert re.search(r"\d\d:\d\d", times)


def test_without_an_error_the_line_of_errors_says_so(shop) -> None:
    assert "up to 0" in _section(shop("stats", "GET /cart").lines, "Over time")[1]


def test_callees_are_told_with_their_part_of_the_time(shop) -> None:
    row = next(line for line in shop("stats", "GET /cart").lines if line.startswith("charge "))
    assert row.split()[:2] == ["charge", "40"]
    assert row.endswith("26%")  # 320 ms of 1,220


def test_calls_that_nobody_made_are_told_beside_the_callers(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    rows = [span_row("charge", end=end, ms=10.0) for _ in range(4)]
    edge = edge_row("GET /cart", "charge", hour=end // SECOND // 3600 * 3600, count=1, nano=10_000_000)
    write(db_path, Batch(rows, [0] * 4, [edge]))
    lines = cli("stats", "charge").lines
    assert [line.split()[-1] for line in lines[-2:]] == ["25%", "75%"]
    assert lines[-1].startswith("nobody here")


def test_a_single_call_needs_no_series(cli, db_path) -> None:
    record(db_path, span_row("once", end=time.time_ns() - SECOND, ms=0.0))
    printed = cli("stats", "once")
    assert printed.status == 0
    assert "1 call (" in printed.out
