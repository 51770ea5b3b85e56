"""What any reader gets is what the SDK's own instrument would have given it."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from histogram_kit import (
    NAME,
    SHARED,
    Stock,
    context_of,
    count_in,
    figures_of,
    measurements,
    ours_on,
    provider_of,
    reader_of,
)
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    SimpleFixedSizeExemplarReservoir,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otel_perfmon.sdk import gathering

TEMPORALITIES = [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]


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
