"""Nothing is lost: tight loops, alone and beside busy threads, and a store that cannot be written for a while."""

from __future__ import annotations

import logging
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Final

from otel_perfmon.bench import ways
from otel_perfmon.bench.figures import Figure, Goal, Spread
from otel_perfmon.bench.loads import BUSY_THREADS, cpu_bound_threads
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.storage.sqlite import connection as connections

_MEMORY_MAX: Final = 64 * 1024 * 1024


def measure_tight_loop(folder: str, count: int, *, is_busy: bool = False) -> list[Figure]:
    """How many of ``count`` operations are stored and counted, with default settings; beside busy threads if asked."""
    prefix = "busy_loop" if is_busy else "tight_loop"
    beside: AbstractContextManager[None] = cpu_bound_threads() if is_busy else nullcontext()
    with MetricsStorage(os.path.join(folder, f"{prefix}.db")) as storage:
        monitor = ways.alone(storage)
        run = ways.until_stored(monitor, ways.monitored(monitor))
        with beside:
            begun = time.perf_counter()
            run(count)
            seconds = time.perf_counter() - begun
        stored = storage.store.get_health().stored
        counted = sum(stats.count for stats in storage.store.summarize_operations())
        monitor.shutdown()
    title = f"beside {BUSY_THREADS} threads" if is_busy else "tight loop"
    goal = Goal(count, is_at_least=True)
    note = f"of {count:,}, at {count / seconds:,.0f} a second"
    return [
        Figure(f"{prefix}_{what}", f"{title}: {what}", "spans", Spread.of([number]), goal=goal, note=note)
        for what, number in (("stored", stored), ("counted", counted))
    ]


def measure_overload(folder: str, count: int) -> Figure:
    """The most memory that is held while ``count`` operations end and the file cannot be written, in bytes.

    As Python's allocations tell it: from the first operation until the store can be written again.
    """
    path = os.path.join(folder, "overload.db")
    with MetricsStorage(path) as storage, _silenced():
        monitor = ways.alone(storage)
        run = ways.monitored(monitor, with_attributes=True)
        ways.until_stored(monitor, run)(100)
        with closing(connections.open_writer(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                run(count)
                peak = tracemalloc.get_traced_memory()[1] - before
            finally:
                tracemalloc.stop()
                other.execute("ROLLBACK")
        monitor.shutdown()
        dropped = sum(storage.store.get_health().dropped.values())
    note = f"of {count:,} operations {dropped:,} were dropped, and counted"
    title, goal = "memory under overload", Goal(_MEMORY_MAX)
    return Figure("overload_memory", title, "bytes", Spread.of([peak]), goal=goal, note=note)


@contextmanager
def _silenced() -> Iterator[None]:
    """A block in which the losses that are made on purpose are not logged."""
    logger = logging.getLogger("otel_perfmon")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled
