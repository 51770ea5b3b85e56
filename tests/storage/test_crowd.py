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


def test_one_at_a_time_leads():
    crowd = Crowd()
    assert crowd.lead()
    assert not crowd.lead()
    crowd.follow()
    assert crowd.lead()


def test_so_many_are_called_as_there_is_room_for_the_first_to_come_first():
    crowd, order = Crowd(), []
    threads = []
    for number in range(5):

        def wait(number=number):
            crowd.wait(LONG_SECONDS, lambda: True)
            order.append(number)

        threads.append(start(wait))
        wait_until(lambda number=number: crowd.waiting_count == number + 1)
    crowd.call(2)
    for thread in threads[:2]:
        thread.join(LONG_SECONDS)
    assert sorted(order) == [0, 1]
    assert crowd.waiting_count == 3
    crowd.call(100)
    for thread in threads:
        thread.join(LONG_SECONDS)
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_who_led_calls_the_next_one():
    crowd = Crowd()
    crowd.lead()
    thread = start(lambda: crowd.wait(LONG_SECONDS, lambda: True))
    wait_until(lambda: crowd.waiting_count == 1)
    crowd.follow()
    thread.join(LONG_SECONDS)
    assert not thread.is_alive()


def test_nobody_sleeps_where_there_is_room_already():
    crowd = Crowd()
    began = time.monotonic()
    crowd.wait(LONG_SECONDS, lambda: False)
    assert time.monotonic() - began < LONG_SECONDS / 2
    assert crowd.waiting_count == 0


def test_who_was_not_called_in_time_waits_no_more():
    crowd = Crowd()
    crowd.wait(0.001, lambda: True)
    assert crowd.waiting_count == 0
    crowd.call(1)


def test_nobody_is_left_waiting_by_an_interrupt():
    def interrupted() -> bool:
        raise KeyboardInterrupt

    crowd = Crowd()
    with suppress(KeyboardInterrupt):
        crowd.wait(LONG_SECONDS, interrupted)
    assert crowd.waiting_count == 0
