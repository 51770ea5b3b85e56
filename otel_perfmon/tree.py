"""Spans in their places: who is whose child, on which clock, and what had to be faster for a trace to end earlier.

Any spans will do, with all that they carry or with little more than their ids and times. Nothing here recurses: a chain
may be as deep as it likes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

_PRODUCER: Final = 4
_CONSUMER: Final = 5


class TreeResource(Protocol):
    """What made a span, as far as it tells whose clock that is."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Among them those that name the host."""


class TreeSpan(Protocol):
    """What of a span tells its place."""

    @property
    def span_id(self) -> str:
        """Its id; twins may have it too."""

    @property
    def parent_span_id(self) -> str | None:
        """Its parent's."""

    @property
    def kind(self) -> int:
        """OTLP's number."""

    @property
    def start_unix_nano(self) -> int:
        """When it started, on its own clock."""

    @property
    def duration_nano(self) -> int:
        """How long it took, never below 0."""

    @property
    def resource(self) -> TreeResource:
        """What made it."""


SpanT = TypeVar("SpanT", bound=TreeSpan)
"""Whatever spans a tree is made of."""


class CriticalSegment(NamedTuple):
    """A stretch of time which the span at ``node_index`` of `TraceTree.nodes` determined, and none of its children."""

    node_index: int
    start_unix_nano: int
    end_unix_nano: int


@dataclass(slots=True)
class Place(Generic[SpanT]):
    """A node while the tree grows; ``children`` are indexes into the list of places, in order of start."""

    span: SpanT
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

    def self_nano(self, places: Sequence[Place[SpanT]]) -> int:
        """The duration less the time in which at least one child ran."""
        covered, reached = 0, self.start
        for child in map(places.__getitem__, self.children):
            start, end = max(reached, child.start), min(self.end, child.end)
            if start < end:
                covered += end - start
                reached = end
        return self.end - self.start - covered


# --- who is whose child


def place_spans(spans: Sequence[SpanT]) -> list[Place[SpanT]]:
    """The places in the order of the tree. ``spans`` are ordered by start, and are numbered by it below."""
    parents, orphans = _find_parents(spans)
    cut = _cut_cycles(parents)
    children: dict[int, list[int]] = {}
    for number, parent in enumerate(parents):
        if parent is not None:
            children.setdefault(parent, []).append(number)
    places: list[Place[SpanT]] = []
    waiting: list[tuple[int, int | None, int]] = [(n, None, 0) for n in range(len(spans)) if parents[n] is None]
    waiting.reverse()
    while waiting:
        number, parent_index, skew_nano = waiting.pop()
        depth = 0 if parent_index is None else places[parent_index].depth + 1
        place = Place(spans[number], parent_index, depth, skew_nano, number in orphans, number in cut)
        if parent_index is not None:
            places[parent_index].children.append(len(places))
        if number in children:
            shifted = [(child, len(places), _skew_nano(spans[child], place)) for child in children[number]]
            shifted.sort(key=lambda each: spans[each[0]].start_unix_nano + each[2])
            waiting += reversed(shifted)
        places.append(place)
    return places


def _find_parents(spans: Sequence[TreeSpan]) -> tuple[list[int | None], set[int]]:
    """For each span the number of its parent, and the orphans.

    Of several spans with the parent's id it is the first whose time contains the span, else the first of all.
    """
    first_of: dict[str, int] = {}
    twins_of: dict[str, list[int]] = {}  # of the few ids that occur more than once
    for number, span in enumerate(spans):
        first = first_of.setdefault(span.span_id, number)
        if first != number:
            twins_of.setdefault(span.span_id, [first]).append(number)
    # The latest end so far: the first twin at which it is not before the span's own end is the one, as starts ascend.
    ends_of = {key: list(accumulate((_end(spans[n]) for n in twins), max)) for key, twins in twins_of.items()}
    parents: list[int | None] = []
    orphans: set[int] = set()
    for number, span in enumerate(spans):
        parent_id = span.parent_span_id
        parent = first_of.get(parent_id) if parent_id else None
        if parent_id and parent is None:
            orphans.add(number)
        elif parent_id and parent_id in twins_of:
            twins = twins_of[parent_id]
            position = bisect_left(ends_of[parent_id], _end(span))
            is_inside = position < len(twins) and spans[twins[position]].start_unix_nano <= span.start_unix_nano
            parent = twins[position if is_inside else 0]
        parents.append(parent)
    return parents, orphans


def _end(span: TreeSpan) -> int:
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


def _skew_nano(child: SpanT, parent: Place[SpanT]) -> int:
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


def _is_same_clock(one: TreeResource, other: TreeResource) -> bool:
    """Whether two resources are one process, or say that they are on one host."""
    if one is other or one == other:
        return True
    host = _host(one)
    return host is not None and host == _host(other)


def _host(resource: TreeResource) -> Any:
    return resource.attributes.get("host.id") or resource.attributes.get("host.name")


# --- the critical path


def critical_path(places: Sequence[Place[SpanT]]) -> list[CriticalSegment]:
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

    def __init__(self, places: Sequence[Place[SpanT]], index: int, start: int, end: int) -> None:
        self.index, self.start, self.end, self.reached = index, start, end, end
        children = places[index].children
        self._children = iter(sorted(children, key=lambda child: (-places[child].end, places[child].start)))

    def next_child(self, places: Sequence[Place[SpanT]]) -> _Walk | None:
        """The way through the child that was waited for, if there is one left."""
        for child in self._children:
            start, end = max(places[child].start, self.start), min(places[child].end, self.end)
            if start < end <= self.reached:
                return _Walk(places, child, start, end)
        return None


def _path_below(places: Sequence[Place[SpanT]], root: int) -> list[CriticalSegment]:
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
