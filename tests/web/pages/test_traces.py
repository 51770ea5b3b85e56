"""The page of a trace: what it tells of the whole and of a span, and what it does with what is odd."""

from __future__ import annotations

import html
import json
import re
import time
from urllib.parse import quote

import pytest
from serve_kit import showing
from trace_kit import HOSTILE, MS, TRACE, big_trace, odd_id, odd_traces, record, resource, row

from otel_perfmon.storage.rows import LogRow, ScopeRow, SpanDetails

ADDRESS = f"/trace/{TRACE.hex()}"
END = time.time_ns()
AT = END - 200 * MS
STACK = """\
Traceback (most recent call last):
  File "/home/ada/shop/pay.py", line 7, in charge
    post(card)
  File "/usr/lib/python3.12/http/client.py", line 99, in send
    self.sock.sendall(data)
TimeoutError: no answer after 70 ms
"""
SLOW = f'  File "/home/ada/shop/pay.py", line 7, in charge\n    post("<b>{HOSTILE[:4]}")\n'


def events(*given: tuple[str, int, dict[str, object]]) -> str:
    return json.dumps([{"name": name, "time_unix_nano": at, "attributes": told} for name, at, told in given])


def shop_trace() -> list:
    failed = SpanDetails(
        status_message="no answer after 70 ms",
        error_type="TimeoutError",
        events=events(
            ("perfmon.stack", AT + 60 * MS, {"code.stacktrace": SLOW}),
            ("retry", AT + 70 * MS, {"number": 1}),
            (
                "exception",
                AT + 90 * MS,
                {
                    "exception.type": "TimeoutError",
                    "exception.message": "no answer after 70 ms",
                    "exception.stacktrace": STACK,
                },
            ),
        ),
        links=json.dumps(
            [
                {"trace_id": odd_id("one span").hex(), "span_id": "0" * 15 + "1", "attributes": {"why": "batch"}},
                {"trace_id": "ee" * 16, "span_id": "0" * 15 + "1"},
            ]
        ),
        dropped_attributes_count=3,
        altered="attributes",
    )
    return [
        row(1, None, "checkout", AT, AT + 100 * MS, kind=2),
        row(2, 1, "load_cart", AT + 5 * MS, AT + 15 * MS),
        row(
            3,
            1,
            "charge",
            AT + 20 * MS,
            AT + 90 * MS,
            resource=resource("payments"),
            status_code=2,
            is_slow=1,
            attributes='{"order.id":"A-17","items":[1,2],"note":""}',
            details=failed,
        ),
        row(4, 3, "POST", AT + 25 * MS, AT + 85 * MS, resource=resource("payments")),
    ]


def log(span: int, body: str) -> LogRow:
    plain = ScopeRow("tests", "", "", "{}")
    at = AT + 50 * MS
    ids = (TRACE, span.to_bytes(8, "big"))
    return LogRow(*ids, 0, resource("payments"), plain, at, at, 17, "", "", body, "", '{"try":2}')


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    record(path, shop_trace(), logs=[log(3, "giving up")])
    for rows in odd_traces(END).values():
        record(path, rows)
    others = [
        row(100 + n, None, "charge", END - n, END - n + n * MS, resource=resource("payments")) for n in range(1, 51)
    ]
    record(path, [each._replace(trace_id=odd_id(str(each.span_id))) for each in others])
    with showing(path, "--no-token") as served:
        yield served


def page(served, address=ADDRESS, status=200):
    answer = served.get(address)
    assert answer.status == status, answer.body[-500:]
    return answer.body.decode()


def text_of(body, pattern=r"<main.*?</main>"):
    """What a part of the page says, without its buttons."""
    found = re.sub(r"<(button|a)[^>]*>(copy|filter)</\1>", "", re.search(pattern, body, re.DOTALL)[0])
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split()).replace(" )", ")").replace("\xa0", " ")


def side(served, address):
    return text_of(page(served, address), r"<aside.*?</aside>")


def test_the_head_tells_root_duration_services_spans_and_errors(served):
    head = text_of(page(served), r'<div class="head".*?</div>\s*<p')
    for told in ("checkout", "100 ms", "2 services", "4 spans", "1 error", "1 slow", "Waterfall", "Flame", "Table"):
        assert told in head
    body = page(served)
    assert f'data-copy="{TRACE.hex()}"' in body
    assert f"/spans/export?format=otlp-json&amp;trace_id={TRACE.hex()}" in body
    assert "<title>checkout · perfmon</title>" in body


