"""A roll can be looked through at any moment, whatever other threads add."""

from __future__ import annotations

import sys
import threading

import pytest

from otel_perfmon.storage.weak_roll import WeakRoll


class Thing:
    pass


def test_it_has_each_thing_once_in_order_for_as_long_as_it_lives():
    roll: WeakRoll[Thing] = WeakRoll()
    first, second, third = Thing(), Thing(), Thing()
    for thing in (first, second, third, first):
        roll.add(thing)
    assert list(roll) == [first, second, third]
    roll.discard(second)
    roll.discard(second)
    del first, thing
    assert list(roll) == [third]


@pytest.fixture
def hasty():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_it_can_be_looked_through_while_others_add_to_it(hasty):
    roll: WeakRoll[Thing] = WeakRoll()
    kept = [Thing() for _ in range(100)]
    for thing in kept:
        roll.add(thing)
    is_over = threading.Event()

    def add():
        while not is_over.is_set():
            things = [Thing() for _ in range(20)]
            for thing in things:
                roll.add(thing)

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for _ in range(2_000):
            assert list(roll)[:100] == kept
    finally:
        is_over.set()
        thread.join()
