"""What of a long trace is shown: the spans that matter most below their ancestors, and how many are left out where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_perfmon.trace import TraceNode, TraceTree


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a tree: the node at ``node_index``, or, if that is None, ``hidden_count`` spans that are left out.

    ``level`` counts the shown ancestors; it is less than ``depth``, which counts all, only below hidden ones. Start and
    end are the node's, or the first and the last of the hidden spans'.
    """

    level: int
    depth: int
    node_index: int | None
    start_unix_nano: int
    end_unix_nano: int
    hidden_count: int = 0
    hidden_error_count: int = 0


def choose_rows(tree: TraceTree, spans_max: int, *, focus: int | None = None) -> list[Row]:
    """The rows of a tree in its order, with at most ``spans_max`` of its spans (0: with all).

    First the node at index ``focus``, then errors (those first in which an error began), slow spans, the critical path,
    and then the longest; each with its ancestors. Errors, slow spans and the one with most of the critical path are
    shown without those if there is no room.
    """
    nodes = tree.nodes
    is_shown = [True] * len(nodes)
    if 0 < spans_max < len(nodes):
        is_shown = _choose(nodes, spans_max, focus)
    rows, hidden = _make_rows(nodes, is_shown)
    return _with_hidden(rows, hidden)


def _choose(nodes: Sequence[TraceNode], spans_max: int, focus: int | None) -> list[bool]:
    passed_on = {node.parent_index for node in nodes if node.span.is_error}

    def rank(index: int) -> tuple[object, ...]:
        node = nodes[index]
        is_origin = node.span.is_error and index not in passed_on
        flags = (index != focus, not is_origin, not node.span.is_error, not node.span.is_slow)
        return (*flags, -node.critical_nano, -node.duration_nano, index)

    critical = max(range(len(nodes)), key=lambda index: nodes[index].critical_nano)
    is_shown = [False] * len(nodes)
    room = spans_max
    for index in sorted(range(len(nodes)), key=rank):
        if is_shown[index]:
            continue
        lineage = _missing_lineage(nodes, is_shown, index, room)
        if len(lineage) > room:
            span = nodes[index].span
            lineage = [index] if index in (focus, critical) or span.is_error or span.is_slow else []
        for each in lineage:
            is_shown[each] = True
        room -= len(lineage)
        if not room:
            break
    return is_shown


def _missing_lineage(nodes: Sequence[TraceNode], is_shown: Sequence[bool], index: int, room: int) -> list[int]:
    """The node and its ancestors up to one that is shown; the search ends when they are more than ``room``."""
    lineage: list[int] = []
    above: int | None = index
    while above is not None and not is_shown[above] and len(lineage) <= room:
        lineage.append(above)
        above = nodes[above].parent_index
    return lineage


@dataclass(slots=True)
class _Hidden:
    start: int
    end: int
    count: int = 0
    error_count: int = 0


def _make_rows(nodes: Sequence[TraceNode], is_shown: Sequence[bool]) -> tuple[list[Row], dict[int, _Hidden]]:
    """The rows of the shown nodes, and what is hidden, by the row of the nearest shown ancestor (-1: there is none)."""
    rows: list[Row] = []
    hidden: dict[int, _Hidden] = {}
    row_of: list[int] = []  # for each node the row it stands in or is hidden below
    for index, node in enumerate(nodes):
        above = -1 if node.parent_index is None else row_of[node.parent_index]
        start, end = node.start_unix_nano, node.end_unix_nano
        if is_shown[index]:
            row_of.append(len(rows))
            level = 0 if above < 0 else rows[above].level + 1
            rows.append(Row(level, node.depth, index, start, end))
            continue
        row_of.append(above)
        known = hidden.setdefault(above, _Hidden(start, end))
        known.count += 1
        known.error_count += node.span.is_error
        known.start, known.end = min(known.start, start), max(known.end, end)
    return rows, hidden


def _with_hidden(rows: Sequence[Row], hidden: dict[int, _Hidden]) -> list[Row]:
    """The rows, with one for the hidden spans after the last of each row's children."""
    result: list[Row] = []
    open_rows: list[int] = [-1]

    def close_down_to(level: int) -> None:
        while len(open_rows) > level + 1:
            left_out = hidden.get(open_rows.pop())
            if left_out is not None:
                below = len(open_rows)
                figures = left_out.start, left_out.end, left_out.count, left_out.error_count
                result.append(Row(below, below, None, *figures))

    for number, row in enumerate(rows):
        close_down_to(row.level)
        result.append(row)
        open_rows.append(number)
    close_down_to(-1)
    return result
