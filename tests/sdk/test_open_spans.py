"""What is running: every span that is open for long has a row, and its end replaces it."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from opentelemetry.sdk.trace import TracerProvider as StockProvider

import otel_perfmon
from otel_perfmon import MetricsStorage, PerformanceMonitor
from otel_perfmon.sdk import open_spans
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor
from otel_perfmon.sdk.tracer import TracerProvider

OPEN_SECONDS = 0.05


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(open_spans, "OPEN_NANO", int(OPEN_SECONDS * 1e9))


def open_names(storage: MetricsStorage) -> list[str]:
    return sorted(each.span.name for each in storage.find_open_spans())


def wait_for(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def old_span(storage: MetricsStorage, name: str):
    """A span that is open for so long that only who started it holds it."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, 10**12)))
    span = provider.get_tracer("x").start_span(name)
    time.sleep(2 * OPEN_SECONDS)
    assert open_names(storage) == [name]
    wait_for(lambda: not open_spans._young)
    return span


def stock_tracer(storage: MetricsStorage):
    provider = StockProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, 10**12)))
    return provider.get_tracer("stock")


def test_an_open_operation_is_found_with_what_is_known_of_it_so_far_and_its_end_replaces_it(storage, monitor):
    with monitor.monitor("outer", attributes={"cart.items": 3}) as outer:
        outer.set_attribute("user.tier", "gold")
        with monitor.monitor("inner"):
            time.sleep(2 * OPEN_SECONDS)
            first, second = storage.find_open_spans()
            assert (first.span.name, second.span.name) == ("outer", "inner")
            assert dict(first.span.attributes) == {"cart.items": 3, "user.tier": "gold"}
            assert first.span.trace_id == second.span.trace_id == f"{outer.get_span_context().trace_id:032x}"
            assert second.span.parent_span_id == first.span.span_id
            assert (first.pid, first.state) == (os.getpid(), "running")
            assert first.thread_id == threading.get_ident()
            assert first.thread_name == threading.current_thread().name
            assert first.span.duration_ms >= 2 * OPEN_SECONDS * 1e3
        outer.set_attribute("user.tier", "silver")
        (again,) = storage.find_open_spans()
        assert again.span.attributes["user.tier"] == "silver"
    assert storage.find_open_spans() == []
    assert storage.get_stats("outer").count == storage.get_stats("inner").count == 1


def test_another_process_sees_it_without_being_asked(storage, monitor):
    with monitor.monitor("hanging"):

        def is_told() -> bool:
            if not os.path.exists(storage.path):
                return False
            with closing(sqlite3.connect(storage.path)) as connection:
                try:
                    return connection.execute("SELECT name, pid FROM open_spans").fetchall() == [
                        ("hanging", os.getpid())
                    ]
                except sqlite3.OperationalError:  # the file is just being made
                    return False

        wait_for(is_told)


def test_the_row_goes_in_the_transaction_that_stores_the_span(storage, monitor):
    with monitor.monitor("long"):
        time.sleep(2 * OPEN_SECONDS)
        assert open_names(storage) == ["long"]
    assert monitor.force_flush()
    with closing(sqlite3.connect(storage.path)) as connection:
        assert connection.execute("SELECT count(*) FROM _open_spans").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (1,)


@pytest.mark.parametrize("sample_rate", [0.0, 1.0])
def test_a_span_that_is_only_counted_has_no_row_after_its_end(db_path, sample_rate):
    with MetricsStorage(db_path, sample_rate=sample_rate) as storage:
        monitor = PerformanceMonitor(storage, slow_threshold_ms=60_000)
        with monitor.monitor("outer"):
            with monitor.monitor("inner"):
                time.sleep(2 * OPEN_SECONDS)
                assert open_names(storage) == ["inner", "outer"]
            assert open_names(storage) == ["outer"]
        assert open_names(storage) == []


def test_spans_of_the_sdks_own_make_are_seen_when_they_are_stored_here(storage):
    tracer = stock_tracer(storage)
    with tracer.start_as_current_span("stock", attributes={"a": 1}):
        tracer.start_span("ended").end()
        time.sleep(2 * OPEN_SECONDS)
        (found,) = storage.find_open_spans()
        assert (found.span.name, dict(found.span.attributes)) == ("stock", {"a": 1})
    assert open_names(storage) == []
    assert not open_spans._foreign


