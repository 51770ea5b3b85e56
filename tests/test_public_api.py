"""What is public is pinned: a change here is a change for users."""

from __future__ import annotations

import inspect

import otel_perfmon
from otel_perfmon import MetricsStorage, OperationStats, PerformanceMonitor, configure


def _parameters(function) -> str:
    return ", ".join(
        ("*" if parameter.kind is parameter.KEYWORD_ONLY else "")
        + name
        + ("" if parameter.default is parameter.empty else f"={parameter.default!r}")
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    )


def test_the_names_of_the_package_are_these() -> None:
    assert otel_perfmon.__all__ == [
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


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in otel_perfmon.__all__:
        assert getattr(otel_perfmon, name).__doc__, name


def test_configure_takes_these_arguments() -> None:
    assert _parameters(configure) == (
        "path=None, *service_name=None, *slow_threshold_ms=None, *retention_seconds=None, *keep_seconds=None, "
        "*size_max_bytes=None, *error_rate_threshold=None, *error_rate_min_count=None, *resource_attributes=None, "
        "*metric_readers=(), *durability=None, *sample_rate=None, *sample_rates=None, "
        "*slow_stacks=None, *redact=None, *redact_keys=None, *redact_patterns=None, *on_alert=None, "
        "*forward_to=None, *forward_sample_rate=None, *forward_decision_wait_seconds=None"
    )


def test_the_monitor_takes_these_arguments() -> None:
    assert _parameters(PerformanceMonitor) == (
        "storage=None, *slow_threshold_ms=None, *slow_stacks=None, *tracer_provider=None, *meter_provider=None, "
        "*on_alert=None"
    )
    assert "operation, *attributes=None, *slow_threshold_ms=None, *kind=" in _parameters(PerformanceMonitor.monitor)
    assert _parameters(PerformanceMonitor.force_flush) == "timeout_millis=30000"


def test_the_storage_takes_these_arguments_and_has_the_given_methods() -> None:
    assert _parameters(MetricsStorage) == (
        "db_path=None, *retention_seconds=None, *keep_seconds=None, *size_max_bytes=None, *durability=None, "
        "*sample_rate=None, *sample_rates=None, *redact=None, *redact_keys=None, *redact_patterns=None"
    )
    methods = {
        name: _parameters(getattr(MetricsStorage, name))
        for name in vars(MetricsStorage)
        if name[0] != "_" and callable(getattr(MetricsStorage, name))
    }
    del methods["from_config"]
    assert methods == {
        "insert_metric": "operation, duration, error=False, is_slow=False, *timestamp=None, *error_type=None, "
        "*error_message=None, *stack_trace=None, *context=None",
        "get_metrics": "operation=None, *limit=None",
        "get_metrics_in_window": "operation, window_seconds, filter_slow=False, filter_errors=False",
        "get_stats": "operation=None, *window_seconds=None",
        "find_open_spans": "",
        "get_error_rate": "operation, window_seconds",
        "cleanup": "older_than_seconds=None",
        "close": "",
    }


def test_operation_stats_have_the_given_fields_in_order() -> None:
    assert " ".join(OperationStats.__dataclass_fields__) == (
        "operation service count error_count error_rate slow_count avg_ms min_ms max_ms p50_ms p90_ms p95_ms p99_ms "
        "total_ms self_ms first_seen last_seen window"
    )
