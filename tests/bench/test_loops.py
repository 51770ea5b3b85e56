from __future__ import annotations

import logging
import threading
import time

import pytest
from bench_kit import by_name, check

from otel_perfmon.bench.loads import cpu_bound_threads
from otel_perfmon.bench.loops import measure_overload, measure_tight_loop
from otel_perfmon.storage import recorder


@pytest.mark.parametrize(("is_busy", "prefix"), [(False, "tight_loop"), (True, "busy_loop")])
def test_a_tight_loop_is_stored_and_counted_whole(tmp_path, is_busy, prefix) -> None:
    figures = by_name(measure_tight_loop(str(tmp_path), 200, is_busy=is_busy))
    assert {name: figure.value.median for name, figure in figures.items()} == {
        f"{prefix}_stored": 200,
        f"{prefix}_counted": 200,
    }
    assert {figure.verdict for figure in figures.values()} == {"must"}


def test_busy_threads_run_as_long_as_the_block() -> None:
    before = threading.active_count()
    with cpu_bound_threads(3):
        assert threading.active_count() == before + 3
        begun, used = time.monotonic(), time.process_time()
        while time.process_time() == used and time.monotonic() < begun + 5:
            time.sleep(0.01)
        assert time.process_time() > used
    assert threading.active_count() == before


def test_the_memory_of_what_waits_is_told_and_what_is_dropped_is_counted(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(recorder, "QUEUE_MAX", 300)
    monkeypatch.setattr(recorder, "WAIT_FOR_ROOM_SECONDS", 0.05)
    figure = measure_overload(str(tmp_path), 500)
    check(figure)
    assert 300 * 500 < figure.value.median < 20_000_000
    assert "of 500 operations" in figure.note
    assert caplog.records == []
    assert not logging.getLogger("otel_perfmon").disabled
