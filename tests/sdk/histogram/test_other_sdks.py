"""Meter providers that are not the SDK's, and an SDK that works otherwise than the one we know."""

from __future__ import annotations

import pytest
from histogram_kit import NAME, SHARED, Stock, context_of, count_in, ours_on, provider_of, reader_of
from opentelemetry.metrics import Histogram as ApiHistogram
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.metrics._internal.aggregation import _ExplicitBucketHistogramAggregation
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from otel_perfmon.sdk import gathering


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
