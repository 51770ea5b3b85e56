"""Questions as values: what is malformed is said when it is made."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perfmon import QueryError, SpanQuery, Window
from otel_perfmon.query import parse_duration_nano, parse_id

# --- windows


def test_a_window_may_be_empty_but_not_end_before_it_starts():
    assert Window(5, 5) == Window(5, 5)
    with pytest.raises(QueryError, match="end before it starts"):
        Window(6, 5)


def test_the_last_seconds_end_with_this_very_moment_included():
    assert Window.last(10, now_unix_nano=100 * 10**9) == Window(90 * 10**9, 100 * 10**9 + 1)
    assert Window.last(0, now_unix_nano=7) == Window(7, 8)
    assert Window.last(0.5, now_unix_nano=10**9) == Window(5 * 10**8, 10**9 + 1)


def test_now_is_now_when_it_is_not_given(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert Window.last(1) == Window(10**18 - 10**9, 10**18 + 1)


@pytest.mark.parametrize(
    "seconds", [math.inf, 1e18, 1e300, 1.7e308, 10**30, 10**400, 10**5000], ids=lambda value: type(value).__name__
)
def test_a_window_longer_than_time_itself_begins_at_the_beginning(seconds):
    window = Window.last(seconds, now_unix_nano=10**18)
    assert window.start_unix_nano <= 0
    assert window.end_unix_nano == 10**18 + 1


@pytest.mark.parametrize("seconds", [-1, -1e-9, -math.inf, math.nan, "5", None, True, [5], 1j], ids=repr)
def test_a_length_that_is_no_number_of_0_or_more_is_malformed(seconds):
    with pytest.raises(QueryError, match="window_seconds must be a number of seconds, 0 or more"):
        Window.last(seconds)


def test_a_window_is_a_value():
    assert {Window(1, 2), Window(1, 2)} == {Window(1, 2)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        Window(1, 2).start_unix_nano = 0


# --- queries


def test_an_empty_query_asks_for_the_newest_hundred():
    query = SpanQuery()
    assert (query.order, query.limit, query.operation, dict(query.attributes)) == ("newest", 100, None, {})


@pytest.mark.parametrize("order", ["newest", "oldest", "slowest"])
def test_each_order_that_exists_is_taken(order):
    assert SpanQuery(order=order).order == order


@pytest.mark.parametrize("order", ["", "Newest", "fastest", None, 5, ["newest"], {}], ids=repr)
def test_an_order_that_does_not_exist_is_malformed_and_the_message_names_those_that_do(order):
    with pytest.raises(QueryError, match="newest, oldest, slowest"):
        SpanQuery(order=order)


@pytest.mark.parametrize("limit", [0, -1, 1.0, "5", None, True, [], math.inf], ids=repr)
def test_a_limit_must_be_a_whole_number_of_1_or_more(limit):
    with pytest.raises(QueryError, match="limit must be a whole number of 1 or more"):
        SpanQuery(limit=limit)


@pytest.mark.parametrize("name", ["min_duration_ms", "max_duration_ms"])
@pytest.mark.parametrize("value", [math.nan, "5", True, [], 1j], ids=repr)
def test_a_duration_must_be_a_number(name, value):
    with pytest.raises(QueryError, match=name):
        SpanQuery(**{name: value})


@pytest.mark.parametrize(
    "value", [0, -5, 1.5, math.inf, -math.inf, 10**400], ids=["0", "-5", "1.5", "inf", "-inf", "huge"]
)
def test_any_number_is_a_duration_to_compare_with(storage, value):
    storage.insert_metric("load", 5)
    query = {"min_duration_ms": value, "max_duration_ms": value}
    spans = [storage.store.find_spans(SpanQuery(**{name: bound})) for name, bound in query.items()]
    assert [len(page) for page in spans] == [int(value <= 5), int(value >= 5)]


def test_a_query_is_checked_once_and_cannot_be_changed():
    query = SpanQuery(operation="op")
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.limit = 0
    with pytest.raises(QueryError):
        dataclasses.replace(query, limit=0)
    assert query == SpanQuery(operation="op")


@pytest.mark.parametrize("trace_id", ["", "zz", "0" * 31, "0" * 33, "0x", 5, None.__class__, b"0" * 32])
def test_a_trace_id_must_be_one(trace_id):
    with pytest.raises(QueryError, match="32 hex digits"):
        SpanQuery(trace_id=trace_id)


@pytest.mark.parametrize("limit", [1, 2**63 - 1, 2**63, 2**64, 10**30])
def test_any_whole_number_above_0_is_a_limit(storage, limit):
    storage.insert_metric("load", 1)
    for query in (SpanQuery(limit=limit), SpanQuery(limit=limit, order="slowest"), SpanQuery("load", limit=limit)):
        assert len(storage.store.find_spans(query)) == 1


@pytest.mark.parametrize("window", [Window(-(2**70), 2**70), Window(-(2**63), 2**63)])
def test_a_window_beyond_64_bits_can_be_asked_for(storage, window):
    storage.insert_metric("load", 1)
    assert len(storage.store.find_spans(SpanQuery(window=window))) == 1
    assert storage.store.summarize_operations(window=window)[0].count == 1
    assert storage.store.find_points(window=window) == []
    assert storage.store.summarize_calls(window=window) == []


# --- ids


@given(value=st.binary(min_size=16, max_size=16))
@settings(derandomize=True, max_examples=50)
def test_an_id_is_read_in_upper_and_lower_case_with_and_without_0x(value):
    for text in (value.hex(), value.hex().upper(), "0x" + value.hex()):
        assert parse_id(text, 16) == value


@given(text=st.text(max_size=40) | st.text("0123456789abcdefABCDEFx ", max_size=40))
@settings(derandomize=True, max_examples=200)
def test_a_text_is_an_id_of_the_right_length_or_malformed(text):
    if re.fullmatch("(0x)?[0-9a-fA-F]{16}", text):
        assert parse_id(text, 8).hex() == text.removeprefix("0x").lower()
    else:
        with pytest.raises(QueryError, match="16 hex digits"):
            parse_id(text, 8)


@pytest.mark.parametrize(
    "text", [None, 5, b"00", [], "00 00 00 00 00 00 00", "\N{FULLWIDTH DIGIT ZERO}" * 16, "-" + "0" * 15], ids=repr
)
def test_what_is_no_text_of_hex_digits_is_no_id(text):
    with pytest.raises(QueryError):
        parse_id(text, 8)


# --- what people type

NOON = int(datetime(2026, 1, 31, 12, 0, 5).astimezone().timestamp()) * 10**9


def _local(*parts: int) -> int:
    return int(datetime(*parts).astimezone().timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("200ms", 200_000_000),
        ("1.5s", 1_500_000_000),
        (" 15 m ", 900_000_000_000),
        ("1h", 3_600_000_000_000),
        ("7d", 604_800_000_000_000),
        ("2w", 1_209_600_000_000_000),
        ("30us", 30_000),
        ("30µs", 30_000),
        ("30μs", 30_000),
        ("1ns", 1),
        ("0s", 0),
        ("0.1s", 100_000_000),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, nano: int) -> None:
    assert parse_duration_nano(text) == nano


@pytest.mark.parametrize(
    "text", ["", "5", "h", "1 hour", "-1s", "1e3s", "1,5s", "1M", "٣s", "1s2s", "nan s", "9" * 400 + "s"]
)
def test_a_duration_without_a_unit_or_number_is_no_question(text: str) -> None:
    with pytest.raises(QueryError, match="A number with a unit is wanted"):
        parse_duration_nano(text)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("15m", NOON - 900 * 10**9, NOON + 1),
        ("2026-01-30/2026-01-31", _local(2026, 1, 30), _local(2026, 1, 31)),
        ("2026-01-31T09:30/2026-01-31T10:00:30", _local(2026, 1, 31, 9, 30), _local(2026, 1, 31, 10, 0, 30)),
        ("09:30/10:00", _local(2026, 1, 31, 9, 30), _local(2026, 1, 31, 10, 0)),
        ("23:30/00:30", _local(2026, 1, 30, 23, 30), _local(2026, 1, 31, 0, 30)),
        ("9:30/now", _local(2026, 1, 31, 9, 30), NOON),
        ("2026-01-31 09:30 / ", _local(2026, 1, 31, 9, 30), NOON + 1),
        ("/2026-01-31", 0, _local(2026, 1, 31)),
        ("2026-01-31T08:00:00Z/2026-01-31T10:00:00+01:00", 1_769_846_400 * 10**9, 1_769_850_000 * 10**9),
        ("2026-01-31T08:00:00.000001Z/", 1_769_846_400 * 10**9 + 1_000, NOON + 1),
    ],
)
def test_a_window_is_a_length_until_now_or_two_times(text: str, start: int, end: int) -> None:
    assert Window.parse(text, now_unix_nano=NOON) == Window(start, end)


@pytest.mark.parametrize(
    "text", ["", "5", "yesterday/", "25:00/", "2026-13-01/", "10:00/2026-01-31T09:00", "1h/2h", "a/b/c", "\uff19:30/"]
)
def test_a_window_that_means_nothing_is_no_question(text: str) -> None:
    with pytest.raises(QueryError):
        Window.parse(text, now_unix_nano=NOON)


def test_a_window_knows_how_long_it_is() -> None:
    assert Window.parse("90m", now_unix_nano=NOON).seconds == pytest.approx(5_400)
