from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from storage_kit import (
    NOW,
    NOW_S,
    SECOND,
    ask,
    ask_one,
    edge_row,
    names_in,
    point_row,
    resource_row,
    sampled_out,
    span_bytes,
    span_row,
    trace_bytes,
    write,
)

from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.cells import ALIGNED_TO_S
from otel_perfmon.storage.maintenance import remove_in_steps
from otel_perfmon.storage.sqlite import figures
from otel_perfmon.storage.sqlite import retention as retentions
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR, DAY = 3_600, 86_400
BIG = '{"x":"' + "y" * 1500 + '"}'


@pytest.fixture
def writer(db_path, clock):
    writer = SqliteWriter(db_path, RetentionPolicy(retention_seconds=HOUR, keep_seconds=7 * DAY))
    yield writer
    writer.close()


def maintain(writer):
    steps = 0
    while writer.maintain():
        steps += 1
        assert steps < 10_000
    return steps


def assert_pruned_is_exact(path):
    stored, pruned = ask(path, "SELECT sum(stored), sum(pruned) FROM _health")[0]
    assert stored - pruned == ask_one(path, "SELECT count(*) FROM _spans")


# --- ordinary spans


def test_ordinary_spans_go_when_their_time_is_over_and_not_before(writer, clock, db_path):
    write(writer, span_row("first"))
    clock.now += 60
    write(writer, span_row("second"))
    clock.now = NOW_S + HOUR - 1
    maintain(writer)
    assert names_in(db_path) == ["first", "second"]
    clock.now = NOW_S + HOUR + 20
    maintain(writer)
    assert names_in(db_path) == ["second"]
    clock.now += 60
    maintain(writer)
    assert names_in(db_path) == []
    assert_pruned_is_exact(db_path)


def test_a_span_goes_by_its_arrival_whenever_it_ended(writer, clock, db_path):
    write(writer, span_row("late sender", end=NOW - 30 * DAY * SECOND), span_row("from the future", end=2**62))
    clock.now += HOUR - 30
    maintain(writer)
    assert len(names_in(db_path)) == 2
    clock.now += 60
    maintain(writer)
    assert names_in(db_path) == []


def test_many_spans_go_in_many_small_transactions(writer, clock, db_path, monkeypatch):
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 100)
    write(writer, *[span_row() for _ in range(1050)])
    clock.now += 2 * HOUR
    assert maintain(writer) >= 11
    assert names_in(db_path) == []
    assert_pruned_is_exact(db_path)


def test_figures_outlive_the_spans_they_were_counted_from(writer, clock, db_path):
    write(writer, *[span_row(error="x" if i == 3 else None) for i in range(10)], edges=[edge_row()])
    before = ask(db_path, "SELECT * FROM operations")
    clock.now += 8 * DAY
    maintain(writer)
    assert names_in(db_path) == []
    assert ask(db_path, "SELECT * FROM operations") == before
    assert ask_one(db_path, "SELECT count(*) FROM error_groups") == 1
    assert ask_one(db_path, "SELECT count(*) FROM calls") == 1


def test_a_clock_set_back_takes_no_span_before_its_time(writer, clock, db_path):
    clock.now = NOW_S + 10 * HOUR
    write(writer, *[span_row(f"before{i}") for i in range(5)])
    clock.now = NOW_S
    write(writer, span_row("after"))
    clock.now += 60
    maintain(writer)
    assert len(names_in(db_path)) == 6


def test_a_clock_that_was_ahead_for_a_moment_does_not_keep_spans_for_ever(writer, clock, db_path):
    write(writer, span_row("before"))
    clock.now = NOW_S + 3650 * DAY
    write(writer, span_row("ahead"))
    clock.now = NOW_S + 60
    maintain(writer)
    write(writer, span_row("after"))
    clock.now = NOW_S + 3 * HOUR
    maintain(writer)
    assert names_in(db_path) == []


def test_a_clock_ten_years_ahead_prunes_what_its_time_says_and_nothing_breaks(writer, clock, db_path):
    write(writer, span_row("a", error="x"))
    clock.now += 3650 * DAY
    write(writer, span_row("b"))
    maintain(writer)
    assert names_in(db_path) == ["b"]
    assert_pruned_is_exact(db_path)


