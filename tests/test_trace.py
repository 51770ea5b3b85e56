"""The tree of a trace, against one made by brute force, and each hazard by its name."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_kit import span_record

from otel_perfmon.records import ResourceRecord, SpanRecord
from otel_perfmon.trace import Trace, TraceNode, TraceTree
from otel_perfmon.tree import CriticalSegment

SHOP, STOCK, MAIL = (ResourceRecord({"service.name": name}) for name in ("shop", "stock", "mail"))
CLIENT, PRODUCER, CONSUMER = 3, 4, 5


def span(name: str, parent: str | None, start: int, end: int, resource: ResourceRecord = SHOP, **fields) -> SpanRecord:
    """A span whose id is its name unless told otherwise."""
    values = {"span_id": name, "parent_span_id": parent, "name": name, "resource": resource}
    return span_record(**{**values, "start_unix_nano": start, "end_unix_nano": end, **fields})


def tree_of(*spans: SpanRecord) -> TraceTree:
    return Trace("a" * 32, spans).tree()


def outline(tree: TraceTree) -> list[str]:
    return [". " * node.depth + node.span.name for node in tree.nodes]


def node_named(tree: TraceTree, name: str) -> TraceNode:
    (node,) = (node for node in tree.nodes if node.span.name == name)
    return node


def path_of(tree: TraceTree) -> list[tuple[str, int, int]]:
    return [(tree.nodes[index].span.name, start, end) for index, start, end in tree.critical_path]


# --- against brute force: small times, few ids, so that every hazard comes together with every other


@st.composite
def programs(draw) -> tuple[SpanRecord, ...]:
    ids = st.sampled_from("abcde")
    parents = st.sampled_from([None, *"abcdeabcdeabcde", "missing"])
    spans = [
        span(
            f"{number}",
            draw(parents),
            draw(st.integers(0, 12)),
            draw(st.integers(0, 14)),
            draw(st.sampled_from([SHOP, SHOP, STOCK, MAIL])),
            span_id=draw(ids),
            kind=draw(st.sampled_from([1, 1, PRODUCER, CONSUMER])),
        )
        for number in range(draw(st.integers(0, 9)))
    ]
    return tuple(sorted(spans, key=lambda each: each.start_unix_nano))


def contains(outer: SpanRecord, inner: SpanRecord) -> bool:
    end = inner.start_unix_nano + inner.duration_nano
    return outer.start_unix_nano <= inner.start_unix_nano and end <= outer.start_unix_nano + outer.duration_nano


def naive_parent(spans: tuple[SpanRecord, ...], number: int) -> int | None:
    twins = [n for n, each in enumerate(spans) if each.span_id == spans[number].parent_span_id]
    return next((n for n in twins if contains(spans[n], spans[number])), twins[0] if twins else None)


def naive_cycle(spans: tuple[SpanRecord, ...], number: int) -> list[int]:
    """The numbers in the cycle that ``number`` is part of; empty when it is in none."""
    seen = [number]
    parent = naive_parent(spans, number)
    while parent is not None and parent not in seen:
        seen.append(parent)
        parent = naive_parent(spans, parent)
    return seen if parent == number else []


@settings(max_examples=100)
@given(programs())
def test_each_span_stands_once_below_its_parent_and_before_its_children(spans):
    tree = tree_of(*spans)
    assert Counter(node.span.name for node in tree.nodes) == Counter(each.name for each in spans)
    number_of = {each.name: number for number, each in enumerate(spans)}
    for index, node in enumerate(tree.nodes):
        number = number_of[node.span.name]
        parent, cycle = naive_parent(spans, number), naive_cycle(spans, number)
        assert node.is_orphan == (parent is None and node.span.parent_span_id is not None)
        assert node.is_in_cycle == (bool(cycle) and number == min(cycle))
        if parent is None or node.is_in_cycle:
            assert (node.parent_index, node.depth) == (None, 0)
        else:
            assert number_of[tree.nodes[node.parent_index].span.name] == parent
            assert node.parent_index < index
            assert node.depth == tree.nodes[node.parent_index].depth + 1
            assert all(between.depth >= node.depth for between in tree.nodes[node.parent_index + 1 : index])
        assert node.child_count == sum(each.parent_index == index for each in tree.nodes)


@settings(max_examples=100)
@given(programs())
def test_siblings_stand_by_start_and_then_by_their_order_in_the_store(spans):
    number_of = {each.name: number for number, each in enumerate(spans)}
    families: dict[int | None, list[tuple[int, int]]] = {}
    tree = tree_of(*spans)
    for node in tree.nodes:
        families.setdefault(node.parent_index, []).append((node.start_unix_nano, number_of[node.span.name]))
    assert all(family == sorted(family) for family in families.values())


@settings(max_examples=100)
@given(programs())
def test_a_clock_is_moved_only_where_it_contradicts_its_parent_and_then_agrees(spans):
    tree = tree_of(*spans)
    for node in tree.nodes:
        assert node.start_unix_nano == node.span.start_unix_nano + node.skew_nano
        assert node.duration_nano == node.span.duration_nano
        if node.parent_index is None:
            assert node.skew_nano == 0
            continue
        parent = tree.nodes[node.parent_index]
        if node.span.resource == parent.span.resource:
            assert node.skew_nano == parent.skew_nano
            continue
        is_free = (
            node.duration_nano > parent.duration_nano or parent.span.kind == PRODUCER or node.span.kind == CONSUMER
        )
        fits = [
            start
            for start in range(parent.start_unix_nano, parent.end_unix_nano + 1 if not is_free else 100)
            if is_free or start + node.duration_nano <= parent.end_unix_nano
        ]
        assert node.start_unix_nano in fits
        if node.span.start_unix_nano in fits:
            assert node.skew_nano == 0
        elif node.span.start_unix_nano + parent.skew_nano in fits:
            assert node.skew_nano == parent.skew_nano
        else:
            assert node.start_unix_nano == (fits[0] if is_free else fits[(len(fits) - 1) // 2])


@settings(max_examples=100)
@given(programs())
def test_self_time_is_each_moment_in_which_no_child_ran(spans):
    tree = tree_of(*spans)
    for index, node in enumerate(tree.nodes):
        children = [each for each in tree.nodes if each.parent_index == index]
        assert node.self_nano == sum(
            not any(child.start_unix_nano <= moment < child.end_unix_nano for child in children)
            for moment in range(node.start_unix_nano, node.end_unix_nano)
        )


def naive_path(tree: TraceTree, index: int, start: int, end: int) -> dict[int, int]:
    """Who determined each moment between start and end, straight from the definition."""
    owners, reached = {}, end
    while reached > start:
        cut = [
            (each, max(node.start_unix_nano, start), min(node.end_unix_nano, end), node.end_unix_nano)
            for each, node in enumerate(tree.nodes)
            if node.parent_index == index
        ]
        done = [each for each in cut if each[1] < each[2] <= reached]
        if not done:
            break
        child, child_start, child_end, _ = max(
            done, key=lambda each: (each[3], -tree.nodes[each[0]].start_unix_nano, -each[0])
        )
        owners |= dict.fromkeys(range(child_end, reached), index)
        owners |= naive_path(tree, child, child_start, child_end)
        reached = child_start
    return owners | dict.fromkeys(range(start, reached), index)


@settings(max_examples=100)
@given(programs())
def test_the_critical_path_is_who_was_waited_for_at_each_moment(spans):
    tree = tree_of(*spans)
    expected: set[tuple[int, int]] = set()
    for index, node in enumerate(tree.nodes):
        if node.parent_index is None:
            owners = naive_path(tree, index, node.start_unix_nano, node.end_unix_nano)
            assert sorted(owners) == list(range(node.start_unix_nano, node.end_unix_nano))
            expected |= {(owner, moment) for moment, owner in owners.items()}
    found = [(index, moment) for index, start, end in tree.critical_path for moment in range(start, end)]
    assert len(found) == len(expected)
    assert set(found) == expected
    assert [segment.start_unix_nano for segment in tree.critical_path] == sorted(
        segment.start_unix_nano for segment in tree.critical_path
    )


@settings(max_examples=100)
@given(programs())
def test_the_segments_below_a_root_are_disjoint_and_add_up_to_its_duration(spans):
    tree = tree_of(*spans)
    roots: list[int] = []
    for index, node in enumerate(tree.nodes):
        roots.append(index if node.parent_index is None else roots[node.parent_index])
        critical_nano = sum(end - start for owner, start, end in tree.critical_path if owner == index)
        assert node.critical_nano == critical_nano <= node.duration_nano
    for root in set(roots):
        own = [segment for segment in tree.critical_path if roots[segment.node_index] == root]
        assert all(first.end_unix_nano == second.start_unix_nano for first, second in itertools.pairwise(own))
        assert all(first.node_index != second.node_index for first, second in itertools.pairwise(own))
        assert all(segment.start_unix_nano < segment.end_unix_nano for segment in own)
        assert sum(end - start for _, start, end in own) == tree.nodes[root].duration_nano


@settings(max_examples=100)
@given(programs())
def test_the_tree_reaches_from_the_first_start_to_the_last_end(spans):
    tree = tree_of(*spans)
    assert tree.start_unix_nano == min((node.start_unix_nano for node in tree.nodes), default=0)
    assert tree.end_unix_nano == max((node.end_unix_nano for node in tree.nodes), default=0)


# --- who is whose child


def test_a_trace_is_a_value_that_can_be_compared_copied_and_pickled_but_not_changed():
    trace = Trace("a" * 32, (span("root", None, 0, 9), span("child", "root", 1, 2)))
    for twin in (copy.copy(trace), copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))):
        assert twin == trace
    assert pickle.loads(pickle.dumps(trace.tree())) == trace.tree()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.trace_id = "b" * 32


def test_a_trace_without_spans_is_a_tree_without_nodes():
    tree = tree_of()
    assert (tree.nodes, tree.critical_path, tree.start_unix_nano, tree.end_unix_nano) == ((), (), 0, 0)


def test_a_tree_counts_errors_and_slow_spans_and_names_the_services_once():
    tree = tree_of(
        span("a", None, 0, 9, is_error=True),
        span("b", "a", 1, 8, STOCK, is_error=True, is_slow=True),
        span("c", "b", 2, 3, ResourceRecord()),
        span("d", "a", 4, 5),
    )
    assert (tree.error_count, tree.slow_count, tree.services) == (2, 1, ("shop", "stock"))


def test_a_span_whose_parent_is_not_stored_is_an_orphan_among_the_roots():
    tree = tree_of(span("late", "gone", 0, 2), span("child", "late", 1, 2), span("later", "gone", 3, 4))
    assert outline(tree) == ["late", ". child", "later"]
    assert [node.is_orphan for node in tree.nodes] == [True, False, True]


def test_a_span_without_a_parent_id_is_no_orphan_even_if_another_has_an_empty_id():
    tree = tree_of(span("nameless", None, 0, 9, span_id=""), span("root", None, 1, 2), span("other", "", 3, 4))
    assert outline(tree) == ["nameless", "root", "other"]
    assert not any(node.is_orphan for node in tree.nodes)


def test_a_span_that_is_its_own_parent_becomes_a_root():
    tree = tree_of(span("self", "self", 0, 9), span("child", "self", 1, 2))
    assert outline(tree) == ["self", ". child"]
    assert (tree.nodes[0].is_in_cycle, tree.nodes[0].is_orphan, tree.nodes[1].is_in_cycle) == (True, False, False)


def test_a_cycle_is_cut_above_the_span_that_starts_first():
    tree = tree_of(
        span("outside", "c", 0, 1),
        span("b", "a", 1, 4),
        span("c", "b", 2, 3),
        span("a", "c", 3, 9),
        span("root", None, 5, 6),
    )
    assert outline(tree) == ["b", ". c", ". . outside", ". . a", "root"]
    assert [node.span.name for node in tree.nodes if node.is_in_cycle] == ["b"]


def test_of_two_spans_with_one_id_each_keeps_the_children_that_ran_in_its_time():
    tree = tree_of(
        span("root", None, 0, 100),
        span("first", "root", 10, 20, span_id="twin"),
        span("x", "twin", 11, 12),
        span("y", "twin", 40, 45),
        span("second", "root", 30, 50, span_id="twin"),
        span("z", "twin", 60, 70),
    )
    assert outline(tree) == ["root", ". first", ". . x", ". . z", ". second", ". . y"]


def test_a_span_that_was_sent_twice_takes_no_more_time_than_once():
    tree = tree_of(span("root", None, 0, 10), span("child", "root", 2, 5), span("child", "root", 2, 5))
    assert outline(tree) == ["root", ". child", ". child"]
    assert [node.self_nano for node in tree.nodes] == [7, 3, 3]
    assert [node.critical_nano for node in tree.nodes] == [7, 3, 0]


def test_spans_in_any_order_make_the_same_tree():
    spans = [span("root", None, 0, 9), span("a", "root", 1, 2), span("b", "root", 3, 4)]
    assert tree_of(*reversed(spans)) == tree_of(*spans)


# --- clocks


def test_a_process_whose_clock_is_behind_is_moved_into_the_middle_with_all_that_it_did():
    tree = tree_of(
        span("query", "serve", 2, 4, STOCK),
        span("serve", "call", 1, 7, STOCK),
        span("call", None, 1000, 1010),
        span("own", "call", 1001, 1002),
    )
    assert outline(tree) == ["call", ". own", ". serve", ". . query"]
    assert [(node.start_unix_nano, node.skew_nano) for node in tree.nodes] == [
        (1000, 0), (1001, 0), (1002, 1001), (1003, 1001),
    ]  # fmt: skip
    assert (tree.start_unix_nano, tree.end_unix_nano) == (1000, 1010)


def test_a_process_whose_clock_is_ahead_is_moved_back():
    serve = node_named(tree_of(span("call", None, 0, 10), span("serve", "call", 500, 504, STOCK)), "serve")
    assert (serve.start_unix_nano, serve.end_unix_nano, serve.skew_nano) == (3, 7, -497)


def test_a_child_that_lasts_longer_is_moved_to_its_parents_start_if_it_starts_before():
    tree = tree_of(
        span("early", "call", 90, 190, STOCK), span("call", None, 100, 110), span("late", "call", 105, 195, STOCK)
    )
    assert (node_named(tree, "early").skew_nano, node_named(tree, "late").skew_nano) == (10, 0)


def test_clocks_of_one_process_are_never_moved_and_a_child_may_outlive_its_parent():
    twin = ResourceRecord(dict(SHOP.attributes))
    tree = tree_of(span("before", "root", 0, 2), span("root", None, 5, 9), span("after", "root", 8, 20, twin))
    assert [(node.span.name, node.skew_nano) for node in tree.nodes] == [("root", 0), ("before", 0), ("after", 0)]
    assert tree.end_unix_nano == 20


@pytest.mark.parametrize("key", ["host.id", "host.name"])
def test_two_processes_of_one_host_share_its_clock(key):
    first, second, third = (ResourceRecord({key: host, "process.pid": n}) for n, host in enumerate(("h", "h", "other")))
    tree = tree_of(
        span("call", None, 0, 2, first), span("same", "call", 1, 3, second), span("other", "call", 1, 3, third)
    )
    assert (node_named(tree, "same").skew_nano, node_named(tree, "other").skew_nano) == (0, -1)


@pytest.mark.parametrize(("producer", "consumer"), [(PRODUCER, 1), (1, CONSUMER), (PRODUCER, CONSUMER)])
def test_what_went_through_a_queue_may_start_after_its_parent_ended_but_not_before_it_started(producer, consumer):
    tree = tree_of(
        span("early", "send", 90, 91, STOCK, kind=consumer),
        span("send", None, 100, 110, kind=producer),
        span("late", "send", 500, 501, STOCK, kind=consumer),
    )
    assert (node_named(tree, "early").skew_nano, node_named(tree, "late").skew_nano) == (10, 0)


def test_a_clock_that_is_right_is_not_moved_below_one_that_was():
    tree = tree_of(
        span("call", None, 1000, 1100), span("middle", "call", 0, 100, STOCK), span("back", "middle", 1040, 1050)
    )
    assert [node.skew_nano for node in tree.nodes] == [0, 1000, 0]


def test_a_clock_that_may_be_right_is_believed_before_one_that_is_off_as_much_as_the_parents():
    tree = tree_of(
        span("call", None, 10, 20), span("middle", "call", 8, 14, STOCK), span("inner", "middle", 14, 16, MAIL)
    )
    assert [(node.start_unix_nano, node.skew_nano) for node in tree.nodes] == [(10, 0), (12, 4), (14, 0)]


def test_a_clock_that_is_off_as_much_as_its_parents_is_moved_as_far():
    tree = tree_of(
        span("call", None, 1000, 1100), span("middle", "call", 0, 100, STOCK), span("inner", "middle", 20, 30, MAIL)
    )
    assert [node.skew_nano for node in tree.nodes] == [0, 1000, 1000]


# --- self time and the critical path


def test_self_time_counts_children_that_ran_at_once_once_and_only_while_the_span_ran():
    tree = tree_of(
        span("before", "root", 0, 12),
        span("root", None, 10, 30),
        span("a", "root", 14, 20),
        span("b", "root", 16, 22),
        span("after", "root", 28, 90),
    )
    assert tree.nodes[0].self_nano == 2 + 6  # 12 to 14, 22 to 28


def test_a_span_that_ends_before_it_starts_takes_no_time():
    tree = tree_of(span("root", None, 10, 5), span("child", "root", 10, 4), span("later", "root", 12, 14))
    assert [(node.duration_nano, node.self_nano, node.critical_nano) for node in tree.nodes] == [
        (0, 0, 0), (0, 0, 0), (2, 2, 0),
    ]  # fmt: skip
    assert (tree.start_unix_nano, tree.end_unix_nano) == (10, 14)


def test_the_critical_path_of_steps_one_after_another_is_the_steps_and_what_is_between_them():
    tree = tree_of(span("root", None, 0, 10), span("a", "root", 1, 4), span("b", "root", 4, 6), span("c", "root", 7, 9))
    assert path_of(tree) == [
        ("root", 0, 1), ("a", 1, 4), ("b", 4, 6), ("root", 6, 7), ("c", 7, 9), ("root", 9, 10),
    ]  # fmt: skip
    assert tree.critical_path[0] == CriticalSegment(0, 0, 1)


def test_the_critical_path_of_parallel_steps_is_the_one_that_ended_last():
    tree = tree_of(
        span("root", None, 0, 10), span("quick", "root", 1, 5), span("long", "root", 2, 9), span("query", "long", 3, 8)
    )
    assert path_of(tree) == [("root", 0, 2), ("long", 2, 3), ("query", 3, 8), ("long", 8, 9), ("root", 9, 10)]
    assert node_named(tree, "quick").critical_nano == 0


def test_of_parallel_steps_that_end_together_the_longest_is_on_the_critical_path():
    tree = tree_of(span("root", None, 0, 10), span("long", "root", 1, 8), span("short", "root", 5, 8))
    assert path_of(tree) == [("root", 0, 1), ("long", 1, 8), ("root", 8, 10)]


def test_a_step_that_takes_no_time_does_not_interrupt_the_critical_path():
    tree = tree_of(span("root", None, 0, 10), span("instant", "root", 5, 5))
    assert path_of(tree) == [("root", 0, 10)]


def test_a_child_that_outlives_its_parent_is_on_the_critical_path_only_until_the_parent_ended():
    tree = tree_of(span("root", None, 0, 10), span("async", "root", 6, 50), span("deep", "async", 8, 40))
    assert path_of(tree) == [("root", 0, 6), ("async", 6, 8), ("deep", 8, 10)]


def test_each_root_has_its_own_critical_path():
    tree = tree_of(span("a", None, 0, 10), span("b", "gone", 5, 20), span("inner", "b", 6, 20))
    assert path_of(tree) == [("a", 0, 10), ("b", 5, 6), ("inner", 6, 20)]


# --- size


MANY = [5_000, pytest.param(100_000, marks=pytest.mark.long)]


@pytest.mark.parametrize("depth", MANY)
def test_a_chain_of_thousands_of_spans_is_a_tree_too(depth):
    tree = tree_of(*(span(f"{n}", f"{n - 1}" if n else None, n, 3 * depth - n) for n in range(depth)))
    assert [node.depth for node in tree.nodes] == list(range(depth))
    assert [node.self_nano for node in tree.nodes[:-1]] == [2] * (depth - 1)
    assert len(tree.critical_path) == 2 * depth - 1


@pytest.mark.parametrize("size", MANY)
def test_a_cycle_of_thousands_of_spans_is_cut_once(size):
    tree = tree_of(*(span(f"{n}", f"{(n + 1) % size}", n, size) for n in range(size)))
    assert tree.nodes[0].span.name == "0"
    assert sum(node.is_in_cycle for node in tree.nodes) == 1
    assert tree.nodes[-1].depth == size - 1


def test_ten_thousand_children_one_after_another_are_all_on_the_critical_path():
    children = [span(f"{n}", "root", 2 * n, 2 * n + 1) for n in range(10_000)]
    tree = tree_of(span("root", None, 0, 20_000), *children)
    assert tree.nodes[0].self_nano == tree.nodes[0].critical_nano == 10_000
    assert len(tree.critical_path) == 20_000


def test_ten_thousand_children_at_once_leave_one_on_the_critical_path():
    tree = tree_of(span("root", None, 0, 9), *(span(f"{n}", "root", 1, 8) for n in range(10_000)))
    assert [node.span.name for node in tree.nodes if node.critical_nano] == ["root", "0"]


def test_ten_thousand_spans_with_one_id_and_as_many_children_find_each_other():
    twins = [span(f"twin {n}", None, 10 * n, 10 * n + 9, span_id="twin") for n in range(10_000)]
    children = [span(f"child {n}", "twin", 10 * n + 1, 10 * n + 2) for n in range(10_000)]
    tree = tree_of(*twins, *children)
    assert [node.depth for node in tree.nodes] == [0, 1] * 10_000
