"""What comes from elsewhere is stored once, or refused whole."""

from __future__ import annotations

import os
import random
from contextlib import closing

import pytest
from storage_kit import SECOND, log_row, span_bytes, span_row, trace_bytes

from otel_perfmon import open_store
from otel_perfmon.errors import StoreError
from otel_perfmon.storage.arrivals import Arrivals, as_they_ended
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.known_spans import KnownSpans
from otel_perfmon.storage.recorder import BATCH_MAX
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.url import open_recorder


@pytest.fixture
def recorder(db_path):
    recorder = open_recorder(db_path, RetentionPolicy(), is_override=False)
    yield recorder
    release_recorder(recorder)


@pytest.fixture
def store(db_path):
    with closing(open_store(db_path)) as store:
        yield store


def write(arrivals, rows):
    """Commit the rows that the store does not have, in as few transactions as they fit into."""
    while rows:
        rows = rows[arrivals.write_first(rows[:BATCH_MAX]) :]


def family(trace: int, children: int = 3):
    """A root and its children, which end before it."""
    ids = [span_bytes(trace * 100 + number) for number in range(children + 1)]
    rows = [
        span_row("child", trace_id=trace_bytes(trace), span_id=each, parent_span_id=ids[0], duration_nano=SECOND)
        for each in ids[1:]
    ]
    return [*rows, span_row("root", trace_id=trace_bytes(trace), span_id=ids[0], duration_nano=10 * SECOND)]


def figures(store):
    return {each.operation: (each.count, each.self_ms) for each in store.summarize_operations()}


def test_spans_are_stored_and_counted_once_however_often_they_come(recorder, store):
    arrivals = Arrivals(recorder, store)
    rows = family(1)
    for _ in range(3):
        write(arrivals, rows)
    write(arrivals, [*rows, *rows])
    assert figures(store) == {"root": (1, 7000.0), "child": (3, 3000.0)}
    (edge,) = store.summarize_calls()
    assert edge.count == 3


def test_so_they_are_when_another_process_took_them_in(recorder, store):
    write(Arrivals(recorder, store), family(1))
    write(Arrivals(recorder, store), family(1) + family(2))
    assert figures(store) == {"root": (2, 14_000.0), "child": (6, 6000.0)}


def test_spans_that_could_not_be_written_are_counted_right_when_they_come_again(recorder, store, monkeypatch):
    arrivals = Arrivals(recorder, store)
    write(arrivals, family(1))

    def fail(*_, **__):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(recorder._writer, "write", fail)
        for _ in range(2):
            with pytest.raises(StoreError, match="full"):
                write(arrivals, family(2))
    write(arrivals, family(3))
    write(arrivals, family(2))
    assert figures(store) == {"root": (3, 21_000.0), "child": (9, 9000.0)}
    (edge,) = store.summarize_calls()
    assert edge.count == 9


def test_more_than_one_transaction_holds_are_written_in_several(recorder, store):
    rows = [span_row("op", trace_id=trace_bytes(1), span_id=span_bytes(number)) for number in range(10_000)]
    write(Arrivals(recorder, store), rows)
    write(Arrivals(recorder, store), rows)
    assert figures(store)["op"][0] == 10_000


@pytest.mark.parametrize("times", [1, 2], ids=["once each", "twice each"])
@pytest.mark.parametrize("is_log_first", [False, True], ids=["spans first", "a log record first"])
def test_spans_of_a_file_that_is_gone_are_stored_in_the_new_one(recorder, store, db_path, is_log_first, times):
    arrivals = Arrivals(recorder, store)
    for _ in range(3):
        for _ in range(times):
            write(arrivals, family(1))
        assert figures(store) == {"root": (1, 7000.0), "child": (3, 3000.0)}
        assert len(store.get_trace(trace_bytes(1).hex()).spans) == 4
        for path in (db_path, *(f"{db_path}{ending}" for ending in ("-wal", "-shm", ".lock"))):
            if os.path.exists(path):
                os.unlink(path)
        if is_log_first:
            recorder.write_logs([log_row()])