@pytest.mark.parametrize("seconds", [1e-9, 1e12, 1e30])
def test_any_retention_that_a_setting_allows_works(db_path, clock, seconds):
    with closing(SqliteWriter(db_path, RetentionPolicy(retention_seconds=seconds))) as writer:
        write(writer, span_row("a"))
        clock.now += 60
        maintain(writer)
        assert names_in(db_path) == (["a"] if seconds > 1 else [])


def test_a_retention_longer_than_that_of_kept_traces_holds_for_ordinary_spans_too(db_path, clock):
    with closing(SqliteWriter(db_path, RetentionPolicy(retention_seconds=30 * DAY, keep_seconds=7 * DAY))) as writer:
        write(writer, span_row("ordinary"), span_row("slow", slow=True))
        clock.now += 20 * DAY
        maintain(writer)
        assert "ordinary" in names_in(db_path)
        clock.now += 20 * DAY
        maintain(writer)
        assert names_in(db_path) == []


# --- what is worth keeping


def in_trace(number, name, own, parent=0, **changes):
    ids = {"trace_id": trace_bytes(number), "span_id": span_bytes(own)}
    return span_row(name, parent=span_bytes(parent) if parent else b"", **ids, **changes)


@pytest.mark.parametrize("worth", [{"error": "x"}, {"slow": True}])
def test_a_slow_or_failed_span_keeps_its_trace_for_seven_days(writer, clock, db_path, worth):
    write(writer, in_trace(1, "leaf", 3, 2), in_trace(1, "middle", 2, 1, **worth), in_trace(1, "root", 1), span_row())
    clock.now += 2 * HOUR
    maintain(writer)
    assert names_in(db_path) == ["leaf", "middle", "root"]
    clock.now = NOW_S + 7 * DAY - 60
    maintain(writer)
    assert names_in(db_path) == ["leaf", "middle", "root"]
    clock.now = NOW_S + 7 * DAY + 60
    maintain(writer)
    assert names_in(db_path) == []
    assert_pruned_is_exact(db_path)


@pytest.mark.parametrize("rows_at_once", [7, 50, 2000])
def test_of_a_kept_trace_the_ancestors_stay_and_no_more_than_so_many_others(
    writer, clock, db_path, monkeypatch, rows_at_once
):
    monkeypatch.setattr(retentions, "KEPT_TRACE_SPANS_MAX", 20)
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", rows_at_once)
    failed = [in_trace(1, "failed", 1000 + i, 500, error="x") for i in range(30)]
    others = [in_trace(1, "other", 2000 + i, 400) for i in range(100)]
    ancestors = [in_trace(1, "parent", 500, 400), in_trace(1, "grandparent", 400, 300), in_trace(1, "root", 300)]
    write(writer, *others[:50], *failed, *others[50:], *ancestors)
    clock.now += 2 * HOUR
    maintain(writer)
    kept = dict(ask(db_path, "SELECT name, count(*) FROM spans GROUP BY name"))
    others_kept = kept.pop("other", 0)
    assert kept == {"failed": 30, "parent": 1, "grandparent": 1, "root": 1}
    assert others_kept <= 20
    if rows_at_once == 2000:
        assert others_kept == 20
    assert_pruned_is_exact(db_path)


def test_a_span_that_fails_while_its_trace_is_pruned_keeps_the_ancestors_that_are_still_there(
    writer, clock, db_path, monkeypatch
):
    monkeypatch.setattr(retentions, "KEPT_TRACE_SPANS_MAX", 5)
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 7)
    others = [in_trace(1, "other", 2000 + i, 400) for i in range(40)]
    write(writer, in_trace(1, "failed", 1000, 300, error="x"), *others, in_trace(1, "parent", 500, 400))
    clock.now += 2 * HOUR
    for _ in range(3):
        assert writer.maintain()
    write(writer, in_trace(1, "late", 1001, 500, error="x"))
    maintain(writer)
    assert [name for name in names_in(db_path) if name != "other"] == ["failed", "parent", "late"]
    assert_pruned_is_exact(db_path)


