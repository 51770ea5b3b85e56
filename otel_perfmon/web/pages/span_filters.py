"""Which spans: every field of a `SpanQuery` as it stands in the address of a page, and how a filter is told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.errors import QueryError
from otel_perfmon.json_form import as_json
from otel_perfmon.query import SpanQuery, Window, parse_duration_nano
from otel_perfmon.storage.attributes import parse_attribute
from otel_perfmon.web.api.parameters import Parameter, attribute, order, text, truth

_FIELDS: Final = (
    "operation",
    "service",
    "min_duration_ms",
    "max_duration_ms",
    "is_slow",
    "is_error",
    "error_type",
    "trace_id",
    "order",
    "page_token",
)
LABELS: Final[Mapping[str, str | Mapping[str, str]]] = {
    "operation": "operation",
    "service": "service",
    "min_duration_ms": "at least",
    "max_duration_ms": "at most",
    "is_slow": {"true": "slow", "false": "not slow"},
    "is_error": {"true": "failed", "false": "not failed"},
    "error_type": "failed with",
    "attribute": "",
    "trace_id": "trace",
}
"""What stands before the value of each filter, or instead of it."""


def _duration(name: str, description: str) -> Parameter:
    """A number of milliseconds, or one with a unit."""
    return Parameter(name, f"{description} 200ms, 1.5s; a number alone is in ms.", _read_duration_ms)


def _read_duration_ms(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        return parse_duration_nano(given) / 1e6
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a duration of 0 or more is wanted")
    return value


FILTERS: Final = (
    text("operation", "Of this operation."),
    _duration("min_duration_ms", "That took at least that long."),
    _duration("max_duration_ms", "That took at most that long."),
    truth("is_slow", "That took longer than their threshold, or did not."),
    truth("is_error", "That failed, or did not."),
    text("error_type", "That failed with this type."),
    attribute("attribute", "KEY=VALUE: that have this attribute. VALUE is JSON if it parses, else text."),
    text("trace_id", "Of this trace, whatever the window."),
    order("order", "By end, by duration, or as they came."),
    text("page_token", "What comes after the page that told this."),
)
"""Beside service and window, which every page has."""


def query_of(values: Mapping[str, Any], window: Window | None, **more: Any) -> SpanQuery:
    """The question that the values of the parameters ask. Raises `QueryError`."""
    attributes = dict(values.get("attribute", ()))
    if len(attributes) < len(values.get("attribute", ())):
        raise QueryError("An attribute has one value: name each key once.")
    given: dict[str, Any] = {name: values[name] for name in _FIELDS if name in values}
    window = None if "trace_id" in given else window  # a trace is what it is
    return SpanQuery(**{**given, **more}, attributes=attributes, window=window)


def value_text(value: Any) -> str:
    """An attribute's value as text; of what is no text, its JSON."""
    return value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False)


def attribute_filter(key: str, value: Any) -> str:
    """The KEY=VALUE that asks for an attribute; empty for one that cannot be asked for so."""
    plain = f"{key}={value_text(value)}"
    quoted = f"{key}={json.dumps(value, ensure_ascii=False)}" if isinstance(value, str) else plain
    return next((each for each in (plain, quoted) if _asks_for(each, key, value)), "")


def _asks_for(given: str, key: str, value: Any) -> bool:
    try:
        told_key, told = parse_attribute(given)
    except ValueError:
        return False
    return told_key == key and type(told) is type(value) and bool(told == value)