def test_an_operation_that_a_monitor_alone_measures_on_a_foreign_provider_is_seen(storage):
    provider = StockProvider(shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, tracer_provider=provider)
    with monitor.monitor("mine"), provider.get_tracer("x").start_as_current_span("not stored here"):
        time.sleep(2 * OPEN_SECONDS)
        assert open_names(storage) == ["mine"]
    assert open_names(storage) == []


def test_two_stores_see_their_own_only(tmp_path):
    one, two = MetricsStorage(tmp_path / "a.db"), MetricsStorage(tmp_path / "b.db")
    with PerformanceMonitor(one).monitor("in one"), PerformanceMonitor(two).monitor("in two"):
        time.sleep(2 * OPEN_SECONDS)
        assert (open_names(one), open_names(two)) == (["in one"], ["in two"])
    one.close()
    two.close()


def test_a_span_that_nobody_ends_is_let_go_with_its_last_reference(storage, monitor):
    span = old_span(storage, "never ended")
    del span
    gc.collect()
    assert open_names(storage) == []


def test_closing_the_store_leaves_no_row_behind_while_the_program_goes_on(db_path):
    storage = MetricsStorage(db_path)
    with PerformanceMonitor(storage).monitor("open"):
        time.sleep(2 * OPEN_SECONDS)
        assert open_names(storage) == ["open"]
        storage.close()
        with closing(sqlite3.connect(db_path)) as connection:
            assert connection.execute("SELECT count(*) FROM _open_spans").fetchone() == (0,)


def test_an_odd_start_or_attributes_that_change_meanwhile_hide_no_other_span(storage):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreSpanProcessor(SpanDoor(storage.recorder, 10**12)))
    tracer = provider.get_tracer("x")
    spans = [
        tracer.start_span("no time", start_time="yesterday"),
        tracer.start_span("\ud800", attributes={"k": "\ud800"}),
    ]
    is_over = threading.Event()

    def change() -> None:
        number = 0
        while not is_over.is_set():
            spans[1].set_attribute(f"key {number % 100}", number)
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        time.sleep(2 * OPEN_SECONDS)
        for _ in range(20):
            (found,) = storage.find_open_spans()
            assert found.span.name == "\\ud800"
    finally:
        is_over.set()
        thread.join()
    for span in spans:
        span.end()


def test_a_threads_odd_or_secret_name_hinders_nothing_and_stays_out(storage, monitor):
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with monitor.monitor("named"):
            begun.set()
            over.wait()

    names = ("scan \udcff", "sync password=hunter2xyz")
    threads = [threading.Thread(target=work, name=name) for name in names]
    for thread in threads:
        thread.start()
    time.sleep(2 * OPEN_SECONDS)
    told = sorted(each.thread_name for each in storage.find_open_spans())
    over.set()
    for thread in threads:
        thread.join()
    assert len(told) == 2
    assert "hunter2xyz" not in "".join(told)
    assert storage.store.get_health().counted == 2


def test_looking_takes_no_lock_that_the_program_may_hold(storage):
    tracer = stock_tracer(storage)
    with tracer.start_as_current_span("within its events") as span:
        span.add_event("first")
        time.sleep(2 * OPEN_SECONDS)
        with span._events._lock:
            (found,) = storage.find_open_spans()
        assert [each.name for each in found.span.events] == ["first"]


def test_the_texts_of_open_spans_are_bounded_and_what_is_left_out_is_marked(storage, monitor, monkeypatch):
    monkeypatch.setattr(open_spans, "_TEXT_MAX", 1_000)
    with (
        monitor.monitor("small", attributes={"text": "x" * 100}),
        monitor.monitor("large", attributes={"text": "x" * 5_000}),
    ):
        time.sleep(2 * OPEN_SECONDS)
        found = {each.span.name: each.span for each in storage.find_open_spans()}
    assert dict(found["small"].attributes) == {"text": "x" * 100}
    assert dict(found["large"].attributes) == {}
    assert "attributes" in found["large"].altered