def test_a_loop_of_parents_does_not_hang_the_pruning(writer, clock, db_path, monkeypatch):
    monkeypatch.setattr(retentions, "KEPT_TRACE_SPANS_MAX", 1)
    write(
        writer,
        in_trace(1, "a", 1, 2, error="x"),
        in_trace(1, "b", 2, 1),
        in_trace(1, "self", 3, 3),
        in_trace(1, "c", 4),
    )
    clock.now += 2 * HOUR
    maintain(writer)
    assert {"a", "b"} <= set(names_in(db_path))


def test_a_trace_of_which_the_failed_span_comes_later_is_kept_from_then_on(writer, clock, db_path):
    write(writer, in_trace(1, "child", 2, 1))
    clock.now += HOUR - 60
    write(writer, in_trace(1, "root", 1, error="x"))
    clock.now += 120
    maintain(writer)
    assert names_in(db_path) == ["child", "root"]


# --- figures


def test_rollups_are_kept_an_hour_a_day_and_ninety_days(writer, clock, db_path):
    kept = {10: HOUR, 60: DAY, 3600: 90 * DAY}
    write(writer, span_row())
    for resolution, seconds in kept.items():
        query = f"SELECT count(*) FROM _rollups WHERE resolution_s = {resolution}"
        clock.now = NOW_S + seconds
        maintain(writer)
        assert ask_one(db_path, query) == 1
        clock.now = NOW_S + seconds + ALIGNED_TO_S[resolution] + figures._GRACE_SECONDS + 1
        maintain(writer)
        assert ask_one(db_path, query) == 0


def test_edges_groups_points_and_resources_have_an_end_too(writer, clock, db_path):
    write(writer, span_row(error="x"), edges=[edge_row()], points=[point_row()])
    clock.now += 8 * DAY + 60
    maintain(writer)
    assert ask_one(db_path, "SELECT count(*) FROM _points") == 0
    clock.now += 90 * DAY
    maintain(writer)
    for table in ("_edges", "_error_groups", "_rollups", "_spans"):
        assert ask_one(db_path, f"SELECT count(*) FROM {table}") == 0
    assert ask_one(db_path, "SELECT count(*) FROM _arrivals") <= 1


def test_a_resource_that_spans_still_refer_to_stays(writer, clock, db_path):
    write(writer, span_row(error="x"))
    for _ in range(13):
        clock.now += DAY / 2
        maintain(writer)
    with closing(SqliteReader(db_path)) as reader:
        assert reader.get_trace(ask_one(db_path, "SELECT trace_id FROM spans")).spans[0].service == "shop"


def test_silent_processes_are_folded_into_one_without_losing_a_count(clock, db_path):
    for i in range(5):
        with closing(SqliteWriter(db_path)) as writer:
            write(writer, span_row(), dropped={"queue_full": i, f"reason {i}": 1}, **sampled_out(2))
        clock.now += 10
    sums = "SELECT sum(ended), sum(stored), sum(sampled_out), sum(pruned) FROM _health"
    drops = "SELECT reason, sum(count) FROM _drops GROUP BY 1 ORDER BY 1"
    before, dropped = ask(db_path, sums), ask(db_path, drops)
    clock.now += 2 * HOUR
    with closing(SqliteWriter(db_path, RetentionPolicy(retention_seconds=DAY))) as writer:
        write(writer)
        maintain(writer)
        assert ask(db_path, sums) == before
        assert ask(db_path, drops) == dropped
        assert ask_one(db_path, "SELECT count(*) FROM _health") == 2
        clock.now += 2 * HOUR
        maintain(writer)
        maintain(writer)
        assert ask(db_path, sums) == before


def test_a_process_that_was_folded_away_and_prunes_later_is_still_counted(clock, db_path):
    idle = SqliteWriter(db_path, RetentionPolicy(retention_seconds=HOUR))
    busy = SqliteWriter(db_path, RetentionPolicy(retention_seconds=DAY))
    with closing(idle), closing(busy):
        write(idle, *[span_row() for _ in range(5)])
        clock.now += HOUR - 100
        write(busy, span_row("young"))
        clock.now += 200
        maintain(busy)
        assert ask_one(db_path, "SELECT count(*) FROM _health WHERE process = 'past'") == 1
        maintain(idle)
        assert names_in(db_path) == ["young"]
        assert_pruned_is_exact(db_path)


def test_what_is_deleted_without_a_recorder_is_counted_as_pruned(db_path):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, span_row(), span_row(), span_row(end=NOW + 9))
    with closing(SqliteWriter(db_path)) as another:
        assert another.delete_spans_before(NOW + 1) == (2, False)
    assert_pruned_is_exact(db_path)


# --- by size


def test_a_file_over_its_limit_gives_up_ordinary_spans_first_then_kept_ones_and_figures_last(
    db_path, clock, monkeypatch
):
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 100)
    with closing(SqliteWriter(db_path, RetentionPolicy(size_max_bytes=1 << 40))) as writer:
        for i in range(20):
            rows = [span_row(attributes=BIG) for _ in range(90)]
            write(writer, *rows, *[span_row("kept", error="x", attributes=BIG) for _ in range(10)])
            if i == 9:
                middle = os.stat(db_path).st_size
        full = ask_one(db_path, "PRAGMA page_count") * 4096
        writer.set_retention(RetentionPolicy(size_max_bytes=full * 2 // 3))
        maintain(writer)
        counts = dict(ask(db_path, "SELECT name, count(*) FROM spans GROUP BY name"))
        assert counts["kept"] == 200
        assert 0 < counts["op"] < 1800
        assert names_in(db_path)[-91] == "op"
        writer.set_retention(RetentionPolicy(size_max_bytes=full // 7))
        maintain(writer)
        counts = dict(ask(db_path, "SELECT name, count(*) FROM spans GROUP BY name"))
        assert "op" not in counts
        assert 0 < counts.get("kept", 0) < 200
        assert ask_one(db_path, "SELECT sum(count) FROM operations") == 2000
        assert ask_one(db_path, "SELECT count(*) FROM _rollups WHERE resolution_s = 10") > 0
        assert_pruned_is_exact(db_path)
    assert middle < full


@pytest.mark.parametrize("attribute_size", [500, 20_000])
def test_the_file_gives_its_space_back_to_the_disk(db_path, clock, attribute_size):
    policy = RetentionPolicy(retention_seconds=HOUR)
    text = '{"x":"' + "y" * attribute_size + '"}'
    with closing(SqliteWriter(db_path, policy)) as writer:
        for _ in range(5):
            write(writer, *[span_row(attributes=text) for _ in range(20_000_000 // 5 // (attribute_size + 500))])
        full = os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size
        clock.now += 2 * HOUR
        maintain(writer)
        assert os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size < full / 4


@pytest.mark.parametrize("attribute_size", [1_000, 16_000])
def test_a_file_over_its_limit_is_within_it_when_there_is_no_more_to_do(db_path, clock, attribute_size):
    limit = 16 << 20
    text = '{"x":"' + "y" * attribute_size + '"}'
    with closing(SqliteWriter(db_path, RetentionPolicy(size_max_bytes=limit))) as writer:
        for _ in range(10):
            write(writer, *[span_row(attributes=text) for _ in range(24_000_000 // 10 // (attribute_size + 300))])
        assert writer.is_over_size
        maintain(writer)
        assert not writer.is_over_size
        assert ask_one(db_path, "SELECT count(*) FROM _spans") > 0
        assert_pruned_is_exact(db_path)


def test_what_is_too_old_goes_too_when_the_file_was_over_its_limit_at_first(db_path, clock):
    limit = 4 << 20
    text = '{"x":"' + "y" * 2_000 + '"}'
    with closing(SqliteWriter(db_path, RetentionPolicy(size_max_bytes=limit))) as writer:
        for _ in range(5):
            write(writer, *[span_row(attributes=text) for _ in range(400)])
        assert writer.is_over_size
        clock.now += HOUR
        policy = RetentionPolicy(0, 0, limit)
        assert remove_in_steps(lambda: writer.prune(policy)) == 2_000
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 0


def test_deleting_gives_space_back_too(db_path, clock):
    with closing(SqliteWriter(db_path)) as writer:
        for _ in range(5):
            write(writer, *[span_row(attributes='{"x":"' + "y" * 20_000 + '"}') for _ in range(200)])
        full = os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size
        assert remove_in_steps(lambda: writer.delete_spans_before(NOW + 1)) == 1000
        assert os.stat(db_path).st_size + os.stat(db_path + "-wal").st_size < full / 4


def test_pruning_stops_when_nothing_is_left_to_prune(db_path, clock):
    with closing(SqliteWriter(db_path, RetentionPolicy(size_max_bytes=1))) as writer:
        write(writer, *[span_row(error="x") for _ in range(100)], points=[point_row()], edges=[edge_row()])
        maintain(writer)
        assert ask_one(db_path, "SELECT count(*) FROM _spans") == 0
        assert writer.is_over_size
        write(writer, span_row("still"))
        assert names_in(db_path) == ["still"]


# --- beside others


def test_two_processes_that_prune_at_once_count_each_span_once(db_path, clock):
    policy = RetentionPolicy(retention_seconds=HOUR)
    with closing(SqliteWriter(db_path, policy)) as first, closing(SqliteWriter(db_path, policy)) as second:
        write(first, *[span_row() for _ in range(3000)])
        write(second, *[span_row() for _ in range(3000)])
        clock.now += 2 * HOUR
        is_more = True
        while is_more:
            is_more = first.maintain()
            is_more = second.maintain() or is_more
        assert ask_one(db_path, "SELECT sum(pruned) FROM _health") == 6000
        assert names_in(db_path) == []


def test_pruning_goes_through_indexes(writer, db_path):
    write(writer, *[span_row(error="x" if i % 9 == 0 else None) for i in range(500)])
    ids = {"first": 1, "last": 9, "maximum": 5, "surplus": 3, "trace_id": b""}
    asked = (retentions._DELETE_ORDINARY, retentions._SURPLUS_OF_TRACES, retentions._DELETE_SURPLUS)
    with closing(sqlite3.connect(db_path)) as connection:
        for sql in retentions._PREPARE_ANCESTORS:
            connection.execute(sql)
        for sql in (*asked, retentions._NOTE_PARENTS, retentions._NOTE_ANCESTORS):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", ids)]
            assert not any(step in ("SCAN _spans", "SCAN s", "SCAN k", "SCAN p", "SCAN a") for step in plan), plan


def test_retention_runs_only_where_something_is_recorded(db_path, clock):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, *[span_row() for _ in range(10)])
    clock.now += 30 * DAY
    with closing(SqliteReader(db_path)) as reader:
        reader.list_services()
    assert len(names_in(db_path)) == 10


def test_names_that_nothing_refers_to_any_more_go_and_a_writer_that_knew_them_goes_on(writer, clock, db_path):
    for version in range(5):
        write(
            writer, span_row("old", resource=resource_row(version=str(version)), error="x"), edges=[edge_row("p", "q")]
        )
    with closing(SqliteWriter(db_path)) as another:
        write(another, span_row("old"))
        clock.now += 100 * DAY
        maintain(writer)
        assert ask_one(db_path, "SELECT count(*) FROM _operations") == 0
        assert ask_one(db_path, "SELECT count(*) FROM _services") == 0
        assert ask_one(db_path, "SELECT count(*) FROM _error_groups") == 0
        for each in (writer, another):
            write(each, span_row("old", end=int(clock.now) * SECOND, error="x"))
    assert names_in(db_path) == ["old", "old"]
    assert ask_one(db_path, "SELECT sum(count) FROM operations") == 2
    assert ask_one(db_path, "SELECT sum(count) FROM _error_cells WHERE resolution_s = 3600") == 2
    assert ask_one(db_path, "SELECT count(*) FROM _error_cells c JOIN _error_groups g ON g.id = c.group_id") == 2


def test_figures_go_in_steps_of_a_bounded_size(writer, clock, db_path, monkeypatch):
    monkeypatch.setattr(figures, "ROWS_AT_ONCE", 50)
    write(writer, *[span_row(f"op {i}") for i in range(120)])
    clock.now += 8 * DAY
    assert maintain(writer) >= 2
    assert ask_one(db_path, "SELECT count(*) FROM _rollups WHERE resolution_s = 10") == 0
    assert ask_one(db_path, "SELECT count(*) FROM _rollups WHERE resolution_s = 3600") == 120
