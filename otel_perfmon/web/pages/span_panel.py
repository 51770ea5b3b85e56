"""What a person asks about one span: how long and how unusual, where it was slow, what failed, what it carries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from otel_perfmon.errors import QueryError
from otel_perfmon.json_form import as_json
from otel_perfmon.outline import Mark, Outline
from otel_perfmon.records import STACK_EVENT, EventRecord, LinkRecord, LogRecord, OpenSpanRecord, SpanRecord
from otel_perfmon.storage.base import TRACE_LOGS_MAX, Store
from otel_perfmon.trace import Trace
from otel_perfmon.web.pages.rank import Rank, rank_of
from otel_perfmon.web.pages.stack import Stack
from otel_perfmon.web.pages.trace_summary import critical_nano, error_message, key_of

_VALUE_CHARACTERS_MAX: Final = 4_000
_VALUES_MAX: Final = 500
_FEW_VALUES_MAX: Final = 50
"""Of an event, a link, a log record or a resource."""
_MOMENTS_MAX: Final = 200
_LINKS_MAX: Final = 100
"""A page with 10,000 of each has many megabytes, at which a browser draws for seconds. Files of spans have them all."""
_STACKS: Final = frozenset({"exception.stacktrace", "code.stacktrace"})
_TOLD: Final = frozenset({"exception.type", "exception.message", "exception.escaped"})
"""What the panel has told of an exception by then."""


@dataclass(frozen=True, slots=True)
class Value:
    """An attribute: its value as text, ``shown`` cut where that is very long, and as JSON to filter by."""

    key: str
    text: str
    json: str

    @property
    def shown(self) -> str:
        """What there is room for."""
        return self.text[:_VALUE_CHARACTERS_MAX]

    @property
    def left_count(self) -> int:
        """How many characters there is no room for."""
        return max(0, len(self.text) - _VALUE_CHARACTERS_MAX)


@dataclass(frozen=True, slots=True)
class Moment:
    """An event or a log record of a span: how long after the span's start, and what it says."""

    offset_nano: int
    name: str
    attributes: list[Value]
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A link of a span; only to a trace that ``is_stored`` can one go."""

    link: LinkRecord
    is_stored: bool
    attributes: list[Value]


@dataclass(frozen=True, slots=True)
class SpanPanel:
    """One span of a trace; ``place`` is that in the outline."""

    key: str
    place: int
    span: SpanRecord
    mark: Mark
    running: OpenSpanRecord | None
    twin_count: int
    offset_nano: int
    skew_nano: int
    self_nano: int
    critical_nano: int
    overrun_nano: int
    child_count: int
    parent_key: str
    parent_name: str
    rank: Rank | None
    slow_stack: Stack | None
    slow_after_nano: int
    error_type: str
    error_message: str
    error_stack: Stack | None
    values: list[Value]
    resource: list[Value]
    scope: list[Value]
    links: list[Pointer]
    events: list[Moment]
    logs: list[Moment]
    log_count: int

    @property
    def dropped(self) -> dict[str, int]:
        """How many attributes, events and links were dropped before the span came here."""
        counts = {
            "attribute": self.span.dropped_attributes_count,
            "event": self.span.dropped_events_count,
            "link": self.span.dropped_links_count,
        }
        return {noun: count for noun, count in counts.items() if count}

    @property
    def event_offsets(self) -> str:
        """When its events were, from the trace's start, for the picture."""
        return ",".join(str(self.offset_nano + each.offset_nano) for each in self.events)


