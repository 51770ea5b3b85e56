"""Requests share transactions, and each is told what became of its own rows."""

from __future__ import annotations

import threading

import pytest

from otel_perfmon.errors import StoreBusyError, StoreError, StoreFullError
from otel_perfmon.otlp.receiver.commits import ROWS_AT_ONCE, Commits
from otel_perfmon.otlp.receiver.intake import refusal_of


@pytest.fixture
def commits_of():
    made = []

    def make(write_first, **arguments):
        made.append(Commits(write_first, **arguments))
        return made[-1]

    yield make
    for commits in made:
        commits.stop()


def outcome(future):
    error = future.exception(timeout=10)
    return "stored" if error is None else type(error).__name__


def write_all(rows, on_commit):
    on_commit(len(rows))


class Gate:
    """Holds the first call back, until the others have come."""

    def __init__(self) -> None:
        self.is_reached, self.may_go = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.is_reached.set()
        self.may_go.wait(10)


def test_what_comes_while_one_is_written_is_written_together(commits_of):
    written, gate = [], Gate()

    def write_first(rows, on_commit):
        gate.pass_through()
        written.append(list(rows))
        on_commit(len(rows))

    commits = commits_of(write_first)
    futures = [commits.submit([0])]
    gate.is_reached.wait(10)
    futures += [commits.submit([number, number]) for number in (1, 2, 3)]
    gate.may_go.set()
    assert [outcome(future) for future in futures] == ["stored"] * 4
    assert written == [[0], [1, 1, 2, 2, 3, 3]]


def submit_together(commits_of, *requests):
    """Futures of a request, and of those that come while it is written, three rows at a time; a 9 fills the disk."""
    gate = Gate()

    def write_first(rows, on_commit):
        gate.pass_through()
        if 9 in rows[:3]:
            raise StoreFullError("the disk is full")
        on_commit(min(len(rows), 3))

    commits = commits_of(write_first)
    futures = [commits.submit([0])]
    gate.is_reached.wait(10)
    futures += map(commits.submit, requests)
    gate.may_go.set()
    return futures


def test_who_was_stored_before_a_failure_is_told_so(commits_of):
    futures = submit_together(commits_of, [1, 2], [3, 4], [5, 9], [7])
    full = "StoreFullError"
    assert [outcome(future) for future in futures] == ["stored", "stored", full, full, full]


def test_who_was_stored_in_part_is_told_how_much_and_who_was_not_that_nothing_was(commits_of):
    futures = submit_together(commits_of, [1, 2, 3, 4, 5], [6, 9, 8], [7])
    assert outcome(futures[0]) == outcome(futures[1]) == "stored"
    told = [str(refusal_of(future.exception(10))) for future in futures[2:]]
    assert told == ["Only a first part (1 items) was stored: the disk is full", "Nothing was stored: the disk is full"]


def test_a_busy_store_is_tried_again_from_where_it_was(commits_of):
    calls = []

    def write_first(rows, on_commit):
        calls.append(list(rows))
        if len(calls) in {2, 3}:
            raise StoreBusyError("another process writes")
        on_commit(2)

    assert outcome(commits_of(write_first).submit([1, 2, 3, 4])) == "stored"
    assert calls == [[1, 2, 3, 4], [3, 4], [3, 4], [3, 4]]


class Locked:
    """A store that another process holds, until the clock says otherwise; each try takes a second."""

    def __init__(self, free_from: float) -> None:
        self.free_from = free_from
        self.seconds = 0.0
        self.tries: list[list[int]] = []
        self.gate = Gate()

    def now(self) -> float:
        return self.seconds

    def write_first(self, rows, on_commit) -> None:
        self.gate.pass_through()
        self.tries.append(sorted(set(rows)))
        if self.seconds >= self.free_from:
            on_commit(len(rows))
            return
        self.seconds += 1
        raise StoreBusyError("another process writes")

    def submit(self, commits_of, *requests):
        """Futures of the requests, which came at the given second of the clock, all before the first try ends."""
        commits = commits_of(self.write_first, now=self.now)
        futures = []
        for second, rows in requests:
            self.seconds = second
            futures.append(commits.submit(rows))
            self.gate.is_reached.wait(10)
        self.seconds = 0
        self.gate.may_go.set()
        return futures


def test_while_the_store_is_locked_nobody_waits_for_the_patience_with_others(commits_of):
    locked = Locked(free_from=1_000)
    futures = locked.submit(commits_of, *((0, [number] * ROWS_AT_ONCE) for number in range(5)))
    assert [outcome(future) for future in futures] == ["StoreBusyError"] * 5
    assert locked.tries == [[0]] * 4


def test_who_came_later_is_tried_until_its_own_patience_is_over(commits_of):
    locked = Locked(free_from=5)
    requests = [(0, [0] * 4), (1, [1] * 4), (1, []), (2, [2] * 4), (3, [3] * ROWS_AT_ONCE)]
    futures = locked.submit(commits_of, *requests)
    assert [outcome(future) for future in futures] == [*["StoreBusyError"] * 2, "stored", "stored", "stored"]
    assert locked.tries == [[0]] * 4 + [[1, 2], [2], [3]]


def test_a_sender_is_answered_at_the_commit_and_waits_for_no_tidying(commits_of):
    gate = Gate()

    def write_first(rows, on_commit):
        on_commit(len(rows))
        gate.pass_through()
        raise StoreFullError("while the log was carried over")

    commits = commits_of(write_first)
    future = commits.submit([1])
    gate.is_reached.wait(10)
    assert outcome(future) == "stored"
    gate.may_go.set()


def test_a_fault_of_ours_is_answered_too_and_the_next_request_stored(commits_of):
    def write_first(rows, on_commit):
        if rows == ["bad"]:
            raise KeyError("bad")
        on_commit(len(rows))

    commits = commits_of(write_first)
    assert outcome(commits.submit(["bad"])) == "StoreError"
    assert outcome(commits.submit(["good"])) == "stored"


def test_when_it_stops_what_waits_is_stored_and_what_comes_later_refused(commits_of):
    commits = commits_of(write_all)
    futures = [commits.submit([number]) for number in range(10)]
    commits.stop()
    assert [outcome(future) for future in futures] == ["stored"] * 10
    with pytest.raises(StoreError, match="stopping"):
        commits.submit([1]).result(1)


def test_a_request_without_rows_succeeds(commits_of):
    assert outcome(commits_of(write_all).submit([])) == "stored"
