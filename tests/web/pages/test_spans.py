"""The page of spans finds them by any mark of theirs."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from serve_kit import showing
from storage_kit import SECOND, span_row, write

from otel_perfmon import MetricsStorage, SpanQuery, open_store
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages import span_search
from otel_perfmon.web.pages.span_filters import attribute_filter

HOSTILE = "<i>né\u202e&\"'"
LONG = "x" * 10_000


@pytest.fixture(scope="module")
def now():
    return time.time_ns()


@pytest.fixture(scope="module")
def path(tmp_path_factory, now):
    path = str(tmp_path_factory.mktemp("pages") / "metrics.db")
    rows = [
        span_row("old", end=now - 3 * 3_600 * SECOND),
        span_row("quick", ms=1.0, end=now - 9 * SECOND, attributes='{"user":"ada","cart.size":3,"odd,key":"a"}'),
        span_row("quick", ms=2.0, end=now - 8 * SECOND, attributes='{"user":"bob","cart.size":4,"digits":"3"}'),
        span_row("slow", ms=2_000.0, end=now - 7 * SECOND, slow=True, service="stock"),
        span_row("fails", ms=250.0, end=now - 6 * SECOND, error="no answer", error_type="TimeoutError"),
        span_row(HOSTILE, end=now - 5 * SECOND, attributes=json.dumps({HOSTILE: HOSTILE})),
        span_row(LONG, end=now - 4 * SECOND, attributes=json.dumps({"long": LONG})),
        span_row("", end=now - 3 * SECOND),
    ]
    writer = SqliteWriter(path)
    write(writer, *rows)
    writer.close()
    return path


@pytest.fixture(scope="module")
def served(path):
    with showing(path, "--no-token") as served:
        yield served


@pytest.fixture
def many(tmp_path, now):
    """A store of 250 spans, every second of them blue, ten of them at each moment, and how to search in it."""
    path = str(tmp_path / "many.db")
    writer = SqliteWriter(path)
    colours = ('{"colour":"blue"}', '{"colour":"red"}')
    write(writer, *(span_row(end=now - number // 10 * SECOND, attributes=colours[number % 2]) for number in range(250)))
    writer.close()
    with open_store(path) as store:
        yield store


def get(served, **given) -> str:
    answer = served.get("/spans?" + urlencode(given, doseq=True, quote_via=quote))
    assert answer.status == 200, answer.body
    return answer.body.decode()


def names(page: str) -> list[str]:
    cells = re.findall(r'<td class="name text"><a class="opens" [^>]*>(.*?)</a>', page, re.DOTALL)
    return [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in cells]


def link(page: str, marks: str) -> dict[str, str]:
    """The parameters of the first link that has this in its tag."""
    tag = next(tag for tag in re.findall(r"<a [^>]*>", page) if marks in tag)
    return dict(parse_qsl(urlsplit(unescape(re.search(r'href="([^"]*)"', tag)[1])).query))


def test_the_newest_stand_first(served):
    found = names(get(served))
    assert found[0] == "(no name)"
    assert found[1].startswith("xxx")
    assert found[3:] == ["fails", "slow", "quick", "quick"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"operation": "quick"}, ["quick", "quick"]),
        ({"service": "stock"}, ["slow"]),
        ({"window": "all", "order": "oldest", "operation": "old"}, ["old"]),
        ({"min_duration_ms": "200ms"}, ["fails", "slow"]),
        ({"min_duration_ms": "200", "max_duration_ms": "1.5s"}, ["fails"]),
        ({"is_slow": "true"}, ["slow"]),
        ({"is_slow": "false", "min_duration_ms": "2"}, ["fails", "quick"]),
        ({"is_error": "true"}, ["fails"]),
        ({"error_type": "TimeoutError"}, ["fails"]),
        ({"is_error": "true", "is_slow": "true"}, []),
        ({"attribute": "user=ada"}, ["quick"]),
        ({"attribute": ["user=bob", "cart.size=4"]}, ["quick"]),
        ({"attribute": ["user=bob", "cart.size=3"]}, []),
        ({"attribute": 'digits="3"'}, ["quick"]),
        ({"attribute": "digits=3"}, []),
        ({"order": "slowest", "attribute": "user=bob"}, ["quick"]),
        ({"order": "oldest", "min_duration_ms": "200ms"}, ["slow", "fails"]),
    ],
    ids=str,
)
def test_every_field_of_a_question_filters(served, given, expected):
    assert names(get(served, **given)) == expected


def test_the_slowest_stand_first_where_they_are_asked_for(served):
    assert names(get(served, order="slowest"))[:2] == ["slow", "fails"]


def test_a_trace_is_found_whatever_the_time_is(served, path):
    with open_store(path) as store:
        span = store.find_spans(SpanQuery(operation="old"))[0]
    assert names(get(served, trace_id=span.trace_id, window="15m")) == ["old"]


def test_a_row_leads_to_its_span_and_its_trace(served, path):
    with open_store(path) as store:
        span = store.find_spans(SpanQuery(operation="fails"))[0]
    page = get(served, operation="fails")
    assert f'href="/trace/{span.trace_id}?span={span.span_id}"' in page
    assert f'href="/trace/{span.trace_id}"' in page


def test_failed_and_slow_ones_say_so(served):
    page = get(served)
    assert '<span class="pill err" title="no answer"><bdi>TimeoutError</bdi></span>' in page
    assert '<span class="pill slow">slow</span>' in page


def test_each_filter_is_a_chip_that_takes_itself_off(served):
    page = get(served, operation="quick", attribute=["user=ada", "cart.size=3"], columns="user")
    chips = re.findall(r'<a class="chip" href="([^"]*)"', page)
    left = [sorted(parse_qsl(urlsplit(unescape(chip)).query)) for chip in chips]
    one, three = ("attribute", "user=ada"), ("attribute", "cart.size=3")
    columns, operation = ("columns", "user"), ("operation", "quick")
    assert left == [[three, one, columns], [three, columns, operation], [one, columns, operation]]


def test_a_brushed_time_is_a_chip_too(served, now):
    start, end = time.gmtime(now // SECOND - 60), time.gmtime(now // SECOND + 60)
    form = "%Y-%m-%dT%H:%M:%SZ"
    page = get(served, window=f"{time.strftime(form, start)}/{time.strftime(form, end)}")
    assert '<a class="chip" href="/spans"' in page
    assert len(names(page)) == 7


def test_a_chosen_column_stays_however_many_attributes_there_are(tmp_path):
    path = str(tmp_path / "metrics.db")
    with MetricsStorage(path) as storage:
        storage.insert_metric("many", 1.0, context={f"key {number:03}": number for number in range(100)})
    with showing(path, "--no-token") as served:
        page = get(served, columns="key 099")
        assert '<bdi class="key" title="key 099">' in page
        assert page.count("☑") == 1
        assert page.count("☐") == 59


def test_chosen_attributes_are_columns_and_filter_by_their_values(served):
    page = get(served, operation="quick", columns="user,cart.size,none")
    assert page.count('<bdi class="key"') == 3
    assert link(page, 'title="bob ') == {
        "operation": "quick",
        "columns": "user,cart.size,none",
        "attribute": "user=bob",
    }
    assert link(page, 'title="4 ')["attribute"] == "cart.size=4"


def test_a_key_with_a_comma_can_be_a_column(served):
    page = get(served, operation="quick")
    chosen = link(page, "odd,key")["columns"]
    assert '<bdi class="key" title="odd,key">' in get(served, operation="quick", columns=chosen)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ada", "k=ada"),
        ("3", 'k="3"'),
        (3, "k=3"),
        (True, "k=true"),
        (1.5, "k=1.5"),
        (("a", 1), 'k=["a", 1]'),
        (b"\0", 'k={"@bytes": "AA=="}'),
    ],
    ids=str,
)
def test_what_asks_for_an_attribute_asks_for_its_value_and_type(value, expected):
    assert attribute_filter("k", value) == expected


def test_a_key_that_cannot_be_asked_for_is_not(served):
    assert attribute_filter("a=b", "c") == ""
    assert attribute_filter("", "c") == ""


def test_names_of_any_kind_are_text_and_cut_where_they_are_long(served):
    page = get(served, columns=f"long,{quote(HOSTILE)}")
    assert "<i>" not in page
    assert "\u202e" not in page
    assert len(page) < 60_000


@pytest.mark.parametrize(
    "given",
    [
        {"min_duration_ms": "soon"},
        {"min_duration_ms": "-1"},
        {"max_duration_ms": "nan"},
        {"is_slow": "yes"},
        {"attribute": "user"},
        {"attribute": ["a=1", "a=2"]},
        {"trace_id": "12"},
        {"order": "loudest"},
        {"page_token": "x"},
        {"reached": "x"},
        {"columns": ",".join("abcdefghi")},
        {"colums": "a"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_a_sentence(served, given):
    answer = served.get("/spans?" + urlencode(given, doseq=True))
    assert answer.status == 400
    assert b'<main id="main" class="refused">' in answer.body


def test_nothing_found_offers_to_look_further(served):
    page = get(served, operation="none", window="15m")
    assert "No span matches" in page
    assert '<a class="link" href="/spans?operation=none&amp;window=all">' in page


def test_a_store_in_which_nothing_ended_lately_says_when_something_did(tmp_path, now):
    path = str(tmp_path / "metrics.db")
    writer = SqliteWriter(path)
    write(writer, span_row(end=now - 86_400 * SECOND))
    writer.close()
    with showing(path, "--no-token") as served:
        assert "No span ended in this time" in get(served)


def test_older_pages_stay_as_they_are(many):
    with showing(many.path, "--no-token") as served:
        first = get(served, window="all")
        assert len(names(first)) == 100
        assert " data-follows" in first
        older = get(served, **link(first, 'id="further"'))
        assert len(names(older)) == 100
        assert " data-held" in older
        assert " data-follows" not in older
        assert link(older, 'class="button" href') == {"window": "all"}


# --- searches that no index serves


def pages_of(store, query, *, patience=False):
    """All pages, as a reader would turn them."""
    reached, token = None, None
    for _ in range(1_000):
        found = span_search.search(
            store, SpanQuery(**{**query, "page_token": token}), reached=reached, is_patient=patience
        )
        yield found
        if not found.further:
            return
        reached, token = found.further.get("reached"), found.further.get("page_token")
    raise AssertionError


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [3, 7, 100, 125, 200])
@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_pages_of_a_search_have_each_match_once_and_in_order(many, monkeypatch, order, limit, seconds):
    monkeypatch.setattr(span_search, "SECONDS_MAX", seconds)
    query = {"order": order, "limit": limit, "attributes": {"colour": "blue"}}
    expected = [span.span_id for span in many.find_spans(SpanQuery(**{**query, "limit": 1_000}))]
    found = list(pages_of(many, query))
    assert len(expected) == 125
    assert [span.span_id for page in found for span in page.spans] == expected
    assert found[-1].is_complete


def test_a_search_that_ran_out_of_time_says_how_far_it_came(many, monkeypatch, now):
    monkeypatch.setattr(span_search, "SECONDS_MAX", -1.0)
    found = span_search.search(many, SpanQuery(attributes={"colour": "blue"}))
    assert len(found.spans) <= 10
    assert not found.is_complete
    assert now - 2 * SECOND < found.reached_unix_nano <= now + 2 * SECOND
    assert found.further["patient"] is True
    whole = span_search.search(many, SpanQuery(attributes={"colour": "blue"}, limit=200), is_patient=True)
    assert (len(whole.spans), whole.is_complete, whole.further) == (125, True, {})


def test_the_slowest_of_a_search_are_the_slowest_of_all_slices(tmp_path, now):
    path = str(tmp_path / "metrics.db")
    writer = SqliteWriter(path)
    blue = '{"colour":"blue"}'
    write(writer, *(span_row(end=now - n * 60 * SECOND, ms=(n * 37) % 101, attributes=blue) for n in range(100)))
    writer.close()
    with open_store(path) as store:
        query = SpanQuery(order="slowest", attributes={"colour": "blue"}, limit=10)
        found = span_search.search(store, query, is_patient=True)
        assert [span.span_id for span in found.spans] == [span.span_id for span in store.find_spans(query)]


def test_pages_of_a_search_can_be_turned(many):
    with showing(many.path, "--no-token") as served:
        page = get(served, window="all", attribute="colour=blue")
        assert len(names(page)) == 100
        assert len(names(get(served, **link(page, 'id="further"')))) == 25


def test_a_service_that_is_gone_is_still_told_as_the_one_that_is_chosen(served):
    page = get(served, service="long gone")
    assert '<option value="long gone" selected>long gone</option>' in page
    assert "No span matches" in page
