"""A trace: its tree, and one of its spans."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_perfmon.errors import NotFoundError
from otel_perfmon.outline import Mark, Outline
from otel_perfmon.storage.base import Store
from otel_perfmon.web.api.parameters import choice, text
from otel_perfmon.web.pages.address import address
from otel_perfmon.web.pages.page import Asked, Page, SeeOtherError
from otel_perfmon.web.pages.span_panel import SpanPanel, make_panel
from otel_perfmon.web.pages.trace_summary import Summary, keys_of, place_of, summarize

_ID_DIGITS: Final = 32
_GROWING_SECONDS: Final = 600
"""So long after its last span more of a trace may come."""
_ROWS_MAX: Final = 1_000
"""Of a table; the waterfall has all."""
VIEWS: Final = {"waterfall": "Waterfall", "flame": "Flame", "table": "Table"}


@dataclass(frozen=True, slots=True)
class Row:
    """A span in the table of a trace."""

    key: str
    name: str
    service: str
    depth: int
    start_nano: int
    duration_nano: int
    self_nano: int
    mark: Mark


def _answer(asked: Asked) -> Mapping[str, Any]:
    trace_id = _whole_id(asked)
    outline = asked.store.get_outline(trace_id)
    summary: Summary = summarize(asked.store, outline)
    span = asked.get("span", "")
    place = place_of(outline, span)
    panel: SpanPanel | None = make_panel(asked.store, outline, place) if place is not None else None
    view = asked.get("view", "waterfall")
    find = asked.get("find", "")
    rows, row_count = _rows(asked.store, outline, find) if view == "table" else ([], 0)
    return {
        "trace": outline,
        "trace_summary": summary,
        "panel": panel,
        "span": span,
        "view": view,
        "views": VIEWS,
        "find": find,
        "zoom": asked.get("zoom", ""),
        "rows": rows,
        "row_count": row_count,
        "is_growing": _is_growing(outline),
    }


def _whole_id(asked: Asked) -> str:
    """The id that is asked for; of another form of it, or its beginning, the address that has it whole."""
    given = str(asked.get("trace_id"))
    if len(given) == _ID_DIGITS and given == given.lower():
        return given
    found = asked.store.find_trace_ids(given.removeprefix("0x"))
    if not found:
        message = f"There is no trace {given:.100}: it was never stored, or is pruned by now."
        raise NotFoundError(message)
    if len(found) > 1:
        message = f"More than one trace begins with {given:.100}; more digits tell which."
        raise NotFoundError(message)
    kept = {name: asked.get(name) for name in ("span", "view", "find", "zoom", "service")}
    raise SeeOtherError(address(f"/trace/{found[0]}", kept.items()))


def _is_growing(outline: Outline) -> bool:
    age_seconds = (time.time_ns() - outline.start_unix_nano - outline.duration_nano) / 1e9
    return age_seconds < _GROWING_SECONDS or outline.count(Mark.RUNNING) > 0


def _rows(store: Store, outline: Outline, find: str) -> tuple[list[Row], int]:
    """The first spans, in the order of the tree, that have ``find`` in them or in their service; how many have."""
    word = find.casefold()
    matching = set(store.find_in_trace(outline.trace_id, find)) if word else set()
    served = [word in name.casefold() for name in outline.services]
    found = [
        place
        for place, (span_id, service) in enumerate(zip(outline.span_ids, outline.service_indexes, strict=True))
        if served[service] or span_id in matching or word in span_id
    ]
    keys = keys_of(outline)
    return [_row(outline, place, keys[place]) for place in found[:_ROWS_MAX]], len(found)


def _row(outline: Outline, place: int, key: str) -> Row:
    return Row(
        key,
        outline.names[outline.name_indexes[place]],
        outline.services[outline.service_indexes[place]],
        outline.depths[place],
        outline.starts_nano[place],
        outline.durations_nano[place],
        outline.selfs_nano[place],
        Mark(outline.marks[place]),
    )


PAGES: Final = (
    Page(
        "/trace/{trace_id}",
        "trace.html",
        _answer,
        (
            text("trace_id", "Its 32 digits, or the first of them.", is_required=True, is_in_path=True),
            text("span", "The id of the chosen span; with .2 behind it the second of that id."),
            choice("view", "How it is shown.", tuple(VIEWS)),
            text("find", "Spans that have this in their name, service, id, attributes or events are marked."),
            text("zoom", "START-END: the stretch of time that is shown, in nanoseconds since the trace's start."),
        ),
    ),
)
