from __future__ import annotations

import time

import pytest
from cli_kit import SECOND, record, span_row, trace_of

from otel_perfmon.storage.sqlite import search


def test_spans_are_a_table_of_the_newest_first(shop) -> None:
    printed = shop("spans", "--limit", "3")
    assert printed.lines[0].split() == ["Ended", "Operation", "Took", "Remark", "Service", "Trace"]
    assert [line.split("  ")[1].strip() for line in printed.lines[2:5]] == ["GET /cart", "charge", "GET /cart"]
    assert "! TimeoutError" in printed.lines[3]
    assert "slow" in printed.lines[2]
    assert printed.lines[5].startswith("and more: --page n")


def test_pages_follow_each_other_to_the_end(shop) -> None:
    seen, page = [], []
    while True:
        printed = shop("spans", "--limit", "30", "--json", *page)
        seen += [item["span_id"] for item in printed.items]
        if printed.json["next_page_token"] is None:
            break
        page = ["--page", printed.json["next_page_token"]]
    assert len(seen) == len(set(seen)) == 80


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["charge"], 40),
        (["--operation", "charge"], 40),
        (["--slow"], 2),
        (["--not-slow"], 78),
        (["--error"], 4),
        (["--not-error"], 76),
        (["--error-type", "TimeoutError"], 4),
        (["--error-type", "ValueError"], 0),
        (["--min", "45ms"], 6),
        (["--min", "45ms", "--max", "48ms"], 4),
        (["--attribute", "cart.size=3"], 8),
        (["--attribute", "cart.size=3", "--attribute", "user.name=user 3"], 1),
        (["--attribute", 'cart.size="3"'], 0),
        (["--trace", trace_of(7).hex()], 2),
        (["--service", "shop"], 80),
        (["--window", "2001-01-01/2001-01-02"], 0),
        (["GET /cart", "--slow", "--min", "50ms"], 1),
    ],
)
def test_every_filter_is_a_flag(shop, filters, count) -> None:
    printed = shop("spans", "--json", "--limit", "100", *filters)
    assert (printed.status, printed.err) == (0, "")
    assert len(printed.items) == count


@pytest.mark.parametrize("order", ["newest", "oldest", "slowest", "arrival"])
def test_every_order_is_a_word(shop, order) -> None:
    items = shop("spans", "--json", "--limit", "100", "--order", order).items
    by = {"newest": "end_unix_nano", "oldest": "end_unix_nano", "slowest": "duration_ms"}.get(order)
    if by is not None:
        values = [item[by] for item in items]
        assert values == sorted(values, reverse=order != "oldest")
    assert len(items) == 80


def test_attributes_can_be_shown_as_columns(shop) -> None:
    printed = shop("spans", "--show", "cart.size", "--show", "no.such", "--limit", "2")
    assert printed.lines[0].split() == [
        "Ended",
        "Operation",
        "Took",
        "Remark",
        "cart.size",
        "no.such",
        "Service",
        "Trace",
    ]
    assert "  0          -  " in printed.lines[2]


def test_a_search_that_stopped_says_so_and_how_to_go_on(shop, monkeypatch) -> None:
    monkeypatch.setattr(search, "SCAN_ROWS_MAX", 10)
    printed = shop("spans", "--attribute", "user.name=user 1")
    assert printed.status == 0
    assert printed.lines[-2] == "The search stopped after reading 10 spans: more may match."
    word, token = printed.lines[-1].split(": --page ")
    assert word == "To go on"
    assert shop("spans", "--attribute", "user.name=user 1", "--page", token).status == 0
    assert shop("spans", "--attribute", "user.name=user 1", "--json").json["is_complete"] is False


