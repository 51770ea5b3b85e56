"""Metric data of the SDK as rows of the store."""

from __future__ import annotations

import json
import math

import pytest
from opentelemetry.sdk.metrics._internal.exemplar import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_perfmon import MetricsStorage, Window
from otel_perfmon.sdk.points import PointEncoder
from otel_perfmon.storage.attributes import decode_attributes
from otel_perfmon.storage.rows import PointRow

RESOURCE = Resource({"service.name": "s"})
SCOPE = InstrumentationScope("m", "1")


def data_of(*metrics: Metric, resource: Resource = RESOURCE, scope: InstrumentationScope = SCOPE) -> MetricsData:
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, list(metrics), "")], "")])


def gauge(name: str = "g", value: float = 1, time: int = 20, **fields) -> Metric:
    point = NumberDataPoint(fields.pop("attributes", {}), fields.pop("start", 10), time, value, **fields)
    return Metric(name, None, None, Gauge([point]))


def one_row(metric: Metric) -> PointRow:
    (row,) = PointEncoder().encode(data_of(metric))
    return row


def test_no_data_makes_no_rows():
    encoder = PointEncoder()
    assert encoder.encode(MetricsData([])) == []
    assert encoder.encode(data_of()) == []
    assert encoder.encode(data_of(Metric("g", "", "", Gauge([])))) == []


def test_points_come_in_the_order_given_and_share_the_rows_of_their_resource_and_scope():
    encoder = PointEncoder()
    rows = encoder.encode(data_of(gauge("a"), gauge("b"))) + encoder.encode(data_of(gauge("c")))
    assert [row.instrument for row in rows] == ["a", "b", "c"]
    assert len({id(row.resource) for row in rows}) == 1
    assert len({id(row.scope) for row in rows}) == 1


def test_a_gauge_has_no_temporality_and_absent_texts_and_start_are_empty():
    row = one_row(gauge(start=None))
    assert (row.kind, row.unit, row.description, row.temporality, row.is_monotonic) == ("gauge", "", "", 0, False)
    assert row.start_unix_nano == 0


@pytest.mark.parametrize("temporality", list(AggregationTemporality))
@pytest.mark.parametrize("is_monotonic", [True, False])
def test_a_sum_keeps_its_temporality_and_whether_it_only_grows(temporality, is_monotonic):
    row = one_row(Metric("s", "d", "1", Sum([NumberDataPoint({}, 1, 2, 3)], temporality, is_monotonic)))
    assert (row.kind, row.temporality, row.is_monotonic) == ("sum", int(temporality), is_monotonic)


@pytest.mark.parametrize("value", [0, -0.0, 1, 1.0, 2**63, -(2**70), 1e300, 5e-324, math.inf, -math.inf])
def test_a_value_keeps_its_type_and_all_its_digits(value):
    assert repr(decode_attributes(one_row(gauge(value=value)).data)["value"]) == repr(value)


def test_nan_stays_nan():
    assert math.isnan(decode_attributes(one_row(gauge(value=math.nan)).data)["value"])


def test_a_histogram_that_measured_nothing_keeps_its_infinite_extremes():
    point = HistogramDataPoint({}, 1, 2, 0, 0, [0, 0], [1.0], math.inf, -math.inf)
    row = one_row(Metric("h", "", "s", Histogram([point], AggregationTemporality.DELTA)))
    assert decode_attributes(row.data) == {
        "count": 0,
        "sum": 0,
        "min": math.inf,
        "max": -math.inf,
        "bucket_counts": (0, 0),
        "explicit_bounds": (1.0,),
    }


def test_an_exemplar_keeps_what_it_has_and_its_ids_in_hex():
    full = Exemplar({"left": "out"}, 1.5, 7, span_id=0xAB, trace_id=0xCD)
    bare = Exemplar({}, 2, 8)
    exemplars = decode_attributes(one_row(gauge(exemplars=[full, bare])).data)["exemplars"]
    assert exemplars == (
        {
            "time_unix_nano": 7,
            "value": 1.5,
            "trace_id": f"{0xCD:032x}",
            "span_id": f"{0xAB:016x}",
            "filtered_attributes": {"left": "out"},
        },
        {"time_unix_nano": 8, "value": 2},
    )


@pytest.mark.parametrize(
    "attributes",
    [None, {}, {"a": 1, "b": [True, False]}, {"@bytes": b"x", "n": math.inf}, {"s": "\ud800\0é"}],
    ids=str,
)
def test_the_attributes_of_a_point_are_kept(attributes):
    stored = decode_attributes(one_row(gauge(attributes=attributes)).attributes)
    expected = {key: tuple(each) if isinstance(each, list) else each for key, each in (attributes or {}).items()}
    assert stored == expected


def test_names_that_cannot_be_stored_are_made_storable():
    row = one_row(Metric("lone \ud800", "\ud800", "x" * 10**6, Gauge([NumberDataPoint({}, 1, 2, 3)])))
    for text in (row.instrument, row.description, row.unit):
        assert len(text.encode()) <= 70_000


def test_every_row_is_valid_json():
    row = one_row(gauge(value=math.nan, attributes={"x": math.nan, "@y": b"z"}, exemplars=[Exemplar({}, math.inf, 1)]))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(row.data, parse_constant=refuse)
    json.loads(row.attributes, parse_constant=refuse)


def test_points_are_found_newest_first_by_instrument_window_and_number(storage: MetricsStorage):
    encoder = PointEncoder()
    for time in (30, 10, 20, 20):
        storage.recorder.write_points(encoder.encode(data_of(gauge("a", time, time), gauge("b", -time, time))))
    find = storage.store.find_points

    def values(points) -> list[float]:
        return [point.data["value"] for point in points]

    assert values(find("a")) == [30, 20, 20, 10]
    assert values(find("b", limit=1)) == [-30]
    assert values(find("a", window=Window(10, 20))) == [10]
    assert values(find("a", window=Window(20, 31))) == [30, 20, 20]
    assert values(find(window=Window(30, 31))) == [-30, 30]
    assert find("c") == []
    assert len(find()) == 8


def test_one_instrument_of_two_resources_is_told_apart(storage: MetricsStorage):
    encoder = PointEncoder()
    other = Resource({"service.name": "other"})
    points = encoder.encode(data_of(gauge("a", 1))) + encoder.encode(data_of(gauge("a", 2), resource=other))
    storage.recorder.write_points(points)
    services = {point.data["value"]: point.resource.attributes["service.name"] for point in storage.store.find_points()}
    assert services == {1: "s", 2: "other"}


@pytest.mark.parametrize("odd", [{"time": 2**63}, {"time": 2**64 - 1}, {"start": 2**70}, {"time": -1}], ids=str)
def test_a_point_whose_times_do_not_fit_costs_none_of_its_neighbours(storage: MetricsStorage, odd):
    points = PointEncoder().encode(data_of(gauge("good"), gauge("odd", **odd), gauge("fine")))
    storage.recorder.write_points(points)
    assert {point.instrument for point in storage.store.find_points()} >= {"good", "fine"}
