"""A span that is current within a block: what `Tracer.start_as_current_span` gives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from otel_perfmon.sdk import context as contexts

_F = TypeVar("_F", bound=Callable[..., Any])


class CurrentSpan:
    """A context manager for one block, or a decorator of functions and coroutine functions.

    The SDK has a generator function for this, in the API another one, and each block goes through both; it behaves as
    `opentelemetry.trace.use_span` does.
    """

    __slots__ = ("_arguments", "_ends_on_exit", "_span", "_token", "_tracer")

    def __init__(self, tracer: trace.Tracer, arguments: tuple[Any, ...], ends_on_exit: bool) -> None:
        self._tracer = tracer
        self._arguments = arguments  # of start_span; the last two: record_exception, set_status_on_exception
        self._ends_on_exit = ends_on_exit
        self._span: trace.Span | None = None

    def __enter__(self) -> trace.Span:
        if self._span is not None:
            message = "This block was entered before: call start_as_current_span for each 'with'."
            raise RuntimeError(message)
        span = self._span = self._tracer.start_span(*self._arguments)
        self._token = contexts.attach(contexts.with_span(contexts.current(), span))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        span = self._span
        assert span is not None
        contexts.detach(self._token)
        if error is None:
            if self._ends_on_exit:
                span.end()
            return
        try:
            if isinstance(error, Exception) and span.is_recording():
                self._record(span, error)
        finally:
            if self._ends_on_exit:
                span.end()

    def __call__(self, function: _F) -> _F:
        """Decorate a function: each call is a span of its own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def traced(*args: Any, **kwargs: Any) -> Any:
                with CurrentSpan(self._tracer, self._arguments, self._ends_on_exit):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def traced(*args: Any, **kwargs: Any) -> Any:
                with CurrentSpan(self._tracer, self._arguments, self._ends_on_exit):
                    return function(*args, **kwargs)

        return traced  # type: ignore[return-value]

    def _record(self, span: trace.Span, error: Exception) -> None:
        records_exception, sets_status = self._arguments[-2:]
        if records_exception:
            span.record_exception(error)
        if sets_status:
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
