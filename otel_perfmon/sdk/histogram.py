"""The duration histogram of a monitor, recorded through whatever meter provider there is.

While nobody can read it, ``is_read`` is False and there is nothing to record. On a meter provider of the SDK a
measurement is gathered (see `gathering`); on any other, and on an SDK whose inside has changed, it goes straight to the
instrument's own ``record``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter, MeterProvider, NoOpHistogram

_SCOPE = "otel_perfmon"
_SHARED_MAX: Final = 2_000
Record = Callable[[int, dict[str, str], Context, int], None]


class DurationHistogram:
    """A histogram of durations in seconds, on ``meter_provider``, else on the global one, be it set only later.

    ``is_read`` is False as long as certainly nobody reads: there is no meter provider yet, or OpenTelemetry's no-op. It
    becomes True when one is set. On a provider of the SDK it is True, with readers or without, for one may be added at
    any time; without any, ``record`` returns at once (0.06 µs).

    ``record(elapsed_nano, attributes, context, end_unix_nano)`` takes one measurement, not negative. ``attributes``
    must not change any more; ``context`` is the one in which the measured span is current. It raises what a foreign
    instrument raises; on the SDK's, nothing. It changes when ``is_read`` does: look it up each time.
    """

    __slots__ = ("__weakref__", "_boundaries_s", "_description", "_name", "_shared", "_unit", "is_read", "record")

    is_read: bool
    record: Record

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        boundaries_s: Sequence[float],
        meter_provider: MeterProvider | None,
    ) -> None:
        self._name, self._unit, self._description, self._boundaries_s = name, unit, description, boundaries_s
        self.is_read, self.record = False, _record_nowhere
        self._shared: dict[tuple[str, str | None], dict[str, str]] = {}
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        if not self._await(meter):
            self.bind(meter)

    def bind(self, meter: Meter) -> None:
        """Record on ``meter`` from now on."""
        instrument = meter.create_histogram(
            self._name,
            unit=self._unit,
            description=self._description,
            explicit_bucket_boundaries_advisory=self._boundaries_s,
        )
        if type(instrument) is not NoOpHistogram:
            self.record = _recorder_of(instrument)
            self.is_read = True

    def attributes_of(self, operation: str, error_type: str | None) -> dict[str, str]:
        """The attributes of a measurement: one dict for all alike, which must not be changed.

        The SDK finds an aggregation by a hash that takes 3 µs to make; of a dict that is the same it is known.
        """
        key = operation, error_type
        attributes = self._shared.get(key)
        if attributes is None:
            if len(self._shared) >= _SHARED_MAX:
                self._shared.clear()
            attributes = {"perfmon.operation": operation}
            if error_type is not None:
                attributes["error.type"] = error_type
            self._shared[key] = attributes
        return attributes

    def _await(self, meter: Any) -> bool:
        """Be told of the real meter as soon as there is one; False if this is one, or the API's proxy has changed."""
        try:
            with meter._lock:
                if meter._real_meter is None:
                    meter._instruments.append(_Awaiting(self))
                    return True
        except AttributeError:
            pass
        return False


class _Awaiting:
    """Stands among a proxy meter's instruments, each of which is told of the real meter. Keeps nothing alive."""

    def __init__(self, histogram: DurationHistogram) -> None:
        self._histogram = weakref.ref(histogram)

    def on_meter_set(self, meter: Meter) -> None:
        """See `_ProxyInstrument` of the API."""
        histogram = self._histogram()
        if histogram is not None:
            histogram.bind(meter)


def _recorder_of(instrument: Histogram) -> Record:
    """How to record on ``instrument``, the cheapest way that gives every reader the same."""
    if type(instrument).__module__.startswith("opentelemetry.sdk."):
        try:
            from otel_perfmon.sdk.gathering import find_gatherer  # noqa: PLC0415 - 25 ms, the SDK's metrics and all

            gatherer = find_gatherer(instrument)
        except Exception:  # an SDK of another build: names of its inside are missing
            gatherer = None
        if gatherer is not None:
            return gatherer.record

    def record(elapsed_nano: int, attributes: dict[str, str], context: Context, _: int) -> None:
        instrument.record(elapsed_nano / 1e9, attributes.copy(), context)

    return record


def _record_nowhere(elapsed_nano: int, attributes: dict[str, str], context: Context, end_unix_nano: int) -> None:
    """Nobody reads."""
