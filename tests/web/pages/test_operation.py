"""The page of one operation: what it tells, and what it says of one that is not there."""

from __future__ import annotations

import re
from contextlib import closing
from urllib.parse import urlencode

import pytest
from serve_kit import serving
from storage_kit import NOW, NOW_S, SECOND, edge_row, span_row, write

from otel_perfmon.moments import iso
from otel_perfmon.storage.attributes import encode_attributes
from otel_perfmon.storage.sqlite.writer import SqliteWriter

ODD = "<b>cart</b>\u2028 & \u202eevil"
MINUTE = f"{iso(NOW)}/{iso(NOW + 60 * SECOND)}"
WINDOW = f"{iso(NOW - 3_600 * SECOND)}/{iso(NOW + 3_600 * SECOND)}"


def _attributes(**values: object) -> str:
    return encode_attributes({key.replace("_", "."): value for key, value in values.items()}).text


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    with closing(SqliteWriter(path)) as writer:
        rows = [
            span_row("charge", ms=10 + number, end=NOW + number * SECOND, attributes=_attributes(cart_id=f"c{number}"))
            for number in range(40)
        ]
        failed = [span_row("charge", ms=5, error=f"no answer {n}", error_type="PSPTimeout", end=NOW) for n in range(3)]
        failed += [span_row("charge", ms=5, error="odd", error_type="KeyError", end=NOW)]
        slow = span_row("charge", service="stock", ms=2_500, slow=True, end=NOW + SECOND)
        edges = [edge_row("checkout", "charge", count=20, nano=500_000_000), edge_row("charge", "POST", nano=10**9)]
        write(writer, *rows, *failed, slow, span_row(ODD), span_row("", ms=77), edges=edges)
    with serving(path, "--no-grpc") as served:
        yield served


def ask(served, **parameters):
    answer = served.get("/operation?" + urlencode({"window": WINDOW, **parameters}))
    return answer.status, answer.body.decode()


def section(body, name):
    return re.search(rf'<(section|dl)[^>]* id="{name}".*?</\1>', body, re.DOTALL)[0]


def test_its_figures_are_those_of_the_store(served):
    status, body = ask(served, operation="charge")
    assert status == 200
    figures = re.sub(r"<[^>]+>", " ", section(body, "figures")).split()
    assert figures[figures.index("calls") + 1] == "45"
    assert figures[figures.index("slow") + 1] == "1"
    assert figures[figures.index("max") + 1] == "2.50"
    assert figures[figures.index("errors") + 1 :][:2] == ["8.9", "%"]


def test_the_slowest_spans_lead_to_their_places_in_their_traces(served):
    _, body = ask(served, operation="charge")
    slowest = section(body, "slowest")
    first = re.search(r'<tr id="slowest-1">.*?</tr>', slowest, re.DOTALL)[0]
    assert re.search(r'href="/trace/[0-9a-f]{32}\?.*span=[0-9a-f]{16}"', first)
    assert "2.50" in first
    assert "stock" in first
    assert ">slow<" in first
    assert slowest.count("<tr id") == 10
    assert "c39" in slowest


def test_the_spans_in_a_box_are_listed_slowest_first(served):
    box = f"{iso(NOW)}/{iso(NOW + 20 * SECOND)}/20/40"
    _, body = ask(served, operation="charge", box=box)
    boxed = section(body, "boxed-spans")
    durations = [int(each.replace(",", "")) // 10**6 for each in re.findall(r'title="([\d,]+) ns"', boxed)]
    assert durations == list(range(29, 19, -1))
    assert "min_duration_ms=20&amp;max_duration_ms=40" in boxed
    assert 'data-box="' + box in body


def test_a_box_without_spans_says_so(served):
    _, body = ask(served, operation="charge", box=f"{iso(NOW)}/{iso(NOW + SECOND)}/9000/")
    assert "No span" in section(body, "boxed-spans")
    assert ask(served, operation="charge", box="nonsense")[0] == 400


def test_errors_are_told_by_type_with_their_share(served):
    _, body = ask(served, operation="charge")
    errors = re.sub(r"<[^>]+>", " ", section(body, "errors")).split()
    assert errors.index("PSPTimeout") < errors.index("KeyError")
    assert errors[errors.index("PSPTimeout") + 1] == "3"
    assert "75" in errors
    assert "/errors?" in section(body, "errors")


def test_callers_and_callees_lead_to_their_pages_with_their_share(served):
    _, body = ask(served, operation="charge")
    callers, callees = section(body, "callers"), section(body, "callees")
    assert "operation=checkout" in callers
    assert "from no other" in callers
    assert "operation=POST" in callees
    assert "its own work" in callees
    assert "over whole hours" in section(ask(served, operation="charge", window=MINUTE)[1], "callees")


def test_one_service_can_be_looked_at_alone(served):
    _, body = ask(served, operation="charge", service="stock")
    assert section(body, "figures").count('<dd class="slow">2.50') == 4
    assert '<option value="stock" selected>' in body
    assert "service=stock&amp;window=" in re.search(r'data-src="([^"]+)"', body)[1]


def test_a_name_of_any_text_is_shown_and_asked_for_whole(served):
    status, body = ask(served, operation=ODD)
    assert status == 200
    assert "<b>cart" not in body
    assert "\u202e" not in body
    assert "&lt;b&gt;cart" in body
    sources = re.findall(r'data-src="([^"]+)"', body)
    assert sources
    assert all(served.get(each.replace("&amp;", "&")).status == 200 for each in sources)


def test_the_operation_whose_name_is_empty_has_a_page_too(served):
    status, body = ask(served)
    assert status == 200
    assert "(no name)" in body
    assert "77.0" in body
    source = re.search(r'data-src="([^"]+)"', body)[1].replace("&amp;", "&")
    assert sum(map(sum, served.get(source).json()["counts"])) == 1


def test_an_unknown_name_is_answered_with_those_most_like_it(served):
    status, body = ask(served, operation="chrage")
    assert status == 404
    assert "There is no operation" in body
    assert 'operation=charge"' in body
    assert ask(served, operation="x" * 10_000)[0] == 404


def test_one_that_did_not_run_in_this_time_says_when_it_did(served):
    window = f"{iso(NOW - 9_000 * SECOND)}/{iso(NOW - 8_000 * SECOND)}"
    status, body = ask(served, operation="charge", window=window)
    assert status == 200
    assert "did not run" in body
    assert f'data-unix-nano="{NOW_S + 39}' in body
    address = re.search(r'class="button" href="([^"]+)"', body)[1].replace("&amp;", "&")
    found = served.get(address)
    assert "<dt>calls</dt><dd>45</dd>" in found.body.decode()
    assert "did not run" in ask(served, operation="charge", service="mailer")[1]
