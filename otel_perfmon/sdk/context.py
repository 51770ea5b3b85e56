"""The current OpenTelemetry context, as the hot path needs it: functions bound once, two keys set in one copy.

The runtime context is a `contextvars.ContextVar` unless ``OTEL_PYTHON_CONTEXT`` names another one; then the API's
functions are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _RUNTIME_CONTEXT, Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace.propagation import _SPAN_KEY

SPAN_KEY: Final = _SPAN_KEY
_variable: Any = _RUNTIME_CONTEXT._current_context if type(_RUNTIME_CONTEXT) is ContextVarsRuntimeContext else None
_set: Final = dict.__setitem__  # a Context refuses what a dict allows

current: Final[Callable[[], Context]] = _variable.get if _variable is not None else otel_context.get_current
"""The context of this thread or task."""
attach: Final[Callable[[Context], Any]] = _variable.set if _variable is not None else otel_context.attach
"""Make a context the current one; gives the token for `detach`."""
reset: Final[Callable[[Any], None]] = _variable.reset if _variable is not None else otel_context.detach
"""Make the context current again that was so before; raises ValueError or RuntimeError in another execution context."""


def with_span(context: Context, span: trace.Span) -> Context:
    """A copy of ``context`` in which ``span`` is the current one."""
    copy = Context(context)
    _set(copy, SPAN_KEY, span)
    return copy


def with_span_and(context: Context, span: trace.Span, key: str, value: object) -> Context:
    """A copy of ``context`` in which ``span`` is the current one, and ``key`` has a value."""
    copy = Context(context) if context else Context()
    _set(copy, SPAN_KEY, span)
    _set(copy, key, value)
    return copy


def detach(token: Any) -> None:
    """Make the context current again that was so before `attach`; what goes wrong is logged, as the API does it."""
    try:
        reset(token)
    except Exception:  # in another execution context, or twice
        otel_context.detach(token)
