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
    DefaultAggregation,
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
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
from opentelemetry.sdk.metrics._internal.instrument import _Histogram
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage
from opentelemetry.sdk.metrics._internal.view import _default_reservoir_factory
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon.sdk.exponential import add_to_exponential_buckets, offer_by_lot

Gathered = tuple[int, dict[str, str], Any, int | None, int, Mapping[Any, Any]]
"""One measurement: elapsed_nano, attributes, trace_id, span_id, end_unix_nano, the storages of that moment's readers.

The ids are those of the span around it, None if its exemplar needs none; or the place of the first has its context.
"""
NOTHING, SAMPLED_IDS, IDS, CONTEXT = "nothing", "sampled ids", "ids", "context"
_KEPT_FOR_FILTER: Final[Mapping[type, str]] = {
    AlwaysOffExemplarFilter: NOTHING,
    TraceBasedExemplarFilter: SAMPLED_IDS,
    AlwaysOnExemplarFilter: IDS,
}
_STOCK_AGGREGATIONS: Final = (
    *(DefaultAggregation, DropAggregation, LastValueAggregation, SumAggregation),
    *(ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation),
)
_NO_CONTEXT: Final = Context()
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


def what_exemplars_need(config: Any, storages: Iterable[Any]) -> str:
    """What to keep of a measurement's context; a filter, reservoir or aggregation of the user's may look at it all."""
    aggregations = [view._aggregation for view in config.views]
    aggregations += [storage._instrument_class_aggregation.get(_Histogram) for storage in storages]
    is_stock = all(type(each) in _STOCK_AGGREGATIONS for each in aggregations) and all(
        view._exemplar_reservoir_factory is _default_reservoir_factory for view in config.views
    )
    return _KEPT_FOR_FILTER.get(type(config.exemplar_filter), CONTEXT) if is_stock else CONTEXT


class Verdicts:
    """Which measurements the exemplar filter accepts: told by what was ``kept``, or asked.

    A filter is asked about each measurement, once, in order, as the SDK would.
    """

    __slots__ = ("_given", "_kept", "are_all_no")

    def __init__(self, exemplar_filter: Any, kept: str, items: Iterable[Gathered]) -> None:
        self._kept = kept
        self.are_all_no = kept is NOTHING
        self._given = {id(item): _ask(exemplar_filter, item) for item in items} if kept is CONTEXT else {}

    def accepts(self, item: Gathered) -> bool:
        """Whether the filter accepts ``item``, one of those that were given at the start."""
        if self._kept is SAMPLED_IDS:
            return item[3] is not None
        return self._kept is IDS or self._given.get(id(item), False)


def _ask(exemplar_filter: Any, item: Gathered) -> bool:
    try:
        return bool(exemplar_filter.should_sample(item[0] / 1e9, item[4], item[1], _context_of(item)))
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
        _call_for_each(lambda item: consume(measurement_of(instrument, item), accepts(item)), self._items)


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
            _call_for_each(lambda item: aggregation.aggregate(measurement_of(instrument, item), accepts(item)), items)

    def _begin(self) -> Any:
        """Have the SDK make the aggregation, as it does with the first measurement of its kind."""
        match, first = self._match, self._items[0]
        with suppress(Exception):  # a reservoir of the user's: the measurement is in all the same
            match.consume_measurement(measurement_of(match._instrument, first), self._verdicts.accepts(first))
        aggregation = match._attributes_aggregation[self._key]
        _begin_at(aggregation, first[4])
        return aggregation


def portions_of(instrument: Any, exemplar_filter: Any, kept: str, items: list[Gathered]) -> list[Portion | OneByOne]:
    """The portions of a batch, for every reader; all ``items`` have the same readers. Order is kept within each."""
    verdicts = Verdicts(exemplar_filter, kept, items)
    by_attributes = _grouped(items, None)
    portions: list[Portion | OneByOne] = []
    for storage in items[0][-1].values():
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
        aggregation.aggregate(measurement_of(instrument, items[number]), should_sample_exemplar=False)

    add_to_exponential_buckets(aggregation, [item[0] / 1e9 for item in items], aggregate)
    if not verdicts.are_all_no:  # the SDK offers no exemplar of a zero here
        _offer(aggregation._reservoir, [item for item in items if item[0] and verdicts.accepts(item)])


def _offer(reservoir: Any, items: list[Gathered]) -> None:
    if type(reservoir) is SimpleFixedSizeExemplarReservoir:
        offer_by_lot(reservoir, ((item[0] / 1e9, item[4], dict(item[1]), _context_of(item)) for item in items))
    else:
        _call_for_each(lambda item: reservoir.offer(item[0] / 1e9, item[4], dict(item[1]), _context_of(item)), items)


def _last_of_each_bucket(items: list[Gathered], buckets: list[int], verdicts: Verdicts) -> list[Gathered]:
    """What an aligned reservoir would be left with, oldest first: the last accepted measurement of each bucket.

    One without a span leaves the ids of the one before it in their place (`ExemplarBucket.offer`): that one goes first.
    """
    kept: list[Gathered] = []
    missing, started = set(buckets), set[int]()
    for item, bucket in zip(reversed(items), reversed(buckets), strict=True):
        if bucket not in missing or not verdicts.accepts(item):
            continue
        has_span = item[3] is not None or trace.get_current_span(_context_of(item)) is not trace.INVALID_SPAN
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


def measurement_of(instrument: Any, item: Gathered) -> Measurement:
    """The measurement as the SDK knows it."""
    return Measurement(item[0] / 1e9, item[4], instrument, _context_of(item), item[1])


def _context_of(item: Gathered) -> Context:
    place, span_id = item[2], item[3]
    if span_id is None:
        return _NO_CONTEXT if place is None else place
    span_context = SpanContext(place, span_id, is_remote=False, trace_flags=_SAMPLED)
    return trace.set_span_in_context(NonRecordingSpan(span_context), _NO_CONTEXT)


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
