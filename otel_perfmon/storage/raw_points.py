"""A data point as it came as OTLP, which stands in its JSON where that cannot tell all of it: read, and taken out."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_perfmon.redaction.redaction import Redaction

_NAME: Final = "otlp"
MARK: Final = f'"{_NAME}":{{"@bytes":"'
"""What is in the JSON of such a point."""


def add_raw(data: str, raw: bytes) -> str:
    """The JSON of a point with the metric in which it came, alone: bytes without the limit that others have."""
    comma = "" if data == "{}" else ","
    return f'{data[:-1]}{comma}{MARK}{base64.b64encode(raw).decode()}"}}}}'


def redact_data(redaction: Redaction, data: str, *, is_changed: bool = False) -> str:
    """The JSON without secrets; without the raw form where there is one in it, or something else ``is_changed``."""
    clean = redaction.redact_json(data)
    if MARK not in data:
        return clean
    decoded = json.loads(clean)
    raw = decoded.get(_NAME)
    is_kept = isinstance(raw, dict) and clean == data and not is_changed
    if not is_kept or redaction.is_secret_in(base64.b64decode(raw["@bytes"])):
        del decoded[_NAME]
        return json.dumps(decoded, ensure_ascii=clean.isascii(), separators=(",", ":"))
    return clean
