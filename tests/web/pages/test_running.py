"""The page of what is open now: each under what called it, slow ones with their stack, the dead by themselves."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing

import pytest
from serve_kit import showing
from storage_kit import SECOND, batch, resource_row, span_row

from otel_perfmon import open_store
from otel_perfmon.storage.base import Batch, OpenSpans
from otel_perfmon.storage.rows import OpenSpanRow
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages.running import group, scale_ms

ODD = "<script>alert(1)</script>\u202e\u2028"
STACK = (
    '  File "/srv/shop/gateway.py", line 118, in charge\n    call()\n'
    '  File "/usr/lib/python3.11/socket.py", line 706, in readinto\n    return self._sock.recv_into(b)\n'
)


def open_row(name: str, seconds: float, *, stack: str = "", service: str = "shop", **changes) -> OpenSpanRow:
    """A span that has been open for so long."""
    now = time.time_ns()
    found = {}
    if stack:
        event = {"name": "perfmon.stack", "time_unix_nano": now - SECOND, "attributes": {"code.stacktrace": stack}}
        found["events"] = json.dumps([event])
    row = span_row(name, end=now, ms=seconds * 1e3, service=service, resource=resource_row(service), **found, **changes)
    return OpenSpanRow(row, 4 * SECOND, 7, "worker-1")


def child_of(row: OpenSpanRow, name: str, seconds: float, **changes) -> OpenSpanRow:
    ids = {"trace_id": row.span.trace_id, "parent": row.span.span_id}
    return open_row(name, seconds, **ids, **changes)


def show(writer: SqliteWriter, *rows: OpenSpanRow) -> None:
    writer.write(Batch(open_spans=OpenSpans(rows)), timeout_seconds=1)


def die(path: str) -> None:
    """Have the process that has these open be gone."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _open_processes SET pid = 999999, started = '1'")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with showing(str(tmp_path_factory.mktemp("shown") / "metrics.db"), "--no-token") as served:
        yield served


@pytest.fixture
def path(served):
    """The store that is shown, in which nothing is open."""
    yield served.path
    with closing(sqlite3.connect(served.path)) as connection, connection:
        connection.execute("DELETE FROM _open_spans")
        connection.execute("DELETE FROM _open_processes")


@pytest.fixture
def writer(path):
    with closing(SqliteWriter(path)) as writer:
        yield writer


@pytest.fixture
def page(served):
    """What the page shows, as text of its main part."""

    def look(address: str = "/running") -> str:
        answer = served.get(address)
        assert answer.status == 200, answer.body
        return answer.body.decode().partition("<main")[2].partition("</main>")[0]

    return look


def names_in(html: str) -> list[tuple[str, int]]:
    """Each operation with its depth, in their order."""
    found = re.findall(r'<th scope="row" class="op d(\d+)"><a [^>]*><bdi>(.*?)</bdi>', html)
    return [(name, int(depth)) for depth, name in found]


def test_nothing_open_is_a_sentence(page, writer):
    writer.write(batch(span_row()), timeout_seconds=1)
    assert "Nothing is running that has been open for longer than a second" in page()


def test_each_span_stands_under_the_one_that_called_it_and_comes_and_goes(page, writer):
    root = open_row("checkout", 9)
    charge, mail = child_of(root, "charge", 6), child_of(root, "mail", 5)
    other = open_row("report", 7)
    show(writer, root, charge, mail, other, child_of(charge, "POST", 3))
    assert names_in(page()) == [("checkout", 0), ("charge", 1), ("POST", 2), ("mail", 1), ("report", 0)]
    show(writer, root, mail)
    assert names_in(page()) == [("checkout", 0), ("mail", 1)]


def test_it_tells_how_long_the_thread_the_attributes_and_the_trace(page, writer):
    row = open_row("checkout", 65, attributes='{"cart.size":7,"perfmon.slow":true}')
    show(writer, row)
    html = page()
    assert re.search(r'data-open-ms="6\d\d\d\d">1<span class="u">min</span>0\d<span class="u">s</span>', html)
    assert "worker-1" in html
    assert re.search(r"<bdi>cart.size</bdi></span> <bdi>7</bdi>", html)
    assert "perfmon.slow" not in html
    assert f"/trace/{row.span.trace_id.hex()}?span={row.span.span_id.hex()}" in html


