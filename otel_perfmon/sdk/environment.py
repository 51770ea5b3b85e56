"""The environment as a carrier of the trace context: which span started this process, and what its children continue.

OpenTelemetry, "Environment variables as context propagation carriers": what a propagator calls ``traceparent`` is the
variable ``TRACEPARENT``. Which propagators there are says ``OTEL_PROPAGATORS``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import SpanContext

_logger = logging.getLogger("otel_perfmon")


def extract_environment(environ: Mapping[str, str] | None = None) -> Context:
    """The trace context that ``environ`` (default `os.environ`) carries; an empty one if it carries none.

    ``opentelemetry.context.attach(extract_environment())`` has what follows continue the trace of who started this
    process. Providers that `configure()` makes do so by themselves. Never raises.
    """
    try:
        from opentelemetry import propagate  # noqa: PLC0415 - it looks for propagators among all packages: 20 ms

        return propagate.extract(os.environ if environ is None else environ, context=Context(), getter=_GETTER)
    except Exception as error:  # the outer rim: OTEL_PROPAGATORS names one that is not installed
        _logger.warning("The environment's trace is not continued: %r", error)
        return Context()


def inject_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of ``environ`` (default `os.environ`) that carries the current trace context, for a process to be started.

    ``subprocess.run(command, env=inject_environment())``. Without a current span it carries what it carried. Never
    raises.
    """
    carrier = dict(os.environ if environ is None else environ)
    if trace.get_current_span().get_span_context().is_valid:
        try:
            from opentelemetry import propagate  # noqa: PLC0415 - as above

            current: dict[str, str] = {}
            propagate.inject(current, setter=_SETTER)
        except Exception as error:  # the outer rim, as above
            _logger.warning("The environment of a process does not carry its trace: %r", error)
            return carrier
        if "TRACEPARENT" in current:
            carrier.pop("TRACESTATE", None)  # that of another trace; this one has none, or brings it
        carrier.update(current)
    return carrier


def parent_of_process() -> SpanContext | None:
    """The span that started this process, if the environment tells one."""
    if not (os.environ.get("TRACEPARENT") or os.environ.get("OTEL_PROPAGATORS")):
        return None
    parent = trace.get_current_span(extract_environment()).get_span_context()
    return parent if parent.is_valid else None


def _variable_of(field: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", field).upper()
    return f"_{name}" if name[:1].isdigit() else name


class _EnvironmentGetter(Getter[Mapping[str, str]]):
    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(_variable_of(key))
        return [value] if value else None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


class _EnvironmentSetter(Setter[MutableMapping[str, str]]):
    def set(self, carrier: MutableMapping[str, str], key: str, value: str) -> None:
        carrier[_variable_of(key)] = value


_GETTER: Final = _EnvironmentGetter()
_SETTER: Final = _EnvironmentSetter()
