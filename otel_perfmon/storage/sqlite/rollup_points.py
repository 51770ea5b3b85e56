"""Rollups as metric data points: one exponential histogram, delta, for each operation and hour.

Its unit is the nanosecond, for which the store's buckets are OpenTelemetry's at scale 5: in seconds their bounds would
lie between those of the scale. Beside it stand the errors and the slow calls, as sums.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from otel_perfmon.records import ArrivalPage, PointRecord, ResourceRecord, ScopeRecord
from otel_perfmon.storage.cells import HOUR_S
from otel_perfmon.storage.histogram import SCALE, add_packed

_DELTA: Final = 1
_NANO: Final = 1_000_000_000
_SCOPE: Final = ScopeRecord("otel_perfmon")
_SELECT: Final = f"""
SELECT r.operation_id, r.start_unix_s, o.name, v.name, v.version, v.environment, r.count, r.error_count, r.slow_count,
    r.sum_s, r.sum_nano, r.min_nano, r.max_nano, r.histogram
FROM _rollups r CROSS JOIN _operations o ON o.id = r.operation_id CROSS JOIN _services v ON v.id = o.service_id
WHERE r.resolution_s = {HOUR_S} AND (r.operation_id, r.start_unix_s) > (?, ?)
ORDER BY r.operation_id, r.start_unix_s LIMIT ?
"""
Position = tuple[int, int]
"""The operation's id, and the hour in Unix seconds."""


def find_rollup_points(
    connection: sqlite3.Connection, after: Position, limit: int
) -> ArrivalPage[PointRecord, Position]:
    """The points of the next hours of operations, by operation and then by hour."""
    resources: dict[tuple[str, str, str], ResourceRecord] = {}
    points: list[PointRecord] = []
    last: Position | None = None
    for row in connection.execute(_SELECT, (*after, limit)):
        last = (row[0], row[1])
        service = (row[3], row[4], row[5])
        if service not in resources:
            resources[service] = _resource(*service)
        points += _points(row, resources[service])
    return ArrivalPage(tuple(points), last)


def _resource(name: str, version: str, environment: str) -> ResourceRecord:
    told = {"service.name": name, "service.version": version, "deployment.environment.name": environment}
    return ResourceRecord({key: value for key, value in told.items() if value})


def _points(row: tuple[Any, ...], resource: ResourceRecord) -> Iterator[PointRecord]:
    _, start, operation, *_, count, error_count, slow_count, sum_s, sum_nano, low, high, packed = row

    def point(instrument: str, kind: str, unit: str, description: str, data: dict[str, Any]) -> PointRecord:
        times = (start * _NANO, (start + HOUR_S) * _NANO)
        attributes = {"perfmon.operation": operation}
        is_sum = kind == "sum"
        return PointRecord(
            instrument, kind, unit, description, _DELTA, is_sum, attributes, *times, data, resource, _SCOPE
        )  # fmt: skip

    figures = {"count": count, "sum": float(sum_s * _NANO + sum_nano), "min": float(low), "max": float(high)}
    told = "Durations of an operation's spans that ended in an hour"
    yield point("perfmon.rollup.duration", "exponential_histogram", "ns", told, figures | _buckets(packed))
    for name, number in (("errors", error_count), ("slow", slow_count)):
        told = "Spans that failed" if name == "errors" else "Spans that took longer than their threshold"
        yield point(f"perfmon.rollup.{name}", "sum", "{span}", told, {"value": number})


def _buckets(packed: bytes) -> dict[str, Any]:
    """The store's keys are 0 for durations of 0, else OpenTelemetry's index and 2."""
    counts: dict[int, int] = {}
    add_packed(counts, packed)
    zero_count = counts.pop(0, 0)
    lowest, highest = min(counts, default=2), max(counts, default=1)
    positive = {"offset": lowest - 2, "bucket_counts": [counts.get(key, 0) for key in range(lowest, highest + 1)]}
    return {"scale": SCALE, "zero_count": zero_count, "positive": positive}
