"""The outline of a trace: its tree as columns of numbers, for who draws it, with nothing of what spans carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from otel_perfmon.records import ResourceRecord
from otel_perfmon.tree import Place, critical_path, place_spans

_NO_PARENT: Final = -1


class Mark(IntFlag):
    """What is told of a span by one bit each."""

    ERROR = 1
    SLOW = 2
    ORPHAN = 4
    """It has a parent, which is not among the spans."""
    IN_CYCLE = 8
    """The link to its parent was cut: they were each other's parents."""
    INTERRUPTED = 16
    """Its process was gone before it ended."""
    RUNNING = 32
    SKEWED = 64
    """It was moved by another stretch of time than its parent, since their clocks differ."""
    REMOTE = 128
    """Its parent is of another process, as it says itself."""


class OutlineSpan(NamedTuple):
    """What of a span the outline is made from; ``marks`` are those that the span itself tells."""

    span_id: str
    parent_span_id: str | None
    name: str
    kind: int
    start_unix_nano: int
    duration_nano: int
    resource: ResourceRecord
    marks: int


@dataclass(frozen=True, slots=True)
class Outline:
    """The spans of a trace in the order in which a tree shows them, each before its children, as columns.

    What stands at one place of each column is one span. ``parents`` are places, -1 for a root; ``name_indexes`` and
    ``service_indexes`` are places in ``names`` and ``services``. Starts count from ``start_unix_nano`` and are on
    corrected clocks, each moved by its skew. ``marks`` are sums of `Mark`. ``critical_path`` has three numbers for each
    stretch of time, in order: the place of the span that determined it, its start, and its end. ``version`` changes
    when the trace does.
    """

    trace_id: str
    version: str
    is_complete: bool
    stored_count: int
    log_count: int
    start_unix_nano: int
    duration_nano: int
    names: Sequence[str]
    services: Sequence[str]
    span_ids: Sequence[str]
    parents: Sequence[int]
    depths: Sequence[int]
    name_indexes: Sequence[int]
    service_indexes: Sequence[int]
    kinds: Sequence[int]
    starts_nano: Sequence[int]
    durations_nano: Sequence[int]
    selfs_nano: Sequence[int]
    skews_nano: Sequence[int]
    marks: Sequence[int]
    critical_path: Sequence[int]

    def __len__(self) -> int:
        return len(self.span_ids)

    def count(self, mark: Mark) -> int:
        """How many spans have that mark."""
        bit = mark.value
        return sum(number for marks, number in Counter(self.marks).items() if marks & bit)

    def find(self, span_id: str, number: int = 1) -> int | None:
        """The place of the span of that id; of several, that of the one so far down."""
        places = (place for place, each in enumerate(self.span_ids) if each == span_id)
        return next((place for nth, place in enumerate(places, 1) if nth == number), None)


class Counts(NamedTuple):
    """What an outline tells beside its spans; see there."""

    version: str
    is_complete: bool
    stored_count: int
    log_count: int


def outline_of(trace_id: str, spans: Iterable[OutlineSpan], counts: Counts) -> Outline:
    """The outline that the spans make; `Trace.tree` puts them at the same places."""
    places = place_spans(sorted(spans, key=attrgetter("start_unix_nano")))
    start = min((place.start for place in places), default=0)
    names: dict[str, int] = {}
    services: dict[str, int] = {}
    service_of = {id(place.span.resource): _service(place.span.resource) for place in places}
    segments = ((index, begin - start, end - start) for index, begin, end in critical_path(places))
    return Outline(
        trace_id=trace_id,
        **counts._asdict(),
        start_unix_nano=start,
        duration_nano=max((place.end for place in places), default=0) - start,
        span_ids=tuple(place.span.span_id for place in places),
        parents=tuple(_NO_PARENT if place.parent_index is None else place.parent_index for place in places),
        depths=tuple(place.depth for place in places),
        name_indexes=tuple(names.setdefault(place.span.name, len(names)) for place in places),
        service_indexes=tuple(
            services.setdefault(service_of[id(place.span.resource)], len(services)) for place in places
        ),
        kinds=tuple(place.span.kind for place in places),
        starts_nano=tuple(place.start - start for place in places),
        durations_nano=tuple(place.end - place.start for place in places),
        selfs_nano=tuple(place.self_nano(places) for place in places),
        skews_nano=tuple(place.skew_nano for place in places),
        marks=tuple(_marks(place, places) for place in places),
        critical_path=tuple(chain.from_iterable(segments)),
        names=tuple(names),  # filled by the columns above
        services=tuple(services),
    )


def _service(resource: ResourceRecord) -> str:
    return str(resource.attributes.get("service.name", ""))


def _marks(place: Place[OutlineSpan], places: Sequence[Place[OutlineSpan]]) -> int:
    marks = place.span.marks
    if place.is_orphan:
        marks |= Mark.ORPHAN.value
    if place.is_in_cycle:
        marks |= Mark.IN_CYCLE.value
    if place.parent_index is not None and place.skew_nano != places[place.parent_index].skew_nano:
        marks |= Mark.SKEWED.value
    return marks
