"""The door for log records of any stock SDK pipeline, and how a record becomes a row.

As the other exporters, it never raises where the SDK makes it, and what `export` has answered with success is
committed.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat, starmap
from typing import Any, Final

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from otel_perfmon.config import resolve_config_leniently
from otel_perfmon.sdk.rows import SpanEncoder, encode_any_attributes
from otel_perfmon.sdk.times import nearest_time
from otel_perfmon.storage.attributes import encode_any_value, storable_text
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.recorder import FLUSH_TIMEOUT_SECONDS
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.rows import OPERATION_NAME_MAX, LogRow
from otel_perfmon.storage.url import open_configured_recorder

_logger = logging.getLogger("otel_perfmon")

UNWRITTEN_LOGS_MAX: Final = 10_000
"""Records that wait for the store to be written again; the oldest go first."""


class LogRowEncoder:
    """Makes rows of log records, on any thread: what two of them find out at once is the same."""

    def __init__(self) -> None:
        self._shared = SpanEncoder()

    def encode(self, record: ReadableLogRecord) -> LogRow:
        """The row of one record."""
        log, cut = record.log_record, list[str]()
        body, body_json = _body(log.body, cut)
        attributes = encode_any_attributes(log.attributes)
        if attributes.is_altered:
            cut.append("attributes")
        return LogRow(
            trace_id=_id(log.trace_id, 16),
            span_id=_id(log.span_id, 8),
            flags=int(log.trace_flags or 0),
            resource=self._shared.resource(record.resource),
            scope=self._shared.scope(record.instrumentation_scope),
            time_unix_nano=nearest_time(log.timestamp, cut),
            observed_unix_nano=nearest_time(log.observed_timestamp, cut),
            severity_number=int(getattr(log.severity_number, "value", 0) or 0),
            severity_text=_text(log.severity_text, "severity_text", cut),
            event_name=_text(log.event_name, "event_name", cut),
            body=body,
            body_json=body_json,
            attributes="" if attributes.text == "{}" else attributes.text,
            dropped_attributes_count=record.dropped_attributes + attributes.dropped_count,
            altered=",".join(cut),
        )


def _body(value: Any, cut: list[str]) -> tuple[str, str]:
    """A body of text, or the JSON of another one; one of None is there and empty, as OTLP's exporters have it."""
    if type(value) is str and value:
        text, is_cut = storable_text(value)
        encoded_json = ""
    else:
        text, (encoded_json, _, is_cut) = "", encode_any_value(value)
    if is_cut:
        cut.append("body")
    return text, encoded_json


def _id(number: int | None, size: int) -> bytes:
    return number.to_bytes(size, "big") if number else b""


def _text(value: Any, part: str, cut: list[str]) -> str:
    text, is_cut = storable_text(value, OPERATION_NAME_MAX)
    if is_cut:
        cut.append(part)
    return text


class SQLiteLogRecordExporter(LogRecordExporter):
    """Keeps log records in a local SQLite file, beside the spans in which they were written.

    Goes into a ``BatchLogRecordProcessor``. Arguments left at None come from the environment; unknown ones are logged.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, **unknown: Any) -> None:
        for name in unknown:
            _logger.warning("The exporter knows no argument %r; it is ignored.", name)
        self._recorder = open_configured_recorder(resolve_config_leniently({"path": path}), {})
        self._encoder = LogRowEncoder()
        self._unwritten: deque[LogRow] = deque()
        self._losses = Losses()
        self._is_shut_down = False

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Store the records; success means committed. After a failure they are kept and written with the next ones.

        On any thread, and within itself: what we log about a failure may come here as a record.
        """
        if self._is_shut_down:
            return LogRecordExportResult.FAILURE
        rows: list[LogRow] = []
        try:
            self._take_waiting(rows)
            rows += filter(None, map(self._encode, batch))
            while rows:
                del rows[: self._recorder.write_logs(rows)]
        except Exception as error:  # the outer rim
            self._losses.warn("export", f"Log records wait to be written to {self._recorder.path}: {error}")
            return LogRecordExportResult.FAILURE
        finally:
            self._keep(rows)
        return LogRecordExportResult.SUCCESS

    def _encode(self, record: ReadableLogRecord) -> LogRow | None:
        try:
            return self._encoder.encode(record)
        except Exception as error:  # a value that no record should have; the others are kept
            self._losses.warn("unreadable", f"A log record could not be read: {error!r:.200}")
        return None

    def _take_waiting(self, rows: list[LogRow]) -> None:
        """Move to ``rows`` what waits; no lock, which a fork or a signal handler could find held for ever."""
        with suppress(IndexError):  # another thread takes as well: each record is in the hands of one
            # One call of C: an interrupt finds each record here or there.
            rows.extend(starmap(self._unwritten.popleft, repeat((), len(self._unwritten))))

    def _keep(self, rows: list[LogRow]) -> None:
        self._unwritten.extend(rows)
        lost_count = 0
        with suppress(IndexError):  # likewise
            while len(self._unwritten) > UNWRITTEN_LOGS_MAX:
                self._unwritten.popleft()
                lost_count += 1
        if lost_count:
            why = f"too many wait to be written to {self._recorder.path}"
            self._losses.warn("lost", f"{lost_count} log records were not kept: {why}")

    def force_flush(self, timeout_millis: float = FLUSH_TIMEOUT_SECONDS * 1000) -> bool:
        """True: `export` has committed already."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Give the file back; later exports fail."""
        if not self._is_shut_down:
            self._is_shut_down = True
            release_recorder(self._recorder)
