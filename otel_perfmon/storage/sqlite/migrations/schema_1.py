"""What a file of schema 1 holds packed, for 0002: functions of SQL that turn it into what schema 2 holds.

Forms of both schemas stand here as they were: a migration must do the same whatever becomes of the code around it.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from array import array
from itertools import pairwise
from json.encoder import encode_basestring as _quoted
from typing import Any, Final

_MESSAGE_MAX: Final = 1_000
_PATTERN_MAX: Final = 200
_DETAILS: Final = (
    *("name", "start_unix_nano", "status_message", "error_type", "trace_state", "altered", "events", "links"),
    *("dropped_attributes_count", "dropped_events_count", "dropped_links_count"),
)
_TEXTS: Final = frozenset(("name", "status_message", "error_type", "trace_state", "altered"))
_CODE_OF_WIDTH: Final = {array(code).itemsize: code for code in "BHIQ"}
_VARIABLE: Final = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"(?<!\w)'[^']*(?:'|$)|\"[^\"]*(?:\"|$)"), "<text>"),
    (re.compile(r"(?<!\w)\d+(?:[.,:]\d+)*"), "<n>"),
)


def create_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that 0002 calls."""
    connection.create_function("span_details", len(_DETAILS), span_details, deterministic=True)
    connection.create_function("error_message", 2, error_message, deterministic=True)
    connection.create_function("message_pattern", 1, message_pattern, deterministic=True)
    connection.create_function("repacked_histogram", 1, lambda packed: _pack(_unpack(packed)), deterministic=True)
    connection.create_aggregate("merged_histogram", 1, _MergedHistogram)  # type: ignore[arg-type]


def span_details(*columns: Any) -> str:
    """The object of what is present among the columns `_DETAILS`; events and links are JSON already, and stay as is."""
    parts: list[str] = []
    for key, value in zip(_DETAILS, columns, strict=True):
        if value or (value == 0 and key == "start_unix_nano"):
            parts.append(f'"{key}":{_quoted(value) if key in _TEXTS else value}')
    return "{" + ",".join(parts) + "}"


def error_message(status_message: str, events: str) -> str:
    """What the error group of a failed span was made of, as long as a group keeps it."""
    exceptions = [each for each in json.loads(events) if each["name"] == "exception"] if events else []
    message = exceptions[-1]["attributes"].get("exception.message") if exceptions else ""
    return (message if message and isinstance(message, str) else status_message)[:_MESSAGE_MAX]


def message_pattern(message: str) -> str:
    """The message of the group to which an error belongs."""
    line = message[: 4 * _PATTERN_MAX].strip().partition("\n")[0]
    for expression, placeholder in _VARIABLE:
        line = expression.sub(placeholder, line)
    return line[:_PATTERN_MAX]


class _MergedHistogram:
    """All histograms of a group as one; they are packed as in schema 2."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}

    def step(self, packed: bytes) -> None:
        key, numbers = packed[1] | packed[2] << 8, _numbers(packed[0], packed[3:])
        for count, distance in zip(numbers[::2], [*numbers[1::2], 0], strict=True):
            self._buckets[key] = self._buckets.get(key, 0) + count
            key += distance

    def finalize(self) -> bytes:
        return _pack(self._buckets)


def _unpack(packed: bytes) -> dict[int, int]:
    """Schema 1: a byte of width, then for each key its distance to the one before and its count."""
    buckets: dict[int, int] = {}
    key, numbers = 0, _numbers(packed[0], packed[1:])
    for distance, count in zip(numbers[::2], numbers[1::2], strict=True):
        key += distance
        buckets[key] = count
    return buckets


def _pack(buckets: dict[int, int]) -> bytes:
    """Schema 2: width, lowest key, and its count, then for each other key its distance to the one before and its count.

    Its dense form is not needed here: whoever adds to a cell packs it anew.
    """
    keys = sorted(buckets)
    numbers = [buckets[keys[0]]]
    for before, key in pairwise(keys):
        numbers += (key - before, buckets[key])
    width = next(each for each in (1, 2, 4, 8) if max(numbers) < 1 << 8 * each)
    return bytes((width, keys[0] & 255, keys[0] >> 8)) + _turned(array(_CODE_OF_WIDTH[width], numbers)).tobytes()


def _numbers(width: int, packed: bytes) -> Any:
    numbers = array(_CODE_OF_WIDTH[width])
    numbers.frombytes(packed)
    return _turned(numbers)


def _turned(numbers: array[int]) -> array[int]:
    """Little-endian, or from there, on every machine."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
