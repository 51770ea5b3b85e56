"""The duration histogram: what any reader gets is what the SDK's own instrument would have given it."""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import Histogram as ApiHistogram
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.metrics import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
    SimpleFixedSizeExemplarReservoir,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal import _MeterConfig
from opentelemetry.sdk.metrics._internal.aggregation import _ExplicitBucketHistogramAggregation
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon.monitor import BUCKET_BOUNDARIES_S
from otel_perfmon.sdk import gathering
from otel_perfmon.sdk.histogram import DurationHistogram

NAME, UNIT, DESCRIPTION = "perfmon.operation.duration", "s", "Duration of monitored operations."
TEMPORALITIES = [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]
SHARED = {"perfmon.operation": "shared"}
EMPTY = Resource({})


def context_of(span_id, *, is_sampled=True):
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else 0)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(7, span_id, False, flags)), otel_context.Context())


def reader_of(temporality=AggregationTemporality.CUMULATIVE, aggregation=None):
    return InMemoryMetricReader({Histogram: temporality}, {Histogram: aggregation} if aggregation else None)


def provider_of(*readers, views=(), exemplar_filter=None):
    return MeterProvider(readers, EMPTY, exemplar_filter, shutdown_on_exit=False, views=views)


def ours_on(provider):
    return DurationHistogram(NAME, UNIT, DESCRIPTION, BUCKET_BOUNDARIES_S, provider)


class Stock:
    """The SDK's own instrument, recorded to as the monitor would."""

    def __init__(self, provider):
        self.instrument = metrics.get_meter("otel_perfmon", meter_provider=provider).create_histogram(
            NAME, UNIT, DESCRIPTION, explicit_bucket_boundaries_advisory=BUCKET_BOUNDARIES_S
        )

    def record(self, elapsed_nano, attributes, context, end_unix_nano):
        self.instrument.record(elapsed_nano / 1e9, attributes, context)


def figures_of(data):
    """Everything in the data but the times, as values that can be compared."""
    if data is None:
        return None
    return [
        (metric.name, metric.unit, metric.description, type(metric.data), kind_of(metric.data), points_of(metric.data))
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def kind_of(data):
    return {name: value for name, value in vars(data).items() if name != "data_points"}


def points_of(data):
    return [
        {name: exemplars_of(value) if name == "exemplars" else value for name, value in vars(point).items()}
        | {"time_unix_nano": 0, "start_time_unix_nano": 0}
        for point in data.data_points
    ]


def exemplars_of(exemplars):
    return [(dict(e.filtered_attributes or {}), e.value, e.span_id, e.trace_id) for e in exemplars]


def count_in(data):
    return sum(point["count"] for figures in figures_of(data) or () for point in figures[5])


def results_of(make, steps, make_readers, views=(), exemplar_filter=None):
    """What each collection gives: a step is the number of the reader that collects, or a measurement."""
    random.seed(5)
    readers = make_readers()
    histogram = make(
        provider_of(*readers, views=views() if callable(views) else views, exemplar_filter=exemplar_filter)
    )
    results = []
    for step in [*steps, *range(len(readers)), *range(len(readers))]:
        if isinstance(step, int):
            results.append(collected_by(readers[step % len(readers)]))
        else:
            histogram.record(*step)
    return results


def collected_by(reader):
    try:
        return figures_of(reader.get_metrics_data())
    except Exception as error:  # the SDK's merge of narrow exponential buckets raises now and then
        return repr(error)


def assert_as_the_sdk(steps, make_readers, views=(), exemplar_filter=None):
    steps = list(steps)
    ours = results_of(ours_on, steps, make_readers, views, exemplar_filter)
    assert ours == results_of(Stock, steps, make_readers, views, exemplar_filter)
    return ours


def measurements(count, seed=1):
    source = random.Random(seed)
    contexts = [context_of(i + 1, is_sampled=i % 3 > 0) for i in range(50)] + [otel_context.Context()] * 3
    attributes = [SHARED, {"perfmon.operation": "b"}, {"perfmon.operation": "c"}]
    for _ in range(count):
        nano = source.choice([0, 100_000, 1_000_000, int(source.lognormvariate(14, 3))])
        chosen = source.choice(attributes)
        if source.random() < 0.1:
            chosen = {**chosen, "error.type": source.choice(["KeyError", "OSError"])}
        yield nano, chosen, source.choice(contexts), 1_700_000_000 * 10**9


def with_collections(steps, every, readers=1):
    for number, step in enumerate(steps):
        yield step
        if number % every == every - 1:
            yield number // every % readers


FILTERS = [AlwaysOnExemplarFilter, AlwaysOffExemplarFilter, TraceBasedExemplarFilter]
VIEWS = {
    "renamed": [View(instrument_name=NAME, name="renamed", description="other")],
    "other boundaries": [
        View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation([0.001, 0.01, 0.1]))
    ],
    "without min and max": [
        View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation([0.01], record_min_max=False))
    ],
    "one bucket": [View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation([]))],
    "exponential": [View(instrument_name=NAME, aggregation=ExponentialBucketHistogramAggregation())],
    "narrow exponential": [View(instrument_name=NAME, aggregation=ExponentialBucketHistogramAggregation(max_size=4))],
    "fewer attributes": [View(instrument_name=NAME, attribute_keys={"perfmon.operation"})],
    "no attributes": [View(instrument_name=NAME, attribute_keys=set())],
    "dropped": [View(instrument_name=NAME, aggregation=DropAggregation())],
    "sum": [View(instrument_name=NAME, aggregation=SumAggregation())],
    "last value": [View(instrument_name=NAME, aggregation=LastValueAggregation(), attribute_keys=set())],
    "two views": [
        View(instrument_name=NAME, name="one", attribute_keys={"error.type"}),
        View(instrument_name=NAME, name="other", aggregation=SumAggregation()),
    ],
}


