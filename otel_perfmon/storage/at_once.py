"""What is written on the thread that brings it, and not through the queue: data points and log records.

They come in batches already, and whoever brings one waits for the commit.
"""

from __future__ import annotations

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.base import Batch, SpanWriter
from otel_perfmon.storage.redactor import Redactor


def write(writer: SpanWriter, redactor: Redactor, batch: Batch, timeout_seconds: float) -> None:
    """Write the points and logs of a batch, without their secrets; the caller holds the right to write."""
    batch.points = redactor.redact_points(batch.points)
    batch.logs = redactor.redact_logs(batch.logs)
    try:
        writer.write(batch, timeout_seconds=timeout_seconds)
    except StoreError:
        if not batch.is_written:  # what comes after the commit is no reason to write it again
            raise