def test_a_slow_one_is_marked_and_shows_where_it_was(page, writer):
    show(writer, open_row("slow", 5, stack=STACK), open_row("quick", 2))
    html = page()
    assert "2 spans in 1 process, 1 slow" in html
    assert html.count('class="pill slow"') == 1
    assert "was in <code><bdi>gateway.py:118 in charge</bdi></code> when it became slow" in html
    marked = re.findall(r'<span class="own here">(.*?)\n</span>', html, re.DOTALL)
    assert len(marked) == 1
    assert "gateway.py</bdi>:118</span> in <bdi>charge</bdi>" in marked[0]
    assert "recv_into" not in marked[0]
    assert "data-keep-open" in html


def test_bars_are_of_one_scale_that_is_longer_than_all(page, writer):
    show(writer, open_row("long", 40), open_row("short", 6))
    html = page()
    widths = [float(width) for width in re.findall(r'<rect width="([\d.]+)%"', html)]
    assert 'data-scale-ms="60000"' in html
    assert widths[0] == pytest.approx(68, abs=8)
    assert widths[1] == pytest.approx(11, abs=8)
    assert scale_ms(0) == 2_000
    assert scale_ms(1e15) > 1e15


def test_processes_of_several_services_stand_by_themselves_and_callers_of_others_are_told(page, writer, path):
    root = open_row("gateway", 9, service="front")
    show(writer, root)
    with closing(SqliteWriter(path)) as other:
        show(other, child_of(root, "work", 5, service="back"))
        html = page()
    assert re.findall(r'<h3><span class="of"><bdi>(\w+)</bdi>', html) == ["front", "back"]
    assert "called by <b><bdi>gateway</bdi></b> of <bdi>front</bdi>" in html
    assert names_in(page("/running?service=front")) == [("gateway", 0)]


def test_what_a_dead_process_was_doing_has_a_section_of_its_own(page, writer, path):
    root = open_row("died", 9)
    show(writer, root, child_of(root, "in here", 3, stack=STACK))
    die(path)
    before, _, after = page().partition("What was running when it died")
    assert "Nothing is running" in before
    assert names_in(after) == [("died", 0), ("in here", 1)]
    assert "process 999999" in after
    assert re.search(r'last seen <time [^>]*data-form="ago"', after)
    assert "data-open-ms" not in after
    assert "gateway.py:118" in after


def test_what_earlier_crashes_interrupted_is_fetched_by_itself(page, writer, path):
    show(writer, open_row("died before", 9))
    die(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _open_spans SET process = 'other'")
        connection.execute("UPDATE _open_processes SET process = 'other'")
    with closing(SqliteWriter(path)) as other:
        other.write(batch(span_row()), timeout_seconds=1)
        other.prune()
    html = page()
    assert 'data-src="/running/interrupted"' in html
    assert "1 span stored as interrupted" in html
    fetched = page("/running/interrupted")
    assert 'id="fetched"' in fetched
    assert names_in(fetched) == [("died before", 0)]
    assert "attribute=perfmon.interrupted%3Dtrue" in fetched


def test_what_comes_from_data_is_text(page, writer):
    attributes = json.dumps({ODD: ODD, "": "", "long": "y" * 3_000})
    show(
        writer,
        open_row(ODD, 5, service=ODD, stack=ODD, attributes=attributes),
        open_row("", 3),
        open_row("x" * 9_000, 2),
    )
    html = page()
    assert "<script" not in html
    assert "\u202e" not in html
    assert "\u2028" not in html
    assert html.count("&lt;script&gt;") >= 4
    assert "(no name)" in html


def test_parents_in_a_ring_are_all_shown_once(path, writer):
    one = open_row("one", 9)
    two = child_of(one, "two", 8)
    ring = one._replace(span=one.span._replace(parent_span_id=two.span.span_id))
    show(writer, ring, two)
    with open_store(path) as store:
        found = store.find_open_spans()
    (only,) = group(found, found)
    assert [row.record.span.name for row in only.rows] == ["one", "two"]


def test_a_deep_tree_and_very_many_are_shown_in_part(page, writer):
    rows = [open_row("0", 500)]
    for depth in range(1, 20):
        rows.append(child_of(rows[-1], str(depth), 500 - depth))
    show(writer, *rows, *(open_row("many", 3) for _ in range(300)))
    html = page()
    assert names_in(html)[19] == ("19", 12)
    assert len(names_in(html)) == 300
    assert "The 300 that are open longest, of 320." in html
