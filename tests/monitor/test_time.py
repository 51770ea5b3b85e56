"""Time: one anchor for each local trace, whatever the wall clock does."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_kit import stored
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon import MetricsStorage, PerformanceMonitor, SpanRecord, get_monitor

pytestmark = pytest.mark.usefixtures("fresh_process")

HOUR = 3_600 * 10**9
NOW = 1_800_000_000 * 10**9


class Clock:
    """Wall clock and monotonic clock, moved by hand; as in life, nothing but `step` moves one without the other."""

    def __init__(self) -> None:
        self.unix_nano = NOW
        self.perf_nano = 10**12

    def run(self, nano: int) -> None:
        self.unix_nano += nano
        self.perf_nano += nano

    def step(self, nano: int) -> None:
        self.unix_nano += nano

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: self.unix_nano)
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.perf_nano)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.install(monkeypatch)
    return clock


def times(span: SpanRecord) -> tuple[int, int]:
    return span.start_unix_nano - NOW, span.end_unix_nano - NOW


def assert_inside(child: SpanRecord, parent: SpanRecord) -> None:
    assert parent.start_unix_nano <= child.start_unix_nano
    assert child.start_unix_nano <= child.end_unix_nano
    assert child.end_unix_nano <= parent.end_unix_nano


def test_starts_and_ends_are_the_wall_clock_to_the_nanosecond(monitor, clock):
    with monitor.monitor("root"):
        clock.run(5)
        with monitor.monitor("child"):
            clock.run(1_000_000_001)
        clock.run(7)
    spans = stored(monitor.storage)
    assert times(spans["child"]) == (5, 1_000_000_006)
    assert times(spans["root"]) == (0, 1_000_000_013)


@pytest.mark.parametrize("step", [-HOUR, HOUR, -10 * 365 * 24 * HOUR], ids=["back", "forward", "ten years back"])
def test_a_clock_that_steps_in_mid_trace_makes_no_wrong_duration_and_no_child_outside_its_parent(monitor, clock, step):
    with monitor.monitor("root"):
        clock.run(1_000)
        with monitor.monitor("over the step"):
            clock.run(100)
            clock.step(step)
            clock.run(200)
        with monitor.monitor("after the step"), monitor.monitor("grandchild"):
            clock.run(400)
    spans = stored(monitor.storage)
    assert times(spans["root"]) == (0, 1_700)
    assert times(spans["over the step"]) == (1_000, 1_300)
    assert times(spans["after the step"]) == times(spans["grandchild"]) == (1_300, 1_700)
    assert monitor.storage.get_stats("over the step").total_ms == 300 / 1e6


def test_the_next_trace_follows_the_stepped_clock(monitor, clock):
    with monitor.monitor("before"):
        clock.run(10)
    clock.step(-HOUR)
    with monitor.monitor("after"):
        clock.run(10)
    assert times(stored(monitor.storage)["after"]) == (10 - HOUR, 20 - HOUR)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(-HOUR, HOUR), st.sampled_from("([)]x"))))
def test_no_child_leaves_its_parent_however_the_clock_jumps(moves):
    with pytest.MonkeyPatch.context() as patch, MetricsStorage("jumps.db") as storage:
        clock = Clock()
        clock.install(patch)
        monitor = PerformanceMonitor(storage)
        expected: list[tuple[str, int]] = []
        open_ones: list[tuple] = []
        with monitor.monitor("root") as root:
            trace_id = f"{root.get_span_context().trace_id:032x}"
            for run, step, what in moves:
                clock.run(run)
                clock.step(step)
                if what in "([" and len(open_ones) < 8:
                    operation = monitor.monitor(f"op {len(expected) + len(open_ones)}")
                    operation.__enter__()
                    open_ones.append((operation, clock.perf_nano))
                elif what in ")]" and open_ones:
                    operation, began = open_ones.pop()
                    operation.__exit__(None, None, None)
                    expected.append((operation.name, clock.perf_nano - began))
            while open_ones:
                operation, began = open_ones.pop()
                operation.__exit__(None, None, None)
                expected.append((operation.name, clock.perf_nano - began))
        found = storage.store.get_trace(trace_id) if storage.recorder.flush() else None
        assert found is not None
        by_id = {span.span_id: span for span in found.spans}
        durations = sorted(span.duration_nano for span in found.spans if span.name != "root")
        assert durations == sorted(nano for _, nano in expected)
        for span in found.spans:
            if span.parent_span_id is not None:
                assert_inside(span, by_id[span.parent_span_id])


def test_generators_keep_the_anchor_of_their_trace_over_a_step(monitor, clock):
    @monitor.monitor("gen")
    def generate():
        clock.run(10)
        yield
        with monitor.monitor("inside"):
            clock.run(20)
        yield

    with monitor.monitor("root"):
        generator = generate()
        next(generator)
        clock.step(-HOUR)
        clock.run(5)
        next(generator)
        generator.close()
    spans = stored(monitor.storage)
    assert times(spans["gen"]) == (0, 35)
    assert times(spans["inside"]) == (15, 35)
    assert_inside(spans["gen"], spans["root"])


def test_a_thread_that_gets_the_context_shares_the_anchor(monitor, clock):
    def work() -> None:
        with monitor.monitor("in the thread"):
            clock.run(10)

    with monitor.monitor("root"):
        context = contextvars.copy_context()
        clock.step(HOUR)
        thread = threading.Thread(target=context.run, args=(work,))
        thread.start()
        thread.join()
    spans = stored(monitor.storage)
    assert_inside(spans["in the thread"], spans["root"])


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_thread_that_gets_only_the_span_shares_the_anchor(monitor, clock, step):
    def work(span: trace.Span) -> None:
        with trace.use_span(span, end_on_exit=False), monitor.monitor("in the thread"):
            clock.run(10)

    with monitor.monitor("root") as span:
        clock.run(5)
        clock.step(step)
        thread = threading.Thread(target=work, args=(span,))
        thread.start()
        thread.join()
    spans = stored(monitor.storage)
    assert spans["in the thread"].parent_span_id == spans["root"].span_id
    assert_inside(spans["in the thread"], spans["root"])


def test_a_foreign_span_between_two_operations_does_not_break_the_anchor(storage, clock):
    provider = TracerProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("outer"):
        clock.run(10)
        with provider.get_tracer("x").start_as_current_span("foreign", start_time=clock.unix_nano):
            clock.step(-HOUR)
            with monitor.monitor("inner"):
                clock.run(20)
    spans = stored(storage)
    assert times(spans["inner"]) == (10, 30)
    assert_inside(spans["inner"], spans["outer"])


def test_an_operation_under_a_foreign_root_never_starts_before_it(storage, clock):
    provider = TracerProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with provider.get_tracer("x").start_as_current_span("foreign", start_time=NOW):
        clock.step(-HOUR)
        with monitor.monitor("inner"):
            clock.run(20)
    assert times(stored(storage)["inner"]) == (0, 20)


def test_operations_under_a_foreign_root_share_one_anchor(storage, clock):
    provider = TracerProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with provider.get_tracer("x").start_as_current_span("foreign", start_time=NOW):
        with monitor.monitor("first"):
            clock.run(20)
        clock.step(-HOUR)
        with monitor.monitor("second"):
            clock.run(20)
        clock.step(2 * HOUR)
        with monitor.monitor("third"):
            clock.run(20)
    spans = stored(storage)
    assert [times(spans[name]) for name in ("first", "second", "third")] == [(0, 20), (20, 40), (40, 60)]


@pytest.fixture
def _invalid_span_as_it_was() -> Iterator[None]:
    """OpenTelemetry's own span for no span, one object for the whole process."""
    before = dict(vars(trace.INVALID_SPAN))
    yield
    vars(trace.INVALID_SPAN).clear()
    vars(trace.INVALID_SPAN).update(before)


