from __future__ import annotations

import re
import time

from cli_kit import MESSAGE, SECOND, age, error_row, record, span_row, trace_of


def test_alike_errors_are_one_group_with_the_last_message(shop) -> None:
    printed = shop("errors")
    assert printed.lines[0].startswith("Errors  ")
    title, pattern, last, since = printed.lines[2:]
    assert re.fullmatch(r"      4  TimeoutError in charge +(now|\d+ s ago)", title)
    assert pattern == "         card-gateway-<n> timed out after <n> s"
    assert last == f"         last: card-gateway-40 timed out after 30 s, trace {trace_of(40).hex()[:12]}"
    assert since == f"         first 7 min ago, trace {trace_of(10).hex()[:12]}"


def test_a_message_without_variable_parts_is_told_once(cli, db_path) -> None:
    row = error_row("op", 1, end=time.time_ns() - SECOND, error_message="broken")
    record(db_path, row)
    assert cli("errors").out.count("broken") == 1


def test_a_group_of_one_error_tells_its_trace_once_and_an_empty_message_takes_no_line(cli, db_path) -> None:
    row = error_row("op", 1, end=time.time_ns() - SECOND, trace_id=trace_of(1), error_message="")
    record(db_path, row)
    assert cli("errors").lines[3:] == [
        f"         last: trace {trace_of(1).hex()[:12]}",
        "         first 1 s ago",
    ]


def test_in_full_there_are_exact_times_and_the_latest_stack_trace(shop) -> None:
    printed = shop("errors", "--full", width=80)
    told = dict(re.findall(r"^  (\w+(?: seen| trace)?)  +(.*?)$", printed.out, re.MULTILINE))
    assert told["messages"].strip() == "card-gateway-<n> timed out after <n> s"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}, 7 min ago", told["first seen"])
    assert told["first trace"].strip() == trace_of(10).hex()
    assert told["last trace"].strip() == trace_of(40).hex()
    assert printed.lines[-3:] == [
        "  Traceback (most recent call last):",
        '    File "/srv/shop/gateway.py", line 118, in charge',
        f"  TimeoutError: {MESSAGE.format(40)}",
    ]


def test_a_pruned_example_is_said_to_be_pruned(shop, db_path) -> None:
    age(db_path, 60)
    assert shop("prune", "--retention", "1s", "--keep", "1s").status == 0
    printed = shop("errors", "--full")
    assert printed.status == 0
    assert printed.lines[-1] == "  The trace of the latest example is pruned by now."


def test_an_error_without_an_exception_has_no_stack_trace(cli, db_path) -> None:
    record(db_path, span_row("op", error="no", end=time.time_ns() - SECOND))
    assert cli("errors", "--full").lines[-1] == "  The latest example has no stack trace."


def test_groups_that_are_left_out_are_told(cli, db_path) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(error_row(f"op {name}", 1, end=end) for name in "abcd"))
    printed = cli("errors", "--limit", "3")
    assert printed.lines[-1] == "and more (--limit 15)"
    assert cli("errors", "--limit", "3", "--json").json["is_complete"] is False
    assert cli("errors", "--limit", "4", "--json").json["is_complete"] is True


def test_only_errors_of_one_operation_or_window(shop) -> None:
    assert len(shop("errors", "charge", "--json").items) == 1
    assert shop("errors", "GET /cart").out == "No error.\n"
    assert shop("errors", "--window", "2001-01-01/2001-01-02").out.startswith("No error from 2001-01-01")


def test_a_title_that_is_too_long_is_cut_and_keeps_its_time(cli, db_path) -> None:
    record(db_path, error_row("x" * 300, 1, end=time.time_ns() - 200 * SECOND))
    title = cli("errors", width=80).lines[2]
    assert len(title) == 80
    assert title.endswith("…  3 min ago")
