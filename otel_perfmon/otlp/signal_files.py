"""Files of metrics and log records, in the forms in which `files` writes spans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import SIZE, in_parts
from otel_perfmon.otlp.log_decoding import LogDecoder
from otel_perfmon.otlp.log_encoding import encode_logs_json
from otel_perfmon.otlp.log_encoding import encode_request as encode_logs
from otel_perfmon.otlp.metric_decoding import MetricDecoder
from otel_perfmon.otlp.metric_encoding import encode_metrics_json
from otel_perfmon.otlp.metric_encoding import encode_request as encode_metrics
from otel_perfmon.storage.rows import LogRow, PointRow, SpanRow

SIGNALS: Final = ("traces", "metrics", "logs")
_AS_JSON: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {"metrics": encode_metrics_json, "logs": encode_logs_json}
_AS_PROTOBUF: Final[dict[str, Callable[[Any], bytes]]] = {"metrics": encode_metrics, "logs": encode_logs}


def encode_json_lines(signal: str, pages: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A line for each page of points or log records, or some for a large one."""

    def line(items: Sequence[Any]) -> bytes:
        return json.dumps(_AS_JSON[signal](items), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    for page in pages:
        yield from in_parts(page, line)


def encode_protobuf_messages(signal: str, pages: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A message, behind its size, for each page of points or log records, or some for a large one."""
    for page in pages:
        for message in in_parts(page, _AS_PROTOBUF[signal]):
            yield SIZE.pack(len(message)) + message


class SignalDecoder(SpanDecoder):
    """Reads spans as a `SpanDecoder`, and hands points and log records that stand between them on.

    In JSON each document says what it is. Messages of protobuf are alike: those are of one ``signal``.
    """

    def __init__(
        self,
        slow_threshold_nano: int,
        on_points: Callable[[Iterable[PointRow]], None],
        on_logs: Callable[[Iterable[LogRow]], None],
        signal: str = "traces",
    ) -> None:
        super().__init__(slow_threshold_nano)
        self._on_points, self._on_logs = on_points, on_logs
        self._metrics, self._logs = MetricDecoder(), LogDecoder()
        self._signal = signal

    def decode_protobuf(self, data: bytes) -> Iterator[SpanRow]:
        """The spans of a message, or none where it is of another signal."""
        if self._signal == "metrics":
            self._on_points(self._metrics.decode_protobuf(data))
        elif self._signal == "logs":
            self._on_logs(self._logs.decode_protobuf(data))
        else:
            yield from super().decode_protobuf(data)

    def decode_json(self, text: str | bytes) -> Iterator[SpanRow]:
        """The spans of a document."""
        said = text.encode() if isinstance(text, str) else text
        if b'"resourceMetrics"' in said or b'"resource_metrics"' in said:
            self._on_points(self._metrics.decode_json(text))
        if b'"resourceLogs"' in said or b'"resource_logs"' in said:
            self._on_logs(self._logs.decode_json(text))
        yield from super().decode_json(text)
