"""Spans as a Chrome trace, which Perfetto (ui.perfetto.dev) and ``chrome://tracing`` open.

The format is the "Trace Event Format". A track shows only what nests in time, and spans of one trace may overlap: each
resource is a process, and as many tracks as are needed stand in it, a span on that of its parent where it fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, Final

from otel_perfmon.otlp.grouping import resource_key
from otel_perfmon.records import Attributes, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes

_NANO_IN_MICRO: Final = 1_000


class _Process:
    """One resource and its tracks. On each a span is open with, one within the other, what it called."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._open: list[list[tuple[int, str]]] = []
        self._free: list[int] = []
        self._busy: list[tuple[int, int]] = []
        self._track_of: dict[tuple[str, str | None], int] = {}

    def place(self, span: SpanRecord) -> int:
        """The number of the track for a span; spans come by start, the longer first."""
        end = max(span.start_unix_nano, span.end_unix_nano)
        number = self._track_of.get((span.trace_id, span.parent_span_id))
        if number is None or not self._is_within_parent(number, span, end):
            number = self._take_free(span.start_unix_nano)
            heappush(self._busy, (end, number))
        self._open[number].append((end, span.span_id))
        self._track_of[span.trace_id, span.span_id] = number
        return number

    def _is_within_parent(self, number: int, span: SpanRecord, end: int) -> bool:
        """Whether the parent is what is open innermost on its track, and ends no earlier."""
        spans = self._open[number]
        while spans and spans[-1][0] <= span.start_unix_nano:
            spans.pop()
        return bool(spans) and spans[-1][1] == span.parent_span_id and spans[-1][0] >= end

    def _take_free(self, start: int) -> int:
        """The lowest track on which nothing is open, or a new one."""
        while self._busy and self._busy[0][0] <= start:
            heappush(self._free, heappop(self._busy)[1])
        if not self._free:
            self._open.append([])
            return len(self._open) - 1
        number = heappop(self._free)
        self._open[number].clear()
        return number


def encode_chrome_trace(pages: Iterable[Sequence[SpanRecord]]) -> Iterator[bytes]:
    """One JSON document, an event a line. All spans are held in memory, for they have to be in order."""
    spans = sorted((span for page in pages for span in page), key=_by_start_the_longer_first)
    first_unix_nano = spans[0].start_unix_nano if spans else 0
    yield b'{"displayTimeUnit":"ns","otherData":{"first_start_unix_nano":"%d"},"traceEvents":[' % first_unix_nano
    processes: dict[tuple[str, ...], _Process] = {}
    separator = b"\n"
    for span in spans:
        key = resource_key(span.resource)
        if key not in processes:
            processes[key] = _Process(len(processes) + 1)
            yield separator + _line(_process_event(processes[key], span))
            separator = b",\n"
        event = _span_event(span, processes[key].number, processes[key].place(span), first_unix_nano)
        yield separator + _line(event)
    yield b"\n]}\n"


def _by_start_the_longer_first(span: SpanRecord) -> tuple[int, int]:
    return span.start_unix_nano, -span.end_unix_nano


def _process_event(process: _Process, span: SpanRecord) -> dict[str, Any]:
    instance = span.resource.attributes.get("service.instance.id") or span.resource.attributes.get("process.pid") or ""
    name = f"{span.service or 'unknown service'} {instance}".rstrip()
    return {"ph": "M", "name": "process_name", "pid": process.number, "tid": 0, "args": {"name": name}}


def _span_event(span: SpanRecord, process: int, track: int, first_unix_nano: int) -> dict[str, Any]:
    told = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "status": None if span.status_name == "unset" else span.status_name,
        "status_message": span.status_message,
        "is_slow": span.is_slow or None,
        "events": [[event.name, _plain(event.attributes)] for event in span.events],
    }
    return {
        "ph": "X",
        "name": span.name,
        "cat": span.scope.name or span.kind_name,
        "ts": (span.start_unix_nano - first_unix_nano) / _NANO_IN_MICRO,
        "dur": span.duration_nano / _NANO_IN_MICRO,
        "pid": process,
        "tid": track,
        "args": {**_plain(span.attributes), **{name: value for name, value in told.items() if value}},
    }


def _plain(attributes: Attributes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(encode_attributes(attributes).text)
    return told


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()
