"""Wiring a program: one call sets up tracing for the whole process, with a local store behind it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon.alerts import AlertCallback, check_callback
from otel_perfmon.config import Config, nano_of_ms, parse_setting, resolve_config, resolve_config_leniently
from otel_perfmon.errors import ConfigError
from otel_perfmon.metrics_storage import MetricsStorage, share_storage
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.sdk.exporter import SQLiteMetricExporter
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor, add_first
from otel_perfmon.sdk.provider import (
    GlobalProvider,
    OwnProvider,
    global_provider,
    make_provider,
    make_resource,
    sdk_provider_of,
)
from otel_perfmon.sdk.succession import follow, give_way, give_way_to_meters
from otel_perfmon.storage.maintenance import call_each_minute, call_no_more
from otel_perfmon.storage.outbox import ForwardPolicy

if TYPE_CHECKING:
    from otel_perfmon.otlp.forwarding import Forwarding

_logger = logging.getLogger("otel_perfmon")

NOT_THE_SDKS: Final = (
    "The global tracer provider is not the OpenTelemetry SDK's: only the monitor's own operations are stored."
)
_NOBODY: Final[dict[str, Any]] = {"service_name": None, "resource_attributes": None}
_NOTHING: Final[dict[str, Any]] = {"metric_readers": None, "on_alert": None}


def configure(
    path: str | os.PathLike[str] | None = None,
    *,
    service_name: str | None = None,
    slow_threshold_ms: float | None = None,
    retention_seconds: float | None = None,
    keep_seconds: float | None = None,
    size_max_bytes: int | str | None = None,
    error_rate_threshold: float | None = None,
    error_rate_min_count: int | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    metric_readers: Sequence[MetricReader] = (),
    durability: str | None = None,
    sample_rate: float | None = None,
    sample_rates: Mapping[str, float] | None = None,
    slow_stacks: bool | None = None,
    redact: bool | None = None,
    redact_keys: Sequence[str] | None = None,
    redact_patterns: Sequence[str] | None = None,
    on_alert: AlertCallback | None = None,
    forward_to: str | Sequence[str] | None = None,
    forward_sample_rate: float | None = None,
    forward_decision_wait_seconds: float | None = None,
) -> PerformanceMonitor:
    """Set up tracing for the whole process and store every span of it in the file at ``path``.

    Installs the global tracer provider when none is set; to an SDK provider that is there, or set later, it adds its
    processor, once and first. A global meter provider is installed only when ``metric_readers`` are given. ``on_alert``
    is called with each `Alert` that this process raises, on a thread of its own; what it raises is logged.
    ``forward_to`` are OTLP receivers that a thread sends spans on to. What is left out comes from the environment, else
    the default (see the README's "Settings"). Called again, it returns the same monitor and warns if a given argument
    differs. Raises `ConfigError` for a wrong setting.
    """
    arguments = {
        "path": path,
        "slow_threshold_ms": slow_threshold_ms,
        "retention_seconds": retention_seconds,
        "keep_seconds": keep_seconds,
        "size_max_bytes": size_max_bytes,
        "error_rate_threshold": error_rate_threshold,
        "error_rate_min_count": error_rate_min_count,
        "durability": durability,
        "sample_rate": sample_rate,
        "sample_rates": sample_rates,
        "slow_stacks": slow_stacks,
        "redact": redact,
        "redact_keys": redact_keys,
        "redact_patterns": redact_patterns,
        "forward_to": forward_to,
        "forward_sample_rate": forward_sample_rate,
        "forward_decision_wait_seconds": forward_decision_wait_seconds,
    }
    identity = {"service_name": service_name, "resource_attributes": resource_attributes}
    return _configure(arguments, identity, {"metric_readers": tuple(metric_readers) or None, "on_alert": on_alert})


def _configure(arguments: dict[str, Any], identity: dict[str, Any], ends: dict[str, Any]) -> PerformanceMonitor:
    check_callback(ends["on_alert"])
    with _process.lock:
        if _process.setup is not None:
            _process.setup.warn_of_differences(arguments, {**identity, **ends})
        else:
            _set_up(resolve_config(arguments), arguments, identity, ends, is_provider_installed=True)
        return get_monitor()


def provide_tracer_provider() -> TracerProvider:
    """The entry point ``perfmon``: a program run with ``OTEL_PYTHON_TRACER_PROVIDER=perfmon`` is configured so.

    By the environment's settings; a wrong one is logged, since OpenTelemetry would pass the error on to the program.
    """
    with _process.lock:
        setup = _process.setup or _process.setup_at_work
        if setup is None:
            setup = _set_up(resolve_config_leniently({}), {}, _NOBODY, _NOTHING, is_provider_installed=False)
        return setup.provide()


def provide_meter_provider() -> MeterProvider:
    """The entry point ``perfmon`` of meter providers: with ``OTEL_PYTHON_METER_PROVIDER=perfmon`` points are stored."""
    with _process.lock:
        if _process.meter_provider is None:
            reader = PeriodicExportingMetricReader(SQLiteMetricExporter())
            _process.meter_provider = MeterProvider([reader], make_resource(**_NOBODY))
            give_way_to_meters(_process.meter_provider)
        return _process.meter_provider


def configure_from_environment() -> PerformanceMonitor:
    """What `configure()` does, by the environment's settings alone; a wrong one is logged."""
    with _process.lock:
        if _process.setup is None:
            _set_up(resolve_config_leniently({}), {}, _NOBODY, _NOTHING, is_provider_installed=True)
        return get_monitor()


def get_monitor() -> PerformanceMonitor:
    """The process's monitor, to be used by any module at any time, at import as well.

    Before `configure()` has run, what it records goes where OpenTelemetry sends it, and it has no storage.
    """
    with _process.lock:
        if _process.monitor is None:
            _process.monitor = ProcessMonitor(resolve_config_leniently({}))
        return _process.monitor


class ProcessMonitor(PerformanceMonitor):
    """The monitor that `get_monitor` gives. It has no storage of its own: `configure()` binds it to one.

    `shutdown` undoes the set-up, as far as OpenTelemetry lets it.
    """

    def __init__(self, config: Config) -> None:
        self._opened_storage = self._storage = None
        self._prepare(config, None)
        self.unbind()

    def bind(
        self,
        storage: MetricsStorage,
        provider: TracerProvider,
        door: SpanDoor,
        config: Config,
        on_alert: AlertCallback | None,
        *,
        is_given: bool,
    ) -> None:
        """Measure on ``provider`` from now on, whose spans ``door`` stores.

        A threshold that was set on this monitor before holds, unless ``is_given``: `configure()` was given one.
        """
        self.error_rate_threshold = config.error_rate_threshold
        if is_given or not self._is_threshold_set:
            self.slow_threshold_ms = config.slow_threshold_ms
        self._bind(storage, OwnProvider(provider, storage.recorder), door, on_alert)

    def move(self, provider: TracerProvider) -> None:
        """Measure on another provider from now on, whose spans the same door stores."""
        self._source = OwnProvider(provider, self.storage.recorder)

    def unbind(self) -> None:
        """Let spans go where OpenTelemetry sends them."""
        self._forget_callback()
        self._storage = self._door = None
        self._source = GlobalProvider()

    def shutdown(self) -> None:
        """Write what there is, and undo what `configure()` did."""
        with _process.lock:
            setup, _process.setup = _process.setup, None
        if setup is not None:
            setup.close()


class _Setup:
    """What one call of `configure()` put in place."""

    def __init__(
        self, config: Config, arguments: dict[str, Any], identity: dict[str, Any], ends: dict[str, Any]
    ) -> None:
        self._config = config
        self._identity = identity
        self._ends = ends
        self._storage = MetricsStorage.from_config(config)
        threshold_nano, recorder = nano_of_ms(config.slow_threshold_ms), self._storage.recorder
        self._door = SpanDoor(recorder, threshold_nano, config.durability, takes_stacks=config.slow_stacks)
        self._processor = StoreSpanProcessor(self._door)
        self._own_provider: TracerProvider | None = None
        self._meter_provider: MeterProvider | None = None
        self._forwarding: Forwarding | None = None
        self._is_threshold_given = arguments.get("slow_threshold_ms") is not None

    def install(self, *, is_provider_installed: bool) -> None:
        """Put everything in its place; the tracer provider only if it is not OpenTelemetry that asked for it."""
        self._forwarding = self._open_forwarding(is_strict=is_provider_installed)
        self._meter_provider = self._install_meter_provider()
        provider = self._install_tracer_provider() if is_provider_installed else self.provide()
        if _process.monitor is None:
            _process.monitor = ProcessMonitor(self._config)
        self._monitor = _process.monitor
        on_alert = self._ends["on_alert"]
        is_given = self._is_threshold_given
        self._monitor.bind(self._storage, provider, self._door, self._config, on_alert, is_given=is_given)
        share_storage(self._storage)
        if self._forwarding is not None:
            self._forwarding.start()

    def provide(self) -> TracerProvider:
        """A provider that stores its spans: the one made here."""
        if self._own_provider is None:
            self._own_provider = make_provider(**self._identity)
            add_first(self._own_provider, self._processor)
            give_way(self._own_provider, _follow)
        return self._own_provider

    def move(self, provider: TracerProvider) -> None:
        """Store the spans of a provider that the program has set in place of ours, and measure on it."""
        self._adopt(provider)
        self._monitor.move(provider)

    def warn_of_differences(self, arguments: dict[str, Any], others: dict[str, Any]) -> None:
        """Log each argument of a later call that is given and is not what holds."""
        for name, value in arguments.items():
            holds = getattr(self._config, name)
            if value is not None and (parsed := parse_setting(name, value)) != holds:
                _warn_of_difference(name, parsed if name == "forward_to" else value, holds)  # without its credentials
        hold = {**self._identity, **self._ends}
        for name, value in others.items():
            if value is not None and value != hold[name]:
                _warn_of_difference(name, value, hold[name])

    def close(self) -> None:
        """Write what there is; shut down the providers that were made here, and leave those that were there."""
        self._processor.force_flush()
        if self._own_provider is not None:
            self._own_provider.shutdown()
        self._processor.close()
        if self._meter_provider is not None:
            self._meter_provider.shutdown()
        share_storage(None)
        self._monitor.unbind()
        if self._forwarding is not None:
            call_no_more(self._storage.recorder.path, self._forwarding.start)
            self._forwarding.finish()
        self._storage.close()

    def _open_forwarding(self, *, is_strict: bool) -> Forwarding | None:
        """What sends spans on, not started yet. What is wrong with a destination is logged where nobody may raise."""
        try:
            return _open_forwarding(self._config, self._storage)
        except ConfigError as error:
            if is_strict:
                self._storage.close()
                raise
            _logger.warning("%s Nothing is forwarded.", error)
            return None

    def _install_tracer_provider(self) -> TracerProvider:
        provider = global_provider()  # which may have asked us for it
        if provider is None:
            provider = self.provide()
            if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # OpenTelemetry's word for none
                trace.set_tracer_provider(provider)
            if trace.get_tracer_provider() is not provider:
                _logger.warning(NOT_THE_SDKS)
        if provider is not self._own_provider:
            self._adopt(provider)
        return provider

    def _adopt(self, provider: TracerProvider) -> None:
        """Store the spans of a provider that the program has made."""
        add_first(provider, self._processor)
        if any(value is not None for value in self._identity.values()):
            _logger.warning("A tracer provider is set already: its resource stands, service_name and others do not.")

    def _install_meter_provider(self) -> MeterProvider | None:
        if self._ends["metric_readers"] is None:
            return None
        provider = MeterProvider(self._ends["metric_readers"], make_resource(**self._identity))
        metrics.set_meter_provider(provider)
        if metrics.get_meter_provider() is not provider:
            _logger.warning("A meter provider is set already: the given metric_readers get nothing.")
        return provider


class _Process:
    """The state of this process, in one place."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.setup: _Setup | None = None
        self.setup_at_work: _Setup | None = None
        self.monitor: ProcessMonitor | None = None
        self.meter_provider: MeterProvider | None = None


def _set_up(
    config: Config,
    arguments: dict[str, Any],
    identity: dict[str, Any],
    ends: dict[str, Any],
    *,
    is_provider_installed: bool,
) -> _Setup:
    setup = _process.setup_at_work = _Setup(config, arguments, identity, ends)
    try:
        setup.install(is_provider_installed=is_provider_installed)
    finally:
        _process.setup_at_work = None
    _process.setup = setup
    return setup


def _follow(provider: TracerProvider, successor: trace.TracerProvider) -> None:
    """What is done when the program has set ``successor`` in place of ``provider``, which is ours."""
    with _process.lock:
        try:
            setup, target = _process.setup, sdk_provider_of(successor)
            if setup is not None and target is None:
                _logger.warning(NOT_THE_SDKS)
                return
            if setup is not None and target is not None:
                setup.move(target)
            follow(provider, successor)
        except Exception:  # the outer rim: the program sets its provider, and knows nothing of ours
            _logger.exception("The monitor could not move to the tracer provider that was set now.")


def _open_forwarding(config: Config, storage: MetricsStorage) -> Forwarding | None:
    """What sends spans on, not started yet; None where they stay here. Raises `ConfigError`."""
    if not config.forward_to:
        return None
    from otel_perfmon.otlp.destination import parse_destination  # noqa: PLC0415 - for who forwards
    from otel_perfmon.otlp.forwarding import Forwarding  # noqa: PLC0415 - as above

    destinations = [parse_destination(each, environ=os.environ) for each in config.forward_to]
    names = [each.name for each in destinations]
    for name in names:
        if names.count(name) > 1:  # of two with one cursor the second would get nothing
            raise ConfigError(
                f"forward_to has two destinations that are told apart by nothing but credentials, a query or headers:"
                f" {name}. Give them different hosts, ports or paths, or keep one of them."
            )
    policy = ForwardPolicy(config.forward_sample_rate, config.forward_decision_wait_seconds)
    forwarding = Forwarding(storage.path, destinations, policy)
    call_each_minute(storage.recorder.path, forwarding.start)  # after a fork, in a child that records
    return forwarding


def _warn_of_difference(name: str, value: Any, holds: Any) -> None:
    _logger.warning("configure() was called again with %s=%r, but %r holds since its first call.", name, value, holds)


_process = _Process()
