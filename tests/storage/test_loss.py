from __future__ import annotations

import logging
import threading
from collections import Counter

import pytest

from otel_perfmon.storage import loss as losses_module
from otel_perfmon.storage.loss import LOG_SECONDS, Losses


@pytest.fixture
def now(monkeypatch):
    """The monotonic clock, moved by hand."""
    moment = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: moment[0])

    monkeypatch.setattr(losses_module, "time", Time)
    return moment


def test_what_is_counted_is_taken_once():
    losses = Losses()
    assert not losses.has_pending
    losses.add("full", 2, "it is full")
    losses.add("full", 3, "it is full")
    losses.add("broken", 1, "it is broken")
    assert losses.has_pending
    assert losses.take() == {"full": 5, "broken": 1}
    assert losses.take() == {}
    assert not losses.has_pending


def test_what_could_not_be_written_down_is_put_back_and_added_to():
    losses = Losses()
    losses.add("full", 2, "it is full")
    taken = losses.take()
    losses.add("full", 1, "it is full")
    losses.put_back(taken)
    assert losses.take() == {"full": 3}


def test_each_reason_is_logged_once_a_minute_with_all_that_was_lost_since(now, caplog):
    losses = Losses()
    losses.add("full", 1, "it is full")
    losses.add("full", 5, "it is full")
    losses.add("broken", 1, "it is broken")
    now[0] += LOG_SECONDS - 1
    losses.add("full", 7, "it is full")
    now[0] += 1
    losses.add("full", 2, "it is still full")
    assert [record.getMessage() for record in caplog.records] == [
        "1 spans were not kept: it is full",
        "1 spans were not kept: it is broken",
        "14 spans were not kept: it is still full",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert {record.name for record in caplog.records} == {"otel_perfmon"}


def test_a_warning_counts_nothing_and_comes_once_a_minute(now, caplog):
    losses = Losses()
    losses.warn("slow", "the disk is slow, 100 %s")
    losses.warn("slow", "the disk is slow")
    now[0] += LOG_SECONDS
    losses.warn("slow", "the disk is slow again")
    assert [record.getMessage() for record in caplog.records] == ["the disk is slow, 100 %s", "the disk is slow again"]
    assert losses.take() == {}


def test_a_reason_that_holds_percent_signs_is_logged_as_it_is(caplog):
    Losses().add("full", 1, "100 % of %s is used %d")
    assert caplog.records[0].getMessage() == "1 spans were not kept: 100 % of %s is used %d"


def test_many_threads_count_exactly():
    losses = Losses()
    threads = [threading.Thread(target=lambda: [losses.add("x", 1, "why") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert losses.take() == {"x": 4000}


def test_a_log_handler_may_lose_spans_itself(caplog):
    losses = Losses()

    class Losing(logging.Handler):
        def emit(self, record):
            losses.add("inner", 1, "lost while logging")

    logger, handler = logging.getLogger("otel_perfmon"), Losing()
    logger.addHandler(handler)
    try:
        losses.add("outer", 1, "it is full")
    finally:
        logger.removeHandler(handler)
    assert losses.take()["outer"] == 1


def test_a_broken_log_handler_reaches_nobody_and_the_count_stands():
    class Failing(logging.Filter):
        def filter(self, record):
            raise RuntimeError

    losses = Losses()
    logger, failing = logging.getLogger("otel_perfmon"), Failing()
    logger.addFilter(failing)
    try:
        losses.add("full", 1, "it is full")
        losses.warn("slow", "the disk is slow")
    finally:
        logger.removeFilter(failing)
    assert losses.take() == {"full": 1}


def test_what_many_threads_lose_at_once_is_counted_to_the_last_one():
    losses = Losses()
    taken = Counter()

    def lose() -> None:
        for _ in range(5_000):
            losses.add("queue_full", 1, "full")

    threads = [threading.Thread(target=lose) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.update(losses.take())
    taken.update(losses.take())
    assert taken == {"queue_full": 20_000}
