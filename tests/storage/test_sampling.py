from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import span_row

from otel_perfmon.storage import sampling
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.sampling import HELD_MAX, HELD_PER_TRACE_MAX, SamplingPolicy, TailSampling

NEVER = SamplingPolicy(0.0)


class Fed:
    """What became of the spans that a sampling was fed with."""

    def __init__(self, policy: SamplingPolicy = NEVER) -> None:
        self.losses = Losses()
        self.sampling = TailSampling(policy, self.losses)
        self.stored: list[str] = []
        self.counted: list[str] = []
        self.sampled_out = 0

    def feed(self, *rows) -> None:
        for row in rows:
            if self.sampling.sift(row, len(row.attributes), row.duration_nano):
                self.stored.append(row.name)
                self.counted.append(row.name)
            kept, counted = self.sampling.take()
            self.stored += [each.name for each in kept]
            self.counted += [each.name for each, _ in counted]
            self.sampled_out += self.sampling.take_sampled_out()

    def end(self) -> None:
        self.sampling.give_up()
        self.sampled_out += self.sampling.take_sampled_out()


def trace_id(randomness: float) -> bytes:
    """A trace id whose last 56 bits are that share of the largest."""
    return b"t" * 9 + min(int(randomness * 2**56), 2**56 - 1).to_bytes(7, "big")


def child(name: str, parent: bytes = b"rootroot", trace: bytes = b"t" * 16, **more):
    return span_row(name, trace_id=trace, span_id=os.urandom(8), parent=parent, **more)


def second_root(**more):
    """A root by its remote parent, in the same trace."""
    ids = {"trace_id": b"t" * 16, "span_id": b"secondxx", "parent": b"p" * 8}
    return span_row("second", **ids, is_parent_remote=True, **more)


def root(name: str = "root", trace: bytes = b"t" * 16, **more):
    return span_row(name, trace_id=trace, span_id=b"rootroot", **more)


@pytest.mark.parametrize(
    ("rate", "randomness", "is_stored"),
    [
        (0.0, 1.0, False),
        (1.0, 0.0, True),
        (0.5, 0.51, True),
        (0.5, 0.49, False),
        (0.01, 0.995, True),
        (0.01, 0.98, False),
    ],
)
def test_a_trace_is_sampled_when_the_random_bits_of_its_id_reach_the_threshold_of_the_rate(rate, randomness, is_stored):
    fed = Fed(SamplingPolicy(rate))
    fed.feed(root(trace=trace_id(randomness)))
    assert fed.stored == ["root"] * is_stored
    assert fed.counted == ["root"]
    assert fed.sampled_out == (not is_stored)


def test_about_the_wanted_share_of_random_traces_is_stored():
    fed, random_bytes = Fed(SamplingPolicy(0.25)), random.Random(7).randbytes
    fed.feed(*(root(trace=random_bytes(16)) for _ in range(4_000)))
    assert 900 < len(fed.stored) < 1_100


def test_the_rate_of_a_traces_root_holds_for_all_of_it():
    fed = Fed(SamplingPolicy(0.0, {"checkout": 1.0}))
    fed.feed(child("a"), root("checkout"), child("b", trace=b"u" * 16), root("other", trace=b"u" * 16))
    assert sorted(fed.stored) == ["a", "checkout"]
    assert fed.sampled_out == 2
    fed = Fed(SamplingPolicy(1.0, {"GET /health": 0.0}))
    fed.feed(root("GET /health"), root("GET /", trace=b"u" * 16))
    assert fed.stored == ["GET /"]


@pytest.mark.parametrize("trouble", [{"error": "boom"}, {"slow": True}], ids=["failed", "slow"])
def test_a_slow_or_failed_span_keeps_what_came_before_it_and_what_comes_after(trouble):
    fed = Fed()
    fed.feed(child("before"), child("trouble", **trouble), child("after"), root(), child("late"))
    assert sorted(fed.stored) == ["after", "before", "late", "root", "trouble"]
    assert sorted(fed.counted) == sorted(fed.stored)
    assert fed.sampled_out == 0


def test_a_trace_without_trouble_is_sampled_out_when_its_root_ends():
    fed = Fed()
    fed.feed(child("a"), child("b"))
    assert (fed.counted, fed.sampled_out, fed.sampling.held_count) == (["a", "b"], 0, 2)
    fed.feed(root())
    assert (fed.stored, fed.sampled_out, fed.sampling.held_count) == ([], 3, 0)


