"""Values of SQL's answers as they stand on a page: by the name of their column a duration, a moment or a link."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from otel_perfmon.quantities import count
from otel_perfmon.records import SqlRows
from otel_perfmon.web.pages.filters import duration, moment, shown, shown_lines

_TEXT_MAX: Final = 160
_TITLE_MAX: Final = 600
_BLOB_MAX_BYTES: Final = 24
_DIGITS_MAX: Final = 12
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OPERATION: Final = frozenset(("operation", "caller", "callee", "span_name", "root"))
_NULL: Final = Markup('<span class="null">NULL</span>')
To = Callable[..., str]


class Column(NamedTuple):
    """A column: its name, and whether it holds numbers, which stand at the right."""

    name: str
    is_number: bool


def columns_of(answered: SqlRows) -> list[Column]:
    """The columns; one of which nothing is known but NULL holds no numbers."""

    def is_number(place: int) -> bool:
        values = [row[place] for row in answered.rows if row[place] is not None]
        return bool(values) and all(isinstance(value, (int, float)) for value in values)

    return [Column(name, is_number(place)) for place, name in enumerate(answered.columns)]


def rows_of(answered: SqlRows, to: To) -> list[list[Markup]]:
    """The rows; ``to`` makes the address of another page."""
    names = [name.casefold() for name in answered.columns]
    dicts = (dict(zip(names, row, strict=True)) for row in answered.rows)
    return [
        [_cell(name, value, by_name, to) for name, value in zip(names, row, strict=True)]
        for row, by_name in zip(answered.rows, dicts, strict=True)
    ]


def _cell(name: str, value: Any, row: Mapping[str, Any], to: To) -> Markup:
    if value is None:
        return _NULL
    if isinstance(value, bytes):
        return _blob(value)
    if isinstance(value, str):
        return _text(name, value, row, to)
    return _number(name, value)


def _blob(value: bytes) -> Markup:
    start, more = value[:_BLOB_MAX_BYTES].hex(), "…" if len(value) > _BLOB_MAX_BYTES else ""
    return Markup("<code title=\"{} bytes\">x'{}{}'</code>").format(count(len(value)), start, more)


def _text(name: str, value: str, row: Mapping[str, Any], to: To) -> Markup:
    if name.endswith("trace_id") and _TRACE_ID.fullmatch(value):
        span_id = row.get("span_id") if name == "trace_id" else None
        span = span_id if isinstance(span_id, str) else None
        return Markup('<a class="link" href="{}"><code>{}</code></a>').format(to(f"/trace/{value}", span=span), value)
    if name in _OPERATION and value:
        return Markup('<a href="{}" title="{}">{}</a>').format(
            to("/operation", operation=value), shown_lines(value[:_TITLE_MAX]), _cut(value)
        )
    if len(value) > _TEXT_MAX:
        return Markup('<span title="{}">{}</span>').format(shown_lines(value[:_TITLE_MAX]), _cut(value))
    return shown(value)


def _cut(value: str) -> Markup:
    return shown(value if len(value) <= _TEXT_MAX else f"{value[:_TEXT_MAX]}…")


def _number(name: str, value: float) -> Markup:
    if name.endswith("_unix_nano") and isinstance(value, int):
        return moment(value)
    if name.endswith("_unix_s") and isinstance(value, int):
        return moment(value * 10**9)
    if value == value and (name == "duration" or name.endswith(("_ms", "_nano"))):  # noqa: PLR0124 - not of NaN
        milliseconds = value / 1e6 if name.endswith("_nano") else value
        sign = "-" if milliseconds < 0 else ""
        return Markup('<span title="{}">{}{}</span>').format(repr(value), sign, duration(abs(milliseconds)))
    if isinstance(value, int):
        return shown(value if name.endswith("id") else count(value))
    text = repr(value)
    return Markup('<span title="{}">{}</span>').format(text, f"{value:,.6g}" if len(text) > _DIGITS_MAX else text)
