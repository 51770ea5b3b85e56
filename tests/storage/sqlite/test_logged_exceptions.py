"""An exception of which a log record tells counts as that of its span, whichever of the two comes first."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from storage_kit import NOW, SECOND, ask, ask_one, log_row, span_row, write

from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.attributes import encode_attributes, encode_items
from otel_perfmon.storage.sqlite import error_groups

EXCEPTION = json.dumps({"exception.type": "TimeoutError", "exception.message": "no answer from 5", "n": 1})


def failed(**changes):
    return span_row(status_code=2, **changes)


def log_of(span, attributes=EXCEPTION, **changes):
    return log_row(trace_id=span.trace_id, span_id=span.span_id, attributes=attributes, **changes)


def written(writer, order, *logs, span):
    if order == "the record first":
        write(writer, logs=logs)
        write(writer, span)
    elif order == "the span first":
        write(writer, span)
        write(writer, logs=logs)
    else:
        write(writer, span, logs=logs)


ORDERS = pytest.mark.parametrize("order", ["the record first", "the span first", "both at once"])


@ORDERS
def test_a_failed_span_without_an_exception_of_its_own_failed_by_it(writer, store, order, db_path):
    span = failed(status_message="it failed", error_message="it failed")
    written(writer, order, log_of(span), span=span)
    (group,) = store.summarize_errors()
    assert (group.error_type, group.count, group.last_message) == ("TimeoutError", 1, "no answer from 5")
    assert (group.last_trace_id, group.last_span_id) == (span.trace_id.hex(), span.span_id.hex())
    (stored,) = store.find_spans(SpanQuery(error_type="TimeoutError"))
    assert (stored.status_message, stored.events) == ("it failed", ())
    assert ask(db_path, "SELECT sum(count), count(*) FROM _error_cells") == [(2, 2)]
    assert ask_one(db_path, "SELECT count(*) FROM error_groups") == 1


@ORDERS
def test_what_the_span_says_itself_goes_before_it(writer, store, order):
    event = {"name": "exception", "time_unix_nano": 1, "attributes": encode_attributes({"exception.message": "mine"})}
    own = failed(error_message="mine", error_type="Own", events=encode_items([event]).text)
    typed = failed(error_type="http 500", error_message="status", status_message="status")
    for span in (own, typed):
        written(writer, order, log_of(span), span=span)
    found = {(group.error_type, group.last_message) for group in store.summarize_errors()}
    assert found == {("Own", "mine"), ("http 500", "no answer from 5")}


@ORDERS
def test_of_a_span_that_did_not_fail_it_is_no_error(writer, store, order):
    span = span_row()
    written(writer, order, log_of(span), span=span)
    assert store.summarize_errors() == []
    assert store.find_spans()[0].error_type is None


def test_of_several_the_last_before_the_span_counts_and_else_the_first_after_it(writer, store):
    def named(span, name):
        return log_of(span, json.dumps({"exception.type": name}))

    before, after = failed(), failed()
    write(writer, logs=[named(before, "First"), named(before, "Last")])
    write(writer, before, after)
    write(writer, logs=[named(after, "FirstAfter"), named(after, "Second"), named(before, "TooLate")])
    assert {group.error_type for group in store.summarize_errors()} == {"Last", "FirstAfter"}
    assert sum(group.count for group in store.summarize_errors()) == 2


def test_a_group_from_which_one_goes_keeps_the_others_in_every_window(writer, store):
    spans = [failed(status_message="it failed", error_message="it failed") for _ in range(3)]
    write(writer, *spans)
    write(writer, logs=[log_of(spans[1])])
    window = Window(NOW - 60 * SECOND, NOW + 60 * SECOND)
    for groups in (store.summarize_errors(), store.summarize_errors(window=window)):
        assert sorted((group.error_type, group.count) for group in groups) == [("", 2), ("TimeoutError", 1)]


def test_a_group_that_was_moved_is_known_to_the_next_batch_of_any_process(writer, store):
    for _ in range(3):
        span = failed(status_message="it failed", error_message="it failed")
        write(writer, span)
        write(writer, logs=[log_of(span)])
    (group,) = store.summarize_errors()
    assert (group.error_type, group.count) == ("TimeoutError", 3)


def test_a_trace_has_its_records_in_the_order_of_time_and_shows_their_exceptions(writer, store):
    span = failed()
    other = log_row("later", at=NOW + 5, trace_id=span.trace_id)
    write(writer, span, logs=[other, log_of(span, at=NOW), log_row("of another")])
    trace = store.get_trace(span.trace_id.hex())
    assert [log.body for log in trace.logs] == ["it happened", "later"]
    assert trace.spans[0].exception is None
    (shown,) = trace.with_logged_exceptions().spans
    assert shown.exception.attributes["exception.message"] == "no answer from 5"
    assert shown.exception.time_unix_nano == NOW


def says(span, kind, message):
    return log_of(span, json.dumps({"exception.type": kind, "exception.message": message}))


@pytest.fixture
def one_among_others(writer, monkeypatch):
    """A failed span with a group of its own, and one that counts among the other messages for want of room."""
    monkeypatch.setattr(error_groups, "GROUPS_PER_OPERATION_MAX", 3)
    own, other = (failed(status_message=name, error_message=name) for name in ("own", "no room"))
    for span in (own, span_row(error="crashed"), span_row(error="third"), other):
        write(writer, span)
    return own, other


def groups_of(store):
    return {(group.error_type, group.message): group.count for group in store.summarize_errors()}


def test_two_records_of_one_span_in_one_request_take_nothing_from_another_span(writer, store, one_among_others):
    own, other = one_among_others
    write(writer, logs=[says(own, "ValueError", "crashed"), says(own, "KeyError", "again")])
    typed = {("ValueError", "crashed"): 2, ("ValueError", "third"): 1}
    assert groups_of(store) == {**typed, ("", error_groups.OTHER_MESSAGES): 1}
    write(writer, logs=[says(other, "ValueError", "crashed")])
    assert groups_of(store) == {**typed, ("ValueError", "crashed"): 3}


def test_a_record_that_comes_when_the_first_one_is_gone_takes_nothing_from_another_span(
    writer, store, one_among_others, db_path
):
    own, _ = one_among_others
    write(writer, logs=[says(own, "ValueError", "crashed")])
    before = groups_of(store)
    with closing(sqlite3.connect(db_path)) as connection, connection:
        connection.execute("DELETE FROM _logs")
    write(writer, logs=[says(own, "KeyError", "again")])
    assert groups_of(store) == before


def test_a_group_from_which_its_latest_goes_names_the_latest_that_is_left(writer, store):
    spans = [
        failed(status_message=message, error_message=message, end=NOW + number)
        for number, message in enumerate(("lost 1", "other", "lost 2", "lost 3"))
    ]
    for span in spans:
        write(writer, span)
    write(writer, logs=[log_of(spans[3])])
    write(writer, logs=[log_of(spans[0])])
    (group,) = [group for group in store.summarize_errors() if group.message.startswith("lost")]
    assert (group.count, group.last_message) == (1, "lost 2")
    assert group.first_trace_id == group.last_trace_id == spans[2].trace_id.hex()
    assert group.last_span_id == spans[2].span_id.hex()
    assert group.last_seen == group.first_seen == spans[2].end_unix_nano / 1e9


@ORDERS
def test_a_record_without_a_type_leaves_the_span_without_one(writer, store, order):
    span = failed(status_message="it failed", error_message="it failed")
    written(writer, order, log_of(span, json.dumps({"exception.message": "no answer"})), span=span)
    assert store.find_spans()[0].error_type is None
    assert [(group.error_type, group.last_message) for group in store.summarize_errors()] == [("", "no answer")]