@pytest.mark.parametrize("temporality", TEMPORALITIES)
def test_a_reader_gets_what_the_sdk_gives(temporality):
    results = assert_as_the_sdk(with_collections(measurements(3_000), 700), lambda: [reader_of(temporality)])
    assert results[0]


def test_more_than_is_gathered_at_once_is_handed_over_in_order():
    steps = list(measurements(3 * gathering.GATHERED_MAX + 5))
    assert_as_the_sdk(steps, lambda: [reader_of()])


def test_two_readers_each_get_everything():
    assert_as_the_sdk(
        with_collections(measurements(2_000), 150, readers=2), lambda: [reader_of(each) for each in TEMPORALITIES]
    )


@pytest.mark.parametrize("exemplar_filter", FILTERS)
@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_views_and_exemplar_filters_hold(views, exemplar_filter):
    steps = list(with_collections(measurements(1_000), 300))
    # One operation alone where exemplars are drawn by lot: draws for several come in another order.
    if any(isinstance(view._aggregation, (ExponentialBucketHistogramAggregation, SumAggregation)) for view in views):
        steps = [step for step in steps if isinstance(step, int) or step[1] == SHARED]
    assert_as_the_sdk(steps, lambda: [reader_of()], views, exemplar_filter())


def test_a_reader_of_its_own_preferred_aggregation_gets_that():
    steps = [step for step in measurements(500) if step[1] == SHARED]
    results = assert_as_the_sdk(
        steps, lambda: [reader_of(aggregation=ExponentialBucketHistogramAggregation()), reader_of()]
    )
    assert [figures[0][3].__name__ for figures in results[:2]] == ["ExponentialHistogram", "Histogram"]


class Marked(AlignedHistogramBucketExemplarReservoir):
    """A reservoir of the user's: the first of each bucket."""

    def offer(self, value, time_unix_nano, attributes, context):
        if self._find_bucket_index(value, 0, None, None) not in self._reservoir_storage:
            super().offer(value, time_unix_nano, attributes, context)


@pytest.mark.parametrize(
    "reservoir",
    [
        Marked,
        lambda **_: SimpleFixedSizeExemplarReservoir(3),
        lambda **_: AlignedHistogramBucketExemplarReservoir([0.001]),
    ],
    ids=["subclass", "by lot", "other boundaries"],
)
@pytest.mark.parametrize("exemplar_filter", FILTERS)
def test_a_views_own_exemplar_reservoir_is_offered_every_accepted_measurement(reservoir, exemplar_filter):
    views = [View(instrument_name=NAME, exemplar_reservoir_factory=lambda _: reservoir)]
    steps = [step for step in measurements(1_000) if step[1] == SHARED]
    results = assert_as_the_sdk(steps, lambda: [reader_of()], views, exemplar_filter())
    assert bool(results[0][0][5][0]["exemplars"]) == (exemplar_filter is not AlwaysOffExemplarFilter)


class EveryFifth(AlwaysOnExemplarFilter):
    def __init__(self):
        self.count = itertools.count()

    def should_sample(self, value, time_unix_nano, attributes, context):
        return next(self.count) % 5 == 0


def test_an_exemplar_filter_of_the_users_is_asked_once_for_each_measurement_in_order():
    steps = list(measurements(1_000))
    ours = results_of(ours_on, steps, lambda: [reader_of(), reader_of()], (), EveryFifth())
    assert ours == results_of(Stock, steps, lambda: [reader_of(), reader_of()], (), EveryFifth())


class Raising(AlignedHistogramBucketExemplarReservoir):
    def offer(self, value, time_unix_nano, attributes, context):
        raise ValueError("no")


class RaisingFilter(AlwaysOnExemplarFilter):
    def should_sample(self, value, time_unix_nano, attributes, context):
        raise ValueError("no")


def test_a_reservoir_or_a_filter_that_raises_costs_exemplars_and_no_measurement(caplog):
    readers = [reader_of(), reader_of()]
    views = [View(instrument_name=NAME, exemplar_reservoir_factory=lambda _: Raising)]
    histogram = ours_on(provider_of(*readers, views=views))
    other = reader_of()
    filtered = ours_on(provider_of(other, exemplar_filter=RaisingFilter()))
    for step in measurements(300):
        histogram.record(*step)
        filtered.record(*step)
    assert [count_in(reader.get_metrics_data()) for reader in [*readers, other]] == [300, 300, 300]
    assert [record.name for record in caplog.records] == ["otel_perfmon"]


recorded = st.tuples(
    st.integers(0, 10**11) | st.sampled_from([0, 100_000, 250_000, 10**10]),
    st.sampled_from([SHARED, {"perfmon.operation": "b"}, {"perfmon.operation": "b", "error.type": "E"}]),
    st.builds(context_of, st.integers(1, 9), is_sampled=st.booleans()) | st.just(otel_context.Context()),
    st.just(1_700_000_000 * 10**9),
)
some_views = ["renamed", "fewer attributes", "no attributes", "last value", "exponential", "narrow exponential"]


@given(
    st.lists(recorded | st.integers(0, 1), max_size=60),
    st.sampled_from([[], *(VIEWS[name] for name in some_views)]),
    st.sampled_from(FILTERS),
    st.tuples(st.sampled_from(TEMPORALITIES), st.sampled_from(TEMPORALITIES)),
    st.integers(1, 9),
)
def test_any_measurements_and_collections_give_what_the_sdk_gives(steps, views, exemplar_filter, temporalities, bound):
    if any(
        isinstance(view._aggregation, (LastValueAggregation, ExponentialBucketHistogramAggregation)) for view in views
    ):
        exemplar_filter = AlwaysOffExemplarFilter  # exemplars are drawn by lot there, for both readers in turn
    before, gathering.GATHERED_MAX = gathering.GATHERED_MAX, bound
    try:
        assert_as_the_sdk(steps, lambda: [reader_of(each) for each in temporalities], views, exemplar_filter())
    finally:
        gathering.GATHERED_MAX = before


