"""Tracer providers: the one we make, the one that is there, and which of them makes a monitor's spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.sdk.processor import recorders_of
from otel_perfmon.storage.recorder import Recorder

AnyProvider = trace.TracerProvider
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
    return (span.start_time or 0) if isinstance(span, ReadableSpan) else 0


class SpanSource(Protocol):
    """Where a monitor's spans are made."""

    def tracer(self) -> trace.Tracer:
        """The tracer for the next span."""

    def must_store(self) -> bool:
        """Whether the monitor must hand its spans over itself, since no processor of the provider does."""

    def readable(self, span: trace.Span) -> ReadableSpan | None:
        """What can be read of an ended span; None for one that recorded nothing."""

    def close(self) -> None:
        """Shut down a provider that was made here."""


class GlobalProvider:
    """Spans go where OpenTelemetry sends them; the API's tracer finds the global provider when there is one."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(_SCOPE)

    def tracer(self) -> trace.Tracer:
        """See `SpanSource`."""
        return self._tracer

    def must_store(self) -> bool:
        """See `SpanSource`."""
        return False

    def readable(self, span: trace.Span) -> ReadableSpan | None:
        """See `SpanSource`."""
        return None

    def close(self) -> None:
        """Nothing was made here."""


class OwnProvider:
    """The given provider, else the global one of the SDK as soon as there is one, else a private one."""

    def __init__(self, provider: AnyProvider | None, recorder: Recorder) -> None:
        self._recorder = recorder
        self._private: TracerProvider | None = None
        self._private_tracer: trace.Tracer | None = None
        self._tracer: trace.Tracer | None = None
        self._must_store = True
        if provider is not None:
            self._settle(provider)

    def tracer(self) -> trace.Tracer:
        """See `SpanSource`."""
        if self._tracer is not None:
            return self._tracer
        # Once private, only the API's own variable is looked at: get_tracer_provider() reads the environment each time,
        # which costs 1.9 µs, a tenth of a span.
        if self._private_tracer is None or trace._TRACER_PROVIDER is not None:
            provider = global_provider()
            if provider is not None:
                return self._settle(provider)
        if self._private_tracer is None:
            # It has no processor and so nothing to shut down: the monitor itself stores its spans.
            self._private = make_provider(shutdown_on_exit=False)
            self._private_tracer = self._private.get_tracer(_SCOPE)
        return self._private_tracer

    def must_store(self) -> bool:
        """See `SpanSource`."""
        return self._must_store

    def readable(self, span: trace.Span) -> ReadableSpan | None:
        """See `SpanSource`."""
        return span if isinstance(span, ReadableSpan) else None

    def close(self) -> None:
        """See `SpanSource`."""
        if self._private is not None:
            self._private.shutdown()

    def _settle(self, provider: AnyProvider) -> trace.Tracer:
        self._must_store = self._recorder not in recorders_of(provider)
        self._tracer = provider.get_tracer(_SCOPE)
        return self._tracer
