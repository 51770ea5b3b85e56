"""Many measurements at once into the SDK's aggregations, with the result that one after the other would have had.

The SDK takes 6-8 µs for each measurement: to make it, to find its aggregation by its attributes, to lock, to add. Here
measurements of the same attributes find their aggregation together, and one with explicit buckets, as a duration
histogram has it, adds them in loops of C. Sums are added in the order of the measurements, so that they are equal to
the SDK's to the last bit; of the exemplars only those are offered that would be left in the end.

Exponential buckets: see `exponential`. Any other aggregation (a sum, a last value, one of the user's own) takes its
measurements one by one by its own method, as it would from the SDK.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial, reduce
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes, _ViewInstrumentMatch
from opentelemetry.sdk.metrics._internal.aggregation import (
    _DropAggregation,
    _ExplicitBucketHistogramAggregation,
    _ExponentialBucketHistogramAggregation,
)
from opentelemetry.sdk.metrics._internal.exemplar import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    SimpleFixedSizeExemplarReservoir,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage
from opentelemetry.trace import NonRecordingSpan, SpanContext

from otel_perfmon.sdk.exponential import add_to_exponential_buckets, offer_by_lot

Place = Context | SpanContext | None
"""Where a measurement was made: its context, or only what an exemplar takes of it."""
Gathered = tuple[int, dict[str, str], Place, int, Mapping[Any, Any]]
"""One measurement: elapsed_nano, attributes, place, end_unix_nano, and the storages of the readers of that moment."""
STATELESS_FILTERS: Final = (AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter)


class Verdicts:
    """Which measurements the exemplar filter accepts.

    The SDK's own filters always say the same about a measurement, and are asked only about those that matter. Any other
    is asked about each one, once, in order, as the SDK would.
    """

    __slots__ = ("_given", "_is_trace_based", "_should_sample", "are_all_no")

    def __init__(self, exemplar_filter: Any, items: Iterable[Gathered]) -> None:
        self._should_sample = exemplar_filter.should_sample
        self.are_all_no = type(exemplar_filter) is AlwaysOffExemplarFilter
        self._is_trace_based = type(exemplar_filter) is TraceBasedExemplarFilter
        self._given: dict[int, bool] | None = None
        if type(exemplar_filter) not in STATELESS_FILTERS:
            self._given = {id(item): self._ask(item) for item in items}

    def accepts(self, item: Gathered) -> bool:
        """Whether the filter accepts ``item``, one of those that were given at the start."""
        if self._given is not None:
            return self._given[id(item)]
        if self._is_trace_based and isinstance(item[2], SpanContext):
            return item[2].trace_flags.sampled
        return self._ask(item)

    def _ask(self, item: Gathered) -> bool:
        try:
            return bool(self._should_sample(item[0] / 1e9, item[3], item[1], _context_of(item)))
        except Exception:  # a filter of the user's: its failure costs the exemplar, not the measurement
            return False


class OneByOne:
    """Measurements for a part of the SDK that is not as we know it, each by that part's own method."""

    __slots__ = ("_instrument", "_items", "_part", "_verdicts")
    is_being_collected = False

    def __init__(self, part: Any, instrument: Any, items: list[Gathered], verdicts: Verdicts) -> None:
        self._part, self._instrument, self._items, self._verdicts = part, instrument, items, verdicts

    def hand_over(self) -> None:
        """As `Portion.hand_over`."""
        consume, instrument, accepts = self._part.consume_measurement, self._instrument, self._verdicts.accepts
        _call_for_each(lambda item: consume(_measurement(instrument, item), accepts(item)), self._items)


class Portion:
    """The measurements of one batch that go to one aggregation of one reader."""

    __slots__ = ("_items", "_key", "_match", "_verdicts")

    def __init__(self, match: Any, key: Any, items: list[Gathered], verdicts: Verdicts) -> None:
        self._match, self._key, self._items, self._verdicts = match, key, items, verdicts

    @property
    def is_being_collected(self) -> bool:
        """Whether a reader collects the aggregation just now, perhaps on this very thread."""
        return bool(self._match._lock.locked())

    def hand_over(self) -> None:
        """Add the measurements. The first error of a view's own aggregation or reservoir is raised after the last."""
        items, match, accepts = self._items, self._match, self._verdicts.accepts
        aggregation = match._attributes_aggregation.get(self._key)
        if aggregation is None:
            aggregation, items = self._begin(), items[1:]
        instrument, kind = match._instrument, type(aggregation)
        if not items:
            return
        if kind is _ExplicitBucketHistogramAggregation:
            _add_to_buckets(aggregation, items, self._verdicts)
        elif kind is _ExponentialBucketHistogramAggregation:
            _add_to_exponential_buckets(instrument, aggregation, items, self._verdicts)
        else:
            _call_for_each(lambda item: aggregation.aggregate(_measurement(instrument, item), accepts(item)), items)

    def _begin(self) -> Any:
        """Have the SDK make the aggregation, as it does with the first measurement of its kind."""
        match, first = self._match, self._items[0]
        with suppress(Exception):  # a reservoir of the user's: the measurement is in all the same
            match.consume_measurement(_measurement(match._instrument, first), self._verdicts.accepts(first))
        aggregation = match._attributes_aggregation[self._key]
        _begin_at(aggregation, first[3])
        return aggregation


_NO_CONTEXT: Final = Context()


