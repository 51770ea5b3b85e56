"""A trace: every stored span of one request, and the tree they make.

What is stored of a trace may be any part of it: spans whose parent is not there, span ids that occur twice, spans that
are each other's parents, clocks that differ. The tree takes it all and loses no span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from otel_perfmon.records import LogRecord, SpanRecord
from otel_perfmon.tree import CriticalSegment, Place, critical_path, place_spans


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
        places = place_spans(sorted(self.spans, key=lambda span: span.start_unix_nano))
        path = critical_path(places)
        critical_nano = [0] * len(places)
        for segment in path:
            critical_nano[segment.node_index] += segment.end_unix_nano - segment.start_unix_nano
        nodes = (_node(place, places, nano) for place, nano in zip(places, critical_nano, strict=True))
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


def _node(place: Place[SpanRecord], places: Sequence[Place[SpanRecord]], critical_nano: int) -> TraceNode:
    return TraceNode(
        span=place.span,
        depth=place.depth,
        parent_index=place.parent_index,
        child_count=len(place.children),
        start_unix_nano=place.start,
        end_unix_nano=place.end,
        self_nano=place.self_nano(places),
        critical_nano=critical_nano,
        is_orphan=place.is_orphan,
        is_in_cycle=place.is_in_cycle,
        skew_nano=place.skew_nano,
    )
