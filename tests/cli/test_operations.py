from __future__ import annotations

import time

import pytest
from cli_kit import SECOND, record, span_row

from otel_perfmon.cli.operations import SORTS


def test_operations_are_listed_by_where_the_time_goes(shop) -> None:
    printed = shop("stats")
    assert printed.lines[0].startswith("Operations  since ")
    assert printed.lines[1] == "80 calls of 2 operations, 4 failed"
    assert printed.lines[2].split()[:3] == ["Operation", "Calls", "Errors"]
    assert "Self ↓" in printed.lines[2]
    cart, charge = printed.lines[4:6]
    assert cart.startswith("GET /cart")
    assert cart.split()[2:4] == ["40", "0%"]
    assert charge.split()[:3] == ["charge", "40", "10%"]
    assert "900 ms" in cart  # 3 + 4 + … + 42
    assert "320 ms" in charge


def test_an_operation_over_the_error_rate_threshold_is_marked(shop, monkeypatch) -> None:
    monkeypatch.setenv("ERROR_RATE_THRESHOLD", "0.09")
    printed = shop("stats")
    assert "! 10%" in printed.out
    assert printed.lines[-1] == "! more than 9% of the calls failed"
    monkeypatch.setenv("ERROR_RATE_THRESHOLD", "0.1")
    assert "!" not in shop("stats").out


def _headings(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("Operation "))


def test_wide_terminals_show_all_columns_and_narrow_ones_those_that_matter(shop) -> None:
    assert _headings(shop("stats", width=200).lines).split("  ")[-1] == "Calls over time"
    wide = _headings(shop("stats", width=200).lines).split()
    assert {"Rate", "Avg", "Min", "p50", "p95", "p99", "Max", "Slow", "Total", "Self", "Share"} <= set(wide)
    assert _headings(shop("stats", width=60).lines).split() == [
        "Operation",
        "Calls",
        "Errors",
        "p50",
        "p95",
        "Self",
        "↓",
        "Share",
    ]


@pytest.mark.parametrize("key", SORTS)
def test_the_column_that_is_sorted_by_is_always_there(shop, key) -> None:
    headings = _headings(shop("stats", "--sort", key, width=44).lines)
    assert ("↓" in headings) == (key != "name")


@pytest.mark.parametrize(
    ("key", "first"),
    [("self", "GET /cart"), ("errors", "charge"), ("slow", "GET /cart"), ("min", "GET /cart"), ("name", "GET /cart")],
)
def test_operations_can_be_sorted(shop, key, first) -> None:
    assert shop("stats", "--sort", key, "--json").items[0]["operation"] == first


def test_what_is_left_out_is_counted(shop) -> None:
    printed = shop("stats", "--limit", "1")
    assert printed.lines[-1] == "and 1 more (--limit 0 shows all)"
    as_json = shop("stats", "--limit", "1", "--json")
    assert len(as_json.items) == 1
    assert as_json.json["is_complete"] is False


def test_the_window_that_is_covered_is_told(shop) -> None:
    printed = shop("stats", "--window", "5m")
    assert " to " in printed.lines[0]
    window = shop("stats", "--window", "5m", "--json").json["window"]
    assert window["end_unix_nano"] - window["start_unix_nano"] >= 300 * SECOND
    assert window["start"].endswith("Z")


def test_each_service_for_itself_on_demand(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(span_row("op", service=service, end=end) for service in ("shop", "web", "web")))
    together = cli("stats", "--json").items
    assert [(each["service"], each["count"]) for each in together] == [(None, 3)]
    apart = cli("stats", "--by-service", "--json").items
    assert [(each["service"], each["count"]) for each in apart] == [("web", 2), ("shop", 1)]
    assert "Service" in cli("stats", "--by-service").lines[2]


def test_one_operation_by_service_is_wrong_usage(shop) -> None:
    assert shop("stats", "charge", "--by-service").status == 2


def test_calls_that_are_all_in_one_place_need_no_picture(cli, db_path) -> None:
    record(db_path, *(span_row("op", end=(time.time_ns() // SECOND // 10 * 10 - 5) * SECOND) for _ in range(3)))
    assert "Calls over time" not in cli("stats", width=200).out


def test_the_share_is_that_of_all_self_time(shop) -> None:
    items = shop("stats", "--json").items
    assert sum(item["self_share"] for item in items) == pytest.approx(1)
    assert items[0]["self_share"] == pytest.approx(900 / 1220)


def test_all_about_one_operation(shop) -> None:
    printed = shop("stats", "charge")
    assert printed.lines[0].startswith("charge  ")
    assert printed.lines[1].startswith("40 calls (")
    assert ", 4 failed (10%), 0 slow" in printed.lines[1]
    headings = [line.split("  ")[0] for line in printed.lines if line and not line.startswith(" ")]
    assert [each for each in headings if each in ("Durations", "Over time", "Called by", "Calls")] == [
        "Durations",
        "Over time",
        "Called by",
    ]


def test_one_operation_as_json_has_everything_beside_its_figures(shop) -> None:
    (item,) = shop("stats", "charge", "--json").items
    assert item["count"] == 40
    assert sum(bucket["count"] for bucket in item["distribution"]["buckets"]) == 40
    assert sum(point["count"] for point in item["series"]["points"]) == 40
    assert [(edge["caller"], edge["count"]) for edge in item["callers"]] == [("GET /cart", 40)]
    assert item["callees"] == []
