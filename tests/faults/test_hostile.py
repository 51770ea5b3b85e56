"""Values that no span should have, in every place: the rest of the span is kept, and so are all others."""

from __future__ import annotations

import enum
import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_perfmon import MetricsStorage
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor

START = 1_700_000_000_000_000_000
_ids = itertools.count(1)


class Evil:
    """Whatever one asks it, it fails."""

    def __str__(self):
        raise ValueError("no")

    __repr__ = __len__ = __iter__ = __bool__ = __eq__ = __int__ = __float__ = __str__
    __hash__ = object.__hash__


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "another text"

    def __len__(self):
        raise ValueError("no")


class Number(int):
    def __repr__(self):
        return "NaN"


class Kind(enum.Enum):
    ONE = "one"


class EndlessMapping(dict):
    def items(self):
        raise RuntimeError("changed size during iteration")


def deep(levels: int) -> list:
    found: list = []
    for _ in range(levels):
        found = [found]
    return found


ITSELF: list = []
ITSELF += [ITSELF] * 3
ODD = {
    "lone surrogate": "a\ud800b",
    "NUL": "a\0b",
    "2^63": 2**63,
    "-2^63 - 1": -(2**63) - 1,
    "10^400": 10**400,
    "10^5000": 10**5000,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a megabyte": "x" * 1_000_000,
    "bytes": b"\xff\x00",
    "much of bytes": b"\xff" * 200_000,
    "a nested dict": {"a": {"b": [1, {"c": None}]}, "@bytes": "no"},
    "a mixed list": [1, "a", None, 2.5, b"x"],
    "None": None,
    "an object": object(),
    "a failing object": Evil(),
    "a text that fails": Text("abc"),
    "a number that lies": Number(7),
    "an enum": Kind.ONE,
    "a set": {1, 2},
    "a failing mapping": EndlessMapping(a=1),
    "10,000 levels": deep(10_000),
    "what holds itself": ITSELF,
    "emptiness": "",
    "markup": "<script>alert(1)</script>\u2028'; DROP TABLE _spans; --",
}


def good_parts() -> dict:
    number = next(_ids)
    return {
        "name": "good",
        "context": SpanContext(number, number, False, TraceFlags(1), TraceState()),
        "resource": Resource({"service.name": "shop"}),
        "instrumentation_scope": InstrumentationScope("scope"),
        "attributes": {"good": 1},
        "events": (Event("event", {"good": 1}, START + 1),),
        "links": (Link(SpanContext(1, 1, False), {"good": 1}),),
        "status": Status(StatusCode.ERROR, "good"),
        "kind": SpanKind.SERVER,
        "start_time": START,
        "end_time": START + 1_000_000,
    }


class OddStatus(Status):
    def __init__(self, description):
        super().__init__(StatusCode.ERROR)
        self._description = description


class OddResource(Resource):
    def __init__(self, attributes):
        super().__init__({})
        self._attributes = attributes


class OddState(TraceState):
    def __init__(self, text):
        super().__init__([("a", "b")])
        self.text = text

    def to_header(self):
        return self.text


def odd_context(parts: dict, value) -> SpanContext:
    return SpanContext(parts["context"].trace_id, parts["context"].span_id, False, TraceFlags(1), OddState(value))


def key_of(value):
    return value if getattr(type(value), "__hash__", None) else "a key"


PLACES = {
    "name": lambda parts, value: {"name": value},
    "an attribute's key": lambda parts, value: {"attributes": {key_of(value): 1, "good": 1}},
    "an attribute's value": lambda parts, value: {"attributes": {"odd": value, "good": 1}},
    "an event's name": lambda parts, value: {"events": (Event(value, {}, START), *parts["events"])},
    "an event's attribute": lambda parts, value: {"events": (Event("e", {"odd": value}, START), *parts["events"])},
    "an event's time": lambda parts, value: {"events": (Event("e", {}, value), *parts["events"])},
    "a link's attribute": lambda parts, value: {
        "links": (Link(SpanContext(1, 1, False), {"odd": value}), *parts["links"])
    },
    "the status text": lambda parts, value: {"status": OddStatus(value)},
    "the scope's name": lambda parts, value: {"instrumentation_scope": InstrumentationScope(value)},
    "the resource": lambda parts, value: {"resource": OddResource({"service.name": value, "odd": value})},
    "the trace state": lambda parts, value: {"context": odd_context(parts, value)},
    "the end": lambda parts, value: {"end_time": value},
}


@pytest.fixture
def way_in(db_path: str) -> Iterator[tuple[StoreSpanProcessor, MetricsStorage]]:
    with MetricsStorage(db_path) as storage:
        processor = StoreSpanProcessor(SpanDoor(storage.recorder, 10**9))
        record(processor)
        assert storage.recorder.flush()
        yield processor, storage


