"""What the quick parser of OTLP's JSON takes is what protobuf's own makes of it; the rest it leaves to that."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_kit import by_protobuf, by_us

SPAN = {
    "traceId": "ab" * 16, "spanId": "cd" * 8, "parentSpanId": "", "name": "é", "kind": 2, "startTimeUnixNano": "12",
    "endTimeUnixNano": 13, "flags": 257, "status": {}, "droppedLinksCount": 4, "traceState": "a=b",
    "attributes": [
        {"key": "s", "value": {"stringValue": "x"}}, {"key": "i", "value": {"intValue": "-5"}},
        {"key": "d", "value": {"doubleValue": 0.5}}, {"key": "n", "value": {"doubleValue": 3}}, {"value": {}},
        {"key": "a", "value": {"arrayValue": {"values": [{"boolValue": True}, {"arrayValue": {}}]}}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {}}]}}},
    ],
    "events": [{"timeUnixNano": "5", "name": "e", "attributes": [], "droppedAttributesCount": 1}],
    "links": [{"traceId": "12" * 16, "spanId": "34" * 8, "flags": 1}],
}  # fmt: skip
DOCUMENT = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [SPAN], "schemaUrl": "u"}],
            "schemaUrl": "v",
        }
    ]
}
ODD = (
    None, True, False, 0, -1, 1, 7, 3.0, 1.5, 1e300, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, "", "5", "-5", "5.0", " 5",
    "1e3", "٣", "NaN", "x", "\ud800", "ab", "abc", [], {}, [{}], [None], [[]], {"x": 1}, {"key": "k"}, {"values": None},
    {"stringValue": "a", "intValue": 1}, {"stringValue": None}, {"string_value": "a"}, "SPAN_KIND_SERVER",
    {"doubleValue": "NaN"}, {"bytesValue": "aGk="}, {"intValue": 5}, {"intValue": "9" * 30}, {"boolValue": 1},
)  # fmt: skip


def ways(value, way=()):
    yield way
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from ways(value[key], (*way, key))


WAYS = [way for way in ways(DOCUMENT) if way]


def test_the_document_itself_is_taken():
    assert by_us(DOCUMENT).SerializeToString() == by_protobuf(DOCUMENT).SerializeToString()


@pytest.mark.parametrize("examples", [400, pytest.param(30_000, marks=pytest.mark.long)])
def test_what_is_taken_of_any_changed_document_is_what_protobuf_takes(examples):
    seen: Counter[bool] = Counter()

    @settings(max_examples=examples)
    @given(st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from(ODD)), min_size=1, max_size=3))
    def check(changes):
        document = copy.deepcopy(DOCUMENT)
        for way, odd in changes:
            parent = document
            try:
                for key in way[:-1]:
                    parent = parent[key]
                parent[way[-1]] = copy.deepcopy(odd)
            except (KeyError, IndexError, TypeError, AttributeError):
                continue  # an earlier change took it away
        found = by_us(document)
        seen[found is None] += 1
        if found is not None:
            expected = by_protobuf(document)
            assert expected is not None
            assert found.SerializeToString() == expected.SerializeToString()

    check()
    assert seen[True] > 0 < seen[False]


def test_what_is_nested_deep_is_left_to_protobuf():
    value: dict = {"stringValue": "x"}
    for _ in range(60):
        value = {"arrayValue": {"values": [value]}}
    span = {"attributes": [{"key": "k", "value": value}]}
    assert by_us({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) is None