def test_the_row_of_a_span_that_was_let_go_of_beside_a_full_queue_goes_too(storage, monitor):
    span = old_span(storage, "let go of")
    with storage.recorder.turn.held(1):
        del span
        gc.collect()
        with monitor.monitor("queued"):
            pass
        time.sleep(0.3)

    def is_gone() -> bool:
        with closing(sqlite3.connect(storage.path)) as connection:
            return connection.execute("SELECT count(*) FROM _open_spans").fetchone() == (0,)

    wait_for(is_gone)


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be renamed here")
def test_a_file_that_was_moved_away_keeps_no_row_of_a_process_that_goes_on(storage, monitor, tmp_path):
    with monitor.monitor("long"):
        time.sleep(2 * OPEN_SECONDS)
        assert open_names(storage) == ["long"]
        for ending in ("", "-wal", "-shm"):
            os.rename(storage.path + ending, str(tmp_path / "old.db") + ending)
        storage.insert_metric("next", 1.0)
        assert storage.recorder.flush()
        assert open_names(storage) == ["long"]
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        assert connection.execute("SELECT count(*) FROM _open_spans").fetchone() == (0,)


def test_the_thread_sleeps_while_nothing_is_open_and_the_next_span_wakes_it(storage, monitor):
    with monitor.monitor("short"):
        pass
    wait_for(lambda: open_spans.watch[0] == open_spans.ASLEEP)
    with monitor.monitor("next"):
        assert open_spans.watch[0] == open_spans.AWAKE
        time.sleep(2 * OPEN_SECONDS)
        assert open_names(storage) == ["next"]


def test_without_a_store_nothing_is_noted_and_no_thread_runs(run_python):
    run_python("""
        import threading
        from otel_perfmon.sdk import open_spans
        from otel_perfmon.sdk.tracer import TracerProvider
        with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("a"):
            assert not open_spans._young
        assert threading.active_count() == 1
        """)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_was_open_at_a_fork_is_the_parents(run_python):
    run_python("""
        import os, time
        import otel_perfmon
        from otel_perfmon.sdk import open_spans
        open_spans.OPEN_NANO = 50_000_000
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("around"):
            time.sleep(0.1)
            assert len(monitor.storage.find_open_spans()) == 1
            pid = os.fork()
            if pid == 0:
                with monitor.monitor("child"):
                    time.sleep(0.1)
                    found = {(each.span.name, each.pid) for each in monitor.storage.find_open_spans()}
                    os._exit(0 if found == {("around", os.getppid()), ("child", os.getpid())} else 1)
            assert os.waitpid(pid, 0)[1] == 0
            open = [(each.span.name, each.is_interrupted) for each in monitor.storage.find_open_spans()]
            stored = [(span.name, span.is_interrupted) for span in monitor.storage.store.find_spans()]
            # The parent looks for what was interrupted when it opens the file again after the fork, and each minute.
            assert sorted(open + stored) == [("around", False), ("child", True)], (open, stored)
        """)


def test_what_is_open_at_the_end_of_the_process_reads_as_interrupted_and_becomes_a_span_that_is_not_counted(run_python):
    run_python("""
        import threading, time
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db", slow_threshold_ms=0)
        with monitor.monitor("done"):
            pass
        def work():
            with monitor.monitor("endless", attributes={"page": 7}):
                begun.set()
                time.sleep(60)
        begun = threading.Event()
        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        """)
    with otel_perfmon.open_store("metrics.db") as store:
        (found,) = store.find_open_spans()
        assert (found.span.name, found.is_interrupted) == ("endless", True)
    with MetricsStorage("metrics.db") as storage:
        storage.insert_metric("next", 1.0)
        assert storage.find_open_spans() == []
        (span,) = storage.store.find_spans(otel_perfmon.SpanQuery(operation="endless"))
        assert span.is_interrupted
        assert dict(span.attributes) == {"perfmon.interrupted": True, "page": 7}
        assert storage.get_stats("endless").count == 0
        health = storage.store.get_health()
        assert (health.counted, health.stored, health.interrupted) == (2, 2, 1)
