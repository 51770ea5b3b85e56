"""A metric comes back as it was given."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_kit import NOW

from otel_perfmon import PerformanceMonitor

KEYS = {
    "operation",
    "timestamp",
    "duration",
    "error",
    "is_slow",
    "error_type",
    "error_message",
    "stack_trace",
    "context",
    "trace_id",
    "span_id",
    "parent_span_id",
}


def sent(metric: dict[str, Any]) -> dict[str, Any]:
    """What the caller gave, without the ids it got."""
    return {key: value for key, value in metric.items() if not key.endswith("_id")}


def test_a_metric_comes_back_as_it_was_given_with_ids_of_its_own(storage):
    storage.insert_metric(
        "load",
        12.5,
        True,
        True,
        timestamp=NOW + 0.25,
        error_type="ValueError",
        error_message="no such page",
        stack_trace="Traceback …",
        context={"page": 7, "tags": ("a", "b"), "user": {"id": 1}},
    )
    (metric,) = storage.get_metrics("load")
    assert set(metric) == KEYS
    assert sent(metric) == {
        "operation": "load",
        "timestamp": NOW + 0.25,
        "duration": 12.5,
        "error": True,
        "is_slow": True,
        "error_type": "ValueError",
        "error_message": "no such page",
        "stack_trace": "Traceback …",
        "context": {"page": 7, "tags": ("a", "b"), "user": {"id": 1}},
    }
    assert (len(bytes.fromhex(metric["trace_id"])), len(bytes.fromhex(metric["span_id"]))) == (16, 8)
    assert metric["parent_span_id"] is None


def test_a_plain_metric_has_no_error_and_an_empty_context_and_ended_now(storage):
    before = time.time()
    storage.insert_metric("load", 3)
    after = time.time()
    (metric,) = storage.get_metrics()
    assert before - 1e-6 <= metric["timestamp"] <= after + 1e-6
    assert {type(metric[key]) for key in ("timestamp", "duration")} == {float}
    assert (metric["error"], metric["is_slow"]) == (False, False)
    assert (metric["error_type"], metric["error_message"], metric["stack_trace"]) == (None, None, None)
    assert metric["context"] == {}


def test_an_inserted_metric_is_a_trace_of_one_span_that_starts_a_duration_before_its_timestamp(storage):
    storage.insert_metric("load", 1500.0, timestamp=NOW)
    storage.insert_metric("load", 1500.0, timestamp=NOW)
    first, second = storage.get_metrics()
    assert first["trace_id"] != second["trace_id"]
    assert first["span_id"] != second["span_id"]
    (span,) = storage.store.get_trace(first["trace_id"]).spans
    assert (span.start_unix_nano, span.end_unix_nano) == (int((NOW - 1.5) * 1e9), int(NOW * 1e9))
    assert (span.parent_span_id, span.kind_name, span.scope.name) == (None, "internal", "otel_perfmon")


def test_a_monitored_operation_is_a_metric_beside_the_inserted_ones(fresh_process, storage):
    with PerformanceMonitor(storage).monitor("outer"), PerformanceMonitor(storage).monitor("inner") as span:
        span.set_attribute("k", "v")
    outer, inner = storage.get_metrics()
    assert (outer["operation"], inner["operation"]) == ("outer", "inner")
    assert inner["parent_span_id"] == outer["span_id"]
    assert inner["trace_id"] == outer["trace_id"]
    assert inner["context"] == {"k": "v"}


@given(
    timestamp=st.floats(1e8, 4e9) | st.integers(0, 4 * 10**9),
    duration_nano=st.integers(0, 10**15),
)
@settings(derandomize=True, max_examples=50)
def test_timestamps_and_durations_of_whole_nanoseconds_come_back_exactly(storage, timestamp, duration_nano):
    operation = f"{timestamp!r} {duration_nano}"
    duration = duration_nano / 1e6
    storage.insert_metric(operation, duration, timestamp=timestamp)
    metric = storage.get_metrics(operation)[0]
    assert metric["timestamp"] == timestamp
    assert metric["duration"] == duration


@pytest.mark.parametrize(
    ("duration", "kept"), [(1 / 3, 0.333333), (5e-7, 0.0), (6e-7, 1e-6), (0, 0.0), (-0.0, 0.0), (5e-324, 0.0)]
)
def test_a_duration_is_rounded_to_the_nearest_nanosecond(storage, duration, kept):
    storage.insert_metric("load", duration)
    assert storage.get_metrics()[0]["duration"] == kept


@pytest.mark.parametrize("timestamp", [0, -1.5, -(10.0**9), 4e9, 9e9])
def test_a_timestamp_before_1970_or_far_ahead_is_kept(storage, timestamp):
    storage.insert_metric("load", 20_000.0, timestamp=timestamp)
    (metric,) = storage.get_metrics()
    assert (metric["timestamp"], metric["duration"]) == (timestamp, 20_000.0)
    assert storage.get_stats("load").last_seen == timestamp


def test_the_message_and_type_of_a_metric_that_is_no_error_are_kept_too(storage):
    storage.insert_metric("load", 1, error_type="Hint", error_message="odd but fine")
    (metric,) = storage.get_metrics()
    assert (metric["error"], metric["error_type"], metric["error_message"]) == (False, "Hint", "odd but fine")
    assert storage.get_stats("load").error_count == 0


def test_several_lines_and_foreign_letters_of_a_stack_trace_are_kept(storage):
    text = "Traceback\n  File «x»\n\té😀\0\ud800"
    storage.insert_metric("load", 1, True, stack_trace=text, error_message=text)
    (metric,) = storage.get_metrics()
    assert (metric["stack_trace"], metric["error_message"]) == (text, text)
