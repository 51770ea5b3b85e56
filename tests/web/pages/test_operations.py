"""The first page says where the time goes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from html import unescape

import pytest
from serve_kit import serving, showing, span_json, traces_json

from otel_perfmon import MetricsStorage


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("pages") / "metrics.db")
    with MetricsStorage(path) as storage:
        for number in range(10):
            storage.insert_metric("often", 10.0 + number)
        storage.insert_metric("long", 2_000.0, is_slow=True)
        storage.insert_metric("fails", 1.0, error="ValueError: no")
        storage.insert_metric("<i>name</i>", 0.5)
    with serving(path, "--no-grpc", "--no-token") as served:
        yield served


def operations(answer) -> list[str]:
    assert answer.status == 200
    return [unescape(name) for name in re.findall(r'<td class="name"><a [^>]*><bdi>(.*?)</bdi>', answer.body.decode())]


def row(answer, name: str) -> str:
    rows = re.findall(r"<tr id=.*?</tr>", answer.body.decode(), re.DOTALL)
    found = next(each for each in rows if f"<bdi>{name}</bdi>" in each)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", found))).strip()


def test_what_takes_most_time_stands_first(served):
    assert operations(served.get("/")) == ["long", "often", "fails", "<i>name</i>"]


@pytest.mark.parametrize(
    ("query", "first"),
    [("sort=operation", "<i>name</i>"), ("sort=count", "often"), ("sort=errors", "fails"), ("sort=slow", "long")],
)
def test_every_column_sorts(served, query, first):
    assert operations(served.get(f"/?{query}"))[0] == first


def test_a_column_sorts_the_other_way_too(served):
    assert operations(served.get("/?sort=time&ascending=true"))[-1] == "long"


def test_a_row_has_the_figures_of_its_operation(served):
    told = re.sub(r"[\d.]+ /\w+", "RATE", row(served.get("/"), "often"))
    assert told == "often 10 RATE 0 % 14.0 ms 18.9 ms 18.9 ms 19.0 ms 0 6.8 %"


def test_errors_and_slow_calls_are_marked(served):
    body = served.get("/").body.decode()
    assert '<td class="err">100<span class="u">%</span></td>' in body
    assert '<td class="wide slow">1</td>' in body


def test_a_part_of_a_name_filters(served):
    answer = served.get("/?find=FT")
    assert operations(answer) == ["often"]
    assert "1 of 4" in answer.body.decode()


def test_a_filter_that_finds_nothing_says_so(served):
    assert "No operation has “nothing” in its name" in unescape(served.get("/?find=nothing").body.decode())


def test_a_time_without_calls_says_when_there_were_some(served):
    body = served.get("/?window=2001-01-01/2001-01-02").body.decode()
    assert "No operation ended in this time" in body
    assert "The last span ended" in body
    assert 'href="/?window=all"' in body


def test_a_name_is_no_markup(served):
    body = served.get("/").body.decode()
    assert "<i>" not in body
    assert "operation=%3Ci%3Ename%3C/i%3E" in body


def test_links_keep_the_time_and_the_service(served):
    body = served.get("/?window=24h&service=shop").body.decode()
    assert '<a class="brand" href="/?window=24h&amp;service=shop">' in body


def test_a_live_page_can_be_frozen_and_a_frozen_one_be_live(served):
    live = served.get("/?window=15m").body.decode()
    frozen = unescape(re.search(r'id="live" href="([^"]*)"', live)[1])
    assert "<body data-live>" in live
    assert re.fullmatch(r"/\?window=[\d:.TZ-]+/[\d:.TZ-]+&live=15m", frozen)
    body = served.get(frozen).body.decode()
    assert "<body>" in body
    assert re.search(r'id="live" href="/\?window=15m"', body)


def test_the_foot_tells_what_is_stored_and_lost(served):
    foot = re.search(r"<footer.*?</footer>", served.get("/").body.decode(), re.DOTALL)[0]
    assert '<b data-of="stored">13</b> stored' in foot
    assert '<b data-of="lost">0</b> lost' in foot


@pytest.mark.parametrize(
    "query", ["window=x", "window=1h&window=1h", "no=1", "sort=x", "ascending=x", "box=1/2/3", "box=a/b/c/d"]
)
def test_a_question_that_is_none_is_said_so(served, query):
    answer = served.get(f"/?{query}")
    assert answer.status == 400
    assert "That cannot be asked" in answer.body.decode()


def test_an_address_that_is_none_is_said_so(served):
    answer = served.get("/nowhere")
    assert answer.status == 404
    assert "There is nothing here" in answer.body.decode()


def test_every_answer_has_the_strict_policy(served):
    for address in ("/", "/nowhere", "/?window=x", "/static/page.js"):
        policy = served.get(address).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy


def test_of_very_many_services_a_page_offers_the_first_and_the_chosen_one(tmp_path):
    path = str(tmp_path / "metrics.db")
    with MetricsStorage(path) as storage:
        storage.insert_metric("op", 1.0)
    with serving(path, "--no-grpc", "--no-token") as served:
        for start in range(0, 2_000, 500):
            names = {number: f"s{number:04}" * 100 for number in range(start, start + 500)}
            each = [traces_json(span_json(number), service=name) for number, name in names.items()]
            resources = [resource for body in each for resource in json.loads(body)["resourceSpans"]]
            assert served.post(json.dumps({"resourceSpans": resources}).encode()).status == 200
        last = "s1999" * 100
        for address in ("/?", "/spans?", "/errors?", "/operation?operation=op&"):
            body = served.get(f"{address}window=all&service={last}").body.decode()
            options = re.findall(r'<option value="(s\d{4})', body)
            assert options[:3] == ["s1999", "s0000", "s0001"]
            assert len(body) < 400_000


def test_the_last_hour_of_a_store_that_began_a_moment_ago_is_that_moment(tmp_path):
    path = str(tmp_path / "metrics.db")
    with MetricsStorage(path) as storage:
        for _ in range(30):
            storage.insert_metric("op", 1.0)
    with serving(path, "--no-grpc", "--no-token") as served:
        body = served.get("/").body.decode()
        source = unescape(re.search(r'data-src="([^"]*)"', body)[1])
        assert re.match(r"/api/heatmap\?window=[\d:.TZ-]+/&", source)
        assert len(served.get(source).json()["counts"]) <= 3
        assert re.search(r" [\d.]+ /s ", row(served.get("/"), "op"))


def test_where_nothing_has_ended_it_says_what_runs(tmp_path):
    program = "import otel_perfmon, sys, time\nm = otel_perfmon.configure(sys.argv[1])\n"
    program += "with m.monitor('quick'): pass\nm.force_flush()\nwith m.monitor('long'): time.sleep(60)"
    path = str(tmp_path / "metrics.db")
    with showing(path, "--no-token") as served, subprocess.Popen([sys.executable, "-c", program, path]) as process:
        deadline = time.monotonic() + 20
        while not (is_told := b"1 call running" in served.get("/?window=2001-01-01/2001-01-02").body):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
    assert is_told
