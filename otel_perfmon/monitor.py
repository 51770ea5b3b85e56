"""Wrapping work: each call of an operation becomes a span and a point of the duration histogram.

One object serves as context manager, async context manager and decorator. Time within a local trace comes from one
anchor, the wall clock and the monotonic clock read together at its root: every start and end is the anchor plus what
the monotonic clock has run since, so that a wall clock which jumps makes no wrong duration.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import time
import traceback
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode

from otel_perfmon.config import Config, parse_setting, resolve_config
from otel_perfmon.errors import StoreError
from otel_perfmon.metrics_storage import MetricsStorage, shared_storage
from otel_perfmon.sdk.processor import SpanDoor
from otel_perfmon.sdk.provider import OwnProvider, SpanSource, started_at
from otel_perfmon.sdk.rows import SLOW_ATTRIBUTE
from otel_perfmon.storage.attributes import safe_str, storable_text
from otel_perfmon.storage.rows import OPERATION_NAME_MAX

OUTCOME_ATTRIBUTE: Final = "perfmon.outcome"
DURATION_HISTOGRAM: Final = "perfmon.operation.duration"
#: OpenTelemetry's advice for HTTP durations (semantic conventions, http-metrics), with finer steps below 5 ms.
BUCKET_BOUNDARIES_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_ANCHOR_KEY: Final = otel_context.create_key("perfmon-anchor")
_RECORDED_MARK: Final = "__perfmon_recorded__"
_OUTCOMES: Final = (
    (CancelledError, "cancelled"),
    (KeyboardInterrupt, "interrupted"),
    (SystemExit, "exited"),
    (GeneratorExit, "closed"),
)
_F = TypeVar("_F", bound=Callable[..., Any])


class PerformanceMonitor:
    """Measures operations and stores them.

    Alone, it stores its own operations only, into ``storage`` (default `MetricsStorage()`; the configured process's
    storage after `configure()`). Its spans are made by ``tracer_provider``, else by the global SDK provider if there
    is one, else by a private one. `shutdown` closes what the monitor opened, never what it was given.

    Raises `ConfigError` for a wrong setting.
    """

    _storage: MetricsStorage | None
    _opened_storage: MetricsStorage | None
    _source: SpanSource
    _door: SpanDoor | None

    def __init__(
        self,
        storage: MetricsStorage | None = None,
        *,
        slow_threshold_ms: float | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        config = resolve_config({"slow_threshold_ms": slow_threshold_ms})
        given = storage if storage is not None else shared_storage()
        self._opened_storage = MetricsStorage() if given is None else None
        storage = given if given is not None else self._opened_storage
        assert storage is not None
        self._prepare(config, meter_provider)
        self._bind(storage, OwnProvider(tracer_provider, storage.recorder), SpanDoor(storage.recorder, 0))

    def _prepare(self, config: Config, meter_provider: metrics.MeterProvider | None) -> None:
        self.error_rate_threshold = config.error_rate_threshold
        self._slow_threshold_ms = config.slow_threshold_ms
        self._slow_threshold_nano = int(config.slow_threshold_ms * 1e6)
        self.histogram = metrics.get_meter("otel_perfmon", meter_provider=meter_provider).create_histogram(
            DURATION_HISTOGRAM,
            unit="s",
            description="Duration of monitored operations.",
            explicit_bucket_boundaries_advisory=BUCKET_BOUNDARIES_S,
        )

    def _bind(self, storage: MetricsStorage, source: SpanSource, door: SpanDoor) -> None:
        self._storage = storage
        self._source = source
        self._door = door
        self.slow_threshold_ms = self._slow_threshold_ms

    @property
    def storage(self) -> MetricsStorage:
        """Where the operations are stored. Raises `StoreError` before `configure()` has run."""
        if self._storage is None:
            message = "This monitor has no store yet: call otel_perfmon.configure() first."
            raise StoreError(message)
        return self._storage

    @property
    def slow_threshold_ms(self) -> float:
        """An operation that took longer is slow, unless it has a threshold of its own. Can be set at any time."""
        return self._slow_threshold_ms

    @slow_threshold_ms.setter
    def slow_threshold_ms(self, value: float) -> None:
        self._slow_threshold_ms = parse_setting("slow_threshold_ms", value)
        self._slow_threshold_nano = int(self._slow_threshold_ms * 1e6)
        if self._door is not None:
            self._door.slow_threshold_ms = self._slow_threshold_ms

    @property
    def slow_threshold_nano(self) -> int:
        """The threshold in nanoseconds."""
        return self._slow_threshold_nano

    def monitor(
        self,
        operation: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        slow_threshold_ms: float | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> MonitoredOperation:
        """Measure an operation: ``with``, ``async with``, or a decorator for any kind of function.

        ``slow_threshold_ms`` holds for this operation instead of the monitor's; `ConfigError` when it is wrong.
        """
        threshold_nano = None
        if slow_threshold_ms is not None:
            threshold_nano = int(parse_setting("slow_threshold_ms", slow_threshold_ms) * 1e6)
        if type(operation) is not str:
            operation = _operation_name(operation)
        return MonitoredOperation(self, operation, attributes, threshold_nano, kind)

    def start_span(self, operation: str, attributes: Any, kind: SpanKind, start_unix_nano: int) -> Span:
        """An ordinary span, made where this monitor's spans are made. Never raises."""
        try:
            return self._source.tracer().start_span(
                operation,
                kind=kind,
                attributes=attributes,
                start_time=start_unix_nano,
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception as error:  # the outer rim: attributes that break the SDK, a sampler that raises
            if attributes:
                return self.start_span(operation, None, kind, start_unix_nano)
            self._lose(f"{operation:.100} could not be started: {error!r:.200}")
            return INVALID_SPAN

    def end_span(self, span: Span, end_unix_nano: int) -> None:
        """End the span, and store it where no processor of the provider does. Never raises."""
        try:
            span.end(end_unix_nano)
            if self._door is not None and self._source.must_store():
                ended = self._source.readable(span)
                if ended is not None:
                    self._door.take(ended)
        except Exception as error:  # the outer rim: another processor's failure
            self._lose(f"a span could not be ended: {error!r:.200}")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write everything that ended before the call; whether that was done in time."""
        return self._storage.recorder.flush(timeout_millis / 1000) if self._storage is not None else True

    def shutdown(self) -> None:
        """Write what there is, and close what this monitor opened itself."""
        self.force_flush()
        self._source.close()
        if self._opened_storage is not None:
            self._opened_storage.close()

    def _lose(self, why: str) -> None:
        if self._storage is not None:
            self._storage.recorder.lose("unreadable", 1, why)


class MonitoredOperation:
    """One operation, ready to be measured. Entering it gives the span; entered again before it is left, it raises.

    As a decorator each call is a span of its own; a generator is timed over its run.
    """

    __slots__ = ("_free", "_run", "attributes", "kind", "metric_attributes", "monitor", "name", "threshold_nano")

    def __init__(
        self,
        monitor: PerformanceMonitor,
        name: str,
        attributes: Mapping[str, Any] | None,
        threshold_nano: int | None,
        kind: SpanKind,
    ) -> None:
        self.monitor = monitor
        self.name = name
        self.attributes = attributes
        self.threshold_nano = threshold_nano
        self.kind = kind
        self.metric_attributes = {"perfmon.operation": name}
        self._free = [None]
        self._run: _Run | None = None

    def __enter__(self) -> Span:
        try:
            self._free.pop()  # atomic, unlike a look and a change
        except IndexError:
            message = (
                f"The operation {self.name:.100!r} is already entered; call monitor.monitor(...) for each 'with',"
                " or use it as a decorator, which makes a span for each call."
            )
            raise RuntimeError(message) from None
        run = self._run = _Run(self)
        run.attach()
        return run.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.finish(error)
            run.detach()
            run.end()
        self._free.append(None)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace_back)

    def __call__(self, function: _F) -> _F:
        """Decorate a function, coroutine function, generator function or async generator function."""
        if not callable(function) or isinstance(function, type):
            message = f"monitor.monitor({self.name!r:.100}) decorates functions, not {function!r:.100}."
            raise TypeError(message)
        wrap: Callable[..., Any] = _wrap_function
        for is_kind, wrap_kind in _WRAPPERS:
            if is_kind(function) or is_kind(getattr(function, "__call__", None)):  # noqa: B004 - the method is wanted
                wrap = wrap_kind
        return wrap(self, function)  # type: ignore[no-any-return]

    def fresh(self) -> MonitoredOperation:
        """The same operation, not entered."""
        return MonitoredOperation(self.monitor, self.name, self.attributes, self.threshold_nano, self.kind)


class _Anchor:
    """The wall clock and the monotonic clock, read together at the root of a local trace."""

    __slots__ = ("perf_nano", "trace_id", "unix_nano")

    def __init__(self, trace_id: int, unix_nano: int, perf_nano: int) -> None:
        self.trace_id = trace_id
        self.unix_nano = unix_nano
        self.perf_nano = perf_nano


class _Run:
    """One call of an operation, from its start to its end."""

    __slots__ = ("_began", "_context", "_end_unix_nano", "_operation", "_start_unix_nano", "_token", "span")

    def __init__(self, operation: MonitoredOperation) -> None:
        self._operation = operation
        context = otel_context.get_current()
        parent = trace.get_current_span(context)
        parent_context = parent.get_span_context()
        anchor = context.get(_ANCHOR_KEY)
        self._began = began = time.perf_counter_ns()
        if isinstance(anchor, _Anchor) and anchor.trace_id == parent_context.trace_id and not parent_context.is_remote:
            start = anchor.unix_nano + began - anchor.perf_nano
        else:
            start, anchor = max(time.time_ns(), started_at(parent)), None
        self._start_unix_nano = start
        span = self.span = operation.monitor.start_span(operation.name, operation.attributes, operation.kind, start)
        if anchor is None:
            anchor = _Anchor(span.get_span_context().trace_id, start, began)
            context = otel_context.set_value(_ANCHOR_KEY, anchor, context)
        self._context = trace.set_span_in_context(span, context)

    def attach(self) -> None:
        """Make the run's context the current one."""
        self._token = otel_context.attach(self._context)

    def detach(self) -> None:
        """Make the caller's context current again, unless we are in another execution context by now."""
        token = self._token
        if isinstance(token, contextvars.Token):
            # Closed elsewhere, as a garbage-collected generator may be: then nothing of ours is current here.
            with suppress(ValueError, RuntimeError):
                token.var.reset(token)
        else:
            otel_context.detach(token)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a piece of a generator's body: its own context is current, and remembered for the next step."""
        self.attach()
        try:
            yield
        finally:
            self._context = otel_context.get_current()
            self.detach()

    def finish(self, error: BaseException | None) -> None:
        """Take the time, and say on the span and in the histogram how it went. The span is still current."""
        elapsed = time.perf_counter_ns() - self._began
        self._end_unix_nano = self._start_unix_nano + elapsed
        try:
            self._describe(elapsed, error)
        except Exception as trouble:  # the outer rim: a metric view, an exception whose own methods fail
            self._operation.monitor._lose(f"an operation could not be described: {trouble!r:.200}")  # noqa: SLF001

    def end(self) -> None:
        """End the span."""
        self._operation.monitor.end_span(self.span, self._end_unix_nano)

    def _describe(self, elapsed_nano: int, error: BaseException | None) -> None:
        operation, span = self._operation, self.span
        monitor, metric_attributes = operation.monitor, operation.metric_attributes
        if error is not None:
            outcome = _outcome_of(error)
            if outcome is not None:
                span.set_attribute(OUTCOME_ATTRIBUTE, outcome)
            else:
                error_type = _type_name(error)
                metric_attributes = {**metric_attributes, "error.type": error_type}
                self._describe_error(error, error_type)
        default_nano = monitor.slow_threshold_nano
        threshold_nano = operation.threshold_nano
        if elapsed_nano > (default_nano if threshold_nano is None else threshold_nano):
            span.set_attribute(SLOW_ATTRIBUTE, True)
        elif threshold_nano is not None and elapsed_nano > default_nano:
            span.set_attribute(SLOW_ATTRIBUTE, False)  # its own threshold is higher than everybody's
        monitor.histogram.record(elapsed_nano / 1e9, metric_attributes)

    def _describe_error(self, error: BaseException, error_type: str) -> None:
        span = self.span
        message = safe_str(error)
        span.set_status(Status(StatusCode.ERROR, message))
        span.set_attribute("error.type", error_type)
        if not span.is_recording() or self._is_recorded_within(error):
            return
        span.add_event(
            "exception",
            {
                "exception.type": error_type,
                "exception.message": message,
                "exception.stacktrace": _stack_trace(error),
            },
            timestamp=self._end_unix_nano,
        )
        vars(error)[_RECORDED_MARK] = (span.get_span_context().trace_id, time.perf_counter_ns())

    def _is_recorded_within(self, error: BaseException) -> bool:
        """Whether an operation inside this one has recorded the exception: one stack trace is enough."""
        mark = vars(error).get(_RECORDED_MARK)
        if not isinstance(mark, tuple):
            return False
        trace_id, recorded_at = mark
        return bool(trace_id == self.span.get_span_context().trace_id and recorded_at >= self._began)


# --- decorators: each wrapper is of the kind it wraps


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
        run = _Run(operation)
        with _ended(run):
            with run.step():
                body = function(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(next, body)
            while True:
                try:
                    with run.step():
                        value = resume()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with run.step():
                        body.close()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(body.throw, thrown)
                else:
                    resume = functools.partial(next, body) if sent is None else functools.partial(body.send, sent)

    return monitored


def _wrap_async_generator(operation: MonitoredOperation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def monitored(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = _Run(operation)
        with _ended(run):
            with run.step():
                body = function(*args, **kwargs)
            resume: Callable[[], Any] = body.__anext__
            while True:
                try:
                    with run.step():
                        value = await resume()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    with run.step():
                        await body.aclose()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(body.athrow, thrown)
                else:
                    resume = functools.partial(body.asend, sent)

    return monitored


_WRAPPERS: Final = (
    (inspect.iscoroutinefunction, _wrap_coroutine),
    (inspect.isgeneratorfunction, _wrap_generator),
    (inspect.isasyncgenfunction, _wrap_async_generator),
)


@contextmanager
def _ended(run: _Run) -> Iterator[None]:
    """End the run when the block is left, with its span current while it is described."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        run.attach()
        run.finish(error)
        run.detach()
        run.end()


# --- exceptions


def _outcome_of(error: BaseException) -> str | None:
    """How a span ended that was left by something which is no error; None for an error."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    is_trio_cancellation = not isinstance(error, Exception) and type(error).__name__ == "Cancelled"
    return "cancelled" if is_trio_cancellation else None


def _type_name(error: BaseException) -> str:
    """The exception's full name, without a module for built-in ones (semantic conventions, recording errors)."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _stack_trace(error: BaseException) -> str:
    """The stack trace, from the user's outermost frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _operation_name(operation: Any) -> str:
    if callable(operation):
        message = "An operation needs a name: @monitor.monitor('name'), not @monitor.monitor."
        raise TypeError(message)
    return storable_text(operation, OPERATION_NAME_MAX)[0]
