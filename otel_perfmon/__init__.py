"""A local performance monitor for OpenTelemetry: spans and statistics in one SQLite file, with nothing to run.

The road a span travels::

    monitor.py ─> sdk/ ──────────> storage/ ────────────> query.py ─> cli/, web/
     work is      the SDK's        recorder: queue and     what can    faces: they ask
     wrapped      interfaces,      writer; sqlite: one     be asked
                  implemented      file

At the root stand the road itself and the values that travel on it: `config` (settings), `query` (questions), `records`,
`trace`, its `outline` and `account` (answers), the `tree` that spans make, the `frames` of a stack, `failure` (what an
exception tells), `errors` (ours), what `redaction` takes out, the rule of the `alerts`, `moments` and `quantities` as
people read them, text made `visible`, and records in `json_form`. A `monitor` gives an `operation`, each `call` of
which is a span; `metrics_storage` is the plain face of a store, `otlp` what goes out of it and comes in on
OpenTelemetry's pipelines, `formats` other tools' files, `application` wires a program, `launch` one without a line of
ours, `web` is what is looked at over HTTP, pages and questions, `server` wires the standing service, `bench` measures
what all that costs, and `doctor` finds out what is wrong with a file. Imports point down these ranks: errors,
redaction, visible; query, records, account, config, failure, tree, frames; alerts, trace, outline,
environment_variables, moments, quantities; storage; sdk, otlp; formats, json_form, metrics_storage, call, doctor;
operation; monitor; application, web; server, bench, launch; cli.

A name is loaded when it is first used: a program that asks a store, as the command line does, would wait for the
OpenTelemetry SDK twice as long as for the answer, and one that records needs none of the answers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_perfmon.account import Health, ProcessHealth, StoreSummary
    from otel_perfmon.alerts import Alert
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
        StoreTimeoutError,
    )
    from otel_perfmon.metrics_storage import MetricsStorage
    from otel_perfmon.monitor import PerformanceMonitor
    from otel_perfmon.operation import MonitoredOperation
    from otel_perfmon.query import SpanQuery, Window
    from otel_perfmon.records import (
        CallEdge,
        CountSeries,
        Distribution,
        DurationBucket,
        ErrorGroup,
        EventRecord,
        Heatmap,
        LinkRecord,
        LogRecord,
        OpenSpanRecord,
        OperationSeries,
        OperationStats,
        PointRecord,
        ResourceRecord,
        ScopeRecord,
        SpanPage,
        SpanRecord,
        SqlRows,
    )
    from otel_perfmon.sdk.environment import extract_environment, inject_environment
    from otel_perfmon.sdk.exporter import SQLiteMetricExporter, SQLiteSpanExporter
    from otel_perfmon.sdk.ids import TimeOrderedIdGenerator
    from otel_perfmon.sdk.log_exporter import SQLiteLogRecordExporter
    from otel_perfmon.storage.base import RetentionPolicy, Store
    from otel_perfmon.storage.url import open_store
    from otel_perfmon.trace import Trace, TraceNode, TraceTree
    from otel_perfmon.tree import CriticalSegment

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
    "LogRecord",
    "MetricsStorage",
    "MonitoredOperation",
    "NotFoundError",
    "OpenSpanRecord",
    "OperationSeries",
    "OperationStats",
    "OtlpError",
    "PerfmonError",
    "PerformanceMonitor",
    "PointRecord",
    "ProcessHealth",
    "QueryError",
    "ResourceRecord",
    "RetentionPolicy",
    "SQLiteLogRecordExporter",
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
    "StoreTimeoutError",
    "TimeOrderedIdGenerator",
    "Trace",
    "TraceNode",
    "TraceTree",
    "Window",
    "configure",
    "extract_environment",
    "get_monitor",
    "inject_environment",
    "open_store",
]

_HOMES = {
    "Alert": "alerts",
    "CallEdge": "records",
    "ConfigError": "errors",
    "CountSeries": "records",
    "CriticalSegment": "tree",
    "DecodeError": "errors",
    "Distribution": "records",
    "DurationBucket": "records",
    "ErrorGroup": "records",
    "EventRecord": "records",
    "ForwardError": "errors",
    "Health": "account",
    "ProcessHealth": "account",
    "Heatmap": "records",
    "LinkRecord": "records",
    "LogRecord": "records",
    "MetricsStorage": "metrics_storage",
    "MonitoredOperation": "operation",
    "NotFoundError": "errors",
    "OpenSpanRecord": "records",
    "OperationSeries": "records",
    "OperationStats": "records",
    "OtlpError": "errors",
    "PerfmonError": "errors",
    "PerformanceMonitor": "monitor",
    "PointRecord": "records",
    "QueryError": "errors",
    "ResourceRecord": "records",
    "RetentionPolicy": "storage.base",
    "SQLiteLogRecordExporter": "sdk.log_exporter",
    "SQLiteMetricExporter": "sdk.exporter",
    "SQLiteSpanExporter": "sdk.exporter",
    "SchemaError": "errors",
    "ScopeRecord": "records",
    "SpanPage": "records",
    "SpanQuery": "query",
    "SpanRecord": "records",
    "SqlRows": "records",
    "Store": "storage.base",
    "StoreBusyError": "errors",
    "StoreClosedError": "errors",
    "StoreCorruptError": "errors",
    "StoreError": "errors",
    "StoreFullError": "errors",
    "StoreSummary": "account",
    "StoreTimeoutError": "errors",
    "TimeOrderedIdGenerator": "sdk.ids",
    "Trace": "trace",
    "TraceNode": "trace",
    "TraceTree": "trace",
    "Window": "query",
    "configure": "application",
    "extract_environment": "sdk.environment",
    "inject_environment": "sdk.environment",
    "get_monitor": "application",
    "open_store": "storage.url",
}


def __getattr__(name: str) -> object:
    """Load a name at its first use."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
