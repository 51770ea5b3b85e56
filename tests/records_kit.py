"""A span as the store answers it, for the tests of what is made of answers."""

from __future__ import annotations

from otel_perfmon.records import ResourceRecord, ScopeRecord, SpanRecord


def span_record(**fields) -> SpanRecord:
    """A plain span of 2.5 ms without a parent, but for these fields."""
    values = {
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "parent_span_id": None,
        "name": "op",
        "kind": 1,
        "start_unix_nano": 10,
        "end_unix_nano": 2_500_010,
        "status_code": 0,
        "status_message": "",
        "trace_state": "",
        "flags": 1,
        "attributes": {},
        "events": (),
        "links": (),
        "dropped_attributes_count": 0,
        "dropped_events_count": 0,
        "dropped_links_count": 0,
        "resource": ResourceRecord({"service.name": "shop"}),
        "scope": ScopeRecord("lib"),
        "is_error": False,
        "is_slow": False,
        "error_type": None,
    }
    return SpanRecord(**{**values, **fields})
