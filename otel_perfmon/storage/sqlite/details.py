"""What few spans have, as one JSON object: the column ``details`` of a span.

Texts of JSON (events, links) stand in it as they are, so that what they hold, numbers of many digits and escaped lone
surrogates among it, comes back unchanged. It is read here, not by SQLite: versions before 3.45 end a text at U+0000.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as _quoted
from typing import Any, Final

from otel_perfmon.storage.rows import SpanDetails

_TEXTS: Final = ("status_message", "error_type", "trace_state", "altered")
_ARRAYS: Final = ("events", "links")
_COUNTS: Final = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")

_decode = json.JSONDecoder().decode


def encode_details(details: SpanDetails | None, own_name: str = "", start_unix_nano: int | None = None) -> str:
    """The object's text, '' where nothing is present.

    ``own_name`` is that of a span whose operation has none of its own, ``start_unix_nano`` a start that the columns
    cannot tell. Raises `TypeError` for what is no text or no number.
    """
    parts: list[str] = []
    if own_name:
        parts.append(f'"name":{_quoted(own_name)}')
    if start_unix_nano is not None:
        parts.append(f'"start_unix_nano":{start_unix_nano:d}')
    if details is not None:
        parts += _present(details)
    return f"{{{','.join(parts)}}}" if parts else ""


def _present(details: SpanDetails) -> list[str]:
    status_message, error_type, _, trace_state, events, links, *counts, altered, _ = details
    parts: list[str] = []
    for name, text in zip(_TEXTS, (status_message, error_type, trace_state, altered), strict=True):
        if text != "":
            parts.append(f'"{name}":{_quoted(text)}')
    for name, array in zip(_ARRAYS, (events, links), strict=True):
        if array != "":
            parts.append(f'"{name}":' + array)
    for name, count in zip(_COUNTS, counts, strict=True):
        if count != 0:
            parts.append(f'"{name}":{count:d}')
    return parts


def decode_details(text: str) -> dict[str, Any]:
    """What `encode_details` wrote: only what is present; events and links as lists."""
    return _decode(text) if text else {}


def encode_error_type(text: str, error_type: str) -> str:
    """The object of a span with another error type; everything else in it stays as it is, to the letter."""
    old = decode_details(text).get("error_type", "")
    if old == error_type:
        return text
    if old:
        return text.replace(f'"error_type":{_quoted(old)}', f'"error_type":{_quoted(error_type)}', 1)
    return f'{{"error_type":{_quoted(error_type)}{"," + text[1:] if text else "}"}'


def has_error_type(details: str, error_type: str) -> bool:
    """Whether the object of a span says that type; the JSON is only parsed where the text occurs in it."""
    if error_type and f'"error_type":{_quoted(error_type)}' not in details:
        return False
    return str(decode_details(details).get("error_type", "")) == error_type
