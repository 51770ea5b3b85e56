"""Data points as OTLP, in protobuf and JSON: those of one instrument together in a metric, as they came.

Their messages are made with opentelemetry-proto: there are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_perfmon.otlp import json_encoding
from otel_perfmon.otlp.encoding import around_items, around_scopes, encode_attributes
from otel_perfmon.otlp.grouping import group_items
from otel_perfmon.otlp.json_encoding import JsonObject
from otel_perfmon.otlp.messages import METRIC, as_json, new_message
from otel_perfmon.otlp.wire import LENGTH, sized, tag, unsigned
from otel_perfmon.records import PointRecord
from otel_perfmon.storage.attributes import encode_attributes as attributes_text

_ONE, _TWO = tag(1, LENGTH), tag(2, LENGTH)
_UINT64_MAX: Final = (1 << 64) - 1
_OPTIONAL: Final = ("sum", "min", "max")
_LISTS: Final = ("bucket_counts", "explicit_bounds")
_PLAIN: Final = ("count", "scale", "zero_count", "zero_threshold", "flags")
_SIDES: Final = ("positive", "negative")
_KINDS: Final = frozenset(("gauge", "sum", "histogram", "exponential_histogram", "summary"))
_NUMBERS: Final = frozenset(("gauge", "sum"))
_ATTRIBUTES: Final = {"histogram": 9, "exponential_histogram": 1}
"""The number of a point's attributes; 7 in those of other kinds, and in exemplars."""
_ATTRIBUTES_ELSE: Final = 7
_METADATA: Final = tag(12, LENGTH)


def encode_request(points: Iterable[PointRecord]) -> bytes:
    """A ``MetricsData``, which is an ``ExportMetricsServiceRequest`` too: by resource, by scope, then in order."""
    groups = []
    for group in group_items(points):
        scopes = []
        for scope, own in group.scopes:
            encoded = b"".join([sized(_TWO, metric) for metric in encode_metrics(own)])
            scopes.append(sized(_TWO, around_items(scope, encoded)))
        groups.append(sized(_ONE, around_scopes(group.resource, b"".join(scopes))))
    return b"".join(groups)


def encode_metrics_json(points: Iterable[PointRecord]) -> JsonObject:
    """The same as OTLP's JSON."""
    groups = []
    for group in group_items(points):
        scopes = [
            json_encoding.around_items(scope, "metrics", [as_json(METRIC, each) for each in encode_metrics(own)])
            for scope, own in group.scopes
        ]
        groups.append(json_encoding.around_scopes(group.resource, "scopeMetrics", scopes))
    return {"resourceMetrics": groups}


def encode_metrics(points: Sequence[PointRecord]) -> list[bytes]:
    """Each ``Metric`` of points of one scope; a point that has a form as it came is a metric of its own."""
    metrics: dict[tuple[Any, ...], Any] = {}
    encoded: dict[tuple[Any, ...], bytes] = {}
    for number, point in enumerate(points):
        if "otlp" in point.data:
            encoded[(number,)] = point.data["otlp"]
            continue
        if point.kind not in _KINDS:
            continue
        key = _key(point)
        if key not in metrics:
            metrics[key] = _metric(point)
            encoded[key] = b""
        _add_point(getattr(metrics[key], point.kind).data_points.add(), point)
    return [raw or metrics[key].SerializeToString() for key, raw in encoded.items()]


def _key(point: PointRecord) -> tuple[Any, ...]:
    metadata = attributes_text(point.data.get("metadata")).text
    named = (point.instrument, point.kind, point.unit, point.description)
    return (*named, point.temporality, point.is_monotonic, metadata)


def _metric(point: PointRecord) -> Any:
    """The message of a point's instrument, without a point yet."""
    metric = new_message(METRIC)
    metric.name, metric.description, metric.unit = point.instrument, point.description, point.unit
    metric.MergeFromString(encode_attributes(_METADATA, point.data.get("metadata", {})))
    of_kind = getattr(metric, point.kind)
    of_kind.SetInParent()
    if point.kind not in ("gauge", "summary"):
        of_kind.aggregation_temporality = point.temporality
    if point.kind == "sum":
        of_kind.is_monotonic = point.is_monotonic
    return metric


def _add_point(message: Any, point: PointRecord) -> None:
    figures = point.data
    message.start_time_unix_nano = unsigned(point.start_unix_nano)
    message.time_unix_nano = unsigned(point.time_unix_nano)
    attributes_tag = tag(_ATTRIBUTES.get(point.kind, _ATTRIBUTES_ELSE), LENGTH)
    message.MergeFromString(encode_attributes(attributes_tag, point.attributes))
    if point.kind in _NUMBERS:
        _set_number(message, figures)
    else:
        _set_distribution(message, figures)
    if figures.get("flags"):
        message.flags = figures["flags"]
    for exemplar in figures.get("exemplars", ()):
        _add_exemplar(message.exemplars.add(), exemplar)


def _set_distribution(message: Any, figures: Mapping[str, Any]) -> None:
    for name in _PLAIN:
        if figures.get(name) is not None:
            setattr(message, name, figures[name])
    for name in _OPTIONAL:
        if figures.get(name) is not None:
            setattr(message, name, figures[name])
    for name in _LISTS:
        if figures.get(name):
            getattr(message, name).extend(figures[name])
    for side in _SIDES:
        if figures.get(side) is not None:
            _set_buckets(getattr(message, side), figures[side])
    for each in figures.get("quantile_values", ()):
        message.quantile_values.add(quantile=each["quantile"], value=each["value"])


def _set_buckets(message: Any, buckets: Mapping[str, Any]) -> None:
    message.SetInParent()
    message.offset = buckets["offset"]
    message.bucket_counts.extend(buckets["bucket_counts"])


def _set_number(message: Any, figures: Mapping[str, Any]) -> None:
    value = figures.get("value")
    if isinstance(value, int):
        message.as_int = value
    elif value is not None:
        message.as_double = value


def _add_exemplar(message: Any, exemplar: Mapping[str, Any]) -> None:
    message.time_unix_nano = unsigned(exemplar["time_unix_nano"])
    _set_number(message, exemplar)
    message.trace_id = bytes.fromhex(exemplar.get("trace_id", ""))
    message.span_id = bytes.fromhex(exemplar.get("span_id", ""))
    attributes = exemplar.get("filtered_attributes", {})
    message.MergeFromString(encode_attributes(tag(_ATTRIBUTES_ELSE, LENGTH), attributes))
