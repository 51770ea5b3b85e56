"""The crowd that waits for room in the queue."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from otel_perfmon.storage.crowd import Crowd

LONG_SECONDS = 20


def start(target) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def wait_until(is_so) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_at(crowd: Crowd, found: list[bool]) -> threading.Thread:
    """Another thread that waits; what it finds."""
    before = len(crowd._waiting)
    thread = start(lambda: found.append(crowd.wait(LONG_SECONDS, lambda: True)))
    wait_until(lambda: len(crowd._waiting) == before + 1)
    return thread


def test_one_at_a_time_leads():
    crowd = Crowd()
    assert crowd.lead()
    assert not crowd.lead()
    crowd.follow()
    assert crowd.lead()


def test_another_one_leads_when_nothing_is_heard_of_the_first():
    crowd = Crowd()
    assert crowd.lead()
    time.sleep(0.06)
    crowd.go_on()
    time.sleep(0.06)
    assert not crowd.lead()
    time.sleep(0.06)
    assert crowd.lead()


def test_there_is_room_for_so_many_as_are_called_the_first_to_come_first():
    crowd, found = Crowd(), []
    threads = [wait_at(crowd, found) for _ in range(5)]
    crowd.make_room(2)
    for thread in threads[:2]:
        thread.join(LONG_SECONDS)
    assert found == [True, True]
    assert len(crowd._waiting) == 3
    crowd.make_room(100)
    for thread in threads:
        thread.join(LONG_SECONDS)
    assert found == [True] * 5


def test_who_led_has_the_next_one_lead_for_whom_there_is_no_room_by_that():
    crowd, found = Crowd(), []
    crowd.lead()
    thread = wait_at(crowd, found)
    crowd.follow()
    thread.join(LONG_SECONDS)
    assert found == [False]


def test_nobody_sleeps_where_there_is_room_already():
    crowd = Crowd()
    began = time.monotonic()
    assert crowd.wait(LONG_SECONDS, lambda: False)
    assert time.monotonic() - began < LONG_SECONDS / 2
    assert not crowd._waiting


def test_who_was_not_called_in_time_waits_no_more():
    crowd = Crowd()
    assert not crowd.wait(0.001, lambda: True)
    assert not crowd._waiting
    crowd.make_room(1)


def test_nobody_is_left_waiting_by_an_interrupt():
    def interrupted() -> bool:
        raise KeyboardInterrupt

    crowd = Crowd()
    with suppress(KeyboardInterrupt):
        crowd.wait(LONG_SECONDS, interrupted)
    assert not crowd._waiting
