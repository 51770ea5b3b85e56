"""Tracer providers: the one we make, the one that is there, and which of them makes a monitor's spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.sdk.processor import SpanDoor, change_count, doors_of
from otel_perfmon.storage.recorder import Recorder

_SCOPE = "otel_perfmon"


def make_provider(
    service_name: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    *,
    shutdown_on_exit: bool = True,
) -> TracerProvider:
    """A provider of the SDK with ids in time order. OpenTelemetry's own variables hold for what is not given."""
    return TracerProvider(
        resource=make_resource(service_name, resource_attributes),
        id_generator=TimeOrderedIdGenerator(),
        shutdown_on_exit=shutdown_on_exit,
    )


def make_resource(service_name: str | None, resource_attributes: Mapping[str, Any] | None) -> Resource:
    """The resource of this process; the arguments win over ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``."""
    given = dict(resource_attributes or {})
    if service_name is not None:
        given["service.name"] = service_name
    return Resource.create().merge(Resource(given))


def global_provider() -> TracerProvider | None:
    """The global provider if it is the SDK's, else None."""
    provider = trace.get_tracer_provider()
    return provider if isinstance(provider, TracerProvider) else None


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

    def close(self) -> None:
        """Shut down a provider that was made here."""


class GlobalProvider:
    """Spans go where OpenTelemetry sends them; the API's tracer finds the global provider when there is one."""

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
    """The given provider, else the global one of the SDK as soon as there is one, else a private one."""

    def __init__(self, provider: trace.TracerProvider | None, recorder: Recorder) -> None:
        self._recorder = recorder
        self._private: TracerProvider | None = None
        self._private_tracer: trace.Tracer | None = None
        self._provider: trace.TracerProvider | None = None
        self._tracer: trace.Tracer | None = None
        self._doors: tuple[SpanDoor, ...] = ()
        self._doors_seen_at = -1
        if provider is not None:
            self._settle(provider)

    def tracer(self) -> tuple[trace.Tracer, bool]:
        """See `SpanSource`."""
        # While private, only the API's own variable is looked at: get_tracer_provider() reads the environment each
        # time, which costs 1.9 µs, a tenth of a span.
        if self._tracer is None and (self._private_tracer is None or trace._TRACER_PROVIDER is not None):
            provider = global_provider()
            if provider is not None:
                self._settle(provider)
        if self._tracer is None:
            if self._private_tracer is None:
                # It has no processor and so nothing to shut down: the monitor itself stores its spans.
                self._private = make_provider(shutdown_on_exit=False)
                self._private_tracer = self._private.get_tracer(_SCOPE)
            return self._private_tracer, True
        if self._doors_seen_at != change_count():
            self._see_doors()
        return self._tracer, self._must_store

    def must_store_late(self) -> bool:
        """See `SpanSource`."""
        if self._provider is not None and self._doors_seen_at != change_count():
            self._see_doors()
            return self._must_store
        return False

    def storing_doors(self) -> tuple[SpanDoor, ...]:
        """See `SpanSource`."""
        return self._doors

    def close(self) -> None:
        """See `SpanSource`."""
        if self._private is not None:
            self._private.shutdown()

    def _settle(self, provider: trace.TracerProvider) -> None:
        self._provider = provider
        self._see_doors()
        self._tracer = provider.get_tracer(_SCOPE)

    def _see_doors(self) -> None:
        self._doors_seen_at = change_count()
        self._doors = doors_of(self._provider)
        self._must_store = all(door.recorder is not self._recorder for door in self._doors)
