"""An exponential histogram of durations, and its packed form.

OpenTelemetry's base-2 exponential buckets at scale 5: the bound of bucket *i* is 2^((i+1)/32), so an estimate at the
relative middle of a bucket is off by at most (2^(1/32) - 1) / (2^(1/32) + 1) = 1.083 %
(opentelemetry-specification, metrics/data-model, "Exponential Scale"; the midpoint is DDSketch's, Masson et al. 2019).

A bucket is a small key: 0 for durations of 0, else OpenTelemetry's index + 2 (1 ns has index -1). The packed form is
one byte of width (1, 2, 4 or 8), then pairs of that width, little-endian: the distance to the key before, the count.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

SCALE: Final = 5
_BUCKETS_PER_DOUBLING: Final = 2**SCALE
_GAMMA: Final = 2 ** (1 / _BUCKETS_PER_DOUBLING)
_CODE_OF_WIDTH: Final = {array(code).itemsize: code for code in "BHIQ"}
_LANE_BITS: Final = 64
_LANES: Final = 2_048
"""More than any key: that of the longest duration, 2^63 ns, is 2,017."""
_log2 = math.log2
_ceil = math.ceil


def bucket_of(duration_nano: int) -> int:
    """The key of the bucket that holds ``duration_nano`` (0 or more)."""
    return 1 + _ceil(_log2(duration_nano) * _BUCKETS_PER_DOUBLING) if duration_nano > 0 else 0


def estimate_of(bucket: int) -> float:
    """The value, in nanoseconds, whose relative distance to anything in the bucket is least."""
    if bucket == 0:
        return 0.0
    return 2.0 * 2 ** ((bucket - 1) / _BUCKETS_PER_DOUBLING) / (1 + _GAMMA)


def pack(buckets: Mapping[int, int]) -> bytes:
    """The packed form of a histogram."""
    numbers: list[int] = []
    before = 0
    for key in sorted(buckets):
        numbers += (key - before, buckets[key])
        before = key
    largest = max(numbers, default=0)
    width = 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8
    return bytes((width,)) + _little_endian(array(_CODE_OF_WIDTH[width], numbers)).tobytes()


def add_packed(buckets: dict[int, int], packed: bytes) -> None:
    """Add a packed histogram to ``buckets``."""
    numbers = _unpack(packed)
    for key, count in zip(accumulate(numbers[::2]), numbers[1::2], strict=True):
        buckets[key] = buckets.get(key, 0) + count


def lanes_of(packed: Iterable[bytes]) -> int:
    """Packed histograms together, as one number with a lane of 64 bits for each key: such are added in one step."""
    counts = [0] * _LANES
    top = 0
    for each in packed:
        numbers = _unpack(each)
        key = 0
        for key, count in zip(accumulate(numbers[::2]), numbers[1::2], strict=True):
            counts[key] += count
        top = max(top, key)
    return int.from_bytes(_little_endian(array("Q", counts[: top + 1])).tobytes(), "little")


def bounds_nano(bucket: int, coarseness: int = 0) -> tuple[float, float]:
    """What durations in a bucket are above, and what at most, in nanoseconds; (0, 0) for durations of 0.

    With a ``coarseness`` of n, of the bucket of `coarse_bucket` instead, 2^n times as wide.
    """
    if coarseness == 0:
        if bucket == 0:
            return 0.0, 0.0
        bucket -= 2
    share = (1 << coarseness) / _BUCKETS_PER_DOUBLING
    return float(2.0 ** (bucket * share)), float(2.0 ** ((bucket + 1) * share))


def coarse_bucket(bucket: int, coarseness: int) -> int:
    """Which of the buckets that are 2^coarseness times as wide holds ``bucket``; up to a nanosecond, the first one.

    OpenTelemetry's rule for a smaller scale: the index is shifted. One below 0 would never meet the others.
    """
    return max(0, bucket - 2) >> coarseness


def percentiles_nano(buckets: Mapping[int, int], shares: Sequence[float], minimum: int, maximum: int) -> list[float]:
    """The values of the nearest ranks, ceil(share * count), from a histogram that is not empty, in nanoseconds.

    ``shares`` ascend. ``minimum`` and ``maximum`` are the exact extremes: no estimate leaves them.
    """
    keys = sorted(buckets)
    ranked = _nearest_ranks(list(accumulate(map(buckets.__getitem__, keys))), shares)
    return [_estimate(keys[each] if each < len(keys) else None, minimum, maximum) for each in ranked]


def percentiles_of_lanes_nano(lanes: int, shares: Sequence[float], minimum: int, maximum: int) -> list[float]:
    """`percentiles_nano` of the number that `lanes_of` made."""
    lowest = bucket_of(minimum)
    counts = array("Q")
    lanes >>= lowest * _LANE_BITS
    counts.frombytes(lanes.to_bytes(-(-lanes.bit_length() // _LANE_BITS) * counts.itemsize, "little"))
    ranked = _nearest_ranks(list(accumulate(_little_endian(counts))), shares)
    return [_estimate(lowest + each if each < len(counts) else None, minimum, maximum) for each in ranked]


def _nearest_ranks(counted: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Where in the running counts, the last of which is all, each rank is reached."""
    total = counted[-1]
    ranks = (max(1, math.ceil(round(share * total, 6))) for share in shares)  # 0.07 * 100 is 7.000000000000001
    return [bisect_left(counted, rank) for rank in ranks]


def _estimate(bucket: int | None, minimum: int, maximum: int) -> float:
    return float(maximum) if bucket is None else min(max(estimate_of(bucket), minimum), maximum)


def _unpack(packed: bytes) -> array[int]:
    numbers = array(_CODE_OF_WIDTH[packed[0]])
    numbers.frombytes(packed[1:])
    return _little_endian(numbers)


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
