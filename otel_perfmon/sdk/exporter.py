"""The doors for any stock SDK pipeline: a span exporter and a metric exporter.

The SDK may build them itself, from ``OTEL_TRACES_EXPORTER=sqlite``, and an exception there would leave the whole
program without telemetry: so neither raises nor touches the disk before the first export, and a wrong setting is
logged. What `export` has answered with success is committed: a `BatchSpanProcessor` ignores failures and never asks for
a flush.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_perfmon.config import nano_of_ms, resolve_config_leniently
from otel_perfmon.sdk.points import PointEncoder
from otel_perfmon.sdk.processor import SpanDoor
from otel_perfmon.sdk.self_metrics import tell_of_exporter
from otel_perfmon.storage.recorder import FLUSH_TIMEOUT_SECONDS
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.rows import PointRow
from otel_perfmon.storage.url import open_configured_recorder

_logger = logging.getLogger("otel_perfmon")

UNWRITTEN_POINTS_MAX: Final = 10_000
"""Points that wait for the store to be written again; the oldest go first."""
PREFERRED_TEMPORALITY: Final[dict[type, AggregationTemporality]] = {
    Counter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
    ObservableGauge: AggregationTemporality.CUMULATIVE,
    UpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableUpDownCounter: AggregationTemporality.CUMULATIVE,
}
"""OpenTelemetry's "delta" preference: points add up over any window, over restarts and over several workers."""


class SQLiteSpanExporter(SpanExporter):
    """Exports spans into a local SQLite file: ``BatchSpanProcessor(SQLiteSpanExporter("metrics.db"))``.

    Arguments left at None come from the environment (see the README's "Settings"). Unknown ones are logged. In
    declarative configuration they are what stands under ``exporter: {sqlite: …}``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        slow_threshold_ms: float | None = None,
        retention_seconds: float | None = None,
        keep_seconds: float | None = None,
        size_max_bytes: int | str | None = None,
        error_rate_threshold: float | None = None,
        error_rate_min_count: int | None = None,
        sample_rate: float | None = None,
        sample_rates: Mapping[str, float] | None = None,
        redact: bool | None = None,
        redact_keys: Sequence[str] | None = None,
        redact_patterns: Sequence[str] | None = None,
        **unknown: Any,
    ) -> None:
        _log_unknown(unknown)
        arguments = {
            "path": path,
            "slow_threshold_ms": slow_threshold_ms,
            "retention_seconds": retention_seconds,
            "keep_seconds": keep_seconds,
            "size_max_bytes": size_max_bytes,
            "error_rate_threshold": error_rate_threshold,
            "error_rate_min_count": error_rate_min_count,
            "sample_rate": sample_rate,
            "sample_rates": sample_rates,
            "redact": redact,
            "redact_keys": redact_keys,
            "redact_patterns": redact_patterns,
        }
        config = resolve_config_leniently(arguments)
        self._recorder = open_configured_recorder(config, arguments)
        self._door = SpanDoor(self._recorder, nano_of_ms(config.slow_threshold_ms))
        self._is_shut_down = False
        tell_of_exporter(self, self._recorder)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store the spans; success means committed. After a failure they stay queued and are tried again."""
        if self._is_shut_down:
            _logger.warning("%d spans came after the exporter's shutdown and were not stored.", len(spans))
            return SpanExportResult.FAILURE
        try:
            are_taken = [self._door.take(span) for span in spans]
            is_stored = self._recorder.flush() and all(are_taken)
        except Exception:  # the outer rim
            _logger.exception("Spans could not be exported to %s.", self._recorder.path)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS if is_stored else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Write what there is and give the file back; later exports fail."""
        if not self._is_shut_down:
            self._is_shut_down = True
            release_recorder(self._recorder)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write everything exported before the call; whether that was done in time."""
        return self._recorder.flush(timeout_millis / 1000)


class SQLiteMetricExporter(MetricExporter):
    """Keeps the points of any instrument in a local SQLite file.

    Goes into a ``PeriodicExportingMetricReader``, which takes counters and histograms from it as deltas. Arguments
    left at None come from the environment; unknown ones are logged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        keep_seconds: float | None = None,
        size_max_bytes: int | str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(preferred_temporality=PREFERRED_TEMPORALITY)
        _log_unknown(unknown)
        arguments = {"path": path, "keep_seconds": keep_seconds, "size_max_bytes": size_max_bytes}
        config = resolve_config_leniently(arguments)
        self._recorder = open_configured_recorder(config, arguments)
        self._encoder = PointEncoder()
        self._unwritten: list[PointRow] = []
        self._is_shut_down = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = FLUSH_TIMEOUT_SECONDS * 1000, **kwargs: Any
    ) -> MetricExportResult:
        """Store the points; success means committed. After a failure they are kept and written with the next ones."""
        if self._is_shut_down:
            return MetricExportResult.FAILURE
        try:
            self._unwritten += self._encoder.encode(metrics_data)
            del self._unwritten[:-UNWRITTEN_POINTS_MAX]
            while self._unwritten:
                del self._unwritten[: self._recorder.write_points(self._unwritten)]
        except Exception as error:  # the outer rim
            _logger.warning("Metric points could not be exported to %s: %s", self._recorder.path, error)
            return MetricExportResult.FAILURE
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = FLUSH_TIMEOUT_SECONDS * 1000) -> bool:
        """True: `export` has committed already."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Give the file back; later exports fail."""
        if not self._is_shut_down:
            self._is_shut_down = True
            release_recorder(self._recorder)


def _log_unknown(unknown: dict[str, Any]) -> None:
    for name in unknown:
        _logger.warning("The exporter knows no argument %r; it is ignored.", name)
