"""Gathers the measurements of one histogram of the SDK and hands them over in bulk, before any reader collects.

A reader's collection first asks every observable instrument. The gatherer is registered as one that observes nothing:
asked, it hands over, and so every collection, the last one at shutdown too, has all that was recorded before it.
`GATHERED_MAX` measurements are handed over at once, by the thread that records the last of them.

A measurement goes to those readers that were there when it was recorded. There is one gatherer for each instrument,
whoever records, so that the order of the measurements is kept; like the instrument it lives as long as the SDK's
meter provider, and it holds nothing of a monitor.

`record` waits for no lock that its own thread may hold: a signal handler or a finaliser may record at any time. At a
fork what is gathered stays the parent's.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.metrics._internal.aggregation import (
    AggregationTemporality,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)
from opentelemetry.sdk.metrics._internal.exemplar import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics._internal.instrument import _Histogram
from opentelemetry.sdk.metrics._internal.measurement_consumer import SynchronousMeasurementConsumer
from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage
from opentelemetry.sdk.metrics._internal.sdk_configuration import SdkConfiguration
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import INVALID_SPAN, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_perfmon.sdk.bulk import (
    CONTEXT,
    IDS,
    NOTHING,
    SAMPLED_IDS,
    Gathered,
    OneByOne,
    Portion,
    Verdicts,
    measurement_of,
    portions_of,
    what_exemplars_need,
)
from otel_perfmon.storage.fork import tell_of_forks

GATHERED_MAX: Final = 2_048
"""0.3 MB. With 256 a measurement of one of 50 operations costs 5 µs, with 2,048 or more 2 µs."""
_WAITING_FROM: Final = 4 * GATHERED_MAX
"""From here on who records waits for the thread that hands over: it gets the processor too seldom."""
_WAIT_SECONDS: Final = 0.1
_FORK_WAIT_SECONDS: Final = 1.0
PRIVATE_NAMES: Final = {
    "_ProxyMeter": ("_instruments", "_lock", "_real_meter"),
    "_Histogram": ("_measurement_consumer", "_meter_config"),
    "_ProxyMeterConfig": ("_config",),
    "SynchronousMeasurementConsumer": ("_async_instruments", "_reader_storages", "_sdk_config"),
    "MetricReaderStorage": (
        *("_get_or_init_view_instrument_match", "_instrument_class_aggregation", "_instrument_view_instrument_matches"),
    ),
    "_ViewInstrumentMatch": ("_aggregation", "_attributes_aggregation", "_instrument", "_lock", "_view"),
    "View": ("_aggregation", "_attribute_keys", "_exemplar_reservoir_factory"),
    "_ExplicitBucketHistogramAggregation": (
        *("_boundaries", "_get_empty_bucket_counts", "_lock", "_max", "_min", "_previous_collection_start_nano"),
        *("_record_min_max", "_reservoir", "_start_time_unix_nano", "_sum", "_value"),
    ),
    "_ExponentialBucketHistogramAggregation": (
        *("_count", "_lock", "_mapping", "_max", "_min", "_record_min_max", "_reservoir", "_sum"),
        *("_value_negative", "_value_positive"),
    ),
    "AlignedHistogramBucketExemplarReservoir": ("_boundaries",),
    "SimpleFixedSizeExemplarReservoir": ("_lock", "_measurements_seen", "_reservoir_storage", "_size"),
}
"""What is touched of OpenTelemetry's inside for the histogram, by class; without it, it gets plain ``record()``."""
_WIDTH: Final = 6
_storages_of = itemgetter(_WIDTH - 1)
_finding: Final = threading.RLock()
_logger = logging.getLogger("otel_perfmon")


