"""Records as JSON: fields keep the records' names, attributes follow the store's own rules.

What JSON cannot hold is tagged as in the store: ``{"@bytes": "aGk="}``, ``{"@double": "NaN"}``. A window is an object
with both ends, as ISO 8601 in UTC and in nanoseconds. Figures that people reckon with stand beside the fields they
come from, such as a span's ``duration_ms``. The form in which something came as OTLP is left out where there is none.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from otel_perfmon.moments import iso
from otel_perfmon.query import Window
from otel_perfmon.records import LogRecord, OpenSpanRecord, OperationStats, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes

DERIVED: Final[dict[type, tuple[str, ...]]] = {
    SpanRecord: ("service", "duration_ms", "kind_name", "status_name"),
    OpenSpanRecord: ("is_interrupted",),
    LogRecord: ("service", "severity", "moment_unix_nano"),
    OperationStats: ("rate_per_second",),
}
"""Properties that are given like fields."""
_PLAIN: Final = frozenset({str, int, bool, type(None)})
"""What is the same in JSON."""


def as_json(value: Any) -> Any:
    """``value``, a record or anything in one, as what `json.dumps` takes."""
    if isinstance(value, Window):
        return _window(value)
    if is_dataclass(value) and not isinstance(value, type):
        names = (*(field.name for field in fields(value)), *DERIVED.get(type(value), ()))
        given = ((name, getattr(value, name)) for name in names)
        return {name: _field(name, each) for name, each in given if name != "otlp" or each}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        if _PLAIN.issuperset(map(type, value)):  # a column of an outline: a hundred thousand numbers
            return list(value)
        return [as_json(each) for each in value]
    if isinstance(value, bytes):
        return {"@bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return json.loads(encode_attributes({"": value}).text)[""]
    return value


def _field(name: str, value: Any) -> Any:
    return json.loads(encode_attributes(value).text) if name == "attributes" else as_json(value)


def _window(window: Window) -> dict[str, Any]:
    return {
        "start": iso(window.start_unix_nano),
        "end": iso(window.end_unix_nano),
        "start_unix_nano": window.start_unix_nano,
        "end_unix_nano": window.end_unix_nano,
    }