def make_panel(store: Store, outline: Outline, place: int) -> SpanPanel | None:
    """The panel of the span at that place; None if it has gone since the outline was made."""
    logs = store.find_logs(trace_id=outline.trace_id, limit=TRACE_LOGS_MAX) if outline.log_count else []
    span, running, twin_count = _find(store, outline, place, logs)
    if span is None:
        return None
    exception = span.exception
    taken = next((event.time_unix_nano for event in span.events if event.name == STACK_EVENT), span.start_unix_nano)
    parent = outline.parents[place]
    own_logs = [log for log in reversed(logs) if log.span_id == span.span_id]
    return SpanPanel(
        key=key_of(outline, place),
        place=place,
        span=span,
        mark=Mark(outline.marks[place]),
        running=running,
        twin_count=twin_count,
        offset_nano=outline.starts_nano[place],
        skew_nano=outline.skews_nano[place],
        self_nano=outline.selfs_nano[place],
        critical_nano=critical_nano(outline).get(place, 0),
        overrun_nano=max(0, _end(outline, place) - _end(outline, parent)) if parent >= 0 else 0,
        child_count=outline.parents.count(place),
        parent_key=key_of(outline, parent) if parent >= 0 else "",
        parent_name=outline.names[outline.name_indexes[parent]] if parent >= 0 else "",
        rank=rank_of(store, span.name, span.service, span.duration_ms, span.end_unix_nano),
        slow_stack=Stack.of(span.stack_trace),
        slow_after_nano=max(0, taken - span.start_unix_nano),
        error_type=str((exception.attributes.get("exception.type") if exception else "") or span.error_type or ""),
        error_message=error_message(span),
        error_stack=Stack.of(str(exception.attributes.get("exception.stacktrace", "")) if exception else ""),
        values=_values(span.attributes, most=_VALUES_MAX),
        resource=_values(span.resource.attributes),
        scope=_values(span.scope.attributes),
        links=_links(store, span),
        events=[_event(event, span, exception) for event in span.events[:_MOMENTS_MAX]],
        logs=[_log(log, span) for log in own_logs[:_MOMENTS_MAX]],
        log_count=len(own_logs),
    )


def _find(
    store: Store, outline: Outline, place: int, logs: Sequence[LogRecord]
) -> tuple[SpanRecord | None, OpenSpanRecord | None, int]:
    """The whole span that stands at a place, the same if it has not ended, and how many have its id."""
    span_id, start = outline.span_ids[place], outline.starts_nano[place] - outline.skews_nano[place]
    start += outline.start_unix_nano
    twins = store.find_trace_spans(outline.trace_id, [span_id])
    running = [each for each in store.find_open_spans(trace_id=outline.trace_id) if each.span.span_id == span_id]
    if outline.marks[place] & Mark.RUNNING and running:
        return running[0].span, running[0], len(twins) + 1
    took = outline.durations_nano[place]
    found = [each for each in twins if (each.start_unix_nano, each.duration_nano) == (start, took)]
    found = found or twins or [each.span for each in running]
    if not found:
        return None, None, 0
    trace = Trace(outline.trace_id, (found[0],), logs=tuple(logs)).with_logged_exceptions()
    is_open = not twins
    return trace.spans[0], running[0] if is_open else None, len(twins) + len(running)


def _links(store: Store, span: SpanRecord) -> list[Pointer]:
    links = span.links[:_LINKS_MAX]
    stored = {each: _is_stored(store, each) for each in {link.trace_id for link in links}}
    return [Pointer(link, stored[link.trace_id], _values(link.attributes)) for link in links]


def _is_stored(store: Store, trace_id: str) -> bool:
    try:
        return store.find_trace_ids(trace_id, limit=1) == [trace_id]
    except QueryError:  # it is no id
        return False


def _end(outline: Outline, place: int) -> int:
    return outline.starts_nano[place] + outline.durations_nano[place]


def _values(attributes: Mapping[str, Any], without: Iterable[str] = (), *, most: int = _FEW_VALUES_MAX) -> list[Value]:
    left_out = set(without)
    return [_value(key, value) for key, value in islice(attributes.items(), most) if key not in left_out]


def _value(key: str, value: Any) -> Value:
    told = json.dumps(as_json(value), ensure_ascii=False)
    return Value(key, value if isinstance(value, str) else told, told)


def _event(event: EventRecord, span: SpanRecord, exception: EventRecord | None) -> Moment:
    told = _STACKS | _TOLD if event is exception else _STACKS
    return Moment(event.time_unix_nano - span.start_unix_nano, event.name, _values(event.attributes, told))


def _log(log: LogRecord, span: SpanRecord) -> Moment:
    body = log.body if isinstance(log.body, str) else json.dumps(as_json(log.body), ensure_ascii=False)
    offset = log.moment_unix_nano - span.start_unix_nano
    return Moment(offset, body if log.has_body else log.event_name, _values(log.attributes, _STACKS), log.severity)
