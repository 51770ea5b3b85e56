"""How much room a span takes on the disk, with all that is kept of it: row, indexes, rollups."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from typing import Final

from otel_perfmon.bench import ways
from otel_perfmon.bench.figures import Figure, Goal, Spread
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.storage.sqlite import connection as connections

_GOAL: Final = Goal(170, 120)


def measure_size(folder: str, count: int) -> Figure:
    """Bytes for each of ``count`` operations with two attributes: what the file grew by after as many others."""
    path = os.path.join(folder, "size.db")
    used = []
    for _ in range(2):
        with MetricsStorage(path) as storage:
            monitor = ways.alone(storage)
            ways.until_stored(monitor, partial(_record, monitor))(count)
            monitor.shutdown()
        used.append(used_bytes(path))
    each = (used[1] - used[0]) / count
    return Figure("span_bytes", "bytes per span", "bytes", Spread.of([each]), goal=_GOAL)


def _record(monitor: PerformanceMonitor, count: int) -> None:
    for _ in range(count):
        with monitor.monitor(ways.OPERATION, attributes=ways.ATTRIBUTES):
            pass


def used_bytes(path: str) -> int:
    """The bytes of a store's file, its free pages not counted."""
    with closing(connections.open_reader(path)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)
