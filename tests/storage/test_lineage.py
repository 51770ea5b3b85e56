from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import NOW, NOW_S, SECOND, resource_row, span_bytes, span_row, trace_bytes

from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.rows import EdgeRow

MS = 10**6


def node(name, own, parent=0, *, ms=10, trace=1, **changes):
    ids = {"trace_id": trace_bytes(trace), "span_id": span_bytes(own)}
    return span_row(name, parent=span_bytes(parent) if parent else b"", ms=ms, **ids, **changes)


def own_ms(lineage, *rows):
    own: list[int] = []
    lineage.add_self_times(SpanColumns.of(rows), own)
    return [each / MS for each in own]


def edges(lineage):
    return {(each.caller, each.callee): (each.call_count, each.duration_sum_nano / MS) for each in lineage.take_edges()}


def test_self_time_is_the_duration_less_that_of_the_direct_children():
    lineage = Lineage()
    rows = [node("leaf", 3, 2, ms=2), node("middle", 2, 1, ms=5), node("middle", 4, 1, ms=1), node("root", 1, ms=10)]
    assert own_ms(lineage, *rows) == [2, 3, 1, 4]
    assert edges(lineage) == {("middle", "leaf"): (1, 2), ("root", "middle"): (2, 6)}


def test_children_that_ran_side_by_side_for_longer_than_their_parent_leave_it_no_less_than_nothing():
    lineage = Lineage()
    assert own_ms(lineage, *[node("child", i, 1, ms=9) for i in range(2, 6)], node("parent", 1, ms=10))[-1] == 0


def test_a_child_that_ends_after_its_parent_makes_an_edge_and_takes_nothing_from_it():
    lineage = Lineage()
    assert own_ms(lineage, node("parent", 1, ms=10), node("late", 2, 1, ms=8)) == [10, 8]
    assert edges(lineage) == {("parent", "late"): (1, 8)}


def test_a_parent_in_another_process_has_no_edge_and_no_less_time():
    lineage = Lineage()
    rows = [node("server", 2, 1, is_parent_remote=True), node("client", 1)]
    assert own_ms(lineage, *rows) == [10, 10]
    assert edges(lineage) == {}


def test_the_same_span_id_in_another_trace_is_another_span():
    lineage = Lineage()
    assert own_ms(lineage, node("child", 2, 1, trace=1), node("parent", 1, trace=2)) == [10, 10]
    assert edges(lineage) == {}


def test_a_span_that_is_its_own_parent_is_no_trouble():
    lineage = Lineage()
    assert own_ms(lineage, node("self", 1, 1), node("other", 2, 1)) == [10, 10]


def test_edges_go_by_service_and_by_the_hour_in_which_the_callee_ended():
    lineage = Lineage()
    hour = 3600 * SECOND
    stock = resource_row("stock")
    own_ms(
        lineage,
        node("child", 2, 1, end=NOW - 1),
        node("child", 3, 1, end=NOW),
        node("child", 4, 1, end=NOW + hour, resource=stock),
        node("parent", 1, end=NOW + hour),
    )
    found = sorted(lineage.take_edges(), key=lambda edge: (edge.hour_unix_s, edge.callee_resource.service_name))
    assert [(edge.hour_unix_s, edge.callee_resource.service_name) for edge in found] == [
        (NOW_S - 3600, "shop"),
        (NOW_S, "shop"),
        (NOW_S + 3600, "stock"),
    ]
    assert all(isinstance(edge, EdgeRow) and edge.caller_resource.service_name == "shop" for edge in found)


def test_edges_are_taken_once():
    lineage = Lineage()
    own_ms(lineage, node("child", 2, 1), node("parent", 1))
    assert edges(lineage)
    assert edges(lineage) == {}


def test_what_waits_for_parents_that_never_come_is_bounded():
    lineage = Lineage(waiting_max=10)
    own_ms(lineage, *[node("orphan", 2 * i, 2 * i + 1) for i in range(1, 1000)])
    assert len(lineage._waiting._young) + len(lineage._waiting._old) <= 20
    assert len(lineage._ended._indexed._young) + len(lineage._ended._indexed._old) <= 20


def test_what_is_remembered_of_spans_without_relatives_is_bounded_and_found_when_a_late_child_asks():
    lineage = Lineage(waiting_max=10)
    for batch in range(100):
        own_ms(lineage, *[node(f"root {batch}", 100 + 4 * batch + number) for number in range(4)])
    assert lineage._ended._column_length <= 14
    assert own_ms(lineage, node("late", 1, 100 + 4 * 99), node("too late", 2, 100)) == [10, 10]
    assert edges(lineage) == {("root 99", "late"): (1, 10)}
    assert own_ms(lineage, node("later", 3, 100 + 4 * 99)) == [10]
    assert edges(lineage) == {("root 99", "later"): (1, 10)}


def test_a_repeated_id_counts_a_child_for_the_first_parent_only():
    lineage = Lineage()
    rows = [node("child", 2, 1, ms=4), node("parent", 1, ms=10), node("parent", 1, ms=10)]
    assert own_ms(lineage, *rows) == [4, 6, 10]


@pytest.mark.parametrize("duration", [0, 2**63 - 1])
def test_the_shortest_and_the_longest_durations_count(duration):
    lineage = Lineage()
    rows = [node("child", 2, 1)._replace(duration_nano=duration), node("parent", 1)._replace(duration_nano=2**63 - 1)]
    lineage.add_self_times(SpanColumns.of(rows), own := [])
    assert own == [duration, 2**63 - 1 - duration]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 50), st.booleans()), max_size=30))
def test_self_time_is_never_below_nothing_nor_above_the_duration_and_no_call_counts_twice(spans):
    lineage = Lineage()
    for own, parent, ms, is_remote in spans:
        row = node("op", own, parent, ms=ms, is_parent_remote=is_remote)
        assert 0 <= own_ms(lineage, row)[0] * MS <= row.duration_nano
    calls = sum(edge.call_count for edge in lineage.take_edges())
    assert calls <= sum(1 for _, parent, _, is_remote in spans if parent and not is_remote)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.booleans()), max_size=12), st.data())
def test_spans_that_come_together_are_as_those_that_come_one_by_one(tree, data):
    rows = [node(f"op{own}", own, parent, is_parent_remote=remote) for own, parent, remote in tree]
    together, apart = Lineage(), Lineage()
    own = own_ms(together, *rows[: data.draw(st.integers(0, len(rows)))])
    own += own_ms(together, *rows[len(own) :])
    assert own == [each for row in rows for each in own_ms(apart, row)]
    assert edges(together) == edges(apart)


def test_what_was_interrupted_goes_on_where_it_was():
    lineage = Lineage()
    rows = SpanColumns.of([node("child", 2, 1, ms=4), node("child", 3, 1, ms=1), node("parent", 1)])
    own: list[int] = []
    lineage.add_self_times(rows[:2], own)
    lineage.add_self_times(rows, own)
    lineage.add_self_times(rows, own)
    assert [each / MS for each in own] == [4, 1, 5]
    assert edges(lineage) == {("parent", "child"): (2, 5)}
