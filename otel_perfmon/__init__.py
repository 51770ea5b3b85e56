"""A local performance monitor for OpenTelemetry: spans and statistics in one SQLite file, with nothing to run.

The road a span travels::

    monitor.py ─> sdk/ ──────────> storage/ ────────────> query.py ─> cli/
     work is      the SDK's        recorder: queue and     what can    faces: they ask
     wrapped      interfaces,      writer; sqlite: one     be asked
                  implemented      file

At the root stand the road itself and the values that travel on it: `config` (settings), `query` (questions), `records`
and `trace` (answers), `failure` (what an exception tells), `errors` (ours), and the rule of the `alerts`. A `monitor`
gives an `operation`, each `call` of which is a span; `metrics_storage` is the plain face of a store, `application`
wires a program, `bench` measures what all that costs. Imports point down these ranks: errors; query, records, config,
failure; alerts, trace; storage; sdk; metrics_storage, call; operation; monitor; application; bench; cli.

What needs the OpenTelemetry SDK is loaded when it is first used: who only asks a store, as the command line does, would
wait for it twice as long as for the answer.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from otel_perfmon.alerts import Alert
from otel_perfmon.errors import (
    ConfigError,
    DecodeError,
    ForwardError,
    NotFoundError,
    OtlpError,
    PerfmonError,
    QueryError,
    SchemaError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
)
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import (
    CallEdge,
    CountSeries,
    Distribution,
    DurationBucket,
    ErrorGroup,
    EventRecord,
    Health,
    Heatmap,
    LinkRecord,
    OperationSeries,
    OperationStats,
    PointRecord,
    ResourceRecord,
    ScopeRecord,
    SpanPage,
    SpanRecord,
    SqlRows,
    StoreSummary,
)
from otel_perfmon.storage.base import RetentionPolicy, Store
from otel_perfmon.storage.url import open_store
from otel_perfmon.trace import CriticalSegment, Trace, TraceNode, TraceTree

if TYPE_CHECKING:
    from otel_perfmon.application import configure, get_monitor
    from otel_perfmon.metrics_storage import MetricsStorage
    from otel_perfmon.monitor import PerformanceMonitor
    from otel_perfmon.operation import MonitoredOperation
    from otel_perfmon.sdk.exporter import SQLiteMetricExporter, SQLiteSpanExporter
    from otel_perfmon.sdk.ids import TimeOrderedIdGenerator

__all__ = [
    "Alert",
    "CallEdge",
    "ConfigError",
    "CountSeries",
    "CriticalSegment",
    "DecodeError",
    "Distribution",
    "DurationBucket",
    "ErrorGroup",
    "EventRecord",
    "ForwardError",
    "Health",
    "Heatmap",
    "LinkRecord",
    "MetricsStorage",
    "MonitoredOperation",
    "NotFoundError",
    "OperationSeries",
    "OperationStats",
    "OtlpError",
    "PerfmonError",
    "PerformanceMonitor",
    "PointRecord",
    "QueryError",
    "ResourceRecord",
    "RetentionPolicy",
    "SQLiteMetricExporter",
    "SQLiteSpanExporter",
    "SchemaError",
    "ScopeRecord",
    "SpanPage",
    "SpanQuery",
    "SpanRecord",
    "SqlRows",
    "Store",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "StoreSummary",
    "TimeOrderedIdGenerator",
    "Trace",
    "TraceNode",
    "TraceTree",
    "Window",
    "configure",
    "get_monitor",
    "open_store",
]

_HOMES = {
    "MetricsStorage": "metrics_storage",
    "MonitoredOperation": "operation",
    "PerformanceMonitor": "monitor",
    "SQLiteMetricExporter": "sdk.exporter",
    "SQLiteSpanExporter": "sdk.exporter",
    "TimeOrderedIdGenerator": "sdk.ids",
    "configure": "application",
    "get_monitor": "application",
}


def __getattr__(name: str) -> object:
    """Load what needs the SDK, at its first use."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
