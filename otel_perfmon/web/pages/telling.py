"""The attributes that tell spans of one list apart, of the many that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from otel_perfmon.records import SpanRecord

_VALUE_CHARS_MAX: Final = 200
_NOT_TELLING: Final = ("perfmon.", "thread.", "code.", "telemetry.", "exception.")
"""What OpenTelemetry or we put there, and says nothing of the call."""


def telling_attributes(spans: Sequence[SpanRecord], most: int = 3) -> list[list[tuple[str, str]]]:
    """Of each span at most so many attributes as text: first those that differ from span to span, and many have."""
    values: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for span in spans:
        for key, value in span.attributes.items():
            if not key.startswith(_NOT_TELLING):
                values.setdefault(key, set()).add(_text(value))
                counts[key] = counts.get(key, 0) + 1
    # Stable, so that those alike stay in the order in which the program set them.
    keys = sorted(values, key=lambda key: (len(values[key]) == 1, -counts[key]))
    return [[(key, _text(span.attributes[key])) for key in keys if key in span.attributes][:most] for span in spans]


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else str(value))[:_VALUE_CHARS_MAX]
