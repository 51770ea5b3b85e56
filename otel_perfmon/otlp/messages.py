"""Messages of OTLP as protobuf's library reads them, from bytes or from OTLP's JSON, whose ids are in hex."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from otel_perfmon.errors import DecodeError, OtlpError

_TOLD_MAX: Final = 200
"""Characters of an error of protobuf's, which quotes what it read."""
_ID_NAMES: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
"""Protobuf's JSON takes its own names too."""
_Names = tuple[str, ...]
_JsonObject = dict[str, Any]


class Kind(NamedTuple):
    """A message: its name, its module, and the ways to whatever in it has ids, by the names in JSON."""

    name: str
    module: str
    paths_to_ids: tuple[tuple[_Names, ...], ...]


def _below(signal: str, *more: _Names) -> tuple[_Names, ...]:
    """Names in JSON's way and in protobuf's own, from the top down through resources and scopes, and further."""
    title = signal.title()
    return ((f"resource{title}", f"resource_{signal}"), (f"scope{title}", f"scope_{signal}"), *more)


_KINDS_OF_METRIC: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "exponential_histogram")
TRACES: Final = Kind(
    "TracesData", "trace.v1.trace_pb2", (_below("spans", ("spans",)), _below("spans", ("spans",), ("links",)))
)
METRICS: Final = Kind(
    "MetricsData",
    "metrics.v1.metrics_pb2",
    (_below("metrics", ("metrics",), _KINDS_OF_METRIC, ("dataPoints", "data_points"), ("exemplars",)),),
)
LOGS: Final = Kind("LogsData", "logs.v1.logs_pb2", (_below("logs", ("logRecords", "log_records")),))
SPAN: Final = Kind("Span", TRACES.module, ((), (("links",),)))
METRIC: Final = Kind("Metric", METRICS.module, (METRICS.paths_to_ids[0][3:],))
LOG: Final = Kind("LogRecord", LOGS.module, ((),))
RESOURCE_SPANS: Final = Kind("ResourceSpans", TRACES.module, ())
SCOPE_SPANS: Final = Kind("ScopeSpans", TRACES.module, ())


def new_message(kind: Kind) -> Any:
    """An empty one. Raises `OtlpError` where the package for it is missing."""
    from importlib import import_module  # noqa: PLC0415 - as below

    try:
        module = import_module(f"opentelemetry.proto.{kind.module}")  # 40 ms, and an extra
    except ImportError as error:
        message = "Reading OTLP, and what came as such, takes one package more: pip install 'otel-perfmon[otlp]'."
        raise OtlpError(message) from error
    return getattr(module, kind.name)()


def parse_protobuf(kind: Kind, data: bytes) -> Any:
    """The message in ``data``, or in an export request, which has the same fields; `DecodeError` for neither."""
    message = new_message(kind)
    from google.protobuf.message import DecodeError as ProtobufError  # noqa: PLC0415 - as above

    try:
        message.ParseFromString(data)
    except ProtobufError as error:
        raise DecodeError(f"These {len(data):,} bytes are no {kind.name} of OTLP: {error}.") from error
    return message


def parse_json(kind: Kind, text: str | bytes) -> Any:
    """The same of OTLP's JSON. Names that it does not know are passed over, as the protocol asks."""
    message = new_message(kind)
    from google.protobuf.json_format import ParseDict  # noqa: PLC0415 - as above

    try:
        read = json.loads(text, parse_constant=_refuse)
        ParseDict(_in_base64(read, kind.paths_to_ids), message, ignore_unknown_fields=True)
    except Exception as error:  # protobuf raises whatever Python raises, and SystemError besides
        what = str(error)[:_TOLD_MAX] or type(error).__name__
        raise DecodeError(f"This is no {kind.name} of OTLP in JSON: {what.rstrip('.')}.") from error
    return message


def as_json(kind: Kind, data: bytes) -> _JsonObject:
    """A message in protobuf as OTLP's JSON."""
    message = parse_protobuf(kind, data)
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - as above

    encoded: _JsonObject = MessageToDict(message, use_integers_for_enums=True)
    for path in kind.paths_to_ids:
        for item in _objects(encoded, path):
            item |= {name: base64.b64decode(item[name]).hex() for name in _ID_NAMES if name in item}
    return encoded


def has_unknown_fields(message: Any) -> bool:
    """Whether there are fields, at any level, that opentelemetry-proto does not know. Takes them out of the message."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return bool(message.ByteSize() != size)


def without(message: Any, name: str) -> bytes:
    """The bytes of a message without its field ``name``, which may be large."""
    bare = type(message)()
    bare.CopyFrom(message)
    bare.ClearField(name)
    encoded: bytes = bare.SerializeToString()
    return encoded


def _refuse(constant: str) -> Any:
    message = f"{constant} is no JSON"
    raise ValueError(message)


def _in_base64(message: Any, paths: Sequence[Sequence[_Names]]) -> Any:
    """With ids as protobuf's own JSON has them. Raises `ValueError` for what is no object, and for ids not in hex."""
    if not isinstance(message, dict):
        what = "an object was expected"
        raise ValueError(what)  # noqa: TRY004 - as of any other malformed text
    for path in paths:
        for item in _objects(message, path):
            _ids_in_base64(item)
    return message


def _objects(parent: _JsonObject, path: Sequence[_Names]) -> Iterator[_JsonObject]:
    """The objects at the end of the way, through lists and single objects."""
    if not path:
        yield parent
        return
    for name in path[0]:
        found = parent.get(name)
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict):
                yield from _objects(each, path[1:])


def _ids_in_base64(item: _JsonObject) -> None:
    for name in _ID_NAMES:
        if isinstance(item.get(name), str):
            try:
                item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
            except (ValueError, binascii.Error) as error:
                message = f"{name} is not in hex: {item[name]!r:.60}"
                raise ValueError(message) from error
