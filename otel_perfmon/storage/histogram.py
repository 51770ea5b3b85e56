"""An exponential histogram of durations, and its packed form.

OpenTelemetry's base-2 exponential buckets at scale 5: the bound of bucket *i* is 2^((i+1)/32), so an estimate at the
relative middle of a bucket is off by at most (2^(1/32) - 1) / (2^(1/32) + 1) = 1.083 %
(opentelemetry-specification, metrics/data-model, "Exponential Scale"; the midpoint is DDSketch's, Masson et al. 2019).

A bucket is a small key: 0 for durations of 0, else OpenTelemetry's index + 2 (1 ns has index -1). The packed form is
one byte of width (1, 2, 4 or 8), two of the lowest key, then numbers of that width, all little-endian: the count of the
lowest key, and for each other one its distance to the key before and its count. Or, where the first byte is the width +
16, dense: the count of every key from the lowest to the highest.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise, repeat
from operator import mul
from typing import Final

SCALE: Final = 5
_BUCKETS_PER_DOUBLING: Final = 2**SCALE
_GAMMA: Final = 2 ** (1 / _BUCKETS_PER_DOUBLING)
_CODE_OF_WIDTH: Final = {array(code).itemsize: code for code in "BHIQ"}
_HEAD_BYTES: Final = 3
_IS_DENSE: Final = 16
_KEYS_FOR_ONE_MAX: Final = 4
"""Up to so many keys for each that is counted it is dense: at most twice the bytes, and read with no step for each."""
_ADDED_MAX: Final = 256
_WIDTH_OF_SUMS: Final = {1: 2, 2: 4, 4: 8, 8: 8}
"""The sum of `_ADDED_MAX` numbers has no more bytes; 2^64 spans there are none."""
_LANE_BYTES: Final = 8
_LANE_BITS: Final = 8 * _LANE_BYTES
_LANES: Final = 2_048
"""More than any key: that of the longest duration, 2^63 ns, is 2,017."""
_ROUNDED_UP: Final = 1 + 1e-9
"""A duration may lie above the bound of its bucket, by what the logarithm is rounded."""
_log2 = math.log2
_ceil = math.ceil


def bucket_of(duration_nano: int) -> int:
    """The key of the bucket that holds ``duration_nano`` (0 or more)."""
    return 1 + _ceil(_log2(duration_nano) * _BUCKETS_PER_DOUBLING) if duration_nano > 0 else 0


def count_buckets(durations_nano: Sequence[int]) -> dict[int, int]:
    """How many of the durations each bucket holds, by its key: `bucket_of` of all of them, without a call for each."""
    exponents = map(mul, map(_log2, filter(None, durations_nano)), repeat(_BUCKETS_PER_DOUBLING))
    counts = {1 + exponent: count for exponent, count in Counter(map(_ceil, exponents)).items()}
    zero_count = len(durations_nano) - sum(counts.values())
    return counts | {0: zero_count} if zero_count else counts


def estimate_of(bucket: int) -> float:
    """The value, in nanoseconds, whose relative distance to anything in the bucket is least."""
    if bucket == 0:
        return 0.0
    return 2.0 * 2 ** ((bucket - 1) / _BUCKETS_PER_DOUBLING) / (1 + _GAMMA)


def pack(buckets: Mapping[int, int]) -> bytes:
    """The packed form of a histogram."""
    keys = sorted(buckets)
    if not keys:
        return _head(1 + _IS_DENSE, 0)
    lowest, highest = keys[0], keys[-1]
    is_dense = highest - lowest < _KEYS_FOR_ONE_MAX * len(keys)
    if is_dense:
        numbers = list(map(buckets.get, range(lowest, highest + 1), repeat(0)))
    else:
        numbers = [buckets[lowest]]
        for before, key in pairwise(keys):
            numbers += (key - before, buckets[key])
    largest = max(numbers)
    width = 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8
    packed = bytes(numbers) if width == 1 else _little_endian(array(_CODE_OF_WIDTH[width], numbers)).tobytes()
    return _head(width + _IS_DENSE * is_dense, lowest) + packed


def add_packed(buckets: dict[int, int], packed: bytes) -> None:
    """Add a packed histogram to ``buckets``."""
    for key, count in _counts(packed):
        if count:
            buckets[key] = buckets.get(key, 0) + count


def pack_onto(packed: bytes, buckets: Mapping[int, int]) -> bytes:
    """The packed form of a packed histogram and ``buckets`` together.

    Where the former is dense and has a place for each of the latter, as is the rule, only those are touched: a batch
    has some durations of an operation, its hour hundreds of buckets.
    """
    if packed[0] & _IS_DENSE and sys.byteorder == "little" and buckets:
        lowest = _lowest(packed)
        numbers = array(_CODE_OF_WIDTH[packed[0] - _IS_DENSE], packed[_HEAD_BYTES:])
        if lowest <= min(buckets) and max(buckets) < lowest + len(numbers):
            try:
                for key, count in buckets.items():
                    numbers[key - lowest] += count
            except OverflowError:  # they need more bytes
                pass
            else:
                return packed[:_HEAD_BYTES] + numbers.tobytes()
    merged = dict(buckets)
    add_packed(merged, packed)
    return pack(merged)


def lanes_of(packed: Iterable[bytes]) -> int:
    """Packed histograms together, as one number with a lane of 64 bits for each key: such are added in one step."""
    sparse: list[bytes] = []
    dense: dict[int, list[bytes]] = {}
    for each in packed:
        same = dense.setdefault(each[0] - _IS_DENSE, []) if each[0] & _IS_DENSE else sparse
        same.append(each)
    lanes = _lanes_of_sparse(sparse) if sparse else 0
    for width, same in dense.items():
        for start in range(0, len(same), _ADDED_MAX):
            lanes += _lanes_of_dense(same[start : start + _ADDED_MAX], width)
    return lanes


def _lanes_of_sparse(packed: Sequence[bytes]) -> int:
    counts = [0] * _LANES
    lowest, highest = min(map(_lowest, packed)), 0
    for each in packed:
        key = 0
        for key, count in _counts(each):
            counts[key] += count
        highest = max(highest, key)
    lanes = _little_endian(array("Q", counts[lowest : highest + 1])).tobytes()
    return int.from_bytes(lanes, "little") << lowest * _LANE_BITS


def _lanes_of_dense(packed: Sequence[bytes], width: int) -> int:
    """`lanes_of` at most `_ADDED_MAX` dense histograms of one width. No step for each key: 8 ns where it was 70."""
    lane = _WIDTH_OF_SUMS[width]
    keys = list(map(_lowest, packed))
    lowest, lanes = min(keys), 0
    for key, each in zip(keys, packed, strict=True):
        numbers = _widen(each[_HEAD_BYTES:], width, lane)
        lanes += int.from_bytes(numbers, "little") << (key - lowest) * lane * 8
    length = -(-lanes.bit_length() // (lane * 8)) * lane
    return int.from_bytes(_widen(lanes.to_bytes(length, "little"), lane, _LANE_BYTES), "little") << lowest * _LANE_BITS


def _widen(numbers: bytes, width: int, wider: int) -> bytes | bytearray:
    """Numbers of ``width`` bytes, little-endian, as such of ``wider`` ones."""
    if width == wider:
        return numbers
    widened = bytearray(len(numbers) // width * wider)
    for place in range(width):
        widened[place::wider] = numbers[place::width]
    return widened


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


def highest_bucket(packed: bytes, first: int, last: int) -> int | None:
    """The highest bucket from ``first`` to ``last`` that a packed histogram has counted in; None without any."""
    if not packed[0] & _IS_DENSE:
        return max((bucket for bucket, _ in _counts(packed) if first <= bucket <= last), default=None)
    lowest = _lowest(packed)
    numbers = _unpack(packed[_HEAD_BYTES:], packed[0] - _IS_DENSE)
    places = range(min(last - lowest, len(numbers) - 1), max(first - lowest, 0) - 1, -1)
    return next((lowest + place for place in places if numbers[place]), None)


def longest_in(bucket: int) -> int:
    """What no duration in a bucket is above, in whole nanoseconds."""
    return int(bounds_nano(bucket)[1] * _ROUNDED_UP) + 1 if bucket else 0


def percentiles_nano(buckets: Mapping[int, int], shares: Sequence[float], minimum: int, maximum: int) -> list[float]:
    """The values of the nearest ranks, ceil(share * count), from a histogram that is not empty, in nanoseconds.

    ``shares`` ascend. ``minimum`` and ``maximum`` are the exact extremes: no estimate leaves them.
    """
    keys = sorted(buckets)
    ranked = _nearest_ranks(list(accumulate(map(buckets.__getitem__, keys))), shares)
    return [_estimate(keys[each] if each < len(keys) else None, minimum, maximum) for each in ranked]


def percentiles_of_lanes_nano(lanes: int, shares: Sequence[float], minimum: int, maximum: int) -> list[float]:
    """`percentiles_nano` of the number that `lanes_of` made."""
    lowest, counts = buckets_of_lanes(lanes)
    ranked = _nearest_ranks(list(accumulate(counts)), shares)
    return [_estimate(lowest + each if each < len(counts) else None, minimum, maximum) for each in ranked]


def buckets_of_lanes(lanes: int) -> tuple[int, Sequence[int]]:
    """The lowest bucket of the number that `lanes_of` made, and the counts of it and those above; (0, ()) of none."""
    if not lanes:
        return 0, ()
    lowest = ((lanes & -lanes).bit_length() - 1) // _LANE_BITS
    counts = array("Q")
    lanes >>= lowest * _LANE_BITS
    counts.frombytes(lanes.to_bytes(-(-lanes.bit_length() // _LANE_BITS) * counts.itemsize, "little"))
    return lowest, _little_endian(counts)


def add_coarsely(lowest: int, counts: Sequence[int], coarseness: int, rows: list[int], lowest_row: int) -> None:
    """Add what `buckets_of_lanes` gave to ``rows``, one for each `coarse_bucket` from ``lowest_row`` on."""
    place = 0
    for row in range(coarse_bucket(lowest, coarseness), coarse_bucket(lowest + len(counts) - 1, coarseness) + 1):
        end = ((row + 1) << coarseness) + 2 - lowest  # of the next row's first bucket
        rows[row - lowest_row] += sum(counts[place:end])
        place = end


def _nearest_ranks(counted: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Where in the running counts, the last of which is all, each rank is reached."""
    total = counted[-1]
    ranks = (max(1, math.ceil(round(share * total, 6))) for share in shares)  # 0.07 * 100 is 7.000000000000001
    return [bisect_left(counted, rank) for rank in ranks]


def _estimate(bucket: int | None, minimum: int, maximum: int) -> float:
    return float(maximum) if bucket is None else min(max(estimate_of(bucket), minimum), maximum)


def _head(form: int, lowest: int) -> bytes:
    return bytes((form, lowest & 255, lowest >> 8))


def _lowest(packed: bytes) -> int:
    return packed[1] | packed[2] << 8


def _counts(packed: bytes) -> Iterator[tuple[int, int]]:
    """Each key with its count; in the dense form that may be 0."""
    form, numbers = packed[0], packed[_HEAD_BYTES:]
    if form & _IS_DENSE:
        return enumerate(_unpack(numbers, form - _IS_DENSE), _lowest(packed))
    unpacked = _unpack(numbers, form)
    return zip(accumulate(unpacked[1::2], initial=_lowest(packed)), unpacked[::2], strict=True)


def _unpack(numbers: bytes, width: int) -> Sequence[int]:
    if width == 1:
        return numbers
    unpacked = array(_CODE_OF_WIDTH[width])
    unpacked.frombytes(numbers)
    return _little_endian(unpacked)


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