@pytest.mark.usefixtures("_invalid_span_as_it_was")
def test_operations_measured_without_any_provider_leave_no_anchor_behind(monitor, clock):
    with get_monitor().monitor("nowhere"):
        clock.run(10)
    remote = NonRecordingSpan(SpanContext(0x12, 0x34, is_remote=True, trace_flags=TraceFlags(1)))
    token = otel_context.attach(trace.set_span_in_context(remote))
    with get_monitor().monitor("nowhere"):
        clock.run(10)
    clock.step(-HOUR)
    with monitor.monitor("under the remote parent"):
        clock.run(10)
    otel_context.detach(token)
    with monitor.monitor("root"):
        clock.run(10)
    spans = stored(monitor.storage)
    assert times(spans["under the remote parent"]) == (20 - HOUR, 30 - HOUR)
    assert times(spans["root"]) == (30 - HOUR, 40 - HOUR)


@pytest.mark.parametrize("start", [datetime(2026, 1, 1, tzinfo=timezone.utc), "2026", 1.5e18, -5], ids=repr)
def test_a_foreign_parent_with_a_strange_start_does_not_break_the_program(storage, start):
    provider = TracerProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    parent = provider.get_tracer("x").start_span("foreign", start_time=start)
    with trace.use_span(parent, end_on_exit=False), monitor.monitor("op"):
        pass
    assert list(stored(storage)) == ["op"]


def test_a_remote_parent_of_the_same_trace_begins_a_local_trace_with_its_own_anchor(monitor, clock):
    with monitor.monitor("sender") as span:
        own = span.get_span_context()
        remote = SpanContext(own.trace_id, own.span_id, is_remote=True, trace_flags=TraceFlags(1))
        clock.step(HOUR)
        token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
        with monitor.monitor("receiver"):
            clock.run(10)
        otel_context.detach(token)
    assert times(stored(monitor.storage)["receiver"]) == (HOUR, HOUR + 10)


def test_two_monitors_share_the_anchor_of_the_trace(clock):
    first, second = PerformanceMonitor(MetricsStorage("1.db")), PerformanceMonitor(MetricsStorage("2.db"))
    with first.monitor("outer"):
        clock.run(10)
        clock.step(-HOUR)
        with second.monitor("inner"):
            clock.run(10)
    assert times(stored(first.storage)["outer"]) == (0, 20)
    assert times(stored(second.storage)["inner"]) == (10, 20)
    for monitor in (first, second):
        monitor.storage.close()


def test_the_exception_event_lies_at_the_end_of_its_span_over_a_step(monitor, clock):
    def fail() -> None:
        clock.run(10)
        clock.step(-HOUR)
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"), monitor.monitor("op"):
        fail()
    span = stored(monitor.storage)["op"]
    assert span.events[0].time_unix_nano == span.end_unix_nano == NOW + 10


def test_a_real_block_lies_between_the_clock_readings_around_it(monitor):
    before = time.time_ns()
    with monitor.monitor("op"):
        inside = time.time_ns()
    after = time.time_ns()
    span = stored(monitor.storage)["op"]
    assert before <= span.start_unix_nano <= inside
    assert span.start_unix_nano <= span.end_unix_nano <= after + 5_000_000  # the clock may be slewed meanwhile
