"""Spans as Parquet, a row each, for pandas, Polars, DuckDB and whoever else reads columns.

Attributes are text, as JSON: their values may be of any type under one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.wire import utf8
from otel_perfmon.records import Attributes, EventRecord, LinkRecord, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes

_GROUP_ROWS_MAX: Final = 16_384
_GROUP_BYTES_MAX: Final = 64 * 1024 * 1024
"""So much of their texts is held at most before a row group is written."""


def _text(value: str) -> str:
    return value if value.isascii() else utf8(value).decode()


def _json(attributes: Attributes) -> str:
    return encode_attributes(attributes).text


def _event(event: EventRecord) -> Mapping[str, Any]:
    return {"time": event.time_unix_nano, "name": _text(event.name), "attributes": _json(event.attributes)}


def _link(link: LinkRecord) -> Mapping[str, Any]:
    return {"trace_id": link.trace_id, "span_id": link.span_id, "attributes": _json(link.attributes)}


COLUMNS: Final[dict[str, tuple[str, Callable[[SpanRecord], Any]]]] = {
    "trace_id": ("text", lambda span: span.trace_id),
    "span_id": ("text", lambda span: span.span_id),
    "parent_span_id": ("text", lambda span: span.parent_span_id),
    "service": ("name", lambda span: _text(span.service)),
    "name": ("name", lambda span: _text(span.name)),
    "kind": ("name", lambda span: span.kind_name),
    "start": ("time", lambda span: span.start_unix_nano),
    "end": ("time", lambda span: span.end_unix_nano),
    "duration_nano": ("integer", lambda span: span.duration_nano),
    "duration_ms": ("number", lambda span: span.duration_ms),
    "status": ("name", lambda span: span.status_name),
    "status_message": ("text", lambda span: _text(span.status_message) or None),
    "is_error": ("truth", lambda span: span.is_error),
    "is_slow": ("truth", lambda span: span.is_slow),
    "error_type": ("name", lambda span: None if span.error_type is None else _text(span.error_type)),
    "trace_state": ("text", lambda span: _text(span.trace_state) or None),
    "flags": ("count", lambda span: span.flags),
    "scope_name": ("name", lambda span: _text(span.scope.name)),
    "scope_version": ("name", lambda span: _text(span.scope.version)),
    "attributes": ("text", lambda span: _json(span.attributes)),
    "resource_attributes": ("name", lambda span: _json(span.resource.attributes)),
    "events": ("events", lambda span: list(map(_event, span.events))),
    "links": ("links", lambda span: list(map(_link, span.links))),
    "dropped_attributes_count": ("count", lambda span: span.dropped_attributes_count),
    "dropped_events_count": ("count", lambda span: span.dropped_events_count),
    "dropped_links_count": ("count", lambda span: span.dropped_links_count),
}
"""How each column is called, its type by the name in `_types`, and what stands in it."""


def encode_parquet(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """The file, a row group at a time. Raises `ConfigError` where pyarrow is missing."""
    arrow, parquet = _libraries()
    types = _types(arrow)
    schema = arrow.schema([(name, types[kind]) for name, (kind, _) in COLUMNS.items()])
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _groups(pages):
            columns = [[value(span) for span in group] for _, value in COLUMNS.values()]
            arrays = [arrow.array(each, field.type) for each, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema), row_group_size=_GROUP_ROWS_MAX)
            yield sink.take()
    yield sink.take()


def _libraries() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - 0.3 s, and an extra
        from pyarrow import parquet  # noqa: PLC0415 - as above
    except ImportError as error:
        message = "Writing Parquet takes one package more: pip install 'otel-perfmon[parquet]'."
        raise ConfigError(message) from error
    return pa, parquet


def _types(arrow: Any) -> dict[str, Any]:
    """A name is one of few, kept once for a row group; times are UTC."""
    text, time = arrow.string(), arrow.timestamp("ns", "UTC")
    event = arrow.struct([("time", time), ("name", text), ("attributes", text)])
    link = arrow.struct([("trace_id", text), ("span_id", text), ("attributes", text)])
    return {
        "text": text,
        "name": arrow.dictionary(arrow.int32(), text),
        "time": time,
        "integer": arrow.int64(),
        "number": arrow.float64(),
        "truth": arrow.bool_(),
        "count": arrow.uint32(),
        "events": arrow.list_(event),
        "links": arrow.list_(link),
    }


def _groups(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[list[SpanRecord]]:
    """Spans in groups of as many as memory should hold."""
    group: list[SpanRecord] = []
    size = 0
    for page in pages:
        group += page
        size += sum(map(_size, page))
        if len(group) >= _GROUP_ROWS_MAX or size > _GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group


def _size(span: SpanRecord) -> int:
    return len(_json(span.attributes)) + sum(len(_json(event.attributes)) for event in span.events)


class _Sink:
    """What a Parquet writer takes for a file, from which its bytes can be taken meanwhile."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        self._size += len(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """What was written stays to be taken."""
