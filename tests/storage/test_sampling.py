"""Sampling alone: which spans of a local trace are stored, held, sampled out or lost, in whatever order they end."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import span_bytes, span_row

from otel_perfmon.storage import sampling
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sampling import (
    HELD_MAX,
    HELD_PER_TRACE_MAX,
    HELD_TEXT_MAX,
    SamplingPolicy,
    TailSampling,
    Verdict,
)

SAMPLED, UNSAMPLED = b"\xff" * 16, b"\1" * 9 + b"\0" * 7
"""Trace ids: one that every rate above 0 stores, one that only a rate of 1 does."""


class Sifter:
    """Feeds spans and keeps account of them, as the intake and the writer do."""

    def __init__(self, rate=0.5, rates=None) -> None:
        self.losses = Losses()
        self.sampling = TailSampling(SamplingPolicy(rate, rates or {}), self.losses)
        self.stored: list[SpanRow] = []
        self.counted: list[SpanRow] = []
        self.fed_count = 0

    def feed(self, *rows: SpanRow) -> Sifter:
        self.fed_count += len(rows)
        verdicts: list[Verdict] = []
        self.sampling.judge(SpanColumns.of(rows), verdicts)
        self.stored += [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is Verdict.STORED]
        self.counted += [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is not Verdict.STORED]
        return self.settle()

    def settle(self) -> Sifter:
        self.stored += self.sampling.take_kept()
        return self

    def give_up(self) -> Sifter:
        self.sampling.give_up()
        return self.settle()

    @property
    def sampled_out(self) -> int:
        """What is neither stored nor held nor lost, and can be none of them any more."""
        lost_count = sum(self.losses.totals().values())
        return self.fed_count - len(self.stored) - self.sampling.held_count - lost_count

    @property
    def names(self) -> list[str]:
        return sorted(row.name for row in self.stored)

    def lost(self) -> dict[str, int]:
        return self.losses.take()


def in_trace(name, *, span=1, parent=0, trace=UNSAMPLED, **changes) -> SpanRow:
    parent_id = span_bytes(parent) if parent else b""
    return span_row(name, trace_id=trace, span_id=span_bytes(span), parent=parent_id, **changes)


def random_trace_ids(count: int) -> list[bytes]:
    source = random.Random(4)
    return [source.randbytes(16) for _ in range(count)]


# --- by trace id


def test_a_rate_of_one_stores_everything_at_once_and_a_rate_of_zero_no_root_at_all():
    rows = [in_trace("op", trace=each) for each in (*random_trace_ids(100), SAMPLED, UNSAMPLED, b"\0" * 16)]
    assert Sifter(1).feed(*rows).stored == rows
    none = Sifter(0).feed(*rows)
    assert (none.stored, none.counted, none.sampled_out) == ([], rows, len(rows))


@pytest.mark.parametrize(("policy", "is_sampling"), [((1.0,), False), ((0.99,), True), ((1.0, {"op": 0.5}), True)])
def test_a_policy_knows_whether_it_leaves_anything_out(policy, is_sampling):
    assert SamplingPolicy(*policy).is_sampling is is_sampling


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_about_the_asked_share_of_random_trace_ids_is_stored(rate):
    sifter = Sifter(rate).feed(*(in_trace("op", trace=each) for each in random_trace_ids(4_000)))
    assert len(sifter.stored) / 4_000 == pytest.approx(rate, abs=0.03)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 64).map(lambda number: number / 64))
def test_a_trace_is_stored_when_its_last_56_bits_reach_the_threshold_of_the_rate(trace_id, rate):
    randomness, threshold = int.from_bytes(trace_id[-7:], "big"), (1 - rate) * 2**56
    assert bool(Sifter(rate).feed(in_trace("op", trace=trace_id)).stored) is (randomness >= threshold)


def test_the_threshold_itself_is_stored_and_what_is_one_below_it_is_not():
    at = b"\0" * 9 + (2**55).to_bytes(7, "big")
    below = b"\xff" * 9 + (2**55 - 1).to_bytes(7, "big")
    assert Sifter(0.5).feed(in_trace("at", trace=at), in_trace("below", trace=below)).names == ["at"]


def test_all_processes_agree_and_a_higher_rate_stores_what_a_lower_one_does():
    rows = [in_trace("op", trace=each) for each in random_trace_ids(500)]
    first, second, higher = (Sifter(rate).feed(*rows).stored for rate in (0.3, 0.3, 0.6))
    assert first == second
    assert set(first) < set(higher)


# --- by operation


def test_a_rate_of_its_own_holds_for_the_traces_whose_local_root_is_that_operation():
    sifter = Sifter(0, {"checkout": 1}).feed(
        in_trace("query", span=2, parent=1),
        in_trace("checkout"),
        in_trace("checkout", span=12, parent=11, trace=b"\2" * 16),
        in_trace("other", span=11, trace=b"\2" * 16),
    )
    assert (sifter.names, sifter.sampled_out) == (["checkout", "query"], 2)


def test_a_rate_of_zero_for_one_operation_leaves_out_its_traces_alone():
    rows = [
        in_trace("query", span=2, parent=1, trace=SAMPLED),
        in_trace("GET /health", trace=SAMPLED),
        in_trace("query", span=2, parent=1, trace=b"\xff" * 15 + b"\xfe"),
        in_trace("other", trace=b"\xff" * 15 + b"\xfe"),
    ]
    sifter = Sifter(1, {"GET /health": 0}).feed(*rows)
    assert (sifter.names, sifter.sampled_out) == (["other", "query"], 2)


# --- slow and failed ones


@pytest.mark.parametrize("trouble", [{"slow": True}, {"error": "no"}], ids=["slow", "failed"])
def test_a_child_in_trouble_keeps_the_whole_local_trace_before_and_after_it(trouble):
    sifter = Sifter(0).feed(
        in_trace("before", span=2, parent=1),
        in_trace("trouble", span=3, parent=1, **trouble),
        in_trace("after", span=4, parent=1),
        in_trace("root"),
        in_trace("late", span=5, parent=1),
    )
    assert sifter.names == ["after", "before", "late", "root", "trouble"]
    assert [row.name for row in sifter.counted] == ["before"]  # the others are counted as they are stored
    assert (sifter.sampled_out, sifter.sampling.held_count, sifter.lost()) == (0, 0, {})


@pytest.mark.parametrize("trouble", [{"slow": True}, {"error": "no"}], ids=["slow", "failed"])
def test_a_root_in_trouble_keeps_its_held_children(trouble):
    children = [in_trace(f"child {number}", span=number, parent=1) for number in (2, 3)]
    sifter = Sifter(0).feed(*children)
    assert (sifter.stored, sifter.sampling.held_count) == ([], 2)
    assert sifter.feed(in_trace("root", **trouble)).names == ["child 2", "child 3", "root"]


def test_trouble_in_one_trace_keeps_no_other():
    sifter = Sifter(0).feed(
        in_trace("child", span=2, parent=1),
        in_trace("failed", trace=b"\2" * 16, error="no"),
        in_trace("root"),
    )
    assert (sifter.names, sifter.sampled_out) == (["failed"], 2)


# --- local roots


def test_a_span_whose_parent_is_remote_is_a_local_root():
    sifter = Sifter(0, {"serve": 1}).feed(
        in_trace("query", span=2, parent=1),
        in_trace("serve", span=1, parent=99, is_parent_remote=True),
        in_trace("other", span=5, parent=99, is_parent_remote=True, trace=b"\2" * 16),
    )
    assert (sifter.names, sifter.sampled_out) == (["query", "serve"], 1)


def test_two_local_roots_of_one_trace_are_judged_apart():
    sifter = Sifter(0).feed(
        in_trace("grandchild of a", span=11, parent=10),
        in_trace("child of b", span=20, parent=2),
        in_trace("child of a", span=10, parent=1),
        in_trace("a", span=1, parent=99, is_parent_remote=True),
    )
    assert (sifter.names, sifter.sampled_out, sifter.sampling.held_count) == ([], 3, 1)
    sifter.feed(in_trace("b", span=2, parent=99, is_parent_remote=True, slow=True))
    assert (sifter.names, sifter.sampled_out) == (["b", "child of b"], 3)


def test_a_child_that_outlives_a_sampled_out_root_is_sampled_out_in_the_end():
    sifter = Sifter(0).feed(in_trace("root"), in_trace("late", span=2, parent=1))
    assert (sifter.sampled_out, sifter.sampling.held_count) == (1, 1)
    assert (sifter.give_up().sampled_out, sifter.stored) == (2, [])


def test_a_child_that_fails_after_its_root_was_sampled_out_is_stored():
    assert Sifter(0).feed(in_trace("root"), in_trace("late", span=2, parent=1, error="no")).names == ["late"]


# --- bounds


def deep_trace(count: int, **root) -> list[SpanRow]:
    """``count`` calls below one that ends after them, as the queries of a request do, and their root."""
    calls = [in_trace("query", span=100 + number, parent=2) for number in range(count)]
    return [*calls, in_trace("handle", span=2, parent=1), in_trace("root", **root)]


def test_a_trace_holds_so_many_spans_and_tells_what_did_not_fit_when_it_is_kept():
    sifter = Sifter(0).feed(*deep_trace(HELD_PER_TRACE_MAX + 5, slow=True))
    assert Counter(sifter.names) == {"query": HELD_PER_TRACE_MAX, "root": 1}
    assert (sifter.lost(), sifter.sampled_out) == ({"not_held": 6}, 0)


def test_a_trace_that_did_not_fit_leaves_nothing_behind_when_it_is_sampled_out():
    sifter = Sifter(0).feed(*deep_trace(HELD_PER_TRACE_MAX + 5))
    assert (sifter.sampling.held_count, sifter.sampled_out) == (0, HELD_PER_TRACE_MAX + 7)
    assert (sifter.stored, sifter.lost()) == ([], {})


def pair(number: int) -> list[SpanRow]:
    """Two spans of a trace whose root is still running."""
    return [in_trace(f"child of {number}", span=span, parent=1, trace=numbered(number)) for span in (2, 3)]


def numbered(number: int) -> bytes:
    return b"\2" * 8 + span_bytes(number)


def test_nothing_of_a_trace_stays_held_when_its_root_has_ended_even_if_a_span_between_was_not_held():
    children = [in_trace(f"c{i}", span=100 + i, parent=1) for i in range(HELD_PER_TRACE_MAX - 1)]
    leaf, between = in_trace("leaf", span=3, parent=2), in_trace("between", span=2, parent=1)
    sifter = Sifter(0).feed(*children, leaf, between, in_trace("root"))
    assert (sifter.sampling.held_count, sifter.sampled_out) == (0, HELD_PER_TRACE_MAX + 2)


def test_beyond_all_that_may_be_held_the_oldest_trace_gives_way_and_is_lost_if_it_is_kept():
    sifter = Sifter(0)
    for number in range(HELD_MAX // 2):
        sifter.feed(*pair(number))
    assert sifter.sampling.held_count == HELD_MAX
    sifter.feed(*pair(HELD_MAX))
    assert sifter.sampling.held_count == HELD_MAX
    sifter.feed(*(in_trace("root", trace=numbered(number), slow=True) for number in (0, 1, HELD_MAX)))
    kept = ["child of 1", "child of 1", f"child of {HELD_MAX}", f"child of {HELD_MAX}", *["root"] * 3]
    assert (sifter.names, sifter.lost()) == (kept, {"not_held": 2})
    assert sifter.give_up().sampled_out == HELD_MAX - 4


def test_the_oldest_trace_gives_way_to_no_later_span_of_its_own():
    sifter = Sifter(0)
    text = "x" * (HELD_TEXT_MAX // 2)
    sifter.feed(*(in_trace("child", span=number, parent=1, attributes=text) for number in (2, 3, 4)))
    assert sifter.sampling.held_count == 2
    assert sifter.feed(in_trace("root", error="no")).names == ["child", "child", "root"]
    assert sifter.lost() == {"not_held": 1}


def test_the_text_that_is_held_is_bounded_and_the_oldest_trace_gives_way():
    sifter = Sifter(0)
    text = "x" * (HELD_TEXT_MAX // 4)
    for number in range(5):
        sifter.feed(in_trace(str(number), span=2, parent=1, trace=numbered(number), attributes=text))
    assert sifter.sampling.held_count == 4
    sifter.feed(*(in_trace("root", trace=numbered(number), slow=True) for number in range(5)))
    assert sifter.names == ["1", "2", "3", "4", *["root"] * 5]
    assert sifter.lost() == {"not_held": 1}


def test_the_number_of_traces_without_an_end_is_bounded(monkeypatch):
    monkeypatch.setattr(sampling, "TRACES_MAX", 3)
    sifter = Sifter(0).feed(*(in_trace("child", span=2, parent=1, trace=bytes([9] * 15 + [n])) for n in range(5)))
    assert (sifter.sampling.held_count, sifter.sampled_out) == (3, 2)


# --- the end, and another policy


def test_giving_up_samples_out_everything_that_is_held_and_the_roots_are_judged_alone_after_it():
    sifter = Sifter(0).feed(in_trace("child", span=2, parent=1)).give_up()
    assert (sifter.sampled_out, sifter.sampling.held_count) == (1, 0)
    assert sifter.feed(in_trace("root", slow=True)).names == ["root"]


@pytest.mark.parametrize("policy", [SamplingPolicy(1.0), SamplingPolicy(0.0, {"root": 1.0})])
def test_a_higher_rate_holds_for_the_traces_that_are_open_when_it_is_set(policy):
    sifter = Sifter(0).feed(in_trace("child", span=2, parent=1))
    sifter.sampling.follow(policy)
    assert sifter.feed(in_trace("root")).names == ["child", "root"]
    assert (sifter.sampling.held_count, sifter.sampled_out) == (0, 0)


def test_a_lower_rate_holds_from_the_next_span_on():
    sifter = Sifter(1).feed(in_trace("before"))
    sifter.sampling.follow(SamplingPolicy(0.0))
    assert sifter.feed(in_trace("after", trace=SAMPLED)).names == ["before"]


# --- the account

spans_of_a_forest = st.lists(
    st.tuples(
        st.integers(0, 3),  # which trace
        st.integers(-2, 30),  # which of the trace's earlier spans is its parent; below 0, or none there: a local root
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([{}, {}, {}, {}, {"slow": True}, {"error": "no"}]),
    ),
    max_size=40,
)


def forest(spans, source: random.Random) -> list[SpanRow]:
    traces = [source.randbytes(16) for _ in range(4)]
    ids: dict[int, list[int]] = {}
    rows = []
    for number, (trace, parent, name, trouble) in enumerate(spans, 1):
        before = ids.setdefault(trace, [])
        is_root = parent < 0 or not before
        parent_id = (0 if parent == -1 else 1_000) if is_root else before[parent % len(before)]
        row = in_trace(name, span=number, parent=parent_id, trace=traces[trace], **trouble)
        rows.append(row._replace(is_parent_remote=is_root and parent_id > 0))
        before.append(number)
    source.shuffle(rows)
    return rows


@pytest.mark.parametrize("limits", [(HELD_PER_TRACE_MAX, HELD_MAX, 10_000), (3, 6, 2)], ids=["roomy", "tight"])
@given(spans=spans_of_a_forest, source=st.randoms(use_true_random=False), rate=st.sampled_from([0.0, 0.3, 1.0]))
def test_each_span_is_exactly_once_stored_sampled_out_or_lost_in_whatever_order_they_end(
    spans, source, rate, limits, monkeypatch
):
    for name, limit in zip(("HELD_PER_TRACE_MAX", "HELD_MAX", "TRACES_MAX"), limits, strict=True):
        monkeypatch.setattr(sampling, name, limit)
    rows = forest(spans, source)
    sifter = Sifter(rate, {"b": 0.6, "c": 0.0})
    for row in rows:
        sifter.feed(row)
        assert 0 <= sifter.sampling.held_count <= limits[1]
    sifter.give_up()
    lost = sifter.lost()
    assert set(lost) <= {"not_held"}
    assert (sifter.sampling.held_count, sifter.settle().sampling.take_kept()) == (0, [])
    assert len(sifter.stored) + sum(lost.values()) <= len(rows)
    keys = [(row.trace_id, row.span_id) for row in sifter.stored]
    assert len(keys) == len(set(keys))
    at_once = set(rows) - set(sifter.counted)
    assert at_once <= set(sifter.stored)  # counted as it is stored, or counted apart: never both
    assert len(sifter.counted) + len(at_once) == len(rows)
    assert all(row in sifter.stored for row in rows if row.is_slow or row.is_error)


@given(spans=spans_of_a_forest, source=st.randoms(use_true_random=False))
def test_with_room_enough_a_trace_whose_one_root_ends_last_is_stored_whole_or_not_at_all(spans, source):
    rows = [row for row in forest(spans, source) if row.parent_span_id and not row.is_parent_remote]
    parents = {(row.trace_id, row.span_id) for row in rows}
    rows = [
        row if (row.trace_id, row.parent_span_id) in parents else row._replace(parent_span_id=span_bytes(500))
        for row in rows
    ]
    roots = [in_trace("a", span=500, trace=each) for each in {row.trace_id for row in rows}]
    sifter = Sifter(0.3, {"b": 0.6}).feed(*rows, *roots)
    total, stored = Counter(row.trace_id for row in [*rows, *roots]), Counter(row.trace_id for row in sifter.stored)
    assert all(stored[each] in {0, total[each]} for each in total)
    in_trouble = {row.trace_id for row in rows if row.is_slow or row.is_error}
    assert all(stored[each] for each in in_trouble)
    assert sifter.sampling.held_count == 0
