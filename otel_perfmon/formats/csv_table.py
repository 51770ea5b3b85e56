"""Spans as CSV, a row each, for spreadsheets and data frames.

What OpenTelemetry names for formats that are not OTLP's has that name (opentelemetry-specification,
``common/mapping-to-non-otlp.md``). Attributes, events and links are JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from otel_perfmon.otlp.json_encoding import encode_span
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.attributes import encode_foreign_attributes

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms of the first."""


def _text(value: str) -> str:
    """A text that a spreadsheet would take for a formula behind an apostrophe, as OWASP ("CSV Injection") asks."""
    clean = value.replace("\0", "\\x00")  # which many readers of CSV take for the end
    return f"'{clean}" if clean.startswith(_FORMULA_STARTS) else clean


def _json(attributes: Any) -> str:
    return encode_foreign_attributes(attributes).text if attributes else ""


def _part(name: str) -> Callable[[SpanRecord], str]:
    def encode(span: SpanRecord) -> str:
        part = encode_span(span).get(name)
        return json.dumps(part, ensure_ascii=False, separators=(",", ":")) if part else ""

    return encode


COLUMNS: Final[dict[str, Callable[[SpanRecord], Any]]] = {
    "trace_id": lambda span: span.trace_id,
    "span_id": lambda span: span.span_id,
    "parent_span_id": lambda span: span.parent_span_id or "",
    "service": lambda span: _text(span.service),
    "name": lambda span: _text(span.name),
    "kind": lambda span: span.kind_name,
    "start_unix_nano": lambda span: span.start_unix_nano,
    "end_unix_nano": lambda span: span.end_unix_nano,
    "duration_ms": lambda span: span.duration_ms,
    "otel.status_code": lambda span: "" if span.status_name == "unset" else span.status_name.upper(),
    "otel.status_description": lambda span: _text(span.status_message),
    "error_type": lambda span: _text(span.error_type or ""),
    "is_slow": lambda span: "true" if span.is_slow else "false",
    "otel.scope.name": lambda span: _text(span.scope.name),
    "otel.scope.version": lambda span: _text(span.scope.version),
    "attributes": lambda span: _json(span.attributes),
    "events": lambda span: _part("events")(span) if span.events else "",
    "links": lambda span: _part("links")(span) if span.links else "",
    "otel.dropped_attributes_count": lambda span: span.dropped_attributes_count or "",
    "otel.dropped_events_count": lambda span: span.dropped_events_count or "",
    "otel.dropped_links_count": lambda span: span.dropped_links_count or "",
}
"""How each column is called, and what stands in it."""


def encode_csv(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """The table's heading, then a piece for each page of spans; lines end as RFC 4180 has it."""
    yield _rows([list(COLUMNS)])
    for page in pages:
        yield _rows([[column(span) for column in COLUMNS.values()] for span in page])


def encode_csv_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Any table, such as SQL's answers are: NULL is empty, a blob ``x'..'``; texts as above."""
    return _rows([list(map(_text, columns)), *([_value(value) for value in row] for row in rows)])


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return _text(value) if isinstance(value, str) else value


def _rows(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
