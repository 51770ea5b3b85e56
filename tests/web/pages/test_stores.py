"""The page of the store: the account to the last span, the room, who records, what is wrong, where it is sent on."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing

import pytest
from serve_kit import showing
from storage_kit import batch, point_row, sampled_out, span_row

from otel_perfmon.account import Health, ProcessHealth, StoreSummary
from otel_perfmon.storage.base import Batch, RecorderState
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages.stores import Room, besides, ledger, state_of

DESTINATION = "http://collector:4318/v1/traces"
ODD = "<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shown") / "metrics.db")
    now = time.time_ns()
    with closing(SqliteWriter(path)) as writer:
        rows = [span_row("load", end=now), span_row("fail", error="x", end=now)]
        state = RecorderState(3, now - 60 * 10**9, 0, 2, now // 10**9, f"disk I/O error {ODD}")
        more = {"dropped": {"queue_full": 4}, "points": [point_row()], "state": state, **sampled_out(5)}
        writer.write(batch(*rows, **more), timeout_seconds=1)
        with closing(sqlite3.connect(path)) as connection, connection:
            sql = "INSERT INTO _destinations (name, span_cursor, gone_count, judged_from) VALUES (?, 1, 0, 1)"
            connection.execute(sql, (DESTINATION,))
            connection.execute(
                "UPDATE _destinations SET sent_count = 1, refused_count = 6, failing_since_unix_s = ?, failure = ?",
                (now // 10**9 - 300, f"says {ODD}"),
            )
        with showing(path, "--no-token") as served:
            yield served


def page(served, address: str = "/store") -> str:
    answer = served.get(address)
    assert answer.status == 200, answer.body
    return answer.body.decode().partition("<main")[2].partition("</main>")[0]


def lines_of(html: str) -> list[tuple[str, str, str]]:
    """Sign, label and number of each line of the ledger."""
    pattern = r'<td class="sign"[^>]*>(.?)</td><th scope="row"><bdi>(.*?)</bdi></th><td class="n[^"]*">([\d,]+)</td>'
    return re.findall(pattern, html)


def test_the_account_is_told_to_the_last_span_and_balances(served):
    html = page(served)
    assert lines_of(html)[:8] == [
        ("", "ended", "14"),
        ("=", "counted", "7"),
        ("+", "dropped: queue_full", "4"),
        ("+", "queued", "3"),
        ("", "counted", "7"),
        ("=", "stored", "2"),
        ("+", "sampled out", "5"),
        ("", "pruned", "0"),
    ]
    assert html.count("✓ balances") == 2
    assert 'id="lost"' in html


def test_a_loss_is_told_in_words_and_what_to_do(served):
    html = page(served)
    assert re.search(r'<tr class="err"><td.*dropped: queue_full.*the queue was full.*The disk was full', html)


def test_the_foot_line_leads_there(served):
    assert 'href="/store#lost"' in served.get("/running").body.decode()


def test_an_account_that_does_not_balance_says_so():
    ended, stored = ledger(Health(10, 5, 5, 0, 0, 0, 0, {"queue_full": 4}))
    assert not ended.is_balanced
    assert stored.is_balanced


def test_what_was_not_kept_is_told_beside_the_sums():
    told = besides(Health(1, 1, 0, 1, 0, 0, 0, {}, not_kept={"not_held": 1}))
    assert (told[-1].label, told[-1].span_count, told[-1].kind) == ("not kept: not_held", 1, "err")


def test_it_tells_what_the_store_holds_and_how_long_it_stays(served):
    html = page(served)
    for told in ("<dt>spans</dt><dd>2</dd>", "<dt>metric points</dt><dd>1</dd>", "<dt>services</dt><dd>1</dd>"):
        assert told in html
    assert "<dt>ordinary spans and their logs</dt><dd>1 h</dd>" in html
    assert "<dt>statistics in cells of 10 s</dt><dd>1 h</dd>" in html
    assert sqlite3.sqlite_version in html
    assert re.search(r"<dt>last span ended</dt><dd><time ", html)


@pytest.mark.parametrize(
    ("file_bytes", "wal_bytes", "expected"),
    [(50, 25, (0.5, 0.25, False)), (0, 0, (0, 0, False)), (150, 50, (0.75, 0.25, True))],
)
def test_the_bar_is_of_the_limit_and_never_longer(file_bytes, wal_bytes, expected):
    sizes = {"file_bytes": file_bytes, "wal_bytes": wal_bytes, "size_max_bytes": 100}
    counts = dict.fromkeys(("span_count", "operation_count", "service_count", "error_group_count", "point_count"), 0)
    times = {"first_end": None, "last_end": None, "retention_seconds": 1, "keep_seconds": 1}
    assert Room.of(StoreSummary("", 6, "3", **sizes, **counts, **times, rollup_keep_seconds={})) == expected


def test_each_process_is_told_with_its_queue_and_its_failures(served):
    html = page(served)
    (row,) = re.findall(r'<tr id="process-1">.*?</tr>', html, re.DOTALL)
    assert '<td class="text slow">behind</td>' in row
    assert '<td class="err" title="queue_full 4 ">4</td>' in row
    assert '<td class="slow">2</td>' in row
    assert "disk I/O error &lt;script&gt;" in row


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "records"),
        ({"is_closed": True}, "closed"),
        ({"pid": 0}, "closed"),
        ({"is_alive": None}, "unknown"),
        ({"is_alive": False}, "died"),
        ({"updated": 0.0}, "silent"),
    ],
)
def test_the_state_of_a_process_is_a_word(changes, state):
    now = 1e9
    plain = {"process": "x", "pid": 7, "is_alive": True, "is_closed": False, "updated": now, "oldest_queued": None}
    process = ProcessHealth(
        **{**plain, **changes}, failure_count=0, failed=None, failure="", health=Health(0, 0, 0, 0, 0, 0, 0, {})
    )
    assert state_of(process, now)[0] == state


def test_what_is_wrong_is_fetched_by_itself_and_says_when_it_was_looked_at(served):
    assert 'data-part="fetched" data-src="/store/findings"' in page(served)
    html = page(served, "/store/findings")
    assert 'id="fetched"' in html
    assert re.search(r'looked <time [^>]*data-form="ago"', html)
    assert re.search(r'class="pill err">error</span><div><p>4 spans were dropped because the queue was full', html)
    assert "data-again" in html
    assert re.search(r"<details class=\"notes\"><summary>\d+ notes?, worth knowing", html)


def test_where_spans_are_sent_on_to_is_fetched_by_itself(served):
    assert 'data-part="fetched" data-src="/store/destinations"' in page(served)
    html = page(served, "/store/destinations")
    assert DESTINATION in html
    assert re.search(r'class="text err">away since <time', html)
    assert re.search(r"<td>1</td>\s*<td><time", html)
    assert "It <bdi>says &lt;script&gt;" in html


def test_what_comes_from_data_is_text(served):
    for address in ("/store", "/store/findings", "/store/destinations"):
        html = page(served, address)
        assert "<script" not in html
        assert "\u202e" not in html


def test_nothing_is_wrong_with_a_store_of_nothing(tmp_path):
    path = str(tmp_path / "metrics.db")
    with closing(SqliteWriter(path)) as writer, showing(path, "--no-token") as served:
        writer.write(Batch(), timeout_seconds=1)
        assert "✓ balances" in page(served)
        assert "Nothing is wrong" in page(served, "/store/findings")
        assert "Nothing is sent on" in page(served, "/store/destinations")