def test_a_page_of_another_question_is_wrong_usage(shop) -> None:
    printed = shop("spans", "--page", "nonsense")
    assert (printed.status, printed.out) == (2, "")
    assert "'nonsense'" in printed.err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--attribute", "x"],
        ["--attribute", "=x"],
        ["--attribute", "a=1", "--attribute", "a=2"],
        ["a", "--operation", "b"],
        ["--trace", "xyz"],
        ["--min", "fast"],
        ["--slow", "--not-slow"],
        ["--order", "random"],
        ["--limit", "0"],
        ["--min", "5ms", "--max", "3ms"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(shop, wrong) -> None:
    printed = shop("spans", *wrong)
    assert (printed.status, printed.out) == (2, "")
    assert printed.err


def test_a_text_that_reads_as_json_is_told_how_to_be_asked_for(shop) -> None:
    asked = "--attribute", "user.name=3"
    assert shop("spans", *asked).out == (
        "No span matches. An attribute that is the text 3 is asked for by 'user.name=\"3\"'.\n"
    )
    assert shop("spans", "--attribute", "user.name=nobody").out == "No span matches.\n"


def test_a_window_without_a_start_reads_well(shop) -> None:
    printed = shop("spans", "--window", "/2001-01-01")
    assert printed.out.startswith("No span matches until 2001-01-01 00:00:00. The last span ended ")


def test_everything_of_a_span_on_demand(shop) -> None:
    printed = shop("spans", "--full", "--error", "--limit", "1")
    assert printed.lines[0] == "charge  8.00 ms  ! TimeoutError"
    told = {line.split(maxsplit=1)[0]: line for line in printed.lines[1:] if line.startswith("  ")}
    assert {"ended", "service", "trace", "span", "error"} <= set(told)
    assert trace_of(40).hex() in told["trace"]
    assert '  File "/srv/shop/gateway.py", line 118, in charge' in printed.out


def test_slow_spans_tell_their_rank_among_their_operations_calls(shop) -> None:
    printed = shop("slow")
    assert printed.lines[0] == "Newest slow spans"
    assert printed.lines[2].split()[:4] == ["Ended", "Operation", "Took", "Rank"]
    assert [line.split("  ")[1] for line in printed.lines[4:]] == ["GET /cart", "GET /cart"]
    assert "97%" in printed.lines[4]
    assert "95%" in printed.lines[5]
    items = shop("slow", "--json").items
    assert [item["percentile_rank"] for item in items] == [39 / 40, 38 / 40]


def test_slow_spans_by_duration(cli, db_path) -> None:
    now = time.time_ns()
    record(db_path, *(span_row("op", slow=True, end=now - n * SECOND, ms=1000.0 + n) for n in range(1, 30)))
    printed = cli("slow", "--order", "slowest", "--limit", "3")
    assert printed.lines[0] == "Slowest spans"
    assert printed.lines[-1] == "and more (--limit 15)"
    took = [item["duration_ms"] for item in cli("slow", "--order", "slowest", "--json").items]
    assert took == sorted(took, reverse=True)


def test_slow_goes_on_at_its_page_in_json_and_says_that_there_is_more_in_full(shop) -> None:
    first = shop("slow", "--limit", "1", "--json").json
    second = shop("slow", "--limit", "2", "--json", "--page", first["next_page_token"]).json
    assert (first["is_complete"], second["is_complete"], second["next_page_token"]) == (False, True, None)
    assert first["items"] != second["items"]
    assert shop("slow", "--limit", "1", "--full").lines[-1] == "and more (--limit 5)"


def test_slow_in_full_has_rank_and_attributes(shop) -> None:
    printed = shop("slow", "--full", "--limit", "1")
    assert "slower than 97% of GET /cart" in printed.out
    assert "user 40" in printed.out


def test_a_short_trace_id_is_as_long_as_it_must_be(cli, db_path) -> None:
    end = time.time_ns()
    alike = [bytes.fromhex("0123456789abcdef" + f"{n:016x}") for n in range(2)]
    record(db_path, *(span_row("op", trace_id=each, end=end) for each in (*alike, b"\xff" * 16)))
    shown = [line.split()[-1] for line in cli("spans", width=120).lines[2:]]
    assert sorted(shown) == [alike[0].hex(), alike[1].hex(), "f" * 12]
