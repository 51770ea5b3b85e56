"""What is written on the thread that brings it, and not through the queue: data points, log records, spans received.

They come in batches already, and whoever brings one waits for the commit.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.base import Batch, SpanWriter
from otel_perfmon.storage.maintenance import Maintenance
from otel_perfmon.storage.redactor import Redactor


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
