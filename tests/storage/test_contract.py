"""What `storage.base` promises, asked of every backend. A new one joins by a line in `BACKENDS`."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from storage_kit import (
    NOW,
    NOW_S,
    SECOND,
    batch,
    edge_row,
    point_row,
    sampled_out,
    span_bytes,
    span_row,
    trace_bytes,
    unstorable_row,
    write,
)

from otel_perfmon.errors import NotFoundError, QueryError, StoreClosedError, StoreError
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.base import Batch, RetentionPolicy, SpanWriter, Store
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter


@dataclass(frozen=True)
class Backend:
    name: str
    make_writer: Callable[[str, RetentionPolicy], SpanWriter]
    open_store: Callable[[str], Store]


BACKENDS = [Backend("sqlite", SqliteWriter, SqliteStore)]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request) -> Backend:
    return request.param


@pytest.fixture
def writer(backend, db_path) -> Iterator[SpanWriter]:
    with closing(backend.make_writer(db_path, RetentionPolicy())) as writer:
        yield writer


@pytest.fixture
def store(backend, db_path) -> Iterator[Store]:
    with backend.open_store(db_path) as store:
        yield store


@pytest.fixture
def empty(writer, store) -> Store:
    writer.write(Batch(), timeout_seconds=1)
    return store


QUESTIONS = {
    "find_spans": lambda store: store.find_spans(SpanQuery()),
    "summarize_operations": lambda store: store.summarize_operations(),
    "list_operations": lambda store: store.list_operations(),
    "list_services": lambda store: store.list_services(),
    "summarize_calls": lambda store: store.summarize_calls(),
    "summarize_errors": lambda store: store.summarize_errors(),
    "find_points": lambda store: store.find_points(),
}


def names(store, **query):
    return [span.name for span in store.find_spans(SpanQuery(**query))]


def fill(writer, count=10):
    write(writer, *[span_row(f"op{i}", end=NOW + i * SECOND) for i in range(count)])


class TestWriting:
    def test_a_batch_is_visible_when_the_call_returns(self, writer, store):
        more = {"edges": [edge_row()], "points": [point_row()], "dropped": {"full": 3}, **sampled_out(2)}
        assert write(writer, span_row("a", error="x"), **more) == 0
        assert names(store) == ["a"]
        assert sorted(each.count for each in store.summarize_operations()) == [1, 2]
        assert len(store.summarize_calls()) == len(store.summarize_errors()) == len(store.find_points()) == 1
        assert (store.get_health().ended, store.get_health().dropped) == (6, {"full": 3})

    def test_an_unstorable_span_is_left_out_and_counted_and_the_others_are_kept(self, writer, store):
        assert write(writer, span_row("a"), unstorable_row(), span_row("b"), unstorable_row()) == 2
        assert sorted(names(store)) == ["a", "b"]
        health = store.get_health()
        assert (health.ended, health.stored, sum(health.dropped.values())) == (4, 2, 2)
        assert sum(each.count for each in store.summarize_operations()) == 2

    def test_what_a_batch_holds_beside_an_unstorable_span_is_kept(self, writer, store):
        write(writer, unstorable_row(), edges=[edge_row()], points=[point_row()], dropped={"full": 1}, **sampled_out(1))
        assert len(store.summarize_calls()) == len(store.find_points()) == 1
        assert (store.get_health().dropped["full"], store.get_health().sampled_out) == (1, 1)

    def test_what_was_counted_before_and_what_is_counted_only_is_kept_beside_an_unstorable_span(self, writer, store):
        write(writer, **sampled_out(3))
        counted = {"counted": [span_row("counted")], "counted_self_nano": [1]}
        kept = [span_row("kept 1"), unstorable_row(), span_row("kept 2")]
        assert write(writer, span_row("a"), kept=kept, **counted) == 1
        assert sorted(names(store)) == ["a", "kept 1", "kept 2"]
        assert sorted(each.operation for each in store.summarize_operations()) == ["a", "counted", "sampled out"]
        health = store.get_health()
        assert (health.ended, health.counted, health.stored, health.sampled_out) == (5, 5, 3, 2)
        assert (health.dropped, health.not_kept) == ({}, {"not_kept": 1})

    def test_what_cannot_even_be_counted_is_dropped_and_not_sampled_out(self, writer, store):
        counted = [span_row("a"), span_row("\ud800"), span_row("b")]
        assert write(writer, counted=counted, counted_self_nano=[1, 1, 1]) == 1
        health = store.get_health()
        assert (health.ended, health.counted, health.sampled_out, health.dropped) == (3, 2, 2, {"unstorable": 1})

    def test_a_written_batch_says_so(self, writer):
        each = batch(span_row())
        assert not each.is_written
        writer.write(each, timeout_seconds=1)
        assert each.is_written

    def test_the_same_span_written_twice_is_two_spans(self, writer, store):
        row = span_row()
        write(writer, row, row)
        assert len(store.find_spans(SpanQuery())) == 2

    def test_health_adds_up_whatever_is_written(self, writer, store):
        for i in range(5):
            write(
                writer, *[span_row(altered="x" if i else "") for _ in range(i)], dropped={"a": i}, **sampled_out(i * 2)
            )
        health = store.get_health()
        assert health.ended == health.counted + sum(health.dropped.values()) == 40
        assert health.counted == health.stored + health.sampled_out
        assert (health.stored, health.altered) == (10, 10)

    def test_a_closed_writer_opens_again(self, writer, store):
        write(writer, span_row("a"))
        writer.close()
        writer.close()
        write(writer, span_row("b"))
        assert sorted(names(store)) == ["a", "b"]

    def test_progress_is_told_of(self, writer):
        told = []
        writer.on_progress = lambda: told.append(1)
        write(writer, span_row())
        assert told


class TestReading:
    def test_spans_are_newest_first_by_end_and_ties_in_reverse_order_of_arrival(self, writer, store):
        write(writer, span_row("b", end=NOW + 1, ms=9), span_row("a", end=NOW, ms=1), span_row("c", end=NOW + 1, ms=9))
        write(writer, span_row("d", end=NOW + 1, ms=0))
        assert names(store) == ["d", "c", "b", "a"]
        assert names(store, order="oldest") == ["a", "b", "c", "d"]
        assert names(store, order="slowest") == ["c", "b", "a", "d"]

    def test_a_limit_gives_the_first_of_the_order(self, writer, store):
        fill(writer)
        assert names(store, limit=2) == ["op9", "op8"]
        assert names(store, limit=2, order="oldest") == ["op0", "op1"]
        assert len(names(store, limit=10**6)) == 10

    def test_a_window_holds_its_start_and_not_its_end(self, writer, store):
        fill(writer)
        window = Window(NOW + 2 * SECOND, NOW + 4 * SECOND)
        assert names(store, window=window) == ["op3", "op2"]
        assert names(store, window=Window(NOW, NOW)) == []

    def test_a_page_is_a_sequence_that_says_whether_it_is_all(self, writer, store):
        fill(writer)
        page = store.find_spans(SpanQuery())
        assert (len(page), page[0].name, [span.name for span in page][-1]) == (10, "op9", "op0")
        assert page.is_complete

    def test_nothing_found_is_an_empty_answer(self, empty):
        for ask in QUESTIONS.values():
            assert len(ask(empty)) == 0
        assert len(empty.find_spans(SpanQuery(operation="none", service="none"))) == 0
        health = empty.get_health()
        assert (health.ended, dict(health.dropped)) == (0, {})

    def test_a_trace_that_is_not_there_is_not_found_and_a_malformed_id_is_a_query_error(self, empty):
        with pytest.raises(NotFoundError):
            empty.get_trace("0" * 31 + "1")
        with pytest.raises(LookupError):
            empty.get_trace("0" * 31 + "1")
        for wrong in ("x", "", "0" * 30):
            with pytest.raises(QueryError):
                empty.get_trace(wrong)

    def test_a_trace_is_ordered_by_start(self, writer, store):
        ids = {"trace_id": trace_bytes(9)}
        write(writer, span_row("late", end=NOW + 9, **ids), span_row("early", end=NOW + 10, ms=5, **ids), span_row())
        trace = store.get_trace(trace_bytes(9).hex())
        assert [span.name for span in trace.spans] == ["early", "late"]

    def test_a_malformed_question_is_a_query_error(self):
        wrong = ({"order": "fastest"}, {"limit": 0}, {"limit": True}, {"limit": 1.5}, {"trace_id": "x"})
        for each in (*wrong, {"min_duration_ms": math.nan}, {"max_duration_ms": "1"}):
            with pytest.raises(QueryError):
                SpanQuery(**each)
        with pytest.raises(QueryError):
            Window(2, 1)

    def test_services_are_told_apart(self, writer, store):
        write(
            writer,
            span_row("a"),
            span_row("a", service="stock"),
            span_row("b", service="stock"),
            span_row("z", service=""),
        )
        assert store.list_services() == ["", "shop", "stock"]
        assert store.list_operations() == ["a", "b", "z"]
        assert store.list_operations(service="stock") == ["a", "b"]
        assert store.list_operations(service="none") == []
        assert sorted(names(store, service="stock")) == ["a", "b"]
        assert names(store, service="stock", operation="a") == ["a"]
        assert [each.count for each in store.summarize_operations(operation="a")] == [2]
        by_service = store.summarize_operations(operation="a", is_by_service=True)
        assert sorted(each.service for each in by_service) == ["shop", "stock"]

    def test_operations_come_with_most_total_time_first(self, writer, store):
        write(writer, span_row("short", ms=1), span_row("long", ms=9), *[span_row("often", ms=4) for _ in range(3)])
        stats = store.summarize_operations()
        assert [each.operation for each in stats] == ["often", "long", "short"]
        assert [each.total_ms for each in stats] == [12, 9, 1]
        assert stats[0].window is None

    def test_points_are_newest_first_and_limited(self, writer, store):
        write(writer, points=[point_row(at=NOW + i) for i in range(5)])
        assert [each.time_unix_nano - NOW for each in store.find_points(limit=2)] == [4, 3]
        assert [each.time_unix_nano - NOW for each in store.find_points(window=Window(NOW + 1, NOW + 3))] == [2, 1]
        assert store.find_points("none") == []

    def test_many_threads_ask_while_one_writes(self, writer, store):
        write(writer, span_row())
        failures: list[BaseException] = []

        def ask():
            try:
                for _ in range(20):
                    stats, spans = store.summarize_operations(), store.find_spans(SpanQuery(limit=10**6))
                    assert stats[0].count <= len(spans)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            write(writer, span_row(), span_row())
        for thread in threads:
            thread.join()
        assert failures == []
        assert store.summarize_operations()[0].count == 101


class TestDeleting:
    def test_spans_that_ended_before_that_moment_go_and_their_number_is_told(self, writer, store):
        fill(writer)
        assert store.delete_spans_before(NOW_S + 4) == 4
        assert store.delete_spans_before(NOW_S + 4) == 0
        assert names(store) == [f"op{i}" for i in range(9, 3, -1)]

    def test_statistics_stay(self, writer, store):
        fill(writer)
        before = store.summarize_operations(), store.get_health().stored
        store.delete_spans_before(math.inf)
        assert names(store) == []
        assert (store.summarize_operations(), store.get_health().stored) == before
        assert store.list_operations() == [f"op{i}" for i in range(10)]

    def test_what_was_deleted_is_counted_as_pruned(self, writer, store):
        fill(writer)
        writer.close()
        store.delete_spans_before(NOW_S + 4)
        assert store.get_health().pruned == 4

    @pytest.mark.parametrize("moment", [0, -1, -1e30, -math.inf])
    def test_a_moment_before_all_deletes_nothing(self, writer, store, moment):
        fill(writer)
        assert store.delete_spans_before(moment) == 0

    @pytest.mark.parametrize("moment", [math.nan, "yesterday", None, True])
    def test_no_moment_at_all_is_a_query_error_and_deletes_nothing(self, writer, store, moment):
        fill(writer)
        with pytest.raises(QueryError):
            store.delete_spans_before(moment)
        assert len(names(store)) == 10

    def test_more_than_one_transaction_of_spans_goes(self, writer, store):
        write(writer, *[span_row() for _ in range(5000)])
        assert store.delete_spans_before(NOW_S + 1) == 5000

    def test_an_orphan_stays_readable(self, writer, store):
        ids = {"trace_id": trace_bytes(5)}
        write(writer, span_row("root", end=NOW, span_id=span_bytes(1), **ids))
        write(writer, span_row("child", end=NOW + 2 * SECOND, parent=span_bytes(1), **ids))
        store.delete_spans_before(NOW_S + 1)
        (node,) = store.get_trace(trace_bytes(5).hex()).tree().nodes
        assert (node.span.name, node.depth, node.is_orphan) == ("child", 0, True)


class TestClosing:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_a_question_to_a_closed_store_says_that_it_is_closed(self, empty, question):
        empty.close()
        with pytest.raises(StoreClosedError):
            QUESTIONS[question](empty)

    def test_everything_else_does_too_and_closing_twice_is_no_trouble(self, empty):
        empty.close()
        empty.close()
        for question in (empty.get_health, lambda: empty.get_trace("0" * 32), lambda: empty.delete_spans_before(0)):
            with pytest.raises(StoreClosedError):
                question()

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_a_store_that_is_not_there_is_a_store_error(self, store, question):
        with pytest.raises(StoreError):
            QUESTIONS[question](store)

    def test_deleting_from_a_store_that_is_not_there_is_a_store_error(self, store):
        with pytest.raises(StoreError):
            store.delete_spans_before(NOW_S)


class TestKeeping:
    def test_maintenance_ends_and_takes_nothing_before_its_time(self, writer, store):
        fill(writer)
        for _ in range(100):
            if not writer.maintain():
                break
        else:
            pytest.fail("maintain() never ends")
        assert len(names(store)) == 10
        assert not writer.is_over_size

    def test_a_size_that_was_exceeded_is_told_and_mended(self, writer, store):
        write(writer, *[span_row(attributes='{"x":"' + "y" * 2000 + '"}') for _ in range(6000)])
        writer.set_retention(RetentionPolicy(size_max_bytes=20 << 20))
        assert writer.is_over_size
        for _ in range(1000):
            if not writer.maintain():
                break
        assert not writer.is_over_size
        health = store.get_health()
        assert health.stored - health.pruned == len(store.find_spans(SpanQuery(limit=10**6))) > 0
        assert store.summarize_operations()[0].count == 6000
