"""The operations around one: who called it and what it called, each with its share of the time and of the calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_perfmon.query import Window
from otel_perfmon.records import CallEdge, OperationStats
from otel_perfmon.web.pages.page import Asked


@dataclass(frozen=True, slots=True)
class Relative:
    """One of them. ``operation`` is None for what is none: calls from nowhere, or time of its own.

    ``share`` is between 0 and 1, and more where calls ran at the same time; ``count`` and ``mean_ms`` are those of the
    calls between the two, None where there are none.
    """

    operation: str | None
    share: float
    total_ms: float
    count: int | None
    mean_ms: float | None


@dataclass(frozen=True, slots=True)
class Relatives:
    """Callers by their share of the operation's time, callees by how much of it they took; over whole hours."""

    callers: tuple[Relative, ...]
    callees: tuple[Relative, ...]
    window: Window | None


def find_relatives(asked: Asked, stats: OperationStats) -> Relatives:
    """Those of the operation with these figures, whose window may be widened for them to whole hours."""
    name = stats.operation
    edges = asked.store.summarize_calls(operation=name, **asked.scope)
    window = edges[0].window if edges else stats.window
    if edges and window != stats.window:
        whole = asked.store.summarize_operations(operation=name, service=asked.get("service"), window=window)
        stats = whole[0] if whole else stats
    return Relatives(
        _callers([edge for edge in edges if edge.callee == name], stats),
        _callees([edge for edge in edges if edge.caller == name], stats),
        window,
    )


def _callers(edges: Sequence[CallEdge], stats: OperationStats) -> tuple[Relative, ...]:
    found = [_relative(edge.caller, edge, stats) for edge in edges]
    count = stats.count - sum(edge.count for edge in edges)
    if count > 0 and found:
        total_ms = max(0.0, stats.total_ms - sum(edge.total_ms for edge in edges))
        found.append(Relative(None, _part(total_ms, stats), total_ms, count, total_ms / count))
    return tuple(sorted(found, key=lambda each: -each.share))


def _callees(edges: Sequence[CallEdge], stats: OperationStats) -> tuple[Relative, ...]:
    found = [_relative(edge.callee, edge, stats) for edge in edges]
    if found:
        found.append(Relative(None, _part(stats.self_ms, stats), stats.self_ms, None, None))
    return tuple(sorted(found, key=lambda each: -each.share))


def _relative(name: str, edge: CallEdge, stats: OperationStats) -> Relative:
    mean_ms = edge.total_ms / edge.count if edge.count else None
    return Relative(name, _part(edge.total_ms, stats), edge.total_ms, edge.count, mean_ms)


def _part(total_ms: float, stats: OperationStats) -> float:
    return total_ms / stats.total_ms if stats.total_ms else 0.0
