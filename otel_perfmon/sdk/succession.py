"""A provider of ours that gives way: the one that the program itself sets later takes its place.

OpenTelemetry lets the global provider be set once, and with a warning leaves the second one without spans: a program
that sets up its own pipelines after we were asked for a provider would lose them. Tracers of ours that were got before
make their spans with the other provider from then on; instruments of ours that were keep their points here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.util._once import Once

Tell = Callable[[sdk.TracerProvider, trace.TracerProvider], None]
"""What is called once with the provider that gave way, and the one that was set in its place."""


def give_way(provider: sdk.TracerProvider, tell: Tell) -> None:
    """Let another global provider be set after ``provider``, which is about to be."""
    if trace._TRACER_PROVIDER is None:
        trace._TRACER_PROVIDER_SET_ONCE = _Succession(provider, lambda: trace._TRACER_PROVIDER, tell)


def give_way_to_meters(provider: MeterProvider) -> None:
    """The same of the global meter provider; the points of both are kept, each where it keeps them."""
    if metrics._METER_PROVIDER is None:
        metrics._METER_PROVIDER_SET_ONCE = _Succession(provider, lambda: metrics._METER_PROVIDER, _tell_nobody)


def follow(provider: sdk.TracerProvider, successor: trace.TracerProvider) -> None:
    """Have ``successor`` make the spans of every tracer of ``provider``."""
    with provider._tracers_lock:
        tracers = dict(provider._tracers)
    follower: Any = provider
    follower.get_tracer = successor.get_tracer
    for scope, tracer in tracers.items():
        other = successor.get_tracer(scope.name, scope.version or None, scope.schema_url, scope.attributes)
        follower = tracer
        follower.start_as_current_span, follower.start_span = other.start_as_current_span, other.start_span


def _tell_nobody(provider: Any, successor: Any) -> None:
    """The provider that gave way goes on for who has an instrument of it."""


class _Succession(Once):
    """What the API sets a global provider through: once for ours, and once more for another."""

    def __init__(self, provider: Any, read: Callable[[], Any], tell: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self._provider = provider
        self._read = read
        self._tell = tell
        self._is_over = False

    def do_once(self, func: Callable[[], None]) -> bool:
        """Set the global provider, if that may be."""
        if self._read() is None:
            return super().do_once(func)
        with self._lock:
            if self._is_over or self._read() is not self._provider:
                return False
            func()
            successor = self._read()
            self._is_over = successor is not self._provider
        if self._is_over:
            self._tell(self._provider, successor)
        return self._is_over
