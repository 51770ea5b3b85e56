"""A document of OTLP's JSON as protobuf's own parser reads it, and as ours does."""

from __future__ import annotations

import copy

from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otel_perfmon.otlp.json_parsing import UnusualError, fill_traces
from otel_perfmon.otlp.messages import TRACES, _in_base64


def by_protobuf(document) -> TracesData | None:
    try:
        with_ids = _in_base64(copy.deepcopy(document), TRACES.paths_to_ids)
        return ParseDict(with_ids, TracesData(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError):
        return None


def by_us(document) -> TracesData | None:
    traces = TracesData()
    try:
        fill_traces(document, traces)
    except UnusualError:
        return None
    return traces
