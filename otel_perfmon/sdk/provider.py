"""Tracer providers: the one we make, the one that is there, and which of them makes a monitor's spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, sampling

from otel_perfmon.sdk.environment import parent_of_process
from otel_perfmon.sdk.processor import SpanDoor, changes, doors_of
from otel_perfmon.sdk.sampler import sampler_of_environment
from otel_perfmon.sdk.tracer import TracerProvider
from otel_perfmon.storage.recorder import Recorder

_SCOPE = "otel_perfmon"


def make_provider(
    service_name: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    *,
    shutdown_on_exit: bool = True,
) -> TracerProvider:
    """A provider of ours, by OpenTelemetry's own variables where they say something.

    What ``OTEL_TRACES_SAMPLER`` drops is recorded all the same, unsampled: it is stored here and goes nowhere else.
    Only ``always_off`` and ``parentbased_always_off`` turn tracing off. Root spans continue the trace that the
    environment carries (``TRACEPARENT``).
    """
    sampler = sampler_of_environment()
    root = sampler._root if isinstance(sampler, sampling.ParentBased) else sampler
    is_left_so = root is sampling.ALWAYS_OFF or isinstance(sampler, sampling.AlwaysRecordSampler)
    provider = TracerProvider(
        sampler=sampler if is_left_so else sampling.AlwaysRecordSampler(sampler),
        resource=make_resource(service_name, resource_attributes),
        shutdown_on_exit=shutdown_on_exit,
    )
    provider.parent_of_roots = parent_of_process()
    return provider


def make_resource(service_name: str | None, resource_attributes: Mapping[str, Any] | None) -> Resource:
    """The resource of this process; the arguments win over ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``."""
    given = dict(resource_attributes or {})
    if service_name is not None:
        given["service.name"] = service_name
    return Resource.create().merge(Resource(given))


def global_provider() -> sdk.TracerProvider | None:
    """The global provider if it is the SDK's, or stands before one; else None."""
    return sdk_provider_of(trace.get_tracer_provider())


def sdk_provider_of(provider: trace.TracerProvider | None) -> sdk.TracerProvider | None:
    """``provider`` if it is the SDK's, or the one of the SDK's that it stands before, as logfire's does; else None."""
    for each in (provider, getattr(provider, "provider", None)):
        if isinstance(each, sdk.TracerProvider):
            return each
    return None


def started_at(span: trace.Span) -> int:
    """When a local span started, in nanoseconds since 1970; 0 if it does not say."""
    start = span.start_time if isinstance(span, ReadableSpan) else None
    return start if isinstance(start, int) else 0


def readable(span: trace.Span) -> ReadableSpan | None:
    """What can be read of an ended span; None for one that recorded nothing, or that is not the SDK's."""
    return span if isinstance(span, ReadableSpan) else None


class SpanSource(Protocol):
    """Where a monitor's spans are made."""

    def tracer(self) -> tuple[trace.Tracer, bool]:
        """The tracer for the next span, and whether the monitor must store it, since no processor does."""

    def must_store_late(self) -> bool:
        """The same, asked when a span has ended that a processor should have stored."""

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """The doors of the processors that store every span made there."""

    is_disabled: bool
    """Whether every span made there would be none: the SDK is disabled by its variable."""

    def close(self) -> None:
        """Shut down a provider that was made here."""


class GlobalProvider:
    """Spans go where OpenTelemetry sends them; the API's tracer finds the global provider when there is one."""

    is_disabled = False

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(_SCOPE)

    def tracer(self) -> tuple[trace.Tracer, bool]:
        """See `SpanSource`."""
        return self._tracer, False

    def must_store_late(self) -> bool:
        """See `SpanSource`."""
        return False

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """See `SpanSource`."""
        return ()

    def close(self) -> None:
        """See `SpanSource`."""


class OwnProvider:
    """The given provider, else the global one of the SDK as soon as there is one, else a private one.

    Threads may look at once, and a signal handler in the midst of it: nobody waits, and each finds what it needs to
    go by before it finds that there is something to go by.
    """

    def __init__(self, provider: trace.TracerProvider | None, recorder: Recorder) -> None:
        self._recorder = recorder
        self._private: TracerProvider | None = None
        self._provider: trace.TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._answer: tuple[trace.Tracer, bool] = self._tracer, False
        self._doors: tuple[SpanDoor, ...] = ()
        self._seen_at = -1
        self.is_disabled = False
        if provider is not None:
            self._settle(provider)

    def tracer(self) -> tuple[trace.Tracer, bool]:
        """See `SpanSource`."""
        if self._seen_at == changes[0] and (self._provider is not None or trace._TRACER_PROVIDER is None):
            return self._answer
        return self._look()

    def _look(self) -> tuple[trace.Tracer, bool]:
        # While private, only the API's own variable is looked at: get_tracer_provider() reads the environment each
        # time, which costs 1.9 µs, half a span.
        if self._provider is None and (self._private is None or trace._TRACER_PROVIDER is not None):
            provider = global_provider()
            if provider is not None:
                self._settle(provider)
        if self._provider is None:
            self._make_private()
        if self._provider is not None:  # settled by another thread, perhaps, while we made a private one
            self._see_doors()
        return self._answer

    def _make_private(self) -> None:
        if self._private is None:
            # It has no processor and so nothing to shut down: the monitor itself stores its spans.
            private = make_provider(shutdown_on_exit=False)
            tracer = private.get_tracer(_SCOPE)
            self.is_disabled = isinstance(tracer, trace.NoOpTracer)
            self._answer, self._private = (tracer, True), private
        self._seen_at = changes[0]

    def must_store_late(self) -> bool:
        """See `SpanSource`."""
        if self._provider is not None and self._seen_at != changes[0]:
            self._see_doors()
            return self._answer[1]
        return False

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """See `SpanSource`."""
        return self._doors

    def close(self) -> None:
        """See `SpanSource`."""
        if self._private is not None:
            self._private.shutdown()

    def _settle(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer(_SCOPE)
        self.is_disabled = isinstance(provider, sdk.TracerProvider) and isinstance(self._tracer, trace.NoOpTracer)
        self._seen_at = -1  # whoever comes now looks as well
        self._provider = provider
        self._see_doors()

    def _see_doors(self) -> None:
        seen_at = changes[0]
        self._doors = doors_of(self._provider)
        must_store = all(door.recorder is not self._recorder for door in self._doors)
        self._answer = self._tracer, must_store
        self._seen_at = seen_at
