"""What monitoring costs, as a share of R: a bare span of the SDK that keeps nothing.

Run:  python tests/benchmarks/overhead.py [--short]

Prints, each as the median of interleaved rounds: R in µs; the caller's cost of a monitored operation, in bursts that
the queue takes; all CPU of the process until every span is stored, in a tight loop; the same with attributes; and a
tight loop beside one CPU-bound thread, which must store and count everything. Only the ratios travel between machines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import MetricsStorage, PerformanceMonitor

BURST = 500
BURSTS = 8
ATTRIBUTES = {"cart.items": 3, "customer": "anonymous"}


def bare(count: int, attributes: dict | None) -> None:
    for _ in range(count):
        with TRACER.start_as_current_span("op", attributes=attributes):
            pass


def monitored(monitor: PerformanceMonitor, count: int, attributes: dict | None) -> None:
    for _ in range(count):
        with monitor.monitor("op", attributes=attributes):
            pass


def us_each(call: Callable[[], None], count: int, clock: Callable[[], int]) -> float:
    start = clock()
    call()
    return (clock() - start) / count / 1000


def in_bursts(monitor: PerformanceMonitor, attributes: dict | None) -> float:
    figures = []
    for _ in range(BURSTS):
        monitor.force_flush()
        figures.append(us_each(lambda: monitored(monitor, BURST, attributes), BURST, time.perf_counter_ns))
    monitor.force_flush()
    return statistics.median(figures)


def until_stored(monitor: PerformanceMonitor, count: int, attributes: dict | None) -> float:
    def work() -> None:
        monitored(monitor, count, attributes)
        monitor.force_flush(60_000)

    return us_each(work, count, time.process_time_ns)


def compare(monitor: PerformanceMonitor, title: str, attributes: dict | None, rounds: int, count: int) -> None:
    figures = []
    for _ in range(rounds):
        base = us_each(lambda: bare(count, attributes), count, time.perf_counter_ns)
        base_cpu = us_each(lambda: bare(count, attributes), count, time.process_time_ns)
        caller, everything = in_bursts(monitor, attributes), until_stored(monitor, count, attributes)
        figures.append((base, caller / base, everything / base_cpu))
    base, caller, everything = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"{title:12s} R {base:5.1f} µs   caller {caller:4.2f} R   all CPU until stored {everything:4.2f} R")


@contextmanager
def busy_thread() -> Iterator[None]:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(500))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def beside_a_busy_thread(folder: Path, count: int) -> None:
    with MetricsStorage(folder / "busy.db") as storage:
        monitor = PerformanceMonitor(storage)
        with busy_thread():
            seconds = us_each(lambda: monitored(monitor, count, None), count, time.perf_counter_ns) * count / 1e6
            monitor.force_flush(60_000)
        health = storage.store.get_health()
    print(
        f"beside a busy thread: {count} operations in {seconds:.1f} s, {health.stored} stored, {health.counted} counted"
    )
    assert (health.stored, health.counted, dict(health.dropped)) == (count, count, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few seconds instead of a few minutes")
    is_short = parser.parse_args().short
    with tempfile.TemporaryDirectory() as folder:
        with MetricsStorage(Path(folder) / "metrics.db") as storage:
            monitor = PerformanceMonitor(storage)
            rounds, count = (3, 5_000) if is_short else (9, 40_000)
            compare(monitor, "plain", None, rounds, count)
            compare(monitor, "attributes", ATTRIBUTES, rounds, count)
        beside_a_busy_thread(Path(folder), 20_000 if is_short else 200_000)


TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("bare")

if __name__ == "__main__":
    main()
