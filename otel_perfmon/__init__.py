"""A local performance monitor for OpenTelemetry: spans and statistics in one SQLite file, with nothing to run.

The road a span travels::

    monitor.py ─> sdk/ ──────────> storage/ ────────────> query.py ─> cli/
     work is      the SDK's        recorder: queue and     what can    faces: they ask
     wrapped      interfaces,      writer; sqlite: one     be asked
                  implemented      file

At the root stand the road itself and the values that travel on it: `config` (settings), `query` (questions), `records`
(answers), `failure` (what an exception tells), `errors` (ours). A `monitor` gives an `operation`, each `call` of which
is a span; `metrics_storage` is the plain face of a store, `application` wires a program. Imports point down these
ranks: errors; query, records, config, failure; storage; sdk; metrics_storage, call; operation; monitor; application;
cli.
"""

from otel_perfmon.application import configure, get_monitor
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
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.operation import MonitoredOperation
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import (
    CallEdge,
    ErrorGroup,
    EventRecord,
    Health,
    LinkRecord,
    OperationStats,
    PointRecord,
    ResourceRecord,
    ScopeRecord,
    SpanPage,
    SpanRecord,
    Trace,
)
from otel_perfmon.sdk.exporter import SQLiteMetricExporter, SQLiteSpanExporter
from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.url import open_store

__all__ = [
    "CallEdge",
    "ConfigError",
    "DecodeError",
    "ErrorGroup",
    "EventRecord",
    "ForwardError",
    "Health",
    "LinkRecord",
    "MetricsStorage",
    "MonitoredOperation",
    "NotFoundError",
    "OperationStats",
    "OtlpError",
    "PerfmonError",
    "PerformanceMonitor",
    "PointRecord",
    "QueryError",
    "ResourceRecord",
    "SQLiteMetricExporter",
    "SQLiteSpanExporter",
    "SchemaError",
    "ScopeRecord",
    "SpanPage",
    "SpanQuery",
    "SpanRecord",
    "Store",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "TimeOrderedIdGenerator",
    "Trace",
    "Window",
    "configure",
    "get_monitor",
    "open_store",
]
