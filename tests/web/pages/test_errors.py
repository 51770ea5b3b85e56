"""The page of errors tells what failed, alike errors together."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from urllib.parse import urlencode

import pytest
from serve_kit import showing
from storage_kit import SECOND, log_row, span_bytes, span_row, trace_bytes, write

from otel_perfmon import open_store
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages.errors import key_of

STACK = 'Traceback (most recent call last):\n  File "bank.py", line 7, in charge\nBankError: {}\n'
HOSTILE = "<script>\u202e'\""
HOUR = 3_600 * SECOND


SHOWN = "Traceback (most recent call last):\nbank.py:7 in charge\nBankError: {}\n"


def stack_of(page: str) -> str:
    """The stack that a page shows, as a reader sees it."""
    code = re.search(r'<div class="stack">.*?<code>(.*?)</code>', page, re.DOTALL)[1]
    return unescape(re.sub(r"<[^>]*>", "", code))


def exception(message: str, *, has_stack: bool = True) -> str:
    attributes = {"exception.type": "BankError", "exception.message": message}
    if has_stack:
        attributes["exception.stacktrace"] = STACK.format(message)
    return json.dumps([{"name": "exception", "time_unix_nano": 1, "attributes": attributes}])


def failed(name: str, message: str, **changes):
    changes = {"error_type": "BankError", "events": exception(message), **changes}
    return span_row(name, error=message, **changes)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("pages") / "metrics.db")
    now = time.time_ns()
    passed_on = {"trace_id": trace_bytes(77), "error_type": "BankError", "end": now - 50 * SECOND}
    logged = {"trace_id": trace_bytes(78), "span_id": span_bytes(78), "error_type": "BankError", "events": ""}
    rows = [
        failed("charge", "no answer after 900 ms", end=now - 5 * HOUR),
        failed("charge", "no answer after 1200 ms", end=now - 60 * SECOND),
        failed("charge", "card refused", end=now - 40 * SECOND, service="bank"),
        failed(HOSTILE, HOSTILE, error_type=HOSTILE, events=exception(HOSTILE), end=now - 30 * SECOND),
        failed("checkout", "passed on", events="", span_id=span_bytes(1), **passed_on),
        failed("checkout.charge", "passed on", span_id=span_bytes(2), **passed_on),
        failed("silent", "says nothing", events="", end=now - 20 * SECOND),
        failed("logged", "told by a log", end=now - 10 * SECOND, **logged),
        span_row("fine", end=now),
    ]
    told = json.loads(exception("told by a log"))[0]["attributes"]
    record = log_row(trace_id=trace_bytes(78), span_id=span_bytes(78), at=now, attributes=json.dumps(told))
    writer = SqliteWriter(path)
    write(writer, *rows, logs=[record])
    writer.close()
    return path


@pytest.fixture(scope="module")
def served(path):
    with showing(path, "--no-token") as served:
        yield served


@pytest.fixture(scope="module")
def keys(path):
    """The key of each group, by its pattern."""
    with open_store(path) as store:
        return {(group.operation, group.message): key_of(group) for group in store.summarize_errors()}


def get(served, **given) -> str:
    answer = served.get("/errors?" + urlencode(given))
    assert answer.status == 200, answer.body
    return answer.body.decode()


def rows(page: str) -> list[str]:
    found = re.findall(r'<tr id="g-.*?</tr>', page, re.DOTALL)
    return [re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", each))).strip() for each in found]


def patterns(page: str) -> list[str]:
    found = re.findall(r'<span class="message"><bdi>(.*?)</bdi>', page)
    return [unescape(each) for each in found]


def test_alike_errors_are_one_row_the_latest_first(served):
    page = get(served, window="24h")
    assert patterns(page)[:2] == ["told by a log", "says nothing"]
    assert patterns(page).count("no answer after <n> ms") == 1
    row = next(each for each in rows(page) if "no answer" in each)
    assert re.fullmatch(r"▸ BankError new no answer after <n> ms charge charge 2 [\d: .-]+ [\d: .-]+", row)


def test_new_is_what_this_time_saw_first(served):
    page = get(served, window="1h")
    new = {row for row in rows(page) if " new " in row}
    assert len(new) == len(rows(page)) - 1
    assert not any("no answer" in row for row in new)
    assert "7 new" not in get(served, window="all")


@pytest.mark.parametrize("word", ["CARD REF", "refused", "bankerror"])
def test_a_part_of_a_type_or_a_message_filters(served, word):
    assert "card refused" in patterns(get(served, find=word))
    assert "says nothing" not in patterns(get(served, find="card"))


def test_an_operation_and_a_service_filter(served):
    assert patterns(get(served, operation="silent")) == ["says nothing"]
    assert patterns(get(served, service="bank")) == ["card refused"]


def test_columns_sort(served):
    assert patterns(get(served, window="24h", sort="count"))[0] == "no answer after <n> ms"
    assert patterns(get(served, window="24h", sort="first", ascending="true"))[0] == "no answer after <n> ms"


def test_an_open_row_has_the_latest_message_its_stack_trace_and_its_traces(served, keys, path):
    page = get(served, window="24h", group=keys["charge", "no answer after <n> ms"])
    text = unescape(page)
    assert "no answer after 1200 ms</pre>" in text
    assert stack_of(text) == SHOWN.format("no answer after 1200 ms")
    with open_store(path) as store:
        group = next(each for each in store.summarize_errors() if "answer" in each.message)
    assert f"/trace/{group.last_trace_id}?window=24h&span={group.last_span_id}" in text
    assert f"/trace/{group.first_trace_id}?window=24h" in text
    assert "/spans?window=24h&operation=charge&error_type=BankError&is_error=true" in text
    assert page.count('class="detail"') == 1


def test_a_stack_trace_is_told_by_who_raised_the_error(served, keys):
    page = unescape(get(served, group=keys["checkout", "passed on"]))
    assert "Stack trace, from" in page
    assert stack_of(page) == SHOWN.format("passed on")


def test_a_stack_trace_of_a_log_record_is_the_spans(served, keys):
    assert stack_of(get(served, group=keys["logged", "told by a log"])) == SHOWN.format("told by a log")


def test_an_error_without_a_stack_trace_says_so(served, keys):
    assert "It has no stack trace." in get(served, group=keys["silent", "says nothing"])


def test_a_stack_trace_of_spaces_is_none(tmp_path):
    path = str(tmp_path / "metrics.db")
    writer = SqliteWriter(path)
    attributes = {"exception.type": "  ", "exception.message": "  ", "exception.stacktrace": "  "}
    events = json.dumps([{"name": "exception", "time_unix_nano": 1, "attributes": attributes}])
    write(writer, failed("charge", "  ", error_type="  ", events=events, end=time.time_ns()))
    writer.close()
    with open_store(path) as store, showing(path, "--no-token") as served:
        (group,) = store.summarize_errors()
        assert "It has no stack trace." in get(served, group=key_of(group))


def test_an_error_whose_trace_is_gone_says_so(tmp_path):
    path = str(tmp_path / "metrics.db")
    writer = SqliteWriter(path)
    write(writer, failed("charge", "gone", end=time.time_ns()))
    writer.close()
    with open_store(path) as store, showing(path, "--no-token") as served:
        store.delete_spans_before(time.time() + 1)
        (group,) = store.summarize_errors()
        page = get(served, group=key_of(group))
    assert "is pruned by now" in page
    assert "gone</pre>" in page


def test_a_group_that_is_not_there_is_open_nowhere(served):
    assert 'class="detail"' not in get(served, group="none")


def test_names_of_any_kind_are_text(served, keys):
    page = get(served, group=next(key for (name, _), key in keys.items() if name == HOSTILE))
    assert "<script>" not in page
    assert "\u202e" not in page


def test_nothing_that_failed_is_said(served, tmp_path):
    assert "Nothing failed in this operation" in get(served, operation="fine")
    assert "has “xyz” in it" in get(served, find="xyz")
    path = str(tmp_path / "metrics.db")
    with showing(path, "--no-token") as nothing:
        assert b"Nothing has been recorded yet" in nothing.get("/errors").body
