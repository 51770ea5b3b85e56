"""Which spans: every field of a `SpanQuery` as it stands in the address of a page, and how a filter is told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.json_form import as_json
from otel_perfmon.query import SpanQuery, Window, parse_duration_nano
from otel_perfmon.storage.attributes import parse_attribute
from otel_perfmon.web.api.parameters import Parameter, attributes_of
from otel_perfmon.web.api.questions import OF_SPANS

_ELSEWHERE: Final = ("service", "window", "limit")
_DURATIONS: Final = ("min_duration_ms", "max_duration_ms")
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


def _read_duration_ms(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        return parse_duration_nano(given) / 1e6
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a duration of 0 or more is wanted")
    return value


def _filter(parameter: Parameter) -> Parameter:
    """A parameter of the API as a page has it, where a duration may have a unit."""
    if parameter.name not in _DURATIONS:
        return parameter
    description = f"{parameter.description} 200ms, 1.5s; a number alone is in ms."
    return Parameter(parameter.name, description, _read_duration_ms)


SPAN_FILTERS: Final = tuple(_filter(each) for each in OF_SPANS if each.name not in _ELSEWHERE)
"""Those of the API but for service and window, which every page has, and for how many there are."""
_FIELDS: Final = ("service", *(each.name for each in SPAN_FILTERS if each.name != "attribute"))


def told_filter(name: str, value: str) -> tuple[str, str]:
    """A filter as a person reads it: what stands before its value, and its value."""
    label = LABELS.get(name, name)
    if not isinstance(label, str):
        return "", label.get(value, value)
    return label, f"{value} ms" if name in _DURATIONS and value.replace(".", "").isdigit() else value


def query_of(values: Mapping[str, Any], window: Window | None, **more: Any) -> SpanQuery:
    """The question that the values of the parameters ask. Raises `QueryError`."""
    attributes = attributes_of(values.get("attribute", ()))
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
