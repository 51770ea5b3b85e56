"""What is written on the thread that brings it, and not through the queue: data points, log records, spans received.

They come in batches already, and whoever brings one waits for the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.base import Batch, SpanWriter
from otel_perfmon.storage.maintenance import Maintenance
from otel_perfmon.storage.redactor import Redactor
from otel_perfmon.storage.rows import LogRow, PointRow, first_rows

OnCommit = Callable[[int], None]
"""Is told how many of the first rows are committed, at that moment: who sent them need not wait for more."""


def ignore(_: int) -> None:
    """Nobody waits to be told."""


def first_points(points: Sequence[PointRow], on_commit: OnCommit, bytes_max: int) -> Batch:
    """The first of the points, as many as have so many bytes together, and one at least."""
    first = first_rows(points, bytes_max)
    return Batch(points=first, on_written=partial(on_commit, len(first)))


def first_logs(logs: Sequence[LogRow], on_commit: OnCommit, bytes_max: int) -> Batch:
    """The same of log records."""
    first = first_rows(logs, bytes_max)
    return Batch(logs=first, on_written=partial(on_commit, len(first)))


def write(
    make_batch: Callable[[int], Batch],
    writer: SpanWriter,
    redactor: Redactor,
    maintenance: Maintenance,
    timeout_seconds: float,
) -> Batch:
    """Write a batch, its points and logs without their secrets; the caller holds the right to write."""
    batch = make_batch(writer.batch_bytes_max)
    batch.points = redactor.redact_points(batch.points)
    batch.logs = redactor.redact_logs(batch.logs)
    try:
        writer.write(batch, timeout_seconds=timeout_seconds)
    except StoreError:
        if not batch.is_written:  # what comes after the commit is no reason to write it again
            raise
    maintenance.shrink_if_over_size()
    return batch
