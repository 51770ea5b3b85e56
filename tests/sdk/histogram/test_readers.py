"""Who reads: readers that come and go, callbacks, aggregations of the user's own."""

from __future__ import annotations

import gc
import random
import threading
import weakref

import pytest
from histogram_kit import (
    DESCRIPTION,
    NAME,
    SHARED,
    UNIT,
    Stock,
    context_of,
    count_in,
    figures_of,
    measurements,
    ours_on,
    provider_of,
    reader_of,
)
from opentelemetry import metrics
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics._internal import _MeterConfig
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from otel_perfmon.monitor import BUCKET_BOUNDARIES_S
from otel_perfmon.sdk import gathering
from otel_perfmon.sdk.histogram import DurationHistogram


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
