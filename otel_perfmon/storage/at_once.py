"""What is written on the thread that brings it, and not through the queue: whoever brings it waits for the commit."""

from __future__ import annotations

from otel_perfmon.errors import StoreError
from otel_perfmon.storage.base import Batch, SpanWriter


def write(writer: SpanWriter, batch: Batch, timeout_seconds: float) -> None:
    """Write a batch without secrets; the caller holds the right to write."""
    try:
        writer.write(batch, timeout_seconds=timeout_seconds)
    except StoreError:
        if not batch.is_written:  # what comes after the commit is no reason to write it again
            raise