def test_without_a_span_it_is_told_where_the_time_went_and_what_failed(served):
    told = side(served, ADDRESS)
    assert re.search(r"Waited for.*POST 60.0 ms 60 %", told)
    assert re.search(r"Own time by operation.*POST payments .1 60.0 ms", told)
    assert "charge TimeoutError no answer after 70 ms" in told
    assert "1 record of this trace" in told


def test_a_span_tells_its_times_its_rank_and_what_it_carries(served):
    told = side(served, f"{ADDRESS}?span={3:016x}")
    for part in (
        "charge error slow",
        "payments · internal · tests · started +20.0 ms",
        "duration 70.0 ms own 10.0 ms (14 %) critical 10.0 ms (10 % of the trace)",
        "slower than 98% of 51 calls in the last 24 h",
        "Where it was slow stack after 40.0 ms",
        "TimeoutError : no answer after 70 ms",
        "order.id A-17",
        "items [1, 2]",
        "note (empty)",
        "+50.0 ms retry number 1",
        "+30.0 ms ERROR giving up try 2",
        "parent checkout",
        "children 1",
        "dropped 3 attributes",
        "altered attributes",
    ):
        assert part in told, told


def test_the_innermost_frame_of_the_programs_own_is_marked_in_a_stack(served):
    body = page(served, f"{ADDRESS}?span={3:016x}")
    stacks = re.findall(r'<div class="stack">.*?</pre>', body, re.DOTALL)
    assert [text_of(each, r'<span class="own here">.*') for each in stacks] == [
        'shop/pay.py :7 in charge post("<b><img")',
        (
            "shop/pay.py :7 in charge post(card) http/client.py :99 in send self.sock.sendall(data)"
            " TimeoutError: no answer after 70 ms"
        ),
    ]
    assert 'class="lib"' in stacks[1]


def test_an_attribute_leads_to_the_spans_that_have_it(served):
    body = page(served, f"{ADDRESS}?span={3:016x}")
    for value in ('order.id="A-17"', "items=[1, 2]", 'note=""'):
        assert f"/spans?attribute={quote(value, safe='/:')}" in body
        assert served.get(f"/spans?window=all&attribute={quote(value)}").status == 200


def test_a_link_leads_to_the_other_trace_if_it_is_there(served):
    body = page(served, f"{ADDRESS}?span={3:016x}")
    links = text_of(body, r'<ul class="links">.*?</ul>')
    assert f"/trace/{odd_id('one span').hex()}?span={1:016x}" in body
    assert re.fullmatch(r"\w{8}…\w{4} why batch \w+ " + "e" * 32 + " not in this store|.*not in this store", links)
    assert f"/trace/{'ee' * 16}" not in body


def test_the_events_of_the_chosen_span_stand_where_the_picture_finds_them(served):
    body = page(served, f"{ADDRESS}?span={3:016x}")
    assert f'data-events="{60 * MS},{70 * MS},{90 * MS}"' in body


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("orphans", "1 span whose parent is not here"),
        ("no root", "2 spans whose parent is not here"),
        ("two roots", "2 roots"),
        ("skewed", "Clocks differ: 1 span moved to fit the parent"),
        ("cycle", "parents; the first of them is shown as a root"),
    ],
)
def test_what_is_odd_about_a_trace_is_told(served, name, told):
    assert told in text_of(page(served, f"/trace/{odd_id(name).hex()}"), r'<p class="odd".*?</p>')


@pytest.mark.parametrize("name", odd_traces(END))
def test_every_span_of_an_odd_trace_has_a_row_and_a_panel_of_its_own(served, name):
    rows, address = odd_traces(END)[name][:30], f"/trace/{odd_id(name).hex()}"
    table = page(served, f"{address}?view=table")
    keys = re.findall(r'<tr id="row-([\w.]+)"', table)
    assert len(keys) == len(set(keys)) == len(odd_traces(END)[name])
    assert "-0" not in re.sub(r'[\w"]-0', "", text_of(table, r"<tbody.*?</tbody>"))
    told = [side(served, f"{address}?span={key}") for key in keys[: len(rows)]]
    assert not any("No such span" in each for each in told)
    assert len(set(told)) == len(told)


def test_how_far_a_clock_was_moved_and_a_span_overran_is_told(served):
    assert "clock moved +525 ms to fit its parent" in side(served, f"/trace/{odd_id('skewed').hex()}?span={2:016x}")
    assert "overrun 80.0 ms after its parent" in side(served, f"/trace/{odd_id('overrun').hex()}?span={2:016x}")


