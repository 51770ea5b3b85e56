"""A block around an operation: what is measured, what is current inside it, and whose child it is."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from pathlib import Path

import pytest
from monitor_kit import names, stored
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from otel_perfmon import PerformanceMonitor

pytestmark = pytest.mark.usefixtures("fresh_process")


def test_a_sleep_of_100_ms_in_an_empty_folder_gives_one_metric_without_error():
    monitor = PerformanceMonitor()
    began = time.perf_counter()
    with monitor.monitor("sleep"):
        inner_began = time.perf_counter()
        time.sleep(0.1)
        inner_ms = (time.perf_counter() - inner_began) * 1000
    outer_ms = (time.perf_counter() - began) * 1000
    metrics_found = monitor.storage.get_metrics()
    monitor.shutdown()
    assert Path("metrics.db").exists()
    assert len(metrics_found) == 1
    assert metrics_found[0]["operation"] == "sleep"
    assert metrics_found[0]["error"] is False
    assert max(90, inner_ms) <= metrics_found[0]["duration"] <= min(110, inner_ms + 10) or (
        inner_ms <= metrics_found[0]["duration"] <= outer_ms
    )


def test_making_a_monitor_and_recording_nothing_makes_no_file():
    monitor = PerformanceMonitor()
    assert monitor.storage.get_metrics() == []
    monitor.shutdown()
    assert os.listdir() == []


def test_ten_threads_give_ten_metrics(monitor):
    def work() -> None:
        with monitor.monitor("threaded"):
            pass

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = monitor.storage.get_metrics("threaded")
    assert len(found) == 10
    assert len({metric["trace_id"] for metric in found}) == 10
    assert monitor.storage.get_stats("threaded").count == 10


def test_entering_gives_the_current_span_with_its_name_kind_and_attributes(monitor):
    with monitor.monitor("op", attributes={"cart.items": 3}, kind=SpanKind.CLIENT) as span:
        assert trace.get_current_span() is span
        assert span.is_recording()
        span.set_attribute("cart.total", 41.5)
    assert trace.get_current_span() is trace.INVALID_SPAN
    record = stored(monitor.storage)["op"]
    assert record.kind_name == "client"
    assert dict(record.attributes) == {"cart.items": 3, "cart.total": 41.5}


def test_a_block_inside_a_block_is_its_child_and_siblings_share_the_trace(monitor):
    with monitor.monitor("root"):
        with monitor.monitor("first"):
            pass
        with monitor.monitor("second"):
            pass
    with monitor.monitor("other"):
        pass
    spans = stored(monitor.storage)
    assert spans["root"].parent_span_id is None
    assert spans["first"].parent_span_id == spans["second"].parent_span_id == spans["root"].span_id
    assert spans["first"].trace_id == spans["second"].trace_id == spans["root"].trace_id
    assert spans["other"].trace_id != spans["root"].trace_id


def test_an_operation_can_be_used_again_after_it_was_left(monitor):
    operation = monitor.monitor("again")
    for _ in range(3):
        with operation:
            pass
    assert monitor.storage.get_stats("again").count == 3


def test_an_operation_entered_twice_at_once_raises_a_runtime_error_that_names_it(monitor):
    operation = monitor.monitor("twice")
    with operation as span:
        with pytest.raises(RuntimeError, match="twice"), operation:
            pytest.fail("entered twice")
        assert trace.get_current_span() is span
    with operation:
        pass
    assert monitor.storage.get_stats("twice").count == 2
    assert monitor.storage.get_stats("twice").error_count == 0


def test_an_operation_left_without_being_entered_can_still_not_be_entered_twice(monitor):
    operation = monitor.monitor("twice")
    operation.__exit__(None, None, None)
    with operation, pytest.raises(RuntimeError), operation:
        pytest.fail("entered twice")


def test_threads_that_share_one_operation_get_in_one_at_a_time(monitor):
    operation = monitor.monitor("shared")
    barrier = threading.Barrier(8)
    entered, refused = [], []

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            try:
                with operation:
                    entered.append(1)
                    time.sleep(0)
            except RuntimeError:  # noqa: PERF203 - most of them are refused
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) + len(refused) == 8 * 200
    assert monitor.storage.get_stats("shared").count == len(entered)
    with operation:
        pass


def test_async_with_measures_and_restores_the_current_span(monitor):
    async def main() -> None:
        async with monitor.monitor("async") as span:
            await asyncio.sleep(0)
            assert trace.get_current_span() is span
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())
    assert names(monitor.storage) == ["async"]


def test_tasks_do_not_see_each_others_spans(monitor):
    async def work(i: int) -> None:
        async with monitor.monitor(f"outer {i}"):
            await asyncio.sleep(0)
            async with monitor.monitor(f"inner {i}"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(i) for i in range(10)))

    asyncio.run(main())
    spans = stored(monitor.storage)
    for i in range(10):
        assert spans[f"inner {i}"].parent_span_id == spans[f"outer {i}"].span_id
        assert spans[f"outer {i}"].parent_span_id is None


def test_a_block_left_in_another_context_leaves_that_contexts_span_alone(monitor):
    operation = monitor.monitor("wandering")
    contextvars.copy_context().run(operation.__enter__)
    with monitor.monitor("here") as span:
        operation.__exit__(None, None, None)
        assert trace.get_current_span() is span
    assert names(monitor.storage) == ["here", "wandering"]


def test_a_remote_parent_joins_the_trace_and_a_local_one_inside_it_too(monitor):
    remote = SpanContext(0x1234, 0x5678, is_remote=True, trace_flags=TraceFlags(1))
    token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
    with monitor.monitor("server"), monitor.monitor("work"):
        pass
    otel_context.detach(token)
    spans = stored(monitor.storage)
    assert spans["server"].trace_id == spans["work"].trace_id == f"{0x1234:032x}"
    assert spans["server"].parent_span_id == f"{0x5678:016x}"
    assert spans["work"].parent_span_id == spans["server"].span_id
    assert spans["server"].flags & 0x300 == 0x300
    assert spans["work"].flags & 0x300 == 0x100


def test_the_trace_goes_on_over_inject_and_extract(monitor):
    carrier: dict[str, str] = {}
    with monitor.monitor("client"):
        inject(carrier)
    token = otel_context.attach(extract(carrier))
    with monitor.monitor("server"):
        pass
    otel_context.detach(token)
    spans = stored(monitor.storage)
    assert spans["server"].trace_id == spans["client"].trace_id
    assert spans["server"].parent_span_id == spans["client"].span_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_inside_a_block_stores_the_parents_span_and_the_childs_own_once(monitor):
    with monitor.monitor("before"):
        pass
    with monitor.monitor("parent"):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with monitor.monitor("child"):
                    pass
                code = 0 if monitor.force_flush(10_000) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert names(monitor.storage) == ["before", "child", "parent"]
    spans = stored(monitor.storage)
    assert spans["child"].parent_span_id == spans["parent"].span_id
    assert monitor.storage.get_stats("before").count == 1
