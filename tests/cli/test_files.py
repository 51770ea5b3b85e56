from __future__ import annotations

import re

from cli_kit import age, write

from otel_perfmon import MetricsStorage
from otel_perfmon.storage.base import Batch


def test_info_tells_what_the_file_is_and_holds(shop, db_path) -> None:
    lines = shop("info").lines
    assert lines[1] == db_path
    told = {line[2:17].strip(): line[17:] for line in lines[2:] if line[2] != " "}
    assert list(told) == ["size", "spans", "operations", "errors", "metric points", "kept", "account", "format"]
    assert told["spans"].startswith("80, ended 20")
    assert told["operations"] == "2, of 1 service"
    assert told["errors"] == "1 group"
    assert told["account"] == "80 ended, 80 stored, none lost"
    assert "at most 512 MB" in told["size"]
    assert "1 h  ordinary spans" in told["kept"]


def test_what_was_lost_is_told(cli, db_path) -> None:
    write(db_path, Batch(dropped={"queue_full": 1200}, sampled_out=3))
    assert "1,203 ended, 0 stored, 3 sampled out, lost: 1,200 queue_full" in " ".join(cli("info").out.split())


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


def test_a_wrong_size_is_wrong_usage(shop) -> None:
    printed = shop("prune", "--size-max", "big")
    assert printed.status == 2
    assert "a size such as 512MB or 1.5GB is wanted; 'big' is none" in printed.err
