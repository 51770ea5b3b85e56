"""The questions that are answered under ``/api/``, which are those of a `Store`: path, parameters, answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from otel_perfmon.account import DestinationHealth, Health, ProcessHealth, StoreSummary
from otel_perfmon.doctor import Finding, examine
from otel_perfmon.outline import Outline
from otel_perfmon.query import SpanQuery
from otel_perfmon.records import (
    CallEdge,
    CountSeries,
    Distribution,
    ErrorGroup,
    Heatmap,
    LogRecord,
    OpenSpanRecord,
    OperationSeries,
    OperationStats,
    PointRecord,
    SpanPage,
    SqlRows,
)
from otel_perfmon.storage.base import Store
from otel_perfmon.trace import TraceTree
from otel_perfmon.web.api.parameters import (
    WINDOW,
    Parameter,
    attribute,
    attributes_of,
    count,
    number,
    order,
    text,
    truth,
)

_CELLS_MAX: Final = 1_000
_ROWS_MAX: Final = 200
_ITEMS_MAX: Final = 10_000
_EXAMINATION_SECONDS: Final = 2.0

_SERVICE: Final = text("service", "Of this service alone.")
_OPERATION: Final = text("operation", "Of this operation alone; without it of all together.")
_CELLS: Final = count("cells_max", "In at most so many cells.", _CELLS_MAX)
_LIMIT: Final = count("limit", "At most so many.", _ITEMS_MAX)


@dataclass(frozen=True, slots=True)
class TraceAnswer:
    """A trace with its spans in their places; ``is_complete`` as in `Trace`."""

    trace_id: str
    is_complete: bool
    tree: TraceTree
    logs: tuple[LogRecord, ...]


class Question(NamedTuple):
    """What is asked at a path, and of which type the answer is; a list is told as an object with ``items``."""

    path: str
    summary: str
    answer: Any
    ask: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()


def _find_spans(store: Store, **given: Any) -> SpanPage:
    attributes = attributes_of(given.pop("attribute", ()))
    return store.find_spans(SpanQuery(**given, attributes=attributes))


def _get_trace(store: Store, trace_id: str) -> TraceAnswer:
    trace = store.get_trace(trace_id)
    return TraceAnswer(trace.trace_id, trace.is_complete, trace.with_logged_exceptions().tree(), trace.logs)


def _summarize_counts(store: Store, operation: list[str], **given: Any) -> list[CountSeries]:
    return store.summarize_counts(operation, **given)


def _find_trouble(store: Store) -> list[Finding]:
    return examine(store.summarize_store().path, seconds_max=_EXAMINATION_SECONDS)[0]


def _call(name: str) -> Callable[..., Any]:
    """The question of that name, as a function of a store."""

    def ask(store: Store, **given: Any) -> Any:
        return getattr(store, name)(**given)

    return ask


OF_SPANS: Final = (
    text("operation", "Of this operation."),
    text("service", "Of this service."),
    WINDOW,
    number("min_duration_ms", "That took at least that long."),
    number("max_duration_ms", "That took at most that long."),
    truth("is_slow", "That took longer than their threshold, or did not."),
    truth("is_error", "That failed, or did not."),
    text("error_type", "That failed with this type."),
    attribute("attribute", "KEY=VALUE: that have this attribute. VALUE is JSON if it parses, else text."),
    text("trace_id", "Of this trace."),
    order("order", "By end, by duration, or as they came."),
    _LIMIT,
    text("page_token", "What comes after the page that told this."),
)
"""The fields of a `SpanQuery`."""

QUESTIONS: Final = (
    Question(
        "/api/store", "What the store is, how much it holds and for how long.", StoreSummary, _call("summarize_store")
    ),
    Question("/api/health", "What became of every span that ended.", Health, _call("get_health")),
    Question(
        "/api/processes", "The account of each process that recorded.", list[ProcessHealth], _call("list_processes")
    ),
    Question(
        "/api/destinations", "How far each destination has come.", list[DestinationHealth], _call("list_destinations")
    ),
    Question("/api/findings", "What is wrong with the store, and what to do.", list[Finding], _find_trouble),
    Question("/api/services", "The services, by name.", list[str], _call("list_services")),
    Question(
        "/api/operations",
        "The figures of each operation, most total time first.",
        list[OperationStats],
        _call("summarize_operations"),
        (_OPERATION, _SERVICE, WINDOW, truth("is_by_service", "Each service for itself.")),
    ),
    Question(
        "/api/series",
        "The figures over time.",
        OperationSeries,
        _call("summarize_series"),
        (_OPERATION, _SERVICE, WINDOW, _CELLS),
    ),
    Question(
        "/api/counts",
        "Calls over time of several operations, in their order.",
        list[CountSeries],
        _summarize_counts,
        (text("operation", "One of them.", is_required=True, is_repeated=True), _SERVICE, WINDOW, _CELLS),
    ),
    Question(
        "/api/heatmap",
        "Time against duration.",
        Heatmap,
        _call("summarize_heatmap"),
        (_OPERATION, _SERVICE, WINDOW, _CELLS, count("rows_max", "In at most so many rows.", _ROWS_MAX)),
    ),
    Question(
        "/api/distribution",
        "How the durations spread.",
        Distribution,
        _call("summarize_distribution"),
        (_OPERATION, _SERVICE, WINDOW),
    ),
    Question(
        "/api/calls",
        "Which operation called which, most time first.",
        list[CallEdge],
        _call("summarize_calls"),
        (_OPERATION, _SERVICE, WINDOW),
    ),
    Question(
        "/api/errors",
        "Errors that differ only in the variable parts of their message, most recent first.",
        list[ErrorGroup],
        _call("summarize_errors"),
        (_OPERATION, _SERVICE, WINDOW, _LIMIT),
    ),
    Question("/api/spans", "Spans for which all of that holds, a page at a time.", SpanPage, _find_spans, OF_SPANS),
    Question(
        "/api/traces/{trace_id}",
        "One trace as a tree, with self times, critical path and log records.",
        TraceAnswer,
        _get_trace,
        (text("trace_id", "Its 32 digits.", is_required=True, is_in_path=True),),
    ),
    Question(
        "/api/traces/{trace_id}/outline",
        "The same tree as columns of numbers, without what its spans carry: of 200,000 spans, and of those that run.",
        Outline,
        _call("get_outline"),
        (text("trace_id", "Its 32 digits.", is_required=True, is_in_path=True),),
    ),
    Question(
        "/api/traces/{trace_id}/matches",
        "The ids of its spans in whose name, attributes, events or status a text occurs, in any case.",
        list[str],
        _call("find_in_trace"),
        (
            text("trace_id", "Its 32 digits.", is_required=True, is_in_path=True),
            text("text", "What to look for.", is_required=True),
        ),
    ),
    Question("/api/running", "What has not ended, in every process.", list[OpenSpanRecord], _call("find_open_spans")),
    Question(
        "/api/logs",
        "Log records, newest first.",
        list[LogRecord],
        _call("find_logs"),
        (
            text("trace_id", "Of this trace."),
            _SERVICE,
            count("severity_min", "Of this severity number or more.", 24),
            WINDOW,
            _LIMIT,
        ),
    ),
    Question(
        "/api/points",
        "Metric data points, newest first.",
        list[PointRecord],
        _call("find_points"),
        (text("instrument", "Of this instrument."), WINDOW, _LIMIT),
    ),
    Question(
        "/api/sql",
        "One statement that only reads, over the views.",
        SqlRows,
        partial(_call("query_sql"), seconds_max=5.0),
        (text("sql", "The statement.", is_required=True), count("rows_max", "At most so many rows.", _ITEMS_MAX)),
    ),
)
