from __future__ import annotations

import logging
import threading

import pytest
from storage_kit import wait_until

from otel_perfmon import Alert, Window
from otel_perfmon.storage import callbacks as modules
from otel_perfmon.storage.callbacks import Callbacks
from otel_perfmon.storage.loss import Losses


@pytest.fixture
def callbacks():
    return Callbacks(Losses())


def alert(name):
    return Alert(name, "shop", True, 1.0, 20, 20, 0.1, Window(0, 1), 0.0)


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Gate:
    """A callback that holds each call until it is opened."""

    def __init__(self):
        self.names = []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, alert):
        self.entered.set()
        self.opened.wait(10)
        self.names.append(alert.operation)


def test_each_callback_gets_each_alert_in_order_on_a_thread_that_ends_when_all_is_done(callbacks):
    told, threads = [], set()

    def tell(who):
        def told_of(alert):
            told.append((who, alert.operation))
            threads.add(threading.current_thread())

        return told_of

    callbacks.add(tell("first"))
    callbacks.add(tell("second"))
    callbacks.call([alert("a"), alert("b")])
    callbacks.call([alert("c")])
    assert wait_until(lambda: len(told) == 6)
    assert told == [(who, name) for name in "abc" for who in ("first", "second")]
    assert wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert all(thread.daemon and thread is not threading.current_thread() for thread in threads)


def test_without_callbacks_or_alerts_no_thread_is_started(callbacks):
    before = threading.active_count()
    callbacks.call([alert("a")])
    callbacks.add(print)
    callbacks.call([])
    assert threading.active_count() == before


def test_a_callback_that_blocks_holds_up_only_what_comes_after_it(callbacks):
    gate, told = Gate(), []
    callbacks.add(gate)
    callbacks.add(lambda each: told.append(each.operation))
    callbacks.call([alert("a")])
    assert gate.entered.wait(5)
    callbacks.call([alert("b")])  # returns at once
    assert told == []
    gate.opened.set()
    assert wait_until(lambda: told == ["a", "b"])
    assert gate.names == ["a", "b"]


def test_behind_a_callback_that_blocks_a_limited_number_of_alerts_waits_and_the_rest_is_logged(
    callbacks, caplog, monkeypatch
):
    monkeypatch.setattr(modules, "ALERTS_WAITING_MAX", 3)
    gate = Gate()
    callbacks.add(gate)
    callbacks.call([alert("first")])
    assert gate.entered.wait(5)
    for number in range(10):
        callbacks.call([alert(f"op{number}")])
    assert logged(caplog) == ["on_alert callbacks take too long: some alerts reach the log only."]
    gate.opened.set()
    assert wait_until(lambda: gate.names == ["first", "op0", "op1", "op2"])


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_what_a_callback_raises_is_logged_once_a_minute_and_the_others_are_called_all_the_same(
    callbacks, caplog, error
):
    told = []

    def raising(alert):
        raise error

    callbacks.add(raising)
    callbacks.add(told.append)
    callbacks.call([alert("a"), alert("b")])
    assert wait_until(lambda: len(told) == 2)
    (message,) = logged(caplog)
    assert message.startswith(f"An on_alert callback failed: {type(error).__name__}")


def test_a_callback_is_removed_as_often_as_it_was_added_and_a_stranger_is_no_matter(callbacks):
    told = []
    for _ in range(2):
        callbacks.add(told.append)
    callbacks.remove(told.append)
    callbacks.remove(print)
    callbacks.call([alert("a")])
    assert wait_until(lambda: told)
    callbacks.remove(told.append)
    callbacks.call([alert("b")])
    assert [each.operation for each in told] == ["a"]


def test_when_no_thread_can_be_started_the_next_alert_tries_again(callbacks, monkeypatch):
    told = []
    callbacks.add(told.append)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        callbacks.call([alert("a")])
    callbacks.call([alert("b")])
    assert wait_until(lambda: [each.operation for each in told] == ["a", "b"])


def test_a_callback_may_add_remove_and_raise_alerts_itself(callbacks):
    told = []

    def once(each):
        told.append(each.operation)
        callbacks.remove(once)
        callbacks.add(lambda later: told.append(later.operation))
        callbacks.call([alert("b")])

    callbacks.add(once)
    callbacks.call([alert("a")])
    assert wait_until(lambda: told == ["a", "b"])
