"""Self time and call edges, found from spans in the order in which they end.

A child ends before its parent, as a rule: its duration waits here until the parent comes. Self time is the parent's
duration less that of its local children, never below 0. A child that outlives its parent still makes a call edge, but
takes nothing from the parent's self time. What waits is bounded: of two generations the older one is forgotten.
"""

from __future__ import annotations

from collections import deque
from operator import add
from typing import Final

from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.rows import OVERFLOW_OPERATION, EdgeRow, ResourceRow, SpanRow

WAITING_MAX: Final = 50_000
"""Spans of each kind remembered in one generation."""

CALLEES_MAX: Final = 1_000
"""Operations whose calls wait for the end of one caller; the calls of others are not told apart from each other."""
_HOUR_NANO: Final = 3_600_000_000_000
_Operation = tuple[ResourceRow, str]
_END: Final = SpanRow._fields.index("end_unix_nano")
_DURATION: Final = SpanRow._fields.index("duration_nano")


class _Children:
    __slots__ = ("calls", "duration_sum_nano")

    def __init__(self) -> None:
        self.duration_sum_nano = 0
        self.calls: dict[tuple[ResourceRow, str, int], list[int]] = {}


class _Operations(dict[_Operation, _Operation]):
    """One tuple for each operation; when there are too many, all are forgotten."""

    def __init__(self, size_max: int) -> None:
        super().__init__()
        self._size_max = size_max

    def __missing__(self, operation: _Operation) -> _Operation:
        if len(self) >= self._size_max:
            self.clear()
        self[operation] = operation
        return operation


class _Ended:
    """Which operation each span was of that has ended.

    Asked only when a span with a local parent ends, so spans are put in as the columns they came in, and indexed when
    somebody asks: that is a sixth of what a span without relatives costs to be counted (measured).
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._indexed: Generations[bytes, _Operation] = Generations(size_max)
        self._columns: deque[tuple[list[bytes], list[bytes], list[ResourceRow], list[str]]] = deque()
        self._column_length = 0
        self._operations = _Operations(size_max)

    def add(self, spans: SpanColumns) -> None:
        """All of those spans have ended."""
        trace_ids, span_ids, _, _, names, resources, *_ = spans.columns
        self._columns.append((trace_ids, span_ids, resources, names))
        self._column_length += len(trace_ids)
        while self._column_length - len(self._columns[0][0]) >= self._size_max:
            self._column_length -= len(self._columns.popleft()[0])

    def set(self, key: bytes, operation: _Operation) -> None:
        """The span with that trace and span id, of that operation, has ended."""
        self._index()
        self._indexed.set(key, operation)

    def get(self, key: bytes) -> _Operation | None:
        """The operation of the span with that trace and span id, if it has ended and is remembered."""
        self._index()
        return self._indexed.get(key)

    def operations_of(self, spans: SpanColumns) -> list[_Operation]:
        """The operation of each span: one tuple for all alike, since each more is work for the garbage collector."""
        _, _, _, _, names, resources, *_ = spans.columns
        return self._tuples(resources, names)

    def _index(self) -> None:
        while self._columns:
            trace_ids, span_ids, resources, names = self._columns.popleft()
            self._column_length -= len(trace_ids)
            keys = map(add, trace_ids, span_ids)
            self._indexed.update(zip(keys, self._tuples(resources, names), strict=True))

    def _tuples(self, resources: list[ResourceRow], names: list[str]) -> list[_Operation]:
        return list(map(self._operations.__getitem__, zip(resources, names, strict=True)))


class Lineage:
    """Feed it each span once, in the order of their ends; not thread-safe."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting: Generations[bytes, _Children] = Generations(waiting_max)
        self._ended = _Ended(waiting_max)
        self._edges: dict[tuple[ResourceRow, str, ResourceRow, str, int], list[int]] = {}

    def add_self_times(self, spans: SpanColumns, own: list[int]) -> None:
        """Add to ``own`` the self times of those spans, in nanoseconds, that it has none of yet.

        Their calls and their callers are taken note of.
        """
        trace_ids, span_ids, parents, are_remote, *_ = spans.columns
        durations: list[int] = spans.columns[_DURATION]
        if not (own or self._waiting or any(parents)):
            self._ended.add(spans)
            own += durations
            return
        keys, operations = list(map(add, trace_ids, span_ids)), self._ended.operations_of(spans)
        ends = spans.columns[_END]
        for number in range(len(own), len(keys)):
            key, parent = keys[number], parents[number]
            own.append(self._self_nano(key, operations[number], durations[number]))
            if parent and not are_remote[number]:
                callee = (*operations[number], ends[number] // _HOUR_NANO * 3600)
                self._note_call(trace_ids[number] + parent, callee, durations[number])
            self._ended.set(key, operations[number])

    def take_edges(self) -> list[EdgeRow]:
        """The call edges found since the last time."""
        edges = [EdgeRow(*key, count, nano) for key, (count, nano) in self._edges.items()]
        self._edges = {}
        return edges

    def _self_nano(self, key: bytes, operation: _Operation, duration_nano: int) -> int:
        children = self._waiting.pop(key)
        if children is None:
            return duration_nano
        for call, (count, nano) in children.calls.items():
            self._add_edge((*operation, *call), count, nano)
        return max(0, duration_nano - children.duration_sum_nano)

    def _note_call(self, parent: bytes, callee: tuple[ResourceRow, str, int], duration_nano: int) -> None:
        caller = self._ended.get(parent)
        if caller is not None:
            self._add_edge((*caller, *callee), 1, duration_nano)
            return
        children = self._waiting.get(parent)
        if children is None:
            children = _Children()
            self._waiting.set(parent, children)
        children.duration_sum_nano += duration_nano
        if len(children.calls) >= CALLEES_MAX and callee not in children.calls:
            first_resource = next(iter(children.calls))[0]
            callee = (first_resource, OVERFLOW_OPERATION, callee[2])
        call = children.calls.setdefault(callee, [0, 0])
        call[0] += 1
        call[1] += duration_nano

    def _add_edge(self, key: tuple[ResourceRow, str, ResourceRow, str, int], count: int, nano: int) -> None:
        edge = self._edges.setdefault(key, [0, 0])
        edge[0] += count
        edge[1] += nano