def test_a_span_with_a_remote_parent_is_a_root_of_its_own():
    fed = Fed()
    fed.feed(
        child("a", parent=b"secondxx"),
        second_root(),
    )
    assert fed.sampled_out == 2


def test_two_roots_of_one_trace_are_judged_apart():
    fed = Fed()
    fed.feed(child("of first"), child("of second", parent=b"secondxx"), root("first"))
    assert (fed.sampled_out, fed.sampling.held_count) == (2, 1)
    second = second_root(error="boom")
    fed.feed(second)
    assert sorted(fed.stored) == ["of second", "second"]


def test_what_does_not_fit_of_a_trace_that_is_kept_is_counted_as_dropped():
    fed = Fed()
    fed.feed(*(child(f"c{i}") for i in range(HELD_PER_TRACE_MAX + 5)), root(error="boom"))
    assert len(fed.stored) == HELD_PER_TRACE_MAX + 1
    assert fed.losses.take() == {"not_held": 5}
    assert len(fed.counted) == HELD_PER_TRACE_MAX + 6


def test_when_all_room_is_taken_the_oldest_trace_is_held_no_longer(monkeypatch):
    monkeypatch.setattr(sampling, "HELD_MAX", 3)
    fed = Fed()
    traces = [bytes([i]) * 16 for i in range(5)]
    fed.feed(*(child(f"c{i}", trace=trace) for i, trace in enumerate(traces)))
    assert fed.sampling.held_count == 3
    fed.feed(*(root(f"r{i}", trace=trace, error="boom") for i, trace in enumerate(traces)))
    assert sorted(fed.stored) == ["c2", "c3", "c4", "r0", "r1", "r2", "r3", "r4"]
    assert fed.losses.take() == {"not_held": 2}


def test_large_spans_are_held_within_the_limit_of_text(monkeypatch):
    monkeypatch.setattr(sampling, "HELD_TEXT_MAX", 100)
    fed = Fed()
    fed.feed(*(child(f"c{i}", trace=bytes([i]) * 16, attributes="x" * 60) for i in range(3)))
    assert fed.sampling.held_count == 1
    fed.end()
    assert fed.sampled_out == 3


def test_there_is_room_for_what_the_readme_says():
    assert (HELD_PER_TRACE_MAX, HELD_MAX) == (128, 10_000)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_span_is_counted_once_and_stored_or_sampled_out_or_dropped_once(data):
    pick = random.Random(data.draw(st.integers(0, 2**32)))
    rates = {"r0": pick.choice([0.0, 0.5, 1.0])} if pick.random() < 0.5 else {}
    fed = Fed(SamplingPolicy(pick.choice([0.0, 0.3, 1.0]), rates))
    spans = []
    for number in range(pick.randrange(1, 8)):
        trace = pick.randbytes(16) if not spans or pick.random() < 0.7 else spans[-1].trace_id
        ids = [pick.randbytes(8) for _ in range(pick.randrange(1, 200 if number == 0 else 8))]
        for place, span_id in enumerate(ids):
            is_root = place == 0
            spans.append(
                span_row(
                    f"r{number}" if is_root else f"c{number}.{place}",
                    trace_id=trace,
                    span_id=span_id,
                    parent=b"" if is_root else ids[pick.randrange(place)],
                    slow=pick.random() < 0.02,
                    error="boom" if pick.random() < 0.02 else None,
                )
            )
    pick.shuffle(spans)
    fed.feed(*spans)
    fed.end()
    names = sorted(span.name for span in spans)
    assert sorted(fed.counted) == names
    assert len(set(fed.stored)) == len(fed.stored)
    assert len(fed.stored) + fed.sampled_out + sum(fed.losses.take().values()) == len(names)
    assert {span.name for span in spans if span.is_slow or span.is_error} <= set(fed.stored)


def test_nothing_of_a_trace_stays_held_when_its_root_has_ended_even_if_a_span_between_was_not_held():
    fed = Fed()
    fed.feed(*(child(f"c{i}") for i in range(HELD_PER_TRACE_MAX - 1)))
    fed.feed(child("leaf", parent=b"midmidxx"))
    fed.feed(span_row("mid", trace_id=b"t" * 16, span_id=b"midmidxx", parent=b"rootroot"))
    fed.feed(root())
    assert (fed.sampling.held_count, fed.sampled_out) == (0, HELD_PER_TRACE_MAX + 2)


def test_what_could_not_be_written_down_is_counted_again():
    fed = Fed()
    fed.sampling.sift(root(), 0, 0)
    count = fed.sampling.take_sampled_out()
    fed.sampling.put_back(count)
    assert fed.sampling.take_sampled_out() == 1