def portions_of(instrument: Any, exemplar_filter: Any, items: list[Gathered]) -> list[Portion | OneByOne]:
    """The portions of a batch, for every reader; all ``items`` have the same readers. Order is kept within each."""
    verdicts = Verdicts(exemplar_filter, items)
    by_attributes = _grouped(items, None)
    portions: list[Portion | OneByOne] = []
    for storage in items[0][4].values():
        if type(storage) is not MetricReaderStorage:
            portions.append(OneByOne(storage, instrument, items, verdicts))
            continue
        for match in storage._get_or_init_view_instrument_match(instrument):
            if type(match) is not _ViewInstrumentMatch:
                portions.append(OneByOne(match, instrument, items, verdicts))
            elif type(match._aggregation) is not _DropAggregation:
                keys = match._view._attribute_keys
                groups = by_attributes if keys is None else _grouped(items, keys)
                portions += [Portion(match, key, members, verdicts) for key, members in groups.items()]
    return portions


def _add_to_buckets(aggregation: Any, items: list[Gathered], verdicts: Verdicts) -> None:
    values = [item[0] / 1e9 for item in items]
    boundaries = aggregation._boundaries
    buckets = list(map(partial(bisect_left, boundaries), values))
    counted, lowest, highest = Counter(buckets), min(values), max(values)
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._get_empty_bucket_counts()
        # sum() would be wrong: from Python 3.12 on it is more exact than one addition after the other.
        total = reduce(operator.add, values, aggregation._sum)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, lowest)
            aggregation._max = max(aggregation._max, highest)
        for bucket, count in counted.items():
            counts[bucket] += count
        aggregation._sum, aggregation._value = total, counts
    if verdicts.are_all_no:
        return
    reservoir = aggregation._reservoir
    if type(reservoir) is AlignedHistogramBucketExemplarReservoir and tuple(reservoir._boundaries) == boundaries:
        _offer(reservoir, _last_of_each_bucket(items, buckets, verdicts))
    else:
        _offer(reservoir, [item for item in items if verdicts.accepts(item)])


def _add_to_exponential_buckets(instrument: Any, aggregation: Any, items: list[Gathered], verdicts: Verdicts) -> None:
    def aggregate(number: int) -> None:
        aggregation.aggregate(_measurement(instrument, items[number]), should_sample_exemplar=False)

    add_to_exponential_buckets(aggregation, [item[0] / 1e9 for item in items], aggregate)
    if not verdicts.are_all_no:  # the SDK offers no exemplar of a zero here
        _offer(aggregation._reservoir, [item for item in items if item[0] and verdicts.accepts(item)])


def _offer(reservoir: Any, items: list[Gathered]) -> None:
    if type(reservoir) is SimpleFixedSizeExemplarReservoir:
        offer_by_lot(reservoir, ((item[0] / 1e9, item[3], dict(item[1]), _context_of(item)) for item in items))
    else:
        _call_for_each(lambda item: reservoir.offer(item[0] / 1e9, item[3], dict(item[1]), _context_of(item)), items)


def _last_of_each_bucket(items: list[Gathered], buckets: list[int], verdicts: Verdicts) -> list[Gathered]:
    """What an aligned reservoir would be left with, oldest first: the last accepted measurement of each bucket.

    One without a span leaves the ids of the one before it in their place (`ExemplarBucket.offer`): that one goes first.
    """
    kept: list[Gathered] = []
    missing, started = set(buckets), set[int]()
    for item, bucket in zip(reversed(items), reversed(buckets), strict=True):
        if bucket not in missing or not verdicts.accepts(item):
            continue
        has_span = trace.get_current_span(_context_of(item)) is not trace.INVALID_SPAN
        if has_span or bucket not in started:
            kept.append(item)
            started.add(bucket)
        if has_span:
            missing.remove(bucket)
            if not missing:
                break
    kept.reverse()
    return kept


def _grouped(items: list[Gathered], keys: Any) -> dict[Any, list[Gathered]]:
    """Measurements by what the SDK finds their aggregation by: their attributes, or those among ``keys``."""
    groups: dict[Any, list[Gathered]] = {}
    appends: dict[int, Callable[[Gathered], None]] = {}  # most calls of an operation share one dict of attributes
    for item in items:
        attributes = item[1]
        append = appends.get(id(attributes))
        if append is None:
            kept = attributes if keys is None else {k: v for k, v in attributes.items() if k in keys}
            append = appends[id(attributes)] = groups.setdefault(_hash_attributes(kept), []).append
        append(item)
    return groups


def _begin_at(aggregation: Any, unix_nano: int) -> None:
    """Have a new aggregation begin with its first measurement, as the SDK's would, not when that is handed over."""
    with aggregation._lock:
        start = getattr(aggregation, "_start_time_unix_nano", None)  # the last value has none
        if start is None or start <= unix_nano:
            return
        if aggregation._previous_collection_start_nano == start:
            aggregation._previous_collection_start_nano = unix_nano
        aggregation._start_time_unix_nano = unix_nano


def _measurement(instrument: Any, item: Gathered) -> Measurement:
    elapsed_nano, attributes, _, end_unix_nano, _ = item
    return Measurement(elapsed_nano / 1e9, end_unix_nano, instrument, _context_of(item), attributes)


def _context_of(item: Gathered) -> Context:
    place = item[2]
    if isinstance(place, SpanContext):
        return trace.set_span_in_context(NonRecordingSpan(place), _NO_CONTEXT)
    return _NO_CONTEXT if place is None else place


def _call_for_each(function: Callable[[Gathered], None], items: Iterable[Gathered]) -> None:
    """Call ``function`` with each item; the first error is raised after the last call."""
    failed: Exception | None = None
    for item in items:
        try:
            function(item)
        except Exception as error:  # noqa: PERF203 - one measurement's failure is not the next one's
            failed = failed or error
    if failed is not None:
        raise failed
