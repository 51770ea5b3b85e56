"""Columns of attributes that somebody chose: which there are, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from otel_perfmon.records import SpanRecord
from otel_perfmon.web.api.parameters import Parameter
from otel_perfmon.web.pages.span_filters import attribute_filter, value_text

_COLUMNS_MAX: Final = 8
_OFFERED_MAX: Final = 60
_KEY_LENGTH_MAX: Final = 200
_FILTER_LENGTH_MAX: Final = 500
"""Longer ones would make the address too long."""


def _read(given: str) -> tuple[str, ...]:
    """Keys between commas; a comma of a key itself is written %2C."""
    keys = dict.fromkeys(unquote(each) for each in given.split(",") if each)
    if len(keys) > _COLUMNS_MAX:
        message = f"at most {_COLUMNS_MAX} columns are shown"
        raise ValueError(message)
    return tuple(keys)


COLUMNS: Final = Parameter("columns", "Keys of attributes that have a column each, between commas.", _read)


def columns_text(columns: Sequence[str]) -> str:
    """The columns as they stand in an address."""
    return ",".join(quote(each, safe="/: .", errors="replace") for each in columns)


class Cell(NamedTuple):
    """The attribute of one span: its value as text, None where it has none, and how to ask for those like it."""

    text: str | None
    filter: str

    @classmethod
    def of(cls, span: SpanRecord, key: str) -> Cell:
        """That of a span under a key."""
        if key not in span.attributes:
            return cls(None, "")
        asked = attribute_filter(key, span.attributes[key])
        return cls(value_text(span.attributes[key]), asked if len(asked) <= _FILTER_LENGTH_MAX else "")


class Choice(NamedTuple):
    """A key that can be a column: whether it is one, and the columns when that is changed."""

    key: str
    is_chosen: bool
    then: str


def offered_columns(spans: Sequence[SpanRecord], columns: Sequence[str]) -> list[Choice]:
    """The keys of the attributes of some spans, and the chosen ones."""
    seen = {key for span in spans for key in span.attributes if key and len(key) <= _KEY_LENGTH_MAX}
    is_full = len(columns) >= _COLUMNS_MAX
    others = [] if is_full else sorted(seen.difference(columns))[: _OFFERED_MAX - len(columns)]
    return [_choice(key, columns) for key in sorted([*columns, *others])]


def _choice(key: str, columns: Sequence[str]) -> Choice:
    is_chosen = key in columns
    then = [each for each in columns if each != key] if is_chosen else [*columns, key]
    return Choice(key, is_chosen, columns_text(then))
