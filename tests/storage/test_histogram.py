from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.storage.histogram import (
    add_coarsely,
    add_packed,
    bucket_of,
    buckets_of_lanes,
    coarse_bucket,
    count_buckets,
    estimate_of,
    highest_bucket,
    lanes_of,
    longest_in,
    pack,
    pack_onto,
    percentiles_nano,
    percentiles_of_lanes_nano,
)

durations = st.integers(0, 2**63 - 1) | st.integers(0, 63).map(lambda power: 2**power) | st.integers(0, 5000)
histograms = st.dictionaries(st.integers(0, 2100), st.integers(1, 2**62), max_size=60)

DISTRIBUTIONS = {
    "constant": lambda rng: 777,
    "uniform": lambda rng: rng.randrange(10**9),
    "exponential": lambda rng: int(rng.expovariate(1e-7)),
    "lognormal": lambda rng: int(rng.lognormvariate(15, 3)),
    "pareto": lambda rng: min(2**63 - 1, int(rng.paretovariate(0.3))),
    "bimodal": lambda rng: rng.choice((1, 10**12)),
    "zeros": lambda rng: rng.choice((0, 0, 0, 5)),
    "small": lambda rng: rng.randrange(12),
    "powers": lambda rng: 2 ** rng.randrange(63),
}


@given(histograms, histograms)
def test_what_is_added_to_a_packed_histogram_is_packed_as_if_it_had_come_with_the_rest(first, second):
    together = {key: first.get(key, 0) + second.get(key, 0) for key in {*first, *second}}
    assert pack_onto(pack(first), second) == pack(together)


@given(st.lists(st.integers(50, 70), max_size=600), st.lists(st.integers(50, 70), max_size=600))
def test_so_it_is_where_it_is_dense_and_where_counts_outgrow_their_bytes(first, second):
    assert pack_onto(pack(Counter(first)), Counter(second)) == pack(Counter(first + second))


def histogram_of(values):
    return Counter(bucket_of(value) for value in values)


def nearest_rank(values, share):
    return sorted(values)[max(1, math.ceil(Fraction(share) * len(values))) - 1]


@pytest.mark.parametrize("size", [1, 2, 10, 1000, 5003])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentiles_are_within_1_1_percent_of_the_exact_nearest_rank(name, size):
    rng = random.Random(f"{name} {size}")
    values = [DISTRIBUTIONS[name](rng) for _ in range(size)]
    buckets = histogram_of(values)
    for share in ("0", "0.01", "0.5", "0.9", "0.95", "0.99", "0.999", "1"):
        found = percentiles_nano(buckets, [float(share)], min(values), max(values))[0]
        assert found == pytest.approx(nearest_rank(values, share), rel=0.011)


@given(st.lists(durations, min_size=1, max_size=50), st.floats(0, 1))
def test_no_percentile_leaves_the_extremes(values, share):
    assert min(values) <= percentiles_nano(histogram_of(values), [share], min(values), max(values))[0] <= max(values)


@given(durations)
def test_the_estimate_of_a_bucket_is_near_everything_in_it(duration):
    estimate = estimate_of(bucket_of(duration))
    assert estimate == 0 if duration == 0 else abs(estimate - duration) / duration < 0.0110


@given(durations, durations)
def test_a_longer_duration_is_never_in_a_lower_bucket(one, other):
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


@given(st.integers(1, 2**40))
def test_a_rank_is_that_of_the_exact_share_however_many_there_are(count):
    """0.95 is no binary fraction: its product with the count may come out a rank too high."""
    for share in ("0.5", "0.9", "0.95", "0.99"):
        assert max(1, math.ceil(float(share) * count)) == math.ceil(Fraction(share) * count)


def test_the_buckets_are_opentelemetrys_at_scale_5():
    """The index of a bucket is the key less 2; bucket i holds what is above 2^(i/32) up to 2^((i+1)/32)."""
    for value in (1, 2, 3, 1000, 10**9, 2**40 + 1):
        index = bucket_of(value) - 2
        assert 2 ** (index / 32) < value * (1 + 1e-12)
        assert value <= 2 ** ((index + 1) / 32) * (1 + 1e-12)
    assert bucket_of(0) == 0
    assert bucket_of(1) == 1


@given(histograms)
def test_a_packed_histogram_comes_back(buckets):
    found: dict[int, int] = {}
    add_packed(found, pack(buckets))
    assert found == buckets


WIDTHS = [(255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8), (2**63, 8)]


