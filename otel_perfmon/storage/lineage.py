"""Self time and call edges, found from spans in the order in which they end.

A child ends before its parent, as a rule: its duration waits here until the parent comes. Self time is the parent's
duration less that of its local children, never below 0. A child that outlives its parent still makes a call edge, but
takes nothing from the parent's self time. What waits is bounded: of two generations the older one is forgotten.
"""

from __future__ import annotations

from typing import Final

from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.rows import EdgeRow, ResourceRow, SpanRow

WAITING_MAX: Final = 50_000
"""Spans of each kind remembered in one generation."""

_OPERATIONS_MAX: Final = 10_000
_HOUR_NANO: Final = 3_600_000_000_000
_Operation = tuple[ResourceRow, str]


class _Children:
    __slots__ = ("calls", "duration_sum_nano")

    def __init__(self) -> None:
        self.duration_sum_nano = 0
        self.calls: dict[tuple[ResourceRow, str, int], list[int]] = {}


class Lineage:
    """Feed it each span once, in the order of their ends; not thread-safe."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting: Generations[bytes, _Children] = Generations(waiting_max)
        self._ended: Generations[bytes, _Operation] = Generations(waiting_max)
        self._operations: dict[_Operation, _Operation] = {}
        self._edges: dict[tuple[ResourceRow, str, ResourceRow, str, int], list[int]] = {}

    def self_nano(self, row: SpanRow) -> int:
        """The span's self time in nanoseconds; its calls and its caller are taken note of."""
        own = row.trace_id + row.span_id
        children = self._waiting.pop(own)
        self_nano = row.duration_nano
        if children is not None:
            self_nano = max(0, self_nano - children.duration_sum_nano)
            for (resource, name, hour), (count, nano) in children.calls.items():
                self._add_edge((row.resource, row.name, resource, name, hour), count, nano)
        if row.parent_span_id and not row.is_parent_remote:
            self._note_call(row.trace_id + row.parent_span_id, row)
        self._ended.set(own, self._operation_of(row))
        return self_nano

    def take_edges(self) -> list[EdgeRow]:
        """The call edges found since the last time."""
        edges = [EdgeRow(*key, count, nano) for key, (count, nano) in self._edges.items()]
        self._edges = {}
        return edges

    def _note_call(self, parent: bytes, row: SpanRow) -> None:
        hour = row.end_unix_nano // _HOUR_NANO * 3600
        caller = self._ended.get(parent)
        if caller is not None:
            self._add_edge((*caller, row.resource, row.name, hour), 1, row.duration_nano)
            return
        children = self._waiting.get(parent)
        if children is None:
            children = _Children()
            self._waiting.set(parent, children)
        children.duration_sum_nano += row.duration_nano
        call = children.calls.setdefault((row.resource, row.name, hour), [0, 0])
        call[0] += 1
        call[1] += row.duration_nano

    def _operation_of(self, row: SpanRow) -> _Operation:
        """One tuple for each operation: of one for each span the garbage collector would have to visit 100,000."""
        key = (row.resource, row.name)
        operation = self._operations.get(key)
        if operation is None:
            if len(self._operations) >= _OPERATIONS_MAX:
                self._operations.clear()
            operation = self._operations[key] = key
        return operation

    def _add_edge(self, key: tuple[ResourceRow, str, ResourceRow, str, int], count: int, nano: int) -> None:
        edge = self._edges.setdefault(key, [0, 0])
        edge[0] += count
        edge[1] += nano
