"""The processor that `configure()` adds, and the door behind it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, AlwaysRecordSampler, Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_perfmon import MetricsStorage, SpanQuery
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor, add_first, doors_of
from otel_perfmon.storage.sqlite.file_lock import FileLock

SECOND = 10**9


@pytest.fixture
def door(storage):
    return SpanDoor(storage.recorder, SECOND)


@pytest.fixture
def processor(door):
    return StoreSpanProcessor(door)


@pytest.fixture
def provider(processor):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def names_in(path: str) -> list[str]:
    """What a connection of somebody else sees now, without any flush of ours."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            return [name for (name,) in connection.execute("SELECT operation FROM metrics ORDER BY end_unix_nano")]
        except sqlite3.OperationalError:
            return []


def names_asked(storage) -> set[str]:
    return {span.name for span in storage.store.find_spans(SpanQuery())}


def test_every_span_of_the_provider_is_stored(provider, storage):
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
        pass
    assert names_asked(storage) == {"outer", "inner"}


def test_spans_that_are_only_recorded_are_stored_and_not_exported(processor, storage):
    memory = InMemorySpanExporter()
    provider = TracerProvider(AlwaysRecordSampler(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("recorded").end()
    assert memory.get_finished_spans() == ()
    (span,) = storage.store.find_spans(SpanQuery())
    assert (span.name, span.flags & 1) == ("recorded", 0)


def test_spans_that_the_sampler_drops_are_not_stored(processor, storage):
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("dropped").end()
    assert names_asked_or_none(storage) == set()


def names_asked_or_none(storage) -> set[str]:
    return {metric["operation"] for metric in storage.get_metrics()}


def test_a_sampler_that_decides_span_by_span_has_just_those_stored_that_record(processor, storage):
    class ByName(Sampler):
        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            return SamplingResult(Decision[name], {"sampler": "by name"})

        def get_description(self):
            return "ByName"

    provider = TracerProvider(ByName(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for decision in Decision:
        provider.get_tracer("t").start_span(decision.name).end()
    assert names_asked(storage) == {"RECORD_ONLY", "RECORD_AND_SAMPLE"}


@pytest.mark.parametrize("durability", ["batch", "root", "span"])
@pytest.mark.parametrize(
    "span", [None, object(), "span", 5, ReadableSpan("bare")], ids=lambda value: type(value).__name__
)
def test_on_end_never_raises_whatever_it_is_given(storage, durability, span):
    processor = StoreSpanProcessor(SpanDoor(storage.recorder, SECOND, durability))
    processor.on_end(span)
    storage.insert_metric("plain", 1)
    assert "plain" in names_asked(storage)
    health = storage.store.get_health()
    assert health.ended == 2


def test_on_end_never_raises_when_the_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    storage = MetricsStorage(tmp_path / "file" / "metrics.db")
    for durability in ("batch", "root", "span"):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, SECOND, durability)))
        provider.get_tracer("t").start_span("op").end()
        assert provider.force_flush(200) is False
    storage.close()


def test_the_slow_threshold_is_that_of_the_moment_when_the_span_ended(door, provider, storage):
    def run(name: str) -> None:
        provider.get_tracer("t").start_span(name, start_time=0).end(5)

    for threshold in (10, 5, 4, 0):
        door.slow_threshold_nano = threshold
        run(str(threshold))
    assert {span.name: span.is_slow for span in storage.store.find_spans(SpanQuery())} == {
        "10": False,
        "5": False,
        "4": True,
        "0": True,
    }


# --- first among the processors, and closed


def test_it_is_put_in_front_of_the_processors_that_are_there_and_they_still_work(processor, storage):
    order: list[str] = []

    class Noting(SpanProcessor):
        def on_end(self, span):
            order.append(span.name)
            raise RuntimeError

    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Noting())
    provider.add_span_processor(SimpleSpanProcessor(memory))
    add_first(provider, processor)
    assert provider._active_span_processor._span_processors[0] is processor
    with pytest.raises(RuntimeError):
        provider.get_tracer("t").start_span("op").end()
    assert order == ["op"]
    assert names_asked(storage) == {"op"}


@pytest.mark.parametrize("processors", [None, ConcurrentMultiSpanProcessor(2)], ids=["synchronous", "concurrent"])
def test_it_can_be_added_to_a_provider_of_either_kind(processor, storage, processors):
    provider = TracerProvider(active_span_processor=processors, shutdown_on_exit=False)
    add_first(provider, processor)
    provider.get_tracer("t").start_span("op").end()
    assert names_asked(storage) == {"op"}
    assert [door.recorder for door in doors_of(provider)] == [storage.recorder]
    provider.shutdown()


