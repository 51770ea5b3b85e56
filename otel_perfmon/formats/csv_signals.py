"""Data points and log records as CSV, a row each; attributes, values and bodies that are no text are JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from otel_perfmon.storage.attributes import encode_any_value, encode_foreign_attributes


def _json(attributes: Any) -> str:
    return encode_foreign_attributes(attributes).text if attributes else ""


def _body(body: Any) -> str:
    return body if isinstance(body, str) else "" if body is None else encode_any_value(body).text


_LOGS: Final[dict[str, Callable[[Any], Any]]] = {
    "time_unix_nano": lambda log: log.moment_unix_nano,
    "severity": lambda log: log.severity,
    "severity_number": lambda log: log.severity_number or "",
    "service": lambda log: log.service,
    "body": lambda log: _body(log.body),
    "event_name": lambda log: log.event_name,
    "trace_id": lambda log: log.trace_id or "",
    "span_id": lambda log: log.span_id or "",
    "otel.scope.name": lambda log: log.scope.name,
    "otel.scope.version": lambda log: log.scope.version,
    "attributes": lambda log: _json(log.attributes),
    "otel.dropped_attributes_count": lambda log: log.dropped_attributes_count or "",
}
_METRICS: Final[dict[str, Callable[[Any], Any]]] = {
    "start_unix_nano": lambda point: point.start_unix_nano or "",
    "time_unix_nano": lambda point: point.time_unix_nano,
    "service": lambda point: point.resource.attributes.get("service.name", ""),
    "instrument": lambda point: point.instrument,
    "kind": lambda point: point.kind,
    "unit": lambda point: point.unit,
    "temporality": lambda point: ("", "delta", "cumulative")[point.temporality] if point.temporality in {1, 2} else "",
    "is_monotonic": lambda point: "true" if point.is_monotonic else "false",
    "value": lambda point: json.dumps(value) if (value := point.data.get("value")) is not None else "",
    "data": lambda point: _json({key: each for key, each in point.data.items() if key not in {"value", "otlp"}}),
    "otel.scope.name": lambda point: point.scope.name,
    "otel.scope.version": lambda point: point.scope.version,
    "attributes": lambda point: _json(point.attributes),
}
COLUMNS: Final = {"metrics": _METRICS, "logs": _LOGS}
"""For each signal how each column is called, and what stands in it."""


def encode_csv(signal: str, pages: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The table's heading, then a piece for each page; lines end as RFC 4180 has it."""
    columns = COLUMNS[signal]
    yield _rows([list(columns)])
    for page in pages:
        yield _rows([[column(item) for column in columns.values()] for item in page])


def _rows(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