def record(processor: StoreSpanProcessor, **changes) -> int:
    parts = good_parts()
    for place, value in changes.items():
        parts.update(PLACES[place](parts, value))
    processor.on_end(ReadableSpan(**parts))
    return parts["context"].trace_id


def find(path: str, trace_id: int) -> dict:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT attributes, details FROM _spans WHERE trace_id = ?"
        ((attributes, details),) = connection.execute(query, (trace_id.to_bytes(16, "big"),)).fetchall()
    return {"attributes": json.loads(attributes, parse_constant=refuse), "details": json.loads(details)}


def refuse(constant):
    message = f"{constant} is no JSON"
    raise AssertionError(message)


def check_rest(path: str, trace_id: int) -> None:
    found = find(path, trace_id)
    assert found["attributes"]["good"] == 1
    assert {"good": 1} in [each["attributes"] for each in found["details"]["events"]]
    assert {"good": 1} in [each["attributes"] for each in found["details"]["links"]]


def test_of_512_spans_with_an_odd_one_the_other_511_are_stored_whatever_is_odd_and_where(way_in, db_path, figure):
    processor, storage = way_in
    odd_count, lost_ones = 0, []
    for (place, _), (what, value) in itertools.product(PLACES.items(), ODD.items()):
        before = storage.store.get_health()
        good = [record(processor) for _ in range(511 if odd_count % len(ODD) == 0 else 2)]
        odd = record(processor, **{place: value})
        assert storage.recorder.flush(30), (place, what)
        health = storage.store.get_health()
        assert health.ended - before.ended == len(good) + 1
        lost = sum(health.dropped.values()) - sum(before.dropped.values())
        odd_count += 1
        lost_ones += [(place, what)] * lost
        if not lost:
            check_rest(db_path, odd)
        check_rest(db_path, good[-1])
    figure("hostile: odd values in places, of which kept", f"{odd_count - len(lost_ones)} of {odd_count}", "all")
    assert lost_ones == []
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute("SELECT * FROM spans JOIN events ON span_row_id = spans.id").fetchall()


class Odd(NamedTuple):
    """Names an odd value: hypothesis could not even print some of them."""

    what: str


def real(value):
    """The value with the odd ones in place of their names."""
    if isinstance(value, Odd):
        return ODD[value.what]
    if isinstance(value, dict):
        return {key: real(each) for key, each in value.items()}
    return [real(each) for each in value] if isinstance(value, list) else value


QUICK = sorted(set(ODD) - {"what holds itself"})  # that one takes its half second each time
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.binary(max_size=50),
    st.text(st.characters(), max_size=50), st.builds(Odd, st.sampled_from(QUICK)),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
CHANGES = st.dictionaries(st.sampled_from(sorted(set(PLACES) - {"an attribute's key"})), VALUES, min_size=1, max_size=6)


def check_hostile(way_in, path: str, examples: int) -> int:
    processor, storage = way_in
    tried = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(CHANGES)
    def run(changes):
        before = storage.store.get_health()
        good, odd = record(processor), record(processor, **real(changes))
        assert storage.recorder.flush(30)
        health = storage.store.get_health()
        assert health.ended - before.ended == 2
        assert health.dropped == before.dropped
        assert find(path, good)["attributes"] == {"good": 1}
        found = find(path, odd)
        assert found["attributes"]["good"] == 1
        assert len(found["details"]["events"]) >= 1
        tried.append(1)

    run()
    return len(tried)


def test_hostile_sets_of_values_raise_nothing_and_the_rest_of_each_span_is_kept(way_in, db_path, figure):
    figure("hostile: sets of values without loss", check_hostile(way_in, db_path, 100), "all")


@pytest.mark.long
def test_10000_hostile_sets_of_values_raise_nothing_and_the_rest_of_each_span_is_kept(way_in, db_path, figure):
    figure("hostile: sets of values without loss", check_hostile(way_in, db_path, 10_000), "all")


SEEDED = """
import random, sys
random.seed(0)
from opentelemetry.sdk.trace import TracerProvider
from otel_perfmon import MetricsStorage, configure
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor
monitor = configure("metrics.db")
stock = TracerProvider()
stock.add_span_processor(StoreSpanProcessor(SpanDoor(monitor.storage.recorder, 10**9)))
random.seed(0)
for number in range(300):
    with monitor.monitor("ours"), stock.get_tracer("").start_as_current_span("stock", context=None):
        pass
monitor.shutdown()
"""


def test_two_processes_with_the_same_random_seed_have_all_their_spans_stored(run_python, account, figure):
    run_python(SEEDED)
    run_python(SEEDED)
    found = account()
    figure("hostile: spans of two runs with random.seed(0)", dict(found.names), "600 each")
    assert found.names == {"ours": 600, "stock": 600}