def test_it_can_be_added_where_the_provider_keeps_its_processors_in_its_own_way(processor, storage):
    class OwnKind(SpanProcessor):
        def __init__(self) -> None:
            self.all: list[SpanProcessor] = []

        def add_span_processor(self, span_processor):
            self.all.append(span_processor)

        def on_end(self, span):
            for each in self.all:
                each.on_end(span)

    provider = TracerProvider(active_span_processor=OwnKind(), shutdown_on_exit=False)
    add_first(provider, processor)
    provider.get_tracer("t").start_span("op").end()
    assert names_asked(storage) == {"op"}


def test_a_closed_processor_takes_no_more_and_no_longer_counts_as_storing(processor, provider, storage):
    provider.get_tracer("t").start_span("before").end()
    assert len(doors_of(provider)) == 1
    processor.close()
    provider.get_tracer("t").start_span("after").end()
    assert names_asked(storage) == {"before"}
    assert doors_of(provider) == ()


def test_after_the_providers_shutdown_spans_that_end_late_are_still_stored(provider, storage, processor):
    span = provider.get_tracer("t").start_span("late")
    provider.get_tracer("t").start_span("early").end()
    provider.shutdown()
    assert names_in(storage.path) == ["early"]
    span.end()
    assert "late" in names_asked(storage)


@pytest.mark.parametrize("provider", [None, object(), trace.NoOpTracerProvider(), trace.ProxyTracerProvider()])
def test_a_provider_that_is_not_the_sdks_has_no_doors(provider):
    assert doors_of(provider) == ()


# --- durability


def test_with_durability_root_the_trace_is_in_the_file_when_its_local_root_has_ended(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, SECOND, "root")))
    tracer = provider.get_tracer("t")
    for number in range(20):
        with tracer.start_as_current_span(f"root{number}"), tracer.start_as_current_span(f"child{number}"):
            pass
        names = names_in(storage.path)
        assert {f"root{number}", f"child{number}"} <= set(names)
        assert len(names) == 2 * (number + 1)


def test_with_durability_root_a_span_with_a_remote_parent_is_a_local_root(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, SECOND, "root")))
    remote = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1))))
    provider.get_tracer("t").start_span("server", context=remote).end()
    assert names_in(storage.path) == ["server"]


def test_with_durability_span_each_span_is_in_the_file_when_it_has_ended(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, SECOND, "span")))
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("root"):
        for number in range(20):
            tracer.start_span(f"child{number}").end()
            assert names_in(storage.path) == [f"child{each}" for each in range(number + 1)]


def test_with_durability_batch_a_span_is_in_the_file_soon_by_itself(provider, storage):
    provider.get_tracer("t").start_span("op").end()
    deadline = time.monotonic() + 5
    while not names_in(storage.path):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- flush


def test_a_flush_writes_everything_that_ended_before_it(provider, storage):
    for number in range(1000):
        provider.get_tracer("t").start_span("op", start_time=number).end(number)
    assert provider.force_flush() is True
    assert len(names_in(storage.path)) == 1000


def test_a_flush_ends_in_time_and_says_so_when_another_process_holds_the_file(provider, processor, storage):
    provider.get_tracer("t").start_span("first").end()
    assert processor.force_flush() is True
    lock = FileLock(storage.path + ".lock")
    with lock.held(1):
        provider.get_tracer("t").start_span("second").end()
        began = time.monotonic()
        assert processor.force_flush(100) is False
        assert time.monotonic() - began < 0.6
    lock.close()
    assert processor.force_flush() is True
    assert names_in(storage.path) == ["first", "second"]


def test_a_flush_ends_in_time_when_another_thread_is_in_the_middle_of_a_write(provider, processor, storage):
    provider.get_tracer("t").start_span("op").end()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with storage.recorder.turn.held(1):
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(5)
    began = time.monotonic()
    assert processor.force_flush(100) is False
    assert time.monotonic() - began < 0.6
    leave.set()
    thread.join()
    assert processor.force_flush() is True


def test_a_flush_with_nothing_to_write_succeeds_and_makes_no_file(processor, storage, tmp_path):
    assert processor.force_flush(0) is True
    processor.shutdown()
    assert list(tmp_path.iterdir()) == []
