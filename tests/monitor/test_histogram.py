"""The duration histogram of operations, as any meter provider's reader has it."""

from __future__ import annotations

import pytest
from monitor_kit import points_of
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import PerformanceMonitor
from otel_perfmon.monitor import BUCKET_BOUNDARIES_S

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_the_histogram_has_the_name_unit_and_bucket_bounds_of_seconds_from_100_microseconds_up(storage, clock):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))
    with monitor.monitor("op", attributes={"user.id": 7}):
        clock[0] += 30_000_000
    with pytest.raises(KeyError), monitor.monitor("op"):
        raise KeyError("x")
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("perfmon.operation.duration", "s")
    points = {frozenset(point.attributes.items()): point for point in metric.data.data_points}
    good = points[frozenset({("perfmon.operation", "op")})]
    assert (good.count, good.sum) == (1, 0.03)
    assert good.explicit_bounds == BUCKET_BOUNDARIES_S
    assert good.explicit_bounds[0] == 0.0001
    failed = points[frozenset({("perfmon.operation", "op"), ("error.type", "KeyError")})]
    assert failed.count == 1
    assert len(points) == 2


def test_exemplars_link_to_the_operations_own_span_and_not_to_its_parent(storage):
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, meter_provider=MeterProvider([reader]))

    @monitor.monitor("generated")
    def generate():
        yield trace.get_current_span().get_span_context().span_id

    expected = {}
    with monitor.monitor("outer") as outer:
        with monitor.monitor("inner") as inner:
            expected["inner"] = inner.get_span_context().span_id
        (expected["generated"],) = generate()
        expected["outer"] = outer.get_span_context().span_id
    found = {
        point.attributes["perfmon.operation"]: exemplar.span_id
        for point in points_of(reader)
        for exemplar in point.exemplars
    }
    assert found == expected


def test_a_meter_provider_set_later_sees_the_later_operations(monitor):
    with monitor.monitor("before"):
        pass
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    with monitor.monitor("after"):
        pass
    assert [(point.attributes["perfmon.operation"], point.count) for point in points_of(reader)] == [("after", 1)]


def test_no_global_provider_is_installed_by_a_lone_monitor(monitor):
    with monitor.monitor("op"):
        pass
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)
