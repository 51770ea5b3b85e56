from __future__ import annotations

import re

import pytest
from cli_kit import age, write

from otel_perfmon import MetricsStorage
from otel_perfmon.storage.base import Batch


def test_info_tells_what_the_file_is_and_holds(shop, db_path) -> None:
    lines = shop("info").lines
    assert lines[0] == db_path
    told = {line[2:17].strip(): line[17:] for line in lines[1:] if line[2] != " "}
    assert list(told) == [
        "size",
        "spans",
        "operations",
        "errors",
        "metric points",
        "log records",
        "kept",
        "account",
        "format",
    ]
    assert told["spans"].startswith("80, ended 20")
    assert told["operations"] == "2, of 1 service"
    assert told["errors"] == "1 group"
    assert told["account"] == "80 ended, 80 stored, none dropped"
    assert "at most 512 MB" in told["size"]
    assert "1 h  ordinary spans" in told["kept"]


def test_what_was_dropped_is_told(cli, db_path) -> None:
    write(db_path, Batch(dropped={"queue_full": 1200}))
    assert "1,200 ended, 0 stored, dropped: 1,200 queue_full" in " ".join(cli("info").out.split())


def test_info_as_json_has_the_account(shop) -> None:
    (item,) = shop("info", "--json").items
    assert item["span_count"] == 80
    assert item["health"]["stored"] == 80


def test_prune_says_how_many_spans_went_and_what_the_file_takes(shop, db_path) -> None:
    age(db_path, 60)
    printed = shop("prune", "--retention", "1s", "--keep", "1s", width=200)
    assert (printed.status, printed.err) == (0, "")
    size = r"[\d.]+ (kB|MB)"
    assert re.fullmatch(rf"80 spans removed from {db_path}; it was {size} and is {size} now. 0 remain.\n", printed.out)
    with MetricsStorage(db_path) as storage:
        assert storage.get_stats("GET /cart").count == 40  # statistics stay


def test_without_options_the_stores_own_retention_holds(shop) -> None:
    assert shop("prune").out.startswith("0 spans removed")


def test_one_option_leaves_the_others_as_they_are(shop, db_path) -> None:
    age(db_path, 60)
    printed = shop("prune", "--retention", "1s", "--json")
    assert [*printed.items[0]] == ["removed_count", "before_bytes", "after_bytes"]
    items = shop("spans", "--json", "--limit", "100").items
    assert printed.items[0]["removed_count"] == 80 - len(items)
    assert {item["trace_id"][:12] for item in items if item["is_error"] or item["is_slow"]} == {
        item["trace_id"][:12] for item in items
    }
    assert len(items) == 2 * 2 + 3 * 2  # with their traces; trace 40 is slow and failed


@pytest.mark.parametrize("size", ["big", "1", "63MB", "0", "-1"])
def test_a_size_that_no_store_could_have_is_wrong_usage_and_removes_nothing(shop, size) -> None:
    printed = shop("prune", f"--size-max={size}")
    assert printed.status == 2
    assert f"64MB or more, such as 512MB; argument size_max_bytes is '{size}'" in printed.err
    assert len(shop("spans", "--json", "--limit", "100").items) == 80


def test_no_time_at_all_is_a_time_to_keep_spans(shop, db_path) -> None:
    age(db_path, 60)
    assert shop("prune", "--retention", "0s", "--keep", "0s", "--json").items[0]["removed_count"] == 80
    assert shop("prune", "--retention=-1s").status == 2


def test_info_tells_how_long_calls_and_error_groups_stay_and_the_day_once(shop) -> None:
    printed = shop("info")
    assert re.search(r"90 d  calls and error groups\n", printed.out)
    (spans,) = (line for line in printed.lines if line.startswith("  spans"))
    assert len(re.findall(r"\d{4}-\d\d-\d\d", spans)) == len(set(re.findall(r"\d{4}-\d\d-\d\d", spans)))
