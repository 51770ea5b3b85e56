"""No instrumentation makes spans of what the store itself does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY


@contextmanager
def suppressed() -> Iterator[None]:
    """A block in which OpenTelemetry's instrumentations stand still."""
    # None is current where somebody has attached what a propagator gave that knows no format (OTEL_PROPAGATORS=none).
    context = otel_context.get_current() or otel_context.Context()
    token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, context))
    try:
        yield
    finally:
        otel_context.detach(token)
