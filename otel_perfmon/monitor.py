"""The monitor: what a program holds in its hand to measure its operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind

from otel_perfmon import failure
from otel_perfmon.alerts import AlertCallback, check_callback
from otel_perfmon.call import Call
from otel_perfmon.config import Config, nano_of_ms, parse_setting, resolve_config
from otel_perfmon.errors import StoreError
from otel_perfmon.metrics_storage import MetricsStorage, shared_storage
from otel_perfmon.operation import DisabledOperation, MonitoredOperation
from otel_perfmon.sdk.histogram import DurationHistogram
from otel_perfmon.sdk.processor import SpanDoor
from otel_perfmon.sdk.provider import OwnProvider, SpanSource, readable
from otel_perfmon.sdk.thresholds import note_threshold
from otel_perfmon.storage.attributes import storable_text
from otel_perfmon.storage.rows import OPERATION_NAME_MAX

DURATION_HISTOGRAM: Final = "perfmon.operation.duration"
#: OpenTelemetry's advice for HTTP durations (semantic conventions, http-metrics), with finer steps below 5 ms.
BUCKET_BOUNDARIES_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


class PerformanceMonitor:
    """Measures operations and stores them.

    Alone, it stores its own operations only, into ``storage`` (default `MetricsStorage()`; the configured process's
    storage after `configure()`), by whose ``durability``. Its spans are made by ``tracer_provider``, else by the global
    SDK provider if there is one, else by a private one. `shutdown` closes what the monitor opened, never what it was
    given.

    ``on_alert`` is called with each `Alert` of the store's operations that this process raises, on a thread of its own.

    Raises `ConfigError` for a wrong setting.
    """

    _storage: MetricsStorage | None
    _opened_storage: MetricsStorage | None
    _source: SpanSource
    _door: SpanDoor | None
    _on_alert: AlertCallback | None = None

    def __init__(
        self,
        storage: MetricsStorage | None = None,
        *,
        slow_threshold_ms: float | None = None,
        slow_stacks: bool | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        on_alert: AlertCallback | None = None,
    ) -> None:
        config = resolve_config({"slow_threshold_ms": slow_threshold_ms, "slow_stacks": slow_stacks})
        check_callback(on_alert)
        given = storage if storage is not None else shared_storage()
        self._opened_storage = MetricsStorage() if given is None else None
        storage = given or self._opened_storage
        assert storage is not None
        self._prepare(config, meter_provider)
        takes_stacks = config.slow_stacks
        door = SpanDoor(storage.recorder, self.slow_threshold_nano, storage.durability, takes_stacks=takes_stacks)
        self._bind(storage, OwnProvider(tracer_provider, storage.recorder), door, on_alert)

    def _prepare(self, config: Config, meter_provider: metrics.MeterProvider | None) -> None:
        self.error_rate_threshold = config.error_rate_threshold
        self._is_threshold_set = False
        self._slow_threshold_ms = config.slow_threshold_ms
        self.slow_threshold_nano = note_threshold(nano_of_ms(config.slow_threshold_ms))
        self._disabled_operation = DisabledOperation(self, "disabled", None, None, SpanKind.INTERNAL)
        self.histogram = DurationHistogram(
            DURATION_HISTOGRAM, "s", "Duration of monitored operations.", BUCKET_BOUNDARIES_S, meter_provider
        )

    def _bind(
        self, storage: MetricsStorage, source: SpanSource, door: SpanDoor, on_alert: AlertCallback | None
    ) -> None:
        self._storage, self._source, self._door = storage, source, door
        door.slow_threshold_nano = self.slow_threshold_nano
        if on_alert is not None:
            self._on_alert = on_alert
            storage.recorder.alarm.callbacks.add(on_alert)

    def _forget_callback(self) -> None:
        if self._storage is not None and self._on_alert is not None:
            self._storage.recorder.alarm.callbacks.remove(self._on_alert)
        self._on_alert = None

    @property
    def storage(self) -> MetricsStorage:
        """Where the operations are stored. Raises `StoreError` before `configure()` has run."""
        if self._storage is None:
            message = "This monitor has no store yet: call otel_perfmon.configure() first."
            raise StoreError(message)
        return self._storage

    @property
    def slow_threshold_ms(self) -> float:
        """An operation that took longer is slow, unless it has a threshold of its own. Can be set at any time."""
        return self._slow_threshold_ms

    @slow_threshold_ms.setter
    def slow_threshold_ms(self, value: float) -> None:
        self._slow_threshold_ms = parse_setting("slow_threshold_ms", value)
        self._is_threshold_set = True
        self.slow_threshold_nano = note_threshold(nano_of_ms(self._slow_threshold_ms))
        if self._door is not None:
            self._door.slow_threshold_nano = self.slow_threshold_nano

    def monitor(
        self,
        operation: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        slow_threshold_ms: float | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> MonitoredOperation:
        """Measure an operation: ``with``, ``async with``, or a decorator for any kind of function.

        ``slow_threshold_ms`` holds for this operation instead of the monitor's; `ConfigError` when it is wrong.
        """
        if self._source.is_disabled and type(operation) is str and slow_threshold_ms is None:
            return self._disabled_operation
        threshold_nano = None
        if slow_threshold_ms is not None:
            threshold_nano = nano_of_ms(parse_setting("slow_threshold_ms", slow_threshold_ms))
        if type(operation) is not str or len(operation) > OPERATION_NAME_MAX or not operation.isascii():
            operation = _operation_name(operation)
        if not isinstance(kind, SpanKind):
            kind = SpanKind.INTERNAL
        return MonitoredOperation(self, operation, attributes, threshold_nano, kind)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write everything that ended before the call; whether that was done in time."""
        return self._storage.recorder.flush(timeout_millis / 1000) if self._storage is not None else True

    def shutdown(self) -> None:
        """Write what there is, and close what this monitor opened itself."""
        self.force_flush()
        self._forget_callback()
        self._source.close()
        if self._opened_storage is not None:
            self._opened_storage.close()

    # --- what a call needs

    def start_span(
        self, call: Call, context: Context, start_unix_nano: int, parent: SpanContext
    ) -> tuple[Span, SpanDoor | None]:
        """A span, and the door to hand it to when it has ended, if no processor does. Never raises."""
        door = None
        try:
            tracer, must_store = self._source.tracer()
            if must_store:
                door = self._door
            return tracer.start_span(call.name, context, call.kind, call.attributes, (), start_unix_nano), door
        except Exception as error:  # the outer rim: attributes that break the SDK, a sampler that raises
            trouble = error
        if call.attributes is not None:
            try:
                return tracer.start_span(call.name, context, call.kind, None, (), start_unix_nano), door
            except Exception as error:
                trouble = error
        self.lose(f"the operation {call.name[:100]}", trouble)
        return NonRecordingSpan(parent), None  # calls inside it are still the caller's

    def end_span(self, span: Span, end_unix_nano: int | None, door: SpanDoor | None) -> None:
        """End the span and hand it over. Never raises."""
        try:
            span.end(end_unix_nano)
        except Exception as error:  # the outer rim: another processor's failure
            if door is None:
                self.lose("a span", error)
        if door is None:
            if not self._source.must_store_late():
                return
            door = self._door  # the processor that would have stored it was closed in the meantime
        ended = readable(span)
        if door is not None and ended is not None:
            try:
                door.take(ended)
            except Exception as error:  # the outer rim
                self.lose("a span", error)

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """The doors of the processors that store every span of the monitor's provider."""
        return self._source.storing_doors()

    def lose(self, what: str, error: BaseException) -> None:
        """Count and log a span that could not be recorded."""
        if self._storage is not None:
            self._storage.recorder.lose("unreadable", 1, _why_not_recorded(what, error))

    def warn(self, what: str, error: BaseException) -> None:
        """Log what could not be recorded beside a span, which is counted as it is."""
        if self._storage is not None:
            self._storage.recorder.ledger.warn("beside_span", _why_not_recorded(what, error))


def _why_not_recorded(what: str, error: BaseException) -> str:
    return f"{what} could not be recorded: {failure.type_name(error)}: {failure.message_of(error):.200}"


def _operation_name(operation: Any) -> str:
    if callable(operation):
        message = "An operation needs a name: @monitor.monitor('name'), not @monitor.monitor."
        raise TypeError(message)
    return storable_text(operation, OPERATION_NAME_MAX)[0]
