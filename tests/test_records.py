"""Answers as values."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from records_kit import span_record

from otel_perfmon import (
    Distribution,
    DurationBucket,
    EventRecord,
    LinkRecord,
    OperationStats,
    ResourceRecord,
    SpanPage,
    SpanQuery,
    Window,
)


def test_a_duration_is_end_less_start_and_never_below_0():
    assert (span_record().duration_nano, span_record().duration_ms) == (2_500_000, 2.5)
    assert span_record(end_unix_nano=5).duration_nano == 0
    assert span_record(start_unix_nano=-5, end_unix_nano=5).duration_nano == 10


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (0, "unspecified"),
        (1, "internal"),
        (2, "server"),
        (3, "client"),
        (4, "producer"),
        (5, "consumer"),
        (6, "6"),
        (-1, "-1"),
    ],
)
def test_a_kind_has_a_name_and_an_unknown_one_its_number(kind, name):
    assert span_record(kind=kind).kind_name == name


@pytest.mark.parametrize(("code", "name"), [(0, "unset"), (1, "ok"), (2, "error"), (3, "3"), (-1, "-1")])
def test_a_status_has_a_name_and_an_unknown_one_its_number(code, name):
    assert span_record(status_code=code).status_name == name


@pytest.mark.parametrize(
    ("attributes", "service"), [({"service.name": "shop"}, "shop"), ({}, ""), ({"service.name": 5}, "5")]
)
def test_the_service_is_the_resources_service_name(attributes, service):
    assert span_record(resource=ResourceRecord(attributes)).service == service


def test_the_exception_is_the_last_exception_event():
    first, last = EventRecord("exception", 1, {"n": 1}), EventRecord("exception", 2, {"n": 2})
    assert span_record(events=(first, last, EventRecord("log", 3))).exception is last
    assert span_record(events=(EventRecord("log", 3),)).exception is None
    assert span_record().exception is None


def test_a_page_is_a_sequence_of_its_spans():
    spans = tuple(span_record(span_id=f"{number:016x}") for number in range(3))
    page = SpanPage(spans, is_complete=False, rows_read=7)
    assert (len(page), page[0], page[-1], list(page)) == (3, spans[0], spans[2], list(spans))
    assert page[1:] == spans[1:]
    assert list(reversed(page)) == list(reversed(spans))
    assert spans[1] in page
    assert page.index(spans[1]) == 1
    assert (page.is_complete, page.rows_read) == (False, 7)
    with pytest.raises(IndexError):
        page[3]
    assert not SpanPage(())


@pytest.mark.parametrize(
    "record",
    [
        span_record(events=(EventRecord("e", 1),), links=(LinkRecord("a", "b"),)),
        EventRecord("e", 1, {"a": (1, 2)}),
        LinkRecord("a" * 32, "b" * 16),
        SpanPage((span_record(),)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_is_a_value_that_can_be_compared_copied_and_pickled_but_not_changed(record):
    for twin in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert twin == record
        assert type(twin) is type(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "other")


def test_records_made_without_attributes_do_not_share_them():
    assert EventRecord("e", 1).attributes is not EventRecord("e", 1).attributes


def test_what_the_store_gives_back_can_be_pickled(storage):
    storage.insert_metric("load", 1, True, error_type="E", error_message="m", context={"a": [1, {"b": b"c"}]})
    page = storage.store.find_spans(SpanQuery())
    assert pickle.loads(pickle.dumps(page)) == page
    stats = storage.get_stats("load", window_seconds=60)
    assert pickle.loads(pickle.dumps(stats)) == stats
    health = storage.store.get_health()
    assert pickle.loads(pickle.dumps(health)) == health


def _stats(count: int, first: float | None, last: float | None, window: Window | None) -> OperationStats:
    return OperationStats("op", None, count, 0, 0.0, 0, *(None,) * 7, 0.0, 0.0, first, last, window)


def test_a_rate_is_over_the_window_or_else_over_the_time_between_the_first_and_the_last_call():
    assert _stats(120, 5.0, 6.0, Window(0, 60 * 10**9)).rate_per_second == 2
    assert _stats(120, 100.0, 160.0, None).rate_per_second == 2
    assert _stats(3, 100.0, 100.0, None).rate_per_second == 3
    assert _stats(0, None, None, None).rate_per_second == 0
    assert _stats(0, None, None, Window(5, 5)).rate_per_second == 0


def test_a_percentile_rank_is_the_share_of_calls_in_the_buckets_below():
    buckets = (DurationBucket(0, 0, 1), DurationBucket(1, 2, 5), DurationBucket(2, 4, 3), DurationBucket(8, 16, 1))
    spread = Distribution("op", None, None, buckets)
    ranks = {ms: spread.percentile_rank(ms) for ms in (0, 0.5, 1.5, 2, 3, 4, 5, 16, 17)}
    assert ranks == {0: 0, 0.5: 0.1, 1.5: 0.1, 2: 0.1, 3: 0.6, 4: 0.6, 5: 0.9, 16: 0.9, 17: 1.0}
    assert Distribution("op", None, None, ()).percentile_rank(1) is None