@pytest.mark.parametrize(("largest", "width"), WIDTHS)
def test_every_width_comes_back_and_is_no_wider_than_it_must_be(largest, width):
    buckets = {3: largest, 4: 1, 250: 7}
    packed = pack(buckets)
    assert packed[0] == width
    assert len(packed) == 3 + 5 * width
    found = {3: 1}
    add_packed(found, packed)
    assert found == {**buckets, 3: largest + 1}


@pytest.mark.parametrize(("largest", "width"), WIDTHS)
def test_a_histogram_without_wide_gaps_is_packed_as_the_counts_of_all_its_keys(largest, width):
    buckets = {3: largest, 4: 1, 10: 7, 14: 1}
    packed = pack(buckets)
    assert packed[0] == 16 + width
    assert len(packed) == 3 + 12 * width
    found = {3: 1}
    add_packed(found, packed)
    assert found == {**buckets, 3: largest + 1}


def test_the_packed_form_is_pinned():
    assert pack({}) == b"\x11\x00\x00"
    assert pack({5: 2, 300: 1}) == bytes((2, 5, 0, 2, 0, 39, 1, 1, 0))
    assert pack({700: 2, 900: 1}) == bytes((1, 188, 2, 2, 200, 1))
    assert pack({700: 2, 703: 1}) == bytes((17, 188, 2, 2, 0, 0, 1))
    assert pack({700: 300, 701: 1}) == bytes((18, 188, 2, 44, 1, 1, 0))


def lanes_by_hand(histograms):
    return sum(count << 64 * key for buckets in histograms for key, count in buckets.items())


@given(st.lists(st.dictionaries(st.integers(0, 2047), st.integers(1, 2**56), max_size=30), max_size=10))
def test_lanes_are_the_counts_of_all_packed_histograms_together(histograms):
    assert lanes_of(map(pack, histograms)) == lanes_by_hand(histograms)


@given(st.lists(st.dictionaries(st.integers(640, 660), st.integers(1, 300), max_size=20), max_size=20))
def test_lanes_of_dense_histograms_are_their_counts_together(histograms):
    assert lanes_of(map(pack, histograms)) == lanes_by_hand(histograms)


@pytest.mark.parametrize("count", [2**8 - 1, 2**16 - 1, 2**32 - 1])
def test_no_lane_runs_over_into_the_next_however_many_histograms_are_added(count):
    histograms = [{7: count, 8: count, 9: 1}] * 600
    assert lanes_of(map(pack, histograms)) == lanes_by_hand(histograms)


@given(st.lists(durations, min_size=1, max_size=50))
def test_percentiles_are_the_same_of_lanes(values):
    buckets, shares, ends = histogram_of(values), (0.5, 0.9, 0.99), (min(values), max(values))
    of_lanes = percentiles_of_lanes_nano(lanes_of([pack(buckets)]), shares, *ends)
    assert of_lanes == percentiles_nano(buckets, shares, *ends)


@given(st.lists(durations, max_size=40), st.lists(durations, max_size=40))
def test_merging_is_the_histogram_of_the_union(one, other):
    merged: dict[int, int] = {}
    add_packed(merged, pack(histogram_of(one)))
    add_packed(merged, pack(histogram_of(other)))
    assert merged == histogram_of(one + other)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_highest_bucket_between_two_holds_the_longest_duration_between_them(durations, one, other):
    least, most = sorted((one, other))
    packed = pack(count_buckets(durations))
    found = highest_bucket(packed, bucket_of(least), bucket_of(most))
    between = [each for each in durations if least <= each <= most]
    if between:
        assert found >= bucket_of(max(between))
        assert longest_in(found) >= max(between)
    elif found is not None:
        assert found in {bucket_of(least), bucket_of(most)} | set(map(bucket_of, durations))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.integers(1, 12))
def test_lanes_are_counted_coarsely_as_each_bucket_would_be(durations, coarseness):
    buckets = count_buckets(durations)
    lowest, counts = buckets_of_lanes(lanes_of([pack(buckets)]))
    assert {lowest + place: count for place, count in enumerate(counts) if count} == buckets
    expected = Counter(coarse_bucket(bucket, coarseness) for bucket in buckets for _ in range(buckets[bucket]))
    first = min(expected)
    rows = [0] * (max(expected) - first + 1)
    add_coarsely(lowest, counts, coarseness, rows, first)
    assert {first + place: count for place, count in enumerate(rows) if count} == dict(expected)