def test_the_second_span_of_an_id_has_an_address_of_its_own(served):
    address = f"/trace/{odd_id('twins').hex()}?span={2:016x}"
    assert side(served, address).startswith("first")
    assert side(served, f"{address}.2").startswith("second")
    assert "same id 2 spans" in side(served, address)
    assert "No such span" in side(served, f"{address}.3")


def test_a_span_that_runs_says_so_and_lasts_until_now(tmp_path):
    path, start = str(tmp_path / "metrics.db"), time.time_ns() - 5 * 10**9
    stack = SpanDetails(events=events(("perfmon.stack", start + 10**9, {"code.stacktrace": SLOW})))
    record(path, [row(2, 1, "done", start, start + MS)], running=[row(1, None, "job", start, start, details=stack)])
    with showing(path, "--no-token") as served:
        assert "data-live" in page(served)
        assert "1 running" in text_of(page(served), r'<span class="sub".*?</main>')
        told = side(served, f"{ADDRESS}?span={1:016x}")
        assert told.startswith("job slow running")
        assert re.search(r"duration \d+\.\d+ s so far", told)
        assert "Where it is stack after 1.00 s" in told
        assert "thread" not in told
        assert "worker-1" in told


def test_of_very_much_that_a_span_carries_the_first_is_shown_and_the_rest_is_counted(tmp_path):
    path = str(tmp_path / "metrics.db")
    many = events(*((f"event {n}", AT + n, {f"k{k}": k for k in range(60)}) for n in range(300)))
    links = json.dumps([{"trace_id": f"{n + 1:032x}", "span_id": "0" * 15 + "1"} for n in range(150)])
    attributes = json.dumps({f"key {n}": n for n in range(700)})
    record(path, [row(1, None, "op", AT, END, attributes=attributes, details=SpanDetails(events=many, links=links))])
    with showing(path, "--no-token") as served:
        body = page(served, f"{ADDRESS}?span={1:016x}")
        told = text_of(body, r"<aside.*?</aside>")
    assert "key 499" in told
    assert "key 500" not in told
    assert [told.count(f"and {rest} more") for rest in (200, 100, 50)] == [1, 1, 1]
    assert len(body) < 5_000_000


def test_what_is_found_is_what_the_table_shows(served):
    def names(find):
        body = page(served, f"{ADDRESS}?view=table&find={quote(find)}")
        return re.findall(r'<tr id="row-[^"]*"[^>]*><td class="name">.*?<bdi>(.*?)</bdi>', body)

    assert names("CHARGE") == ["charge"]
    assert names("a-17") == ["charge"]
    assert names("payments") == ["charge", "POST"]
    assert names(f"{2:016x}") == ["load_cart"]
    assert names("nothing has this") == []


def test_another_form_of_an_id_leads_to_the_page(served):
    for given in (TRACE.hex().upper(), TRACE.hex()[:16], f"0x{TRACE.hex()}"):
        answer = served.get(f"/trace/{given}?span={3:016x}&view=flame")
        assert (answer.status, answer.headers["location"]) == (303, f"{ADDRESS}?span={3:016x}&view=flame")


@pytest.mark.parametrize(
    ("address", "status", "told"),
    [
        ("/trace/" + "0" * 31 + "9", 404, "There is no trace"),
        ("/trace/00000000dead", 404, "There is no trace"),
        ("/trace/xyz", 400, "hex digits"),
        (f"{ADDRESS}?view=cake", 400, "waterfall, flame, table"),
        (f"{ADDRESS}?spam=1", 400, "no parameter"),
    ],
)
def test_what_is_not_there_is_told_on_a_page(served, address, status, told):
    assert told in text_of(page(served, address, status))


def test_nothing_of_the_data_is_markup_or_hidden(served):
    for more in ("", "?view=table", f"?span={2:016x}", f"?find={quote(HOSTILE)}&view=table", f"?span={quote(HOSTILE)}"):
        body = page(served, f"/trace/{odd_id('hostile').hex()}{more}")
        assert "<img" not in body
        assert not re.search("[\u2028\u202e\x1b]", re.sub(r'(value|data-[a-z]+|href)="[^"]*"', "", body))


def test_of_a_large_trace_the_table_has_the_first_thousand_and_says_so(tmp_path):
    path = str(tmp_path / "metrics.db")
    record(path, big_trace(1_500))
    with showing(path, "--no-token") as served:
        body = page(served, f"{ADDRESS}?view=table")
        assert body.count('<tr id="row-') == 1_000
        assert "500 more" in body
