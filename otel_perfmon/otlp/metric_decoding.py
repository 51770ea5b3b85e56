"""Data points that came as OTLP, in protobuf or JSON, as rows of the store: one for each, with what its metric says.

What a row's JSON cannot tell is kept as it came, under the name ``otlp``: the metric with that one point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from otel_perfmon.otlp.messages import METRICS, has_unknown_fields, parse_json, parse_protobuf
from otel_perfmon.otlp.origins import RAW_BYTES_MAX, Origins
from otel_perfmon.otlp.value_decoding import UNTOLD, Notes, decode_attributes, encode_pairs, note_odd_numbers, text_of
from otel_perfmon.storage.attributes import encode_foreign_attributes
from otel_perfmon.storage.raw_points import add_raw
from otel_perfmon.storage.rows import PointRow, ResourceRow, ScopeRow

_FIGURES: Final = {
    "histogram": ("count", "bucket_counts", "explicit_bounds"),
    "exponential_histogram": ("count", "scale", "zero_count"),
    "summary": ("count", "sum"),
}
_OPTIONAL: Final = ("sum", "min", "max")
_SIDES: Final = ("positive", "negative")
_HAS_OPTIONAL: Final = frozenset(("histogram", "exponential_histogram"))


class MetricDecoder:
    """Makes rows of data points. The rows of one resource are one object, for as long as the decoder lives."""

    def __init__(self) -> None:
        self._origins = Origins()

    def decode_protobuf(self, data: bytes) -> Iterator[PointRow]:
        """The points of a ``MetricsData``, or an ``ExportMetricsServiceRequest``; `DecodeError` for what is neither."""
        metrics = parse_protobuf(METRICS, data)
        if has_unknown_fields(metrics):
            return self._rows_of(parse_protobuf(METRICS, data), may_be_unknown=True)
        return self._rows_of(metrics, may_be_unknown=False)

    def decode_json(self, text: str | bytes) -> Iterator[PointRow]:
        """The same of OTLP's JSON. Names that it does not know are passed over, as the protocol asks."""
        return self._rows_of(parse_json(METRICS, text), may_be_unknown=False)

    def _rows_of(self, metrics: Any, *, may_be_unknown: bool) -> Iterator[PointRow]:
        for resource_metrics in metrics.resource_metrics:
            resource = self._origins.resource(resource_metrics, "scope_metrics", may_be_unknown=may_be_unknown)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = self._origins.scope(scope_metrics, "metrics", may_be_unknown=may_be_unknown)
                for metric in scope_metrics.metrics:
                    is_untold = may_be_unknown and has_unknown_fields(
                        type(metric).FromString(metric.SerializeToString())
                    )
                    yield from _points(metric, resource, scope, is_untold=is_untold)


def _points(metric: Any, resource: ResourceRow, scope: ScopeRow, *, is_untold: bool) -> Iterator[PointRow]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    of_kind = getattr(metric, kind)
    for point in of_kind.data_points:
        notes = Notes([UNTOLD] if is_untold else ())
        figures = _figures(point, kind, notes)
        note_odd_numbers(figures, notes)
        if metric.metadata:
            figures["metadata"] = decode_attributes(metric.metadata, UNTOLD, notes)
        encoded = encode_foreign_attributes(figures)
        if encoded.is_altered:
            notes.add(UNTOLD)
        row = PointRow(
            resource=resource,
            scope=scope,
            instrument=text_of(metric.name, "name", notes),
            kind=kind,
            unit=text_of(metric.unit, "unit", notes),
            description=text_of(metric.description, "description", notes),
            temporality=getattr(of_kind, "aggregation_temporality", 0),
            is_monotonic=getattr(of_kind, "is_monotonic", False),
            attributes=encode_pairs(point.attributes, "attributes", notes)[1].text,
            start_unix_nano=notes.time(point.start_time_unix_nano),
            time_unix_nano=notes.time(point.time_unix_nano),
            data=encoded.text,
        )
        yield _with_raw(row, metric, point) if notes else row


def _with_raw(row: PointRow, metric: Any, point: Any) -> PointRow:
    """The row with its metric as it came, without the other points, unless that is too large."""
    kind = metric.WhichOneof("data")
    alone = type(metric)()
    alone.CopyFrom(metric)
    points = getattr(alone, kind).data_points
    del points[:]
    points.append(point)
    raw = alone.SerializeToString()
    return row if len(raw) > RAW_BYTES_MAX else row._replace(data=add_raw(row.data, raw))


def _figures(point: Any, kind: str, notes: Notes) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if kind in _FIGURES:
        for name in _FIGURES[kind]:
            value = getattr(point, name)
            figures[name] = value if isinstance(value, (int, float)) else list(value)
    else:
        figures |= _number(point)
    if kind in _HAS_OPTIONAL:
        figures |= {name: getattr(point, name) for name in _OPTIONAL if point.HasField(name)}
    if kind == "exponential_histogram":
        for side in _SIDES:
            if point.HasField(side):
                buckets = getattr(point, side)
                figures[side] = {"offset": buckets.offset, "bucket_counts": list(buckets.bucket_counts)}
        if str(point.zero_threshold) != "0.0":  # -0.0 is another one
            figures["zero_threshold"] = point.zero_threshold
    if kind == "summary":
        values = point.quantile_values
        figures["quantile_values"] = [{"quantile": each.quantile, "value": each.value} for each in values]
    if point.flags:
        figures["flags"] = point.flags
    exemplars = [_exemplar(each, notes) for each in getattr(point, "exemplars", ())]
    return figures | {"exemplars": exemplars} if exemplars else figures


def _number(point: Any) -> dict[str, Any]:
    kind = point.WhichOneof("value")
    return {} if kind is None else {"value": getattr(point, kind)}


def _exemplar(exemplar: Any, notes: Notes) -> dict[str, Any]:
    figures = {"time_unix_nano": exemplar.time_unix_nano, **_number(exemplar)}
    if exemplar.trace_id or exemplar.span_id:
        figures |= {"trace_id": exemplar.trace_id.hex(), "span_id": exemplar.span_id.hex()}
    if exemplar.filtered_attributes:
        figures["filtered_attributes"] = decode_attributes(exemplar.filtered_attributes, UNTOLD, notes)
    return figures
