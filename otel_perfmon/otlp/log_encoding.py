"""Log records as OTLP, in protobuf and JSON, by hand as spans are.

The fields are those of opentelemetry-proto 1.11, ``logs/v1/logs.proto``, in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from otel_perfmon.otlp import json_encoding
from otel_perfmon.otlp.encoding import around_items, around_scopes, encode_attributes, encode_value
from otel_perfmon.otlp.grouping import group_items
from otel_perfmon.otlp.json_encoding import JsonObject
from otel_perfmon.otlp.messages import LOG, as_json
from otel_perfmon.otlp.wire import FIXED32, FIXED64, LENGTH, VARINT, fixed32, fixed64, number, sized, tag, text
from otel_perfmon.records import LogRecord

_ONE, _TWO = tag(1, LENGTH), tag(2, LENGTH)
_TIME, _OBSERVED_TIME = tag(1, FIXED64), tag(11, FIXED64)
_SEVERITY_NUMBER, _DROPPED, _FLAGS = tag(2, VARINT), tag(7, VARINT), tag(8, FIXED32)
_SEVERITY_TEXT, _BODY, _ATTRIBUTES, _TRACE_ID, _SPAN_ID, _EVENT_NAME = (
    tag(each, LENGTH) for each in (3, 5, 6, 9, 10, 12)
)


def encode_request(logs: Iterable[LogRecord]) -> bytes:
    """A ``LogsData``, which is an ``ExportLogsServiceRequest`` too: by resource, by scope, then in order."""
    groups = []
    for group in group_items(logs):
        scopes = []
        for scope, records in group.scopes:
            encoded = b"".join([sized(_TWO, encode_log(each)) for each in records])
            scopes.append(sized(_TWO, around_items(scope, encoded)))
        groups.append(sized(_ONE, around_scopes(group.resource, b"".join(scopes))))
    return b"".join(groups)


def encode_log(log: LogRecord) -> bytes:
    """A ``LogRecord``; one that has such a form as it came."""
    if log.otlp:
        return log.otlp
    return b"".join(
        (
            fixed64(_TIME, log.time_unix_nano),
            number(_SEVERITY_NUMBER, log.severity_number),
            text(_SEVERITY_TEXT, log.severity_text),
            sized(_BODY, encode_value(log.body)) if log.has_body else b"",
            encode_attributes(_ATTRIBUTES, log.attributes),
            number(_DROPPED, log.dropped_attributes_count),
            fixed32(_FLAGS, log.flags),
            sized(_TRACE_ID, bytes.fromhex(log.trace_id)) if log.trace_id else b"",
            sized(_SPAN_ID, bytes.fromhex(log.span_id)) if log.span_id else b"",
            fixed64(_OBSERVED_TIME, log.observed_unix_nano),
            text(_EVENT_NAME, log.event_name),
        )
    )


def encode_logs_json(logs: Iterable[LogRecord]) -> JsonObject:
    """The same as OTLP's JSON."""
    groups = []
    for group in group_items(logs):
        scopes = [
            json_encoding.around_items(scope, "logRecords", list(map(encode_log_json, records)))
            for scope, records in group.scopes
        ]
        groups.append(json_encoding.around_scopes(group.resource, "scopeLogs", scopes))
    return {"resourceLogs": groups}


def encode_log_json(log: LogRecord) -> JsonObject:
    """A ``LogRecord``; of one that has a form as it came that, without fields for which JSON has no names."""
    if log.otlp:
        return as_json(LOG, log.otlp)
    members = {
        "timeUnixNano": json_encoding.time_text(log.time_unix_nano),
        "severityNumber": log.severity_number,
        "severityText": log.severity_text,
        "attributes": json_encoding.encode_attributes(log.attributes),
        "droppedAttributesCount": log.dropped_attributes_count,
        "flags": log.flags,
        "traceId": log.trace_id,
        "spanId": log.span_id,
        "observedTimeUnixNano": json_encoding.time_text(log.observed_unix_nano),
        "eventName": log.event_name,
    }
    present = json_encoding.present(members)
    return present | {"body": json_encoding.encode_value(log.body)} if log.has_body else present
