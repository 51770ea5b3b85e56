"""What a span of another format says in its tags of what OpenTelemetry has fields for.

The names are those of opentelemetry-specification, ``common/mapping-to-non-otlp.md``, and of the Collector, whose
translators take them out again as we do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.errors import DecodeError
from otel_perfmon.records import KIND_NAMES, ScopeRecord
from otel_perfmon.storage.row_parts import SLOW_ATTRIBUTE

STATUS_CODE, STATUS_DESCRIPTION = "otel.status_code", "otel.status_description"
ERROR: Final = "error"
SCOPE_NAME, SCOPE_VERSION = "otel.scope.name", "otel.scope.version"
TRACE_STATE: Final = "w3c.tracestate"
DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS = (
    f"otel.dropped_{each}_count" for each in ("attributes", "events", "links")
)
_OLD_SCOPE_NAMES: Final = {SCOPE_NAME: "otel.library.name", SCOPE_VERSION: "otel.library.version"}
INTERNAL: Final = KIND_NAMES.index("internal")
_STATUS_OK, _STATUS_ERROR = 1, 2
_STATUS_CODES: Final = {"OK": _STATUS_OK, "ERROR": _STATUS_ERROR}
_HEX: Final = re.compile("[0-9a-fA-F]+")
_UINT32_MAX: Final = (1 << 32) - 1

Tags = dict[str, Any]


def kind_of(name: Any) -> int:
    """OTLP's number of a kind; what has none is internal, for the exporters of both formats leave that out."""
    wanted = name.lower() if isinstance(name, str) else ""
    return KIND_NAMES.index(wanted) if wanted in KIND_NAMES[1:] else INTERNAL


def take_status_code(tags: Tags) -> int:
    """The status that ``otel.status_code`` tells, which is taken out of the tags; 0 without one."""
    code = tags.pop(STATUS_CODE, None)
    if isinstance(code, str):
        return _STATUS_CODES.get(code.upper(), 0)
    return code if type(code) is int and code in _STATUS_CODES.values() else 0


def take_scope(tags: Tags) -> ScopeRecord:
    """The instrumentation scope, by its names of today or those of before."""
    name, version = (_take_text(tags, each) or _take_text(tags, old) for each, old in _OLD_SCOPE_NAMES.items())
    return ScopeRecord(name, version)


def take_dropped_counts(tags: Tags) -> tuple[int, int, int]:
    """How many attributes, events and links the span had lost."""
    attributes, events, links = (take_count(tags, each) for each in (DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS))
    return attributes, events, links


def take_count(tags: Tags, name: str) -> int:
    """A count, out of the tags; what is none stays there."""
    value = tags.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_UINT32_MAX)):
        value = int(value)
    if type(value) is not int or not 0 <= value <= _UINT32_MAX:
        return 0
    del tags[name]
    return value


def take_trace_state(tags: Tags) -> str:
    """The W3C trace state."""
    return _take_text(tags, TRACE_STATE)


def _take_text(tags: Tags, name: str) -> str:
    if not isinstance(tags.get(name), str):
        return ""
    text: str = tags.pop(name)
    return text


def is_slow(attributes: Mapping[str, Any], duration_nano: int, threshold_nano: int) -> bool:
    """Whether a span was slow: what says so itself, else what took longer than the threshold."""
    says_slow = attributes.get(SLOW_ATTRIBUTE)
    if isinstance(says_slow, str):
        says_slow = {"true": True, "false": False}.get(says_slow.lower())
    return duration_nano > threshold_nano if says_slow is None else bool(says_slow)


def id_of(span: Mapping[str, Any], name: str, digits: int) -> str:
    """An id in as many hex digits as OpenTelemetry has; shorter ones are filled up. Raises `DecodeError`."""
    text = span.get(name)
    if isinstance(text, str) and len(text) <= digits and _HEX.fullmatch(text) and text.strip("0"):
        return text.lower().rjust(digits, "0")
    message = f"its {name} is no id of up to {digits} hex digits: {text!r:.60}"
    raise DecodeError(message)


def number_of(part: Mapping[str, Any], name: str) -> int:
    """A whole number of microseconds, 0 where none is told. Raises `DecodeError`."""
    value = part.get(name)
    try:
        if value is None or value == "":
            return 0
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return int(value)
    except (ValueError, OverflowError):
        pass
    message = f"its {name} is no number of microseconds: {value!r:.60}"
    raise DecodeError(message)


def objects_of(part: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list, which may be missing. Raises `DecodeError`."""
    value = part.get(name)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    message = f"its {name} are no list of objects"
    raise DecodeError(message)
