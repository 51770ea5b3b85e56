"""From the SDK's metric data to rows of the store, by OTLP's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricsData,
    Sum,
)

from otel_perfmon.sdk.rows import SpanEncoder, encode_any_attributes
from otel_perfmon.sdk.times import int64
from otel_perfmon.storage.attributes import encode_foreign_attributes, storable_text
from otel_perfmon.storage.rows import PointRow, ResourceRow, ScopeRow

_KINDS: Final = {Sum: "sum", Gauge: "gauge", Histogram: "histogram", ExponentialHistogram: "exponential_histogram"}
_DISTRIBUTION: Final = ("count", "sum", "min", "max")


class PointEncoder:
    """Makes rows of metric data. One thread at a time."""

    def __init__(self) -> None:
        self._shared = SpanEncoder()

    def encode(self, metrics_data: MetricsData) -> list[PointRow]:
        """Every data point, in the order given."""
        return list(self._points(metrics_data))

    def _points(self, metrics_data: MetricsData) -> Iterator[PointRow]:
        for resource_metrics in metrics_data.resource_metrics:
            resource = self._shared.resource(resource_metrics.resource)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = self._shared.scope(scope_metrics.scope)
                for metric in scope_metrics.metrics:
                    yield from _metric_points(metric, resource, scope)


def _metric_points(metric: Metric, resource: ResourceRow, scope: ScopeRow) -> Iterator[PointRow]:
    data = metric.data
    for point in data.data_points:
        yield PointRow(
            resource,
            scope,
            storable_text(metric.name)[0],
            _KINDS.get(type(data), type(data).__name__),
            storable_text(metric.unit)[0],
            storable_text(metric.description)[0],
            int(getattr(data, "aggregation_temporality", 0)),
            bool(getattr(data, "is_monotonic", False)),
            encode_any_attributes(dict(point.attributes or {})).text,
            int64(point.start_time_unix_nano),
            int64(point.time_unix_nano),
            encode_foreign_attributes(_figures(point)).text,
        )


def _figures(point: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if hasattr(point, "value"):
        figures["value"] = point.value
    else:
        figures |= {name: getattr(point, name) for name in _DISTRIBUTION}
    if hasattr(point, "explicit_bounds"):
        figures["bucket_counts"] = list(point.bucket_counts)
        figures["explicit_bounds"] = list(point.explicit_bounds)
    if hasattr(point, "scale"):
        figures |= {"scale": point.scale, "zero_count": point.zero_count}
        for side in ("positive", "negative"):
            buckets = getattr(point, side)
            figures[side] = {"offset": buckets.offset, "bucket_counts": list(buckets.bucket_counts)}
    exemplars = [_exemplar(each) for each in getattr(point, "exemplars", ()) or ()]
    return figures | {"exemplars": exemplars} if exemplars else figures


def _exemplar(exemplar: Any) -> dict[str, Any]:
    figures = {"time_unix_nano": exemplar.time_unix_nano, "value": exemplar.value}
    if exemplar.trace_id is not None:
        figures |= {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    if exemplar.filtered_attributes:
        figures["filtered_attributes"] = dict(exemplar.filtered_attributes)
    return figures
