"""A trace: every stored span of one request, and the tree they make.

What is stored of a trace may be any part of it: spans whose parent is not there, span ids that occur twice, spans that
are each other's parents, clocks that differ. The tree takes it all and loses no span. Nothing here recurses: a chain
may be as deep as it likes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Final, NamedTuple

from otel_perfmon.records import LogRecord, ResourceRecord, SpanRecord

_PRODUCER: Final = 4
_CONSUMER: Final = 5


@dataclass(frozen=True, slots=True)
class Trace:
    """The stored spans of one trace, ordered by start, and its log records, ordered by when they happened.

    ``is_complete`` is False when the store holds more spans than an answer may; of log records it has the latest.
    """

    trace_id: str
    spans: tuple[SpanRecord, ...]
    is_complete: bool = True
    logs: tuple[LogRecord, ...] = ()

    def with_logged_exceptions(self) -> Trace:
        """The trace in which an exception of which a log record tells is an event of its span, if that has none."""
        told = {log.span_id: log.exception for log in self.logs if log.span_id and log.exception}
        spans = (
            replace(span, events=(*span.events, event))
            if (event := told.get(span.span_id)) is not None and span.exception is None
            else span
            for span in self.spans
        )
        return replace(self, spans=tuple(spans)) if told else self

    def tree(self) -> TraceTree:
        """The spans in their places: O(n log n), for any depth."""
        places = _place(sorted(self.spans, key=lambda span: span.start_unix_nano))
        path = _critical_path(places)
        critical_nano = [0] * len(places)
        for segment in path:
            critical_nano[segment.node_index] += segment.end_unix_nano - segment.start_unix_nano
        nodes = (place.node(places, nano) for place, nano in zip(places, critical_nano, strict=True))
        return TraceTree(tuple(nodes), tuple(path))


@dataclass(frozen=True, slots=True)
class TraceNode:
    """A span in its place in the tree.

    ``parent_index`` is the parent's place in `TraceTree.nodes`, None for a root. Start and end are corrected for clock
    skew, by ``skew_nano``; the end is never before the start. ``self_nano`` is the duration less the time in which at
    least one child ran, ``critical_nano`` the time on the critical path. ``is_orphan``: it has a parent, which is not
    among the stored spans. ``is_in_cycle``: the link to its parent was cut, since the spans were each other's parents.
    """

    span: SpanRecord
    depth: int
    parent_index: int | None
    child_count: int
    start_unix_nano: int
    end_unix_nano: int
    self_nano: int
    critical_nano: int
    is_orphan: bool
    is_in_cycle: bool
    skew_nano: int

    @property
    def duration_nano(self) -> int:
        """End less start, never below 0."""
        return self.end_unix_nano - self.start_unix_nano


class CriticalSegment(NamedTuple):
    """A stretch of time which the span at ``node_index`` of `TraceTree.nodes` determined, and none of its children."""

    node_index: int
    start_unix_nano: int
    end_unix_nano: int


@dataclass(frozen=True, slots=True)
class TraceTree:
    """The spans of a trace in the order in which a tree shows them: each before its children, these by start.

    ``critical_path`` is what had to be faster for a root to end earlier, in order of time. The segments below one root
    are disjoint and add up to its duration. With several roots, it holds the path of each.
    """

    nodes: tuple[TraceNode, ...]
    critical_path: tuple[CriticalSegment, ...]

    @property
    def start_unix_nano(self) -> int:
        """When the first span started, on the corrected clocks; 0 without any."""
        return min((node.start_unix_nano for node in self.nodes), default=0)

    @property
    def end_unix_nano(self) -> int:
        """When the last span ended, on the corrected clocks; 0 without any."""
        return max((node.end_unix_nano for node in self.nodes), default=0)

    @property
    def error_count(self) -> int:
        """How many spans failed."""
        return sum(node.span.is_error for node in self.nodes)

    @property
    def slow_count(self) -> int:
        """How many spans were slow."""
        return sum(node.span.is_slow for node in self.nodes)

    @property
    def services(self) -> tuple[str, ...]:
        """The distinct services that are named, in the order in which they come."""
        return tuple(dict.fromkeys(node.span.service for node in self.nodes if node.span.service))


@dataclass(slots=True)
class _Place:
    """A node while the tree grows; ``children`` are indexes into the list of places, in order of start."""

    span: SpanRecord
    parent_index: int | None
    depth: int
    skew_nano: int
    is_orphan: bool
    is_in_cycle: bool
    start: int = 0
    end: int = 0
    children: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = self.span.start_unix_nano + self.skew_nano
        self.end = self.start + self.span.duration_nano

    def node(self, places: Sequence[_Place], critical_nano: int) -> TraceNode:
        return TraceNode(
            span=self.span,
            depth=self.depth,
            parent_index=self.parent_index,
            child_count=len(self.children),
            start_unix_nano=self.start,
            end_unix_nano=self.end,
            self_nano=self._self_nano(places),
            critical_nano=critical_nano,
            is_orphan=self.is_orphan,
            is_in_cycle=self.is_in_cycle,
            skew_nano=self.skew_nano,
        )

    def _self_nano(self, places: Sequence[_Place]) -> int:
        covered, reached = 0, self.start
        for child in map(places.__getitem__, self.children):
            start, end = max(reached, child.start), min(self.end, child.end)
            if start < end:
                covered += end - start
                reached = end
        return self.end - self.start - covered


# --- who is whose child


def _place(spans: Sequence[SpanRecord]) -> list[_Place]:
    """The places in the order of the tree. ``spans`` are ordered by start, and are numbered by it below."""
    parents, orphans = _find_parents(spans)
    cut = _cut_cycles(parents)
    children: list[list[int]] = [[] for _ in spans]
    for number, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(number)
    places: list[_Place] = []
    waiting: list[tuple[int, int | None, int]] = [(n, None, 0) for n in range(len(spans)) if parents[n] is None]
    waiting.reverse()
    while waiting:
        number, parent_index, skew_nano = waiting.pop()
        depth = 0 if parent_index is None else places[parent_index].depth + 1
        place = _Place(spans[number], parent_index, depth, skew_nano, number in orphans, number in cut)
        if parent_index is not None:
            places[parent_index].children.append(len(places))
        shifted = [(child, len(places), _skew_nano(spans[child], place)) for child in children[number]]
        shifted.sort(key=lambda each: spans[each[0]].start_unix_nano + each[2])
        waiting += reversed(shifted)
        places.append(place)
    return places


def _find_parents(spans: Sequence[SpanRecord]) -> tuple[list[int | None], set[int]]:
    """For each span the number of its parent, and the orphans.

    Of several spans with the parent's id it is the first whose time contains the span, else the first of all.
    """
    numbers_of: dict[str, list[int]] = {}
    for number, span in enumerate(spans):
        numbers_of.setdefault(span.span_id, []).append(number)
    # The latest end so far: the first twin at which it is not before the span's own end is the one, as starts ascend.
    ends_of = {key: list(accumulate((_end(spans[n]) for n in twins), max)) for key, twins in numbers_of.items()}
    parents: list[int | None] = []
    orphans: set[int] = set()
    for number, span in enumerate(spans):
        parent_id = span.parent_span_id
        if not parent_id or parent_id not in numbers_of:
            parents.append(None)
            if parent_id:
                orphans.add(number)
            continue
        twins = numbers_of[parent_id]
        position = bisect_left(ends_of[parent_id], _end(span))
        is_inside = position < len(twins) and spans[twins[position]].start_unix_nano <= span.start_unix_nano
        parents.append(twins[position if is_inside else 0])
    return parents, orphans


def _end(span: SpanRecord) -> int:
    return span.start_unix_nano + span.duration_nano


def _cut_cycles(parents: list[int | None]) -> set[int]:
    """Take the parent from the first span of each cycle; which these are."""
    cut: set[int] = set()
    walk_of = [-1] * len(parents)
    for first in range(len(parents)):
        number: int | None = first
        while number is not None and walk_of[number] < 0:
            walk_of[number] = first
            number = parents[number]
        if number is not None and walk_of[number] == first:
            lowest = min(_cycle(parents, number))
            parents[lowest] = None
            cut.add(lowest)
    return cut


def _cycle(parents: Sequence[int | None], member: int) -> Iterator[int]:
    yield member
    number = parents[member]
    while number is not None and number != member:
        yield number
        number = parents[number]


# --- clocks


def _skew_nano(child: SpanRecord, parent: _Place) -> int:
    """How far to move a span so that it fits its parent, as Jaeger does (jaegertracing/jaeger, adjuster/clockskew).

    What shares its parent's clock keeps its distance from it. What does not is moved only if it starts before its
    parent or ends after it: to the parent's start if it lasts longer, else to the middle, as if the way there and the
    way back took the same time. Beyond Jaeger: a clock that is off as much as the parent's is believed, and what goes
    through a queue may end whenever it likes.
    """
    if _is_same_clock(child.resource, parent.span.resource):
        return parent.skew_nano
    spare = parent.end - parent.start - child.duration_nano
    is_within = spare >= 0 and parent.span.kind != _PRODUCER and child.kind != _CONSUMER
    for skew_nano in (0, parent.skew_nano):
        start = child.start_unix_nano + skew_nano
        if start >= parent.start and (not is_within or start + child.duration_nano <= parent.end):
            return skew_nano
    return parent.start + (spare // 2 if is_within else 0) - child.start_unix_nano


def _is_same_clock(one: ResourceRecord, other: ResourceRecord) -> bool:
    """Whether two resources are one process, or say that they are on one host."""
    if one is other or one == other:
        return True
    host = _host(one)
    return host is not None and host == _host(other)


def _host(resource: ResourceRecord) -> Any:
    return resource.attributes.get("host.id") or resource.attributes.get("host.name")


# --- the critical path


def _critical_path(places: Sequence[_Place]) -> list[CriticalSegment]:
    """The critical path below each root, in order of time.

    From a span's end backwards: the child that ended last before the point reached was waited for, and its own path
    leads to its start, from where the search goes on. Time between such children is the span's own. Children are cut
    where they overrun their parent. (CRISP: Zhang et al., USENIX ATC 2022; jaeger-ui, TracePage/CriticalPath.)
    """
    path: list[CriticalSegment] = []
    for index, place in enumerate(places):
        if place.parent_index is None:
            path += _path_below(places, index)
    path.sort(key=lambda segment: (segment.start_unix_nano, segment.node_index))
    return path


class _Walk:
    """The way back through one span: from ``end`` to ``start``, of which ``reached`` is still before us."""

    __slots__ = ("_children", "end", "index", "reached", "start")

    def __init__(self, places: Sequence[_Place], index: int, start: int, end: int) -> None:
        self.index, self.start, self.end, self.reached = index, start, end, end
        children = places[index].children
        self._children = iter(sorted(children, key=lambda child: (-places[child].end, places[child].start)))

    def next_child(self, places: Sequence[_Place]) -> _Walk | None:
        """The way through the child that was waited for, if there is one left."""
        for child in self._children:
            start, end = max(places[child].start, self.start), min(places[child].end, self.end)
            if start < end <= self.reached:
                return _Walk(places, child, start, end)
        return None


def _path_below(places: Sequence[_Place], root: int) -> list[CriticalSegment]:
    path: list[CriticalSegment] = []
    walks = [_Walk(places, root, places[root].start, places[root].end)]
    while walks:
        walk = walks[-1]
        child = walk.next_child(places)
        own_start = walk.start if child is None else child.end
        if own_start < walk.reached:
            path.append(CriticalSegment(walk.index, own_start, walk.reached))
        if child is None:
            walks.pop()
        else:
            walk.reached = child.start
            walks.append(child)
    return path
