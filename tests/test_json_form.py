from __future__ import annotations

import json
import math

from otel_perfmon import EventRecord, MetricsStorage, PerformanceMonitor, Window
from otel_perfmon.json_form import as_json


def test_a_record_keeps_its_fields_names_and_a_span_tells_what_people_reckon_with(storage: MetricsStorage) -> None:
    monitor = PerformanceMonitor(storage)
    with monitor.monitor("load_cart", attributes={"cart.size": 3}):
        pass
    monitor.force_flush()
    (span,) = storage.store.find_spans()
    told = as_json(span)
    assert {**told, "service": None, "duration_ms": 0, "kind_name": "", "status_name": ""}.keys() == told.keys()
    assert told["name"] == "load_cart"
    assert told["duration_ms"] == span.duration_ms
    assert told["attributes"]["cart.size"] == 3
    assert json.loads(json.dumps(told)) == told


def test_attributes_follow_the_rules_of_the_store() -> None:
    attributes = {
        "raw": b"hi",
        "nan": math.nan,
        "@own": 1,
        "nested": {"@bytes": "mine"},
        "list": (1, "a"),
        "none": None,
    }
    assert as_json(EventRecord("e", 1, attributes))["attributes"] == {
        "raw": {"@bytes": "aGk="},
        "nan": {"@double": "NaN"},
        "@@own": 1,
        "nested": {"@@bytes": "mine"},
        "list": [1, "a"],
        "none": None,
    }


def test_a_window_has_both_ends_in_both_forms() -> None:
    assert as_json(Window(0, 1_500_000_000)) == {
        "start": "1970-01-01T00:00:00.000000Z",
        "end": "1970-01-01T00:00:01.500000Z",
        "start_unix_nano": 0,
        "end_unix_nano": 1_500_000_000,
    }


def test_what_json_cannot_hold_is_tagged() -> None:
    assert as_json({"a": b"\x00", 1: (math.inf, -math.inf)}) == {
        "a": {"@bytes": "AA=="},
        "1": [{"@double": "Infinity"}, {"@double": "-Infinity"}],
    }
