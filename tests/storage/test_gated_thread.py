"""The thread starts once, when it is first woken, and passes its gate once for each time that it is opened."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from storage_kit import wait_until

from otel_perfmon.storage import gated_thread as gated_threads
from otel_perfmon.storage.gated_thread import GatedThread


class Passer:
    """Passes the gate until it is to end, and counts how often it did."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.passed = 0
        self.threads: set[threading.Thread] = set()
        self.gated = GatedThread(self.run, "test-passer")

    def run(self) -> None:
        self.threads.add(threading.current_thread())
        while not self.is_stopping and self.gated.wait_at_gate(10):
            self.passed += 1

    def stop(self, timeout_seconds: float = 10) -> None:
        self.is_stopping = True
        self.gated.stop(timeout_seconds)


@pytest.fixture
def passer() -> Iterator[Passer]:
    passer = Passer()
    yield passer
    passer.stop()


def test_no_thread_runs_until_it_is_woken_and_then_one_by_its_name_which_keeps_no_program_alive(passer):
    passer.gated.open_gate()
    assert passer.threads == set()
    for _ in range(10):
        assert passer.gated.wake() is True
        assert wait_until(lambda: passer.passed)
    (thread,) = passer.threads
    assert (thread.name, thread.daemon) == ("test-passer", True)


def test_each_opening_lets_it_pass_once(passer):
    for passed in range(1, 6):
        passer.gated.wake()
        assert wait_until(lambda passed=passed: passer.passed == passed)
    time.sleep(0.05)
    assert passer.passed == 5


def test_a_gate_that_is_open_stays_open_for_one_passing():
    gated = GatedThread(list, "never-started")
    gated.open_gate()
    gated.open_gate()
    assert [gated.wait_at_gate(0), gated.wait_at_gate(0)] == [True, False]


def test_who_waits_in_vain_is_told_so():
    began = time.monotonic()
    assert GatedThread(list, "never-started").wait_at_gate(0.05) is False
    assert time.monotonic() - began >= 0.04


def test_a_thread_that_cannot_begin_is_told_of_and_may_begin_later(passer, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        assert [passer.gated.wake(), passer.gated.wake()] == [False, False]
    assert passer.gated.wake() is True
    assert wait_until(lambda: passer.passed == 1)


def _refuse(_thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_who_comes_while_another_starts_it_goes_on_at_once(passer, monkeypatch):
    start, answers = threading.Thread.start, []

    def start_and_be_interrupted(thread):
        answers.append(passer.gated.wake())  # as a signal handler or a finaliser does
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
    answers.append(passer.gated.wake())
    assert answers == [True, True]
    assert wait_until(lambda: passer.passed)
    assert len(passer.threads) == 1


def test_many_threads_that_wake_it_at_once_start_it_once(passer):
    barrier = threading.Barrier(20)

    def wake():
        barrier.wait(10)
        assert passer.gated.wake() is True

    threads = [threading.Thread(target=wake) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wait_until(lambda: passer.passed)
    assert len(passer.threads) == 1


def test_the_locks_and_the_thread_are_of_one_make_whatever_was_replaced_since_it_was_made(passer, monkeypatch):
    made = []

    class Threading:
        """The threading module after a library has replaced what is in it."""

        current_thread = staticmethod(threading.current_thread)

        def __getattr__(self, name):
            made.append(name)
            return getattr(threading, name)

    monkeypatch.setattr(gated_threads, "threading", Threading())
    passer.gated.wake()
    assert made == ["Lock", "Thread"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
def test_a_signal_handler_may_wake_it_whatever_its_thread_is_doing(passer):
    handled = []
    before = signal.signal(signal.SIGALRM, lambda *_: handled.append(passer.gated.wake()))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while len(handled) < 100:
            assert passer.gated.wake() is True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(handled)
    assert len(passer.threads) == 1


def test_stopping_waits_for_its_end(passer):
    passer.gated.wake()
    assert wait_until(lambda: passer.passed)
    passer.stop()
    (thread,) = passer.threads
    assert not thread.is_alive()


def test_stopping_waits_no_longer_than_it_is_told():
    release = threading.Event()
    gated = GatedThread(release.wait, "test-stuck")
    gated.wake()
    began = time.monotonic()
    gated.stop(0.05)
    assert 0.04 <= time.monotonic() - began < 5
    release.set()


def test_stopping_one_that_never_ran_does_nothing():
    GatedThread(list, "never-started").stop(10)


def test_it_may_stop_itself_and_does_not_wait_for_that():
    done = threading.Event()

    def run():
        gated.stop(10)
        done.set()

    gated = GatedThread(run, "test-own-end")
    gated.wake()
    assert done.wait(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_child_begins_with_one_of_its_own(run_python):
    program = """
import os, threading
from otel_perfmon.storage.gated_thread import GatedThread
passed = threading.Event()
def run():
    while gated.wait_at_gate():
        passed.set()
gated = GatedThread(run, "test-passer")
gated.wake()
assert passed.wait(10)
if os.fork() == 0:
    passed, gated = threading.Event(), GatedThread(run, "test-passer")
    assert threading.active_count() == 1
    assert gated.wake() and passed.wait(10)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run_python(program, PYTHONWARNINGS="ignore") == "7\n"


def test_an_interrupt_as_soon_as_it_runs_starts_no_second_one(passer, monkeypatch):
    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gated_threads.threading, "Thread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            passer.gated.wake()
    assert wait_until(lambda: passer.threads)
    assert passer.gated.wake() is True
    assert wait_until(lambda: passer.passed)
    time.sleep(0.05)
    assert len(passer.threads) == 1


def test_what_fails_at_the_limit_of_recursion_is_not_taken_for_a_system_without_threads(passer, monkeypatch):
    def fail(_: threading.Thread) -> None:
        raise RecursionError

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RecursionError):
            passer.gated.wake()
    assert passer.gated.wake() is True
    assert wait_until(lambda: passer.passed)
