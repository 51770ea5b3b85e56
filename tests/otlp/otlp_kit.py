"""Any span that the SDK can hold, with everything that OTLP carries of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from otel_perfmon import MetricsStorage, SpanQuery, SpanRecord
from otel_perfmon.records import LogRecord, PointRecord
from otel_perfmon.sdk.exporter import SQLiteSpanExporter
from otel_perfmon.storage.rows import LogRow, PointRow, SpanRow

EXAMPLES = pytest.mark.parametrize("examples", [15, pytest.param(10_000, marks=pytest.mark.long)])
"""How many batches of spans a property is tried on."""
NANO_MAX = 2**63 - 1
COUNT_MAX = 2**31 - 1

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
keys = names.filter(bool)
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)
scalars = st.one_of(
    names,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.just(math.nan),
    st.binary(max_size=9),
    st.none(),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3))
)
attribute_dicts = st.dictionaries(keys, values, max_size=5)


@st.composite
def bounded(draw) -> BoundedAttributes:
    """Attributes of which some may have been dropped."""
    attributes = BoundedAttributes(attributes=draw(attribute_dicts), immutable=False)
    attributes.dropped = draw(st.sampled_from((0, 0, 1, COUNT_MAX)))
    return attributes


@st.composite
def contexts(draw) -> SpanContext:
    state = TraceState(draw(st.lists(st.tuples(words, words), max_size=2, unique_by=lambda each: each[0])))
    return SpanContext(
        draw(st.integers(1, 2**128 - 1)),
        draw(st.integers(1, 2**64 - 1)),
        draw(st.booleans()),
        TraceFlags(draw(st.integers(0, 255))),
        state,
    )


def _list_of(items: list[Any], dropped: int) -> BoundedList:
    bounded_list = BoundedList.from_seq(max(1, len(items)), items)
    bounded_list.dropped = dropped
    return bounded_list


times = st.integers(0, NANO_MAX)
counts = st.sampled_from((0, 0, 3))
events = st.builds(Event, names, bounded(), times)
links = st.builds(Link, contexts(), bounded())
resources = st.builds(Resource, attribute_dicts, st.sampled_from(("", "https://opentelemetry.io/schemas/1.30.0")))
scopes = st.one_of(
    st.none(),
    st.builds(InstrumentationScope, names, st.one_of(st.none(), names), st.one_of(st.none(), names), attribute_dicts),
)


@st.composite
def sdk_spans(draw, resource: Resource, scope: InstrumentationScope | None) -> ReadableSpan:
    start, end = sorted((draw(times), draw(times)))
    code = draw(st.sampled_from(list(StatusCode)))
    description = draw(names) if code is StatusCode.ERROR else None
    return ReadableSpan(
        draw(names),
        draw(contexts()),
        draw(st.one_of(st.none(), contexts())),
        resource,
        draw(bounded()),
        _list_of(draw(st.lists(events, max_size=3)), draw(counts)),
        _list_of(draw(st.lists(links, max_size=3)), draw(counts)),
        draw(st.sampled_from(list(SpanKind))),
        None,
        Status(code, description),
        start,
        end,
        scope,
    )


@st.composite
def batches(draw) -> list[ReadableSpan]:
    """Spans of some resources and scopes, in any order."""
    origins = draw(st.lists(st.tuples(resources, scopes), min_size=1, max_size=3))
    return [draw(sdk_spans(*origins[draw(st.integers(0, len(origins) - 1))])) for _ in range(draw(st.integers(1, 5)))]


class RowDoor:
    """A door through which rows come as they are."""

    def encode(self, payload, slow_threshold_nano):
        return payload


class Station:
    """A store into which spans go, and out of which they come again."""

    slow_threshold_nano = 10**9

    def __init__(self, path: str) -> None:
        self._exporter = SQLiteSpanExporter(path)
        self._storage = MetricsStorage(path)
        self._storage.insert_metric("first", 1.0)
        self._door = RowDoor()
        self._token = self._storage.store.get_end_token()
        self._last_point = self._last_log = 0

    def through(self, spans: list[ReadableSpan]) -> list[SpanRecord]:
        self._exporter.export(spans)
        return self._new()

    def through_rows(self, rows: list[SpanRow]) -> list[SpanRecord]:
        for row in rows:
            self._storage.recorder.record(self._door, row)
        return self._new()

    def points_through(self, rows: list[PointRow]) -> list[PointRecord]:
        self._write(self._storage.recorder.write_points, rows)
        page = self._storage.store.find_arrived_points(self._last_point, limit=10_000)
        self._last_point = page.last or self._last_point
        return list(page.items)

    def logs_through(self, rows: list[LogRow]) -> list[LogRecord]:
        self._write(self._storage.recorder.write_logs, rows)
        page = self._storage.store.find_arrived_logs(self._last_log, limit=10_000)
        self._last_log = page.last or self._last_log
        return list(page.items)

    def _write(self, write: Callable[[list], int], rows: list) -> None:
        while rows:
            rows = rows[write(rows) :]

    def _new(self) -> list[SpanRecord]:
        page = self._storage.store.find_spans(SpanQuery(order="arrival", page_token=self._token, limit=1000))
        self._token = self._storage.store.get_end_token()
        return list(page)