def test_a_parent_that_comes_after_its_children_made_the_file_has_its_self_time(recorder, store):
    arrivals = Arrivals(recorder, store)
    *children, root = family(1)
    write(arrivals, children)
    write(arrivals, [root])
    assert figures(store)["root"] == (1, 7000.0)


def test_spans_that_were_pruned_are_stored_again_and_those_that_were_not_stay_known(recorder, store):
    arrivals = Arrivals(recorder, store)
    old = [span_row("old", trace_id=trace_bytes(1), span_id=span_bytes(1), end_unix_nano=SECOND)]
    write(arrivals, old + family(2))
    assert store.delete_spans_before(2) == 1
    for _ in range(2):
        write(arrivals, old + family(2))
    assert len(store.get_trace(trace_bytes(1).hex()).spans) == 1
    assert {name: count for name, (count, _) in figures(store).items()} == {"old": 2, "root": 1, "child": 3}


def test_the_account_tells_of_them(recorder, store):
    write(Arrivals(recorder, store), family(1))
    health = store.get_health()
    assert (health.ended, health.counted, health.stored) == (4, 4, 4)


class Counting:
    """A store that tells how many rows it has read."""

    def __init__(self, store) -> None:
        self._store = store
        self.read_count = 0

    def find_span_keys(self, after):
        found = self._store.find_span_keys(after)
        self.read_count += len(found.rows)
        return found


def test_of_a_long_trace_each_row_is_read_once(recorder, store):
    reader = Counting(store)
    arrivals = Arrivals(recorder, reader)
    for start in range(0, 5_000, 100):
        spans = [span_row("op", trace_id=trace_bytes(1), span_id=span_bytes(start + each)) for each in range(100)]
        write(arrivals, spans)
        write(arrivals, spans)
    assert figures(store)["op"][0] == 5_000
    assert reader.read_count <= 5_000


def test_what_is_remembered_is_bounded_and_what_was_forgotten_is_read_again(recorder, store):
    arrivals = Arrivals(recorder, store)
    arrivals._known = known = KnownSpans(store, remembered_max=50)
    rng = random.Random(1)
    children = set()
    for number in range(200):
        trace, count = rng.randrange(40), number % 4
        children |= {(trace, each) for each in range(count)}
        write(arrivals, family(trace, count))
        assert known._remembered_count == sum(len(each.spans) for each in known._traces.values()) <= 54
    assert {name: count for name, (count, _) in figures(store).items()} == {"root": 40, "child": len(children)}


def test_spans_are_put_into_the_order_of_their_ends():
    later, sooner = span_row("later", service="a", end_unix_nano=2), span_row("sooner", service="b", end_unix_nano=1)
    assert as_they_ended([later, sooner]) == [sooner, later] == as_they_ended([sooner, later])


def test_those_of_one_scope_stay_in_theirs():
    first = span_row("first", end_unix_nano=2)
    second = span_row("second", resource=first.resource, scope=first.scope, end_unix_nano=1)
    assert as_they_ended([first, second]) == [first, second]


def test_what_fails_after_the_commit_makes_no_difference_to_the_account(recorder, store, monkeypatch):
    def break_down() -> None:
        raise MemoryError

    arrivals = Arrivals(recorder, store)
    monkeypatch.setattr(recorder.maintenance, "shrink_if_over_size", break_down)
    for trace in (1, 2):
        with pytest.raises(MemoryError):
            arrivals.write_first(family(trace))
    monkeypatch.undo()
    arrivals.write_first([*family(1), *family(3)])
    assert recorder.ledger.counted_count == 12
    assert figures(store) == {"root": (3, 21000.0), "child": (9, 9000.0)}
    assert [edge.count for edge in store.summarize_calls()] == [9]