class Gatherer:
    """The measurements of one instrument of the SDK that are not handed over yet. Any number of threads."""

    def __init__(self, instrument: Any) -> None:
        self.instrument = instrument
        self._consumer: Any = instrument._measurement_consumer
        self._meter_config: Any = instrument._meter_config
        self._kept, self._seen_storages = NOTHING, None
        # Flat, `_WIDTH` places for each measurement: tuples would be work for the garbage collector.
        self._gathered: list[Any] = []
        self._portions: deque[Portion | OneByOne] = deque()
        # Re-entrant, and so it always knows whether its own thread is at it: see `_hand_over`.
        self._lock = threading.RLock()
        self._is_handing_over = self._is_held_over_fork = self._is_failing = False

    def record(self, elapsed_nano: int, attributes: dict[str, str], context: Context, end_unix_nano: int) -> None:
        """Take one measurement for the readers of this moment. ``attributes`` must not change any more."""
        storages = self._consumer._reader_storages  # a new mapping for every change of the readers
        if not storages or not self._meter_config._config.is_enabled:
            return
        if storages is not self._seen_storages:
            self._look_at(storages)
        kept = self._kept
        trace_id: Any = None
        span_id: int | None = None
        if kept is SAMPLED_IDS or kept is IDS:
            # Never the context: it holds the span and all that is in it. Kept till the hand-over, they cost the garbage
            # collector and the allocator 3-8 µs each; numbers cost them nothing.
            span: Any = context.get(_SPAN_KEY)
            if span is not None and span is not INVALID_SPAN:
                ids = span.get_span_context()
                if kept is IDS or ids[3] & TraceFlags.SAMPLED:  # by place: a property costs twice as much
                    trace_id, span_id = ids[0], ids[1]
        elif kept is CONTEXT:
            trace_id = context
        gathered = self._gathered
        gathered.extend((elapsed_nano, attributes, trace_id, span_id, end_unix_nano, storages))
        if len(gathered) >= _WIDTH * GATHERED_MAX:
            is_behind = len(gathered) >= _WIDTH * _WAITING_FROM
            self._hand_over(_WAIT_SECONDS if is_behind else 0, is_collecting=False)

    def callback(self, options: Any) -> tuple[()]:
        """What the SDK asks an observable instrument: hand over, and observe nothing."""
        instruments = self._consumer._async_instruments
        for each in reversed(instruments):
            if each is self:
                break
            if not isinstance(each, Gatherer):
                # An observable instrument that was registered later may record when it is asked: come again after it.
                # There is one more place in the list for it. Its lock is held by the collection that asks.
                instruments.append(self)
                break
        self._hand_over(max(0.0, options.timeout_millis / 1000), is_collecting=True)
        return ()

    def before_fork(self) -> None:
        """Let no other thread be in the middle of a portion: the child would never see its end."""
        self._is_held_over_fork = self._lock.acquire(timeout=_FORK_WAIT_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_over_fork:
            self._is_held_over_fork = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start with nothing: the parent hands over what was gathered."""
        self._lock = threading.RLock()
        self._is_handing_over = self._is_held_over_fork = False
        self._gathered, self._portions = [], deque()

    def finish(self) -> None:
        """Nothing: the SDK's readers do not collect at the end of a process that multiprocessing made either."""

    def _look_at(self, storages: Any) -> None:
        """Find out what to keep of a context for these readers; once it is the whole, it stays so."""
        if self._kept is not CONTEXT:
            self._kept = what_exemplars_need(self._consumer._sdk_config, storages.values())
        self._seen_storages = storages

    def _hand_over(self, timeout_seconds: float, *, is_collecting: bool) -> None:
        lock = self._lock
        if not lock.acquire(timeout=timeout_seconds):
            return
        try:
            if self._is_handing_over:
                return  # a signal handler or a finaliser has interrupted us, on this very thread
            self._is_handing_over = True
            try:
                if is_collecting or not self._is_blocked():
                    self._divide()
                    self._hand_over_portions(is_collecting=is_collecting)
            finally:
                self._is_handing_over = False
        finally:
            lock.release()

    def _is_blocked(self) -> bool:
        return bool(self._portions) and self._portions[0].is_being_collected

    def _divide(self) -> None:
        """Make portions of what is gathered. An interrupt from the keyboard may end it anywhere: nothing is lost."""
        gathered = self._gathered
        taken = gathered[:]
        portions = [portion for batch in _batches(taken) for portion in self._portions_of(batch)]
        self._portions.extend(portions)
        del gathered[: len(taken)]

    def _portions_of(self, batch: list[Gathered]) -> list[Portion | OneByOne]:
        instrument, exemplar_filter = self.instrument, self._consumer._sdk_config.exemplar_filter
        try:
            return portions_of(instrument, exemplar_filter, self._kept, batch)
        except Exception as error:  # the outer rim: a view's aggregation that cannot be made, for one
            self._warn(error)
        verdicts = Verdicts(exemplar_filter, self._kept, batch)
        return [OneByOne(storage, instrument, batch, verdicts) for storage in batch[0][-1].values()]

    def _hand_over_portions(self, *, is_collecting: bool) -> None:
        portions = self._portions
        # While an aggregation is collected its locks are taken, and our own thread may be the one that collects: a
        # finaliser can run in its midst. What is left then goes with the next hand-over.
        while portions and (is_collecting or not portions[0].is_being_collected):
            portion = portions.popleft()
            try:
                portion.hand_over()
            except Exception as error:  # the outer rim: a reservoir or an aggregation of the user's
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            _logger.warning(
                "Points or exemplars of the histogram %s are lost (this is said once): %r",
                self.instrument.name,
                error,
            )


def find_gatherer(instrument: Any) -> Gatherer | None:
    """The gatherer of a histogram; None if that is not the SDK's, or the SDK is not as it was when this was written.

    Raises `AttributeError` when it is too different even to see that.
    """
    consumer = getattr(instrument, "_measurement_consumer", None)
    if type(instrument) is not _Histogram or type(consumer) is not SynchronousMeasurementConsumer:
        return None
    meter_config: Any = instrument._meter_config
    if not isinstance(meter_config._config.is_enabled, bool) or not adds_as_the_sdk_does():
        return None
    with _finding:
        for each in consumer._async_instruments:
            if isinstance(each, Gatherer) and each.instrument is instrument:
                return each
        gatherer = Gatherer(instrument)
        consumer.register_asynchronous_instrument(gatherer)  # type: ignore[arg-type]
    tell_of_forks(gatherer)
    return gatherer


@cache
def adds_as_the_sdk_does() -> bool:
    """Whether what is added in bulk is what the installed SDK makes of it one by one: tried, once in a process."""
    try:
        return all(
            repr(_tried(aggregation, is_bulk=True)) == repr(_tried(aggregation, is_bulk=False))
            for aggregation in (ExplicitBucketHistogramAggregation((0.1, 0.2)), ExponentialBucketHistogramAggregation())
        )
    except Exception:
        return False


def _tried(aggregation: Any, *, is_bulk: bool) -> tuple[Any, ...]:
    config = SdkConfiguration(AlwaysOnExemplarFilter(), Resource({}), ())
    storage = MetricReaderStorage(config, {_Histogram: AggregationTemporality.DELTA}, {_Histogram: aggregation})
    consumer = SynchronousMeasurementConsumer(config, ())
    instrument: Any = _Histogram("tried", None, consumer)  # type: ignore[arg-type]
    nanos, attributes = (100_000_000, 250_000_000, 0, 700_000_001), {"k": "v"}
    items: list[Gathered] = [(nano, attributes, 7, nano + 1, 1, {None: storage}) for nano in nanos]
    if is_bulk:
        kept = what_exemplars_need(config, [storage])
        for portion in portions_of(instrument, config.exemplar_filter, kept, items):
            portion.hand_over()
    else:
        for item in items:
            storage.consume_measurement(measurement_of(instrument, item))
    (match,) = storage._instrument_view_instrument_matches[instrument]
    made: Any = next(iter(match._attributes_aggregation.values()))
    made._start_time_unix_nano = made._previous_collection_start_nano = 0
    return made.collect(AggregationTemporality.DELTA, 2), consumer._async_instruments, consumer._reader_storages


def _batches(taken: list[Any]) -> list[list[Gathered]]:
    """Runs of measurements with the same readers; nearly always one."""
    places = iter(taken)
    items = zip(*[places] * _WIDTH, strict=True)
    return [list(run) for _, run in groupby(items, _storages_of)]