def test_an_aggregation_begins_with_its_first_measurement_and_not_when_that_is_handed_over():
    reader = reader_of()
    histogram = ours_on(provider_of(reader))
    ended = time.time_ns() - 10**9
    histogram.record(5, SHARED, context_of(1), ended)
    histogram.record(5, SHARED, context_of(1), ended + 7)
    (point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert point.start_time_unix_nano == ended
    assert [each.time_unix_nano for each in point.exemplars] == [ended + 7]


# --- who reads


@pytest.mark.usefixtures("fresh_process")
def test_nobody_reads_before_there_is_a_meter_provider():
    histogram = ours_on(None)
    assert histogram.is_read is False
    histogram.record(5, SHARED, context_of(1), 5)
    assert ours_on(NoOpMeterProvider()).is_read is False


def test_nobody_reads_while_opentelemetry_is_switched_off(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert ours_on(provider_of(reader_of())).is_read is False


@pytest.mark.usefixtures("fresh_process")
def test_a_global_meter_provider_set_later_gets_every_measurement_from_then_on():
    histogram, gone = ours_on(None), weakref.ref(ours_on(None))
    gc.collect()
    assert gone() is None
    reader = reader_of()
    provider = provider_of(reader)
    metrics.set_meter_provider(provider)
    assert histogram.is_read is True
    histogram.record(5, SHARED, context_of(1), 5)
    assert count_in(reader.get_metrics_data()) == 1


def test_a_reader_that_is_added_later_gets_what_is_recorded_from_then_on():
    def run(make):
        provider = provider_of()
        histogram = make(provider)
        steps = list(measurements(30))
        readers = [reader_of(), reader_of(), reader_of()]
        for number, step in enumerate(steps):
            if number % 10 == 5:
                provider.add_metric_reader(readers[number // 10])
            histogram.record(*step)
        results = [figures_of(reader.get_metrics_data()) for reader in readers]
        provider.remove_metric_reader(readers[0])
        for step in steps:
            histogram.record(*step)
        return results, [figures_of(reader.get_metrics_data()) for reader in readers[1:]]

    assert run(ours_on) == run(Stock)


def test_two_histograms_of_one_meter_provider_share_the_instrument_and_the_order():
    def run(make):
        reader = reader_of()
        provider = provider_of(reader)
        histograms = [make(provider), make(provider)]
        for number, step in enumerate(measurements(100)):
            histograms[number % 2].record(*step)
        return figures_of(reader.get_metrics_data())

    assert run(ours_on) == run(Stock)


def test_a_meter_that_is_switched_off_takes_nothing_until_it_is_on_again():
    def run(make):
        reader = reader_of()
        provider = provider_of(reader)
        histogram = make(provider)
        for number, step in enumerate(measurements(40)):
            if number % 10 == 5:
                is_enabled = number % 20 == 15
                provider._set_meter_configurator(meter_configurator=lambda _, on=is_enabled: _MeterConfig(on))
            histogram.record(*step)
        return figures_of(reader.get_metrics_data())

    assert run(ours_on) == run(Stock)


def test_gathering_adds_no_metric_of_its_own():
    reader = reader_of()
    histogram = ours_on(provider_of(reader))
    assert reader.get_metrics_data() is None
    histogram.record(5, SHARED, context_of(1), 5)
    assert [row[0] for row in figures_of(reader.get_metrics_data())] == [NAME]


def test_what_an_observable_instruments_callback_records_is_in_the_same_collection():
    reader = reader_of()
    provider = provider_of(reader)
    histogram = ours_on(provider)

    def observe(options):
        histogram.record(5, SHARED, context_of(1), 5)
        return ()

    provider.get_meter("m").create_observable_gauge("g", [observe])
    assert [count_in(reader.get_metrics_data()) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(provider._measurement_consumer._async_instruments) == 3


def test_several_histograms_of_one_provider_are_all_handed_over_after_a_callback_that_records():
    reader = reader_of()
    provider = provider_of(reader)
    first = ours_on(provider)
    histograms = [first, DurationHistogram("other", UNIT, DESCRIPTION, BUCKET_BOUNDARIES_S, provider)]

    def observe(options):
        for histogram in histograms:
            histogram.record(5, SHARED, context_of(1), 5)
        return ()

    provider.get_meter("m").create_observable_gauge("g", [observe])
    histograms.append(DurationHistogram("third", UNIT, DESCRIPTION, BUCKET_BOUNDARIES_S, provider))
    assert [count_in(reader.get_metrics_data()) for _ in range(4)] == [3, 6, 9, 12]
    assert len(provider._measurement_consumer._async_instruments) == 6


class Seeing(ExplicitBucketHistogramAggregation):
    """An aggregation of the user's, which looks at the context of what it aggregates."""

    def _create_aggregation(self, *args):
        made = super()._create_aggregation(*args)

        class Made(type(made)):
            def aggregate(self, measurement, should_sample_exemplar=True):
                seen.append((measurement.value, measurement.context, dict(measurement.attributes)))
                super().aggregate(measurement, should_sample_exemplar)

        made.__class__ = Made
        return made


seen = []


@pytest.mark.parametrize("is_view", [True, False], ids=["of a view", "of a reader that comes later"])
def test_an_aggregation_of_the_users_own_is_given_each_measurement_with_its_context(is_view):
    def run(make):
        seen.clear()
        aggregation = Seeing([0.1])
        reader = reader_of(aggregation=None if is_view else aggregation)
        views = [View(instrument_name=NAME, aggregation=aggregation)] if is_view else []
        provider = provider_of(reader_of(), views=views, exemplar_filter=AlwaysOffExemplarFilter())
        histogram = make(provider)
        steps = list(measurements(50))
        for step in steps[:10]:
            histogram.record(*step)
        provider.add_metric_reader(reader)
        for step in steps:
            histogram.record(*step)
        figures = figures_of(reader.get_metrics_data())
        return figures, sorted((value, repr(context), sorted(kept.items())) for value, context, kept in seen)

    random.seed(3)
    ours = run(ours_on)
    assert len(ours[1]) == (110 if is_view else 50)
    assert ours[0] == run(Stock)[0]
    assert [each[::2] for each in ours[1]] == [each[::2] for each in run(Stock)[1]]
    assert any("NonRecordingSpan" in each[1] for each in ours[1])


def test_the_last_collection_at_shutdown_has_what_was_gathered():
    collected = []

    class AtShutdown(InMemoryMetricReader):
        def shutdown(self, timeout_millis=30_000, **kwargs):
            collected.append(count_in(self.get_metrics_data()))

    provider = provider_of(AtShutdown())
    histogram = ours_on(provider)
    for step in measurements(10):
        histogram.record(*step)
    provider.shutdown()
    assert collected == [10]
    histogram.record(5, SHARED, context_of(1), 5)


def test_a_histogram_that_is_gone_leaves_its_measurements_and_nothing_else():
    reader = reader_of()
    provider = provider_of(reader)
    histogram = ours_on(provider)
    histogram.record(5, SHARED, context_of(1), 5)
    seen = weakref.ref(histogram)
    del histogram
    gc.collect()
    assert seen() is None
    assert count_in(reader.get_metrics_data()) == 1


def test_who_records_waits_a_little_for_a_thread_that_hands_over_and_gets_too_far_behind(monkeypatch):
    monkeypatch.setattr(gathering, "GATHERED_MAX", 2)
    monkeypatch.setattr(gathering, "_WAITING_FROM", 4)
    monkeypatch.setattr(gathering, "_WAIT_SECONDS", 20)
    reader = reader_of()
    provider = provider_of(reader)
    histogram = ours_on(provider)
    (gatherer,) = provider._measurement_consumer._async_instruments
    is_held, is_waiting = threading.Event(), threading.Event()

    def hold():
        with gatherer._lock:
            is_held.set()
            is_waiting.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(20)
    for _ in range(3):
        histogram.record(5, SHARED, context_of(1), 5)
    assert len(gatherer._gathered) == 3 * gathering._WIDTH
    threading.Timer(0.02, is_waiting.set).start()
    histogram.record(5, SHARED, context_of(1), 5)
    assert gatherer._gathered == []
    holder.join()
    assert count_in(reader.get_metrics_data()) == 4


def test_memory_stays_flat_while_no_reader_collects():
    provider = provider_of(reader_of())
    histogram = ours_on(provider)
    (gatherer,) = provider._measurement_consumer._async_instruments
    for step in measurements(2 * gathering.GATHERED_MAX + 10):
        histogram.record(*step)
        assert len(gatherer._gathered) < gathering.GATHERED_MAX * gathering._WIDTH
    assert not gatherer._portions


# --- other meter providers, other SDKs


class Foreign(ApiHistogram):
    def __init__(self, name, unit="", description="", explicit_bucket_boundaries_advisory=None):
        super().__init__(name, unit, description, explicit_bucket_boundaries_advisory)
        self.recorded = []

    def record(self, amount, attributes=None, context=None):
        self.recorded.append((amount, attributes, context))


class ForeignProvider(NoOpMeterProvider):
    def get_meter(self, name, version=None, schema_url=None, attributes=None):
        provider = self

        class ForeignMeter(NoOpMeter):
            def create_histogram(self, name, unit="", description="", *, explicit_bucket_boundaries_advisory=None):
                provider.made = Foreign(name, unit, description, explicit_bucket_boundaries_advisory)
                return provider.made

        return ForeignMeter(name)


def test_a_foreign_meter_provider_is_recorded_to_at_once():
    provider = ForeignProvider()
    histogram = ours_on(provider)
    assert histogram.is_read is True
    context = context_of(1)
    histogram.record(1_500_000_000, SHARED, context, 5)
    assert provider.made.recorded == [(1.5, SHARED, context)]


@pytest.fixture
def fresh_trial():
    gathering.adds_as_the_sdk_does.cache_clear()
    yield
    gathering.adds_as_the_sdk_does.cache_clear()


@pytest.mark.usefixtures("fresh_trial")
@pytest.mark.parametrize("change", ["other result", "other name"])
def test_an_sdk_that_works_otherwise_is_recorded_to_one_by_one(monkeypatch, change):
    stock = _ExplicitBucketHistogramAggregation.aggregate

    def twice(self, measurement, should_sample_exemplar=True):
        stock(self, measurement, should_sample_exemplar)
        stock(self, measurement, should_sample_exemplar)

    if change == "other result":
        monkeypatch.setattr(_ExplicitBucketHistogramAggregation, "aggregate", twice)
    else:
        monkeypatch.delattr(gathering.MetricReaderStorage, "_handle_view_instrument_match")
        monkeypatch.delattr(gathering, "MetricReaderStorage")
    reader = reader_of()
    provider = provider_of(reader)
    histogram = ours_on(provider)
    assert histogram.is_read is True
    assert provider._measurement_consumer._async_instruments == []
    if change == "other result":
        histogram.record(5, SHARED, context_of(1), 5)
        assert count_in(reader.get_metrics_data()) == 2


def test_every_private_name_that_is_used_is_there():
    reader = reader_of()
    provider = provider_of(reader, views=[View(instrument_name=NAME)])
    stock = Stock(provider)
    stock.record(5, SHARED, context_of(1), 5)
    instrument = stock.instrument
    consumer = instrument._measurement_consumer
    storage = consumer._reader_storages[reader]
    (match,) = storage._get_or_init_view_instrument_match(instrument)
    (aggregation,) = match._attributes_aggregation.values()
    proxy = metrics_api._ProxyMeter("m")
    parts = (instrument, instrument._meter_config, consumer, storage, match, match._view, aggregation, proxy)
    match._view._aggregation = ExponentialBucketHistogramAggregation()
    match.consume_measurement(Measurement(1.0, 5, instrument, context_of(1), {"k": "v"}))
    _, exponential = match._attributes_aggregation.values()
    parts = (*parts, aggregation._reservoir, exponential, exponential._reservoir)
    found = {type(part).__name__: part for part in parts}
    assert set(found) == set(gathering.PRIVATE_NAMES)
    for kind, names in gathering.PRIVATE_NAMES.items():
        assert [name for name in names if not hasattr(found[kind], name)] == [], kind
    assert gathering.adds_as_the_sdk_does()


# --- threads, signals, finalisers, forks


def test_threads_that_record_while_others_collect_lose_nothing_and_double_nothing(monkeypatch):
    monkeypatch.setattr(gathering, "GATHERED_MAX", 64)
    readers = [reader_of(AggregationTemporality.DELTA), reader_of(AggregationTemporality.CUMULATIVE)]
    histogram = ours_on(provider_of(*readers))
    counts = [0, 0]
    is_over = threading.Event()

    def record():
        for step in measurements(3_000):
            histogram.record(*step)

    def collect():
        while not is_over.is_set():
            counts[0] += count_in(readers[0].get_metrics_data())
            counts[1] = count_in(readers[1].get_metrics_data())

    threads = [threading.Thread(target=record) for _ in range(8)]
    collector = threading.Thread(target=collect)
    for thread in [collector, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    is_over.set()
    collector.join()
    counts[0] += count_in(readers[0].get_metrics_data())
    counts[1] = count_in(readers[1].get_metrics_data())
    assert counts == [24_000, 24_000]


class Meddling(AlignedHistogramBucketExemplarReservoir):
    """Records while it is offered to and collected, as a signal handler or a finaliser does at that moment."""

    meddle = None

    def offer(self, value, time_unix_nano, attributes, context):
        super().offer(value, time_unix_nano, attributes, context)
        Meddling.meddle()

    def collect(self, point_attributes):
        Meddling.meddle()
        return super().collect(point_attributes)


def test_who_records_in_the_midst_of_a_hand_over_or_a_collection_does_not_wait_for_itself(monkeypatch):
    monkeypatch.setattr(gathering, "GATHERED_MAX", 1)
    reader = reader_of()
    view = View(instrument_name=NAME, exemplar_reservoir_factory=lambda _: Meddling)
    histogram = ours_on(provider_of(reader, views=[view]))
    recorded_count = itertools.count()
    is_meddling = []

    def meddle():
        if not is_meddling:
            is_meddling.append(True)
            next(recorded_count)
            histogram.record(5, SHARED, context_of(1), 5)
            is_meddling.clear()

    monkeypatch.setattr(Meddling, "meddle", staticmethod(meddle))

    def run():
        for _ in range(10):
            next(recorded_count)
            histogram.record(5, SHARED, context_of(1), 5)
        reader.get_metrics_data()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    monkeypatch.setattr(Meddling, "meddle", staticmethod(lambda: None))
    assert count_in(reader.get_metrics_data()) == next(recorded_count)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_a_signal_handler_that_records_while_its_thread_hands_over_is_counted_and_does_not_hang(run_python):
    program = """
        import signal, time
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk import gathering
        from otel_perfmon.sdk.histogram import DurationHistogram

        gathering.GATHERED_MAX = 16
        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))
        attributes, context, recorded = {"perfmon.operation": "op"}, Context(), [0, 0]

        def handle(*_):
            for _ in range(20):
                recorded[1] += 1
                histogram.record(2_000_000, attributes, context, 5)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            recorded[0] += 1
            histogram.record(5_000, {"perfmon.operation": str(recorded[0] % 7)}, context, 5)
            if recorded[0] % 500 == 0:
                reader.get_metrics_data()
        signal.setitimer(signal.ITIMER_REAL, 0)
        data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data
        print(sum(point.count for point in data.data_points) == sum(recorded), recorded[1] > 100)
    """
    assert run_python(program, timeout=30).split() == ["True", "True"]


def test_an_interrupt_from_the_keyboard_in_a_hand_over_loses_at_most_what_was_just_being_added(monkeypatch):
    reader = reader_of()
    histogram = ours_on(provider_of(reader))
    for step in measurements(200):
        histogram.record(*step)
    stock, calls = gathering.Portion.hand_over, itertools.count()

    def interrupted(self):
        if next(calls) == 2:
            raise KeyboardInterrupt
        stock(self)

    monkeypatch.setattr(gathering.Portion, "hand_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.get_metrics_data()
    (point_count,) = (len(figures[5]) for figures in figures_of(reader.get_metrics_data()))
    assert point_count >= 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_is_gathered_at_a_fork_is_handed_over_by_the_parent_only(run_python):
    program = """
        import os
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk.histogram import DurationHistogram

        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))

        def collect(who):
            data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data
            print(who, {point.attributes["k"]: point.count for point in data.data_points}, flush=True)

        def record(name):
            histogram.record(5, {"k": name}, Context(), 5)

        record("before")
        collect("parent")
        record("gathered")
        child = os.fork()
        if child == 0:
            record("in child")
            collect("child")
            os._exit(0)
        os.waitpid(child, 0)
        collect("parent")
    """
    assert run_python(program).splitlines() == [
        "parent {'before': 1}",
        "child {'before': 1, 'in child': 1}",
        "parent {'before': 1, 'gathered': 1}",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_of_a_fork_beside_threads_that_hand_over_does_not_hang(run_python):
    program = """
        import os, signal, threading, time
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk import gathering
        from otel_perfmon.sdk.histogram import DurationHistogram

        gathering.GATHERED_MAX = 8
        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))
        attributes, context, is_over = {"perfmon.operation": "op"}, Context(), threading.Event()

        def work():
            while not is_over.is_set():
                histogram.record(5_000, attributes, context, 5)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(30):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                for _ in range(100):
                    histogram.record(5_000, attributes, context, 5)
                reader.collect()
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        is_over.set()
        print(set(codes))
    """
    assert run_python(program, timeout=60).strip() == "{0}"
