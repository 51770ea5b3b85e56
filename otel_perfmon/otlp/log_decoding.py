"""Log records that came as OTLP, in protobuf or JSON, as rows of the store. As with spans, nothing of one is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from otel_perfmon.otlp.messages import LOGS, has_unknown_fields, parse_json, parse_protobuf
from otel_perfmon.otlp.origins import RAW_BYTES_MAX, Origins
from otel_perfmon.otlp.value_decoding import UNTOLD, Notes, count_of, decode_value, encode_pairs, text_of
from otel_perfmon.storage.attributes import encode_any_value
from otel_perfmon.storage.redactor import RAW
from otel_perfmon.storage.rows import LogRow, ResourceRow, ScopeRow

_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NAME_MAX: Final = 1_000


class LogDecoder:
    """Makes rows of log records. The rows of one resource are one object, for as long as the decoder lives."""

    def __init__(self) -> None:
        self._origins = Origins()

    def decode_protobuf(self, data: bytes) -> Iterator[LogRow]:
        """The records of a ``LogsData``, or of an ``ExportLogsServiceRequest``; `DecodeError` for what is neither."""
        logs = parse_protobuf(LOGS, data)
        if has_unknown_fields(logs):
            return self._rows_of(parse_protobuf(LOGS, data), may_be_unknown=True)
        return self._rows_of(logs, may_be_unknown=False)

    def decode_json(self, text: str | bytes) -> Iterator[LogRow]:
        """The same of OTLP's JSON. Names that it does not know are passed over, as the protocol asks."""
        return self._rows_of(parse_json(LOGS, text), may_be_unknown=False)

    def _rows_of(self, logs: Any, *, may_be_unknown: bool) -> Iterator[LogRow]:
        for resource_logs in logs.resource_logs:
            resource = self._origins.resource(resource_logs, "scope_logs", may_be_unknown=may_be_unknown)
            for scope_logs in resource_logs.scope_logs:
                scope = self._origins.scope(scope_logs, "log_records", may_be_unknown=may_be_unknown)
                for record in scope_logs.log_records:
                    raw = record.SerializeToString() if may_be_unknown else b""
                    is_untold = bool(raw) and has_unknown_fields(record)
                    yield _row_of(record, resource, scope, raw if is_untold else b"")


def _row_of(record: Any, resource: ResourceRow, scope: ScopeRow, raw: bytes) -> LogRow:
    notes = Notes([UNTOLD] if raw else ())
    encoded = encode_pairs(record.attributes, "attributes", notes)[1]
    body, body_json = _body(record, notes)
    row = LogRow(
        trace_id=_id(record.trace_id, _TRACE_ID_BYTES, notes),
        span_id=_id(record.span_id, _SPAN_ID_BYTES, notes),
        flags=record.flags,
        resource=resource,
        scope=scope,
        time_unix_nano=notes.time(record.time_unix_nano),
        observed_unix_nano=notes.time(record.observed_time_unix_nano),
        severity_number=record.severity_number,
        severity_text=text_of(record.severity_text, "severity_text", notes, _NAME_MAX),
        event_name=text_of(record.event_name, "event_name", notes, _NAME_MAX),
        body=body,
        body_json=body_json,
        attributes="" if encoded.text == "{}" else encoded.text,
        dropped_attributes_count=count_of(record.dropped_attributes_count, encoded.dropped_count),
    )
    if not notes:
        return row
    raw = raw or record.SerializeToString()
    if len(raw) > RAW_BYTES_MAX:
        notes.add(RAW)
        raw = b""
    return row._replace(altered=notes.altered, otlp=raw)


def _body(record: Any, notes: Notes) -> tuple[str, str]:
    """A body of text, or the JSON of another one."""
    if not record.HasField("body"):
        return "", ""
    value = decode_value(record.body, notes)
    if isinstance(value, str) and value:
        return text_of(value, "body", notes), ""
    encoded = encode_any_value(value)
    if encoded.is_altered:
        notes.add("body")
    return "", encoded.text


def _id(given: bytes, size: int, notes: Notes) -> bytes:
    """An id as it is; one that no trace or span can have is none, as OpenTelemetry's log data model wants it."""
    if not given or (len(given) == size and any(given)):
        return given
    notes.add(UNTOLD)
    return b""
