"""An operation, ready to be measured: one object that is a context manager and a decorator."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from opentelemetry.trace import INVALID_SPAN, Span

from otel_perfmon.call import Call, skip_in_stack_traces
from otel_perfmon.sdk.context import attach

_F = TypeVar("_F", bound=Callable[..., Any])
skip_in_stack_traces(__file__)


class MonitoredOperation(Call):
    """One operation, ready to be measured. Entering it gives the span; entered again before it is left, it raises.

    As a decorator each call is a span of its own; a generator is timed over its run.
    """

    __slots__ = ()

    def __enter__(self) -> Span:
        try:
            del self._is_free  # atomic, unlike a look and a change
        except AttributeError:
            self._refuse_entry()
        try:
            self._token = attach(self._start())
        except BaseException:  # Ctrl-C in between: the operation can be entered again
            self._is_free = True
            raise
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        try:
            self.finish(error)
        finally:  # Ctrl-C in there leaves no span current and open
            try:
                self.detach()
            finally:
                self.monitor.end_span(self.span, self._end_unix_nano, self._door)
                self._token = None
                self._is_free = True

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace_back)

    def __call__(self, function: _F) -> _F:
        """Decorate a function, coroutine function, generator function or async generator function, or a method."""
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if not callable(function) or isinstance(function, type):
            message = (
                f"monitor.monitor({self.name[:100]!r}) decorates functions, not {type(function).__name__} objects."
            )
            if isinstance(function, type):
                message = (
                    f"monitor.monitor({self.name[:100]!r}) decorates functions, not the class {function.__name__}."
                )
            raise TypeError(message)
        return _wrapper_of(function)(self, function)  # type: ignore[return-value]

    def fresh(self) -> MonitoredOperation:
        """The same operation, not entered."""
        return MonitoredOperation(self.monitor, self.name, self.attributes, self.threshold_nano, self.kind)

    def _refuse_entry(self) -> NoReturn:
        message = (
            f"The operation {self.name[:100]!r} is already entered; call monitor.monitor(...) for each 'with',"
            " or use it as a decorator, which makes a span for each call."
        )
        raise RuntimeError(message) from None


class DisabledOperation(MonitoredOperation):
    """What `PerformanceMonitor.monitor` gives under ``OTEL_SDK_DISABLED=true``: one object for all; does nothing."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return INVALID_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        return

    def __call__(self, function: _F) -> _F:
        """The function as it is; what cannot be decorated is refused all the same."""
        super().__call__(function)
        return function


_Wrap = Callable[[MonitoredOperation, Callable[..., Any]], Callable[..., Any]]


def _wrapper_of(function: Callable[..., Any]) -> _Wrap:
    """Each wrapper is of the kind of what it wraps, be that a function or an object with a ``__call__``."""
    for is_kind, wrap in _WRAPPERS:
        if is_kind(function) or is_kind(getattr(function, "__call__", None)):  # noqa: B004 - the method is wanted
            return wrap
    return _wrap_function


def _wrap_function(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def monitored(*args: Any, **kwargs: Any) -> Any:
        with operation.fresh():
            return function(*args, **kwargs)

    return monitored


def _wrap_coroutine(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def monitored(*args: Any, **kwargs: Any) -> Any:
        with operation.fresh():
            return await function(*args, **kwargs)

    return monitored


def _wrap_generator(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def monitored(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = operation.fresh()
        call.prepare()
        with call.whole():
            with call.step():
                body = function(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(next, body)
            while True:
                try:
                    with call.step():
                        value = resume()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with call.step():
                        body.close()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(body.throw, thrown)
                else:
                    resume = functools.partial(next, body) if sent is None else functools.partial(body.send, sent)

    return monitored


def _wrap_awaitable_generator(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    return types.coroutine(_wrap_generator(operation, function))


def _wrap_async_generator(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def monitored(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = operation.fresh()
        call.prepare()
        with call.whole():
            with call.step(), _unknown_to_the_loop():
                body = function(*args, **kwargs)
                first = body.__anext__()
            resume: Callable[[], Any] = lambda: first  # noqa: E731
            while True:
                try:
                    with call.step():
                        value = await resume()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    with call.step():
                        await body.aclose()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(body.athrow, thrown)
                else:
                    resume = functools.partial(body.asend, sent)

    return monitored


@contextmanager
def _unknown_to_the_loop() -> Iterator[None]:
    """An async generator begun here is not the event loop's to close: the loop closes ours, and we close it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _is_awaitable_generator(function: Any) -> bool:
    """Whether `types.coroutine` made it: a generator function that can be awaited."""
    code = getattr(function, "__code__", None)
    return inspect.isgeneratorfunction(function) and bool(code and code.co_flags & inspect.CO_ITERABLE_COROUTINE)


_WRAPPERS: Final[tuple[tuple[Callable[[Any], bool], _Wrap], ...]] = (
    (inspect.iscoroutinefunction, _wrap_coroutine),
    (_is_awaitable_generator, _wrap_awaitable_generator),
    (inspect.isgeneratorfunction, _wrap_generator),
    (inspect.isasyncgenfunction, _wrap_async_generator),
)
