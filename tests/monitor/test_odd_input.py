"""Odd names, attributes and kinds neither break the program nor lose the operation."""

from __future__ import annotations

import logging
import math

import pytest
from monitor_kit import make_provider, names, points_of, stored
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_perfmon import MetricsStorage, PerformanceMonitor, configure

pytestmark = pytest.mark.usefixtures("fresh_process")


class _BadStr:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


class _BadTruth:
    def __len__(self) -> int:
        raise ValueError("no")

    __bool__ = __len__


class _BadMapping(dict):
    def items(self):
        raise ValueError("no")

    __iter__ = items


_NESTED: dict = {"deep": {"list": [1, [2, {"x": b"\xff"}]]}}
_NESTED["self"] = _NESTED
BAD_ATTRIBUTES = {
    "nested": _NESTED,
    "huge": {"text": "x" * 3_000_000, "list": list(range(100_000))},
    "surrogates": {"a\ud800": "b\udfff"},
    "not finite": {"nan": math.nan, "inf": math.inf, "minus": -math.inf},
    "large integer": {"n": 2**70, "list": [2**70]},
    "none value": {"a": None, "list": [None]},
    "bytes": {"a": b"\xff\x00"},
    "other keys": {1: "a", None: "b", (1, 2): "c", "": "d", b"x": "e"},
    "object": {"a": object()},
    "bad str value": {"a": _BadStr()},
    "bad str in list": {"a": [_BadStr(), 1, "x"]},
    "bad truth value": {"a": _BadTruth()},
    "bad str key": {_BadStr(): 1},
    "number": 5,
    "list": ["a", "b"],
    "pairs": [("a", 1)],
    "text": "abc",
    "generator": (x for x in "abc"),
    "object itself": object(),
    "bad truth": _BadTruth(),
    "bad mapping": _BadMapping(a=1),
    "type": dict,
}


@pytest.mark.parametrize("attributes", BAD_ATTRIBUTES.values(), ids=list(BAD_ATTRIBUTES))
@pytest.mark.parametrize("is_configured", [False, True], ids=["alone", "configured"])
def test_bad_attributes_neither_break_the_program_nor_lose_the_operation(attributes, is_configured):
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        monitor = configure("metrics.db") if is_configured else PerformanceMonitor(MetricsStorage("metrics.db"))
        with monitor.monitor("outer", attributes=attributes), monitor.monitor("inner"):
            pass
        spans = stored(monitor.storage)
    finally:
        logging.getLogger("opentelemetry").setLevel(logging.NOTSET)
    assert sorted(spans) == ["inner", "outer"]
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    monitor.storage.close()


def test_attributes_the_sdk_allows_come_back_as_they_went_in(monitor):
    attributes = {"s": "ü\n", "b": True, "i": -(2**62), "f": 0.1, "l": ["a", "b"], "t": (1, 2), "e": []}
    with monitor.monitor("op", attributes=attributes):
        pass
    found = dict(stored(monitor.storage)["op"].attributes)
    assert found == {**attributes, "l": ("a", "b"), "e": ()}


def test_an_empty_name_is_kept(monitor):
    with monitor.monitor(""):
        pass
    assert names(monitor.storage) == [""]


@pytest.mark.parametrize("name", [None, 5, b"bytes", _BadStr(), ["a"], "\ud800surrogate", "nul\0byte", "a" * 100_000])
def test_a_strange_name_keeps_the_operation(monitor, name):
    with monitor.monitor(name):
        pass
    assert len(monitor.storage.get_metrics()) == 1
    assert len(monitor.storage.get_metrics()[0]["operation"]) <= 1000


@pytest.mark.parametrize("name", ["\ud800surrogate", "a" * 100_000, "nul\0byte"], ids=["surrogate", "long", "nul"])
def test_statistics_are_found_under_the_name_the_operation_was_given(monitor, name):
    with monitor.monitor(name):
        pass
    assert monitor.storage.get_stats(name).count == 1
    assert len(monitor.storage.get_metrics(name)) == 1


def test_a_name_with_lone_surrogates_reaches_other_pipelines_as_valid_text(storage):
    provider, exporter = make_provider()
    reader = InMemoryMetricReader()
    monitor = PerformanceMonitor(storage, tracer_provider=provider, meter_provider=MeterProvider([reader]))
    with monitor.monitor("bad\ud800"):
        pass
    (span,) = exporter.get_finished_spans()
    span.name.encode()
    points_of(reader)[0].attributes["perfmon.operation"].encode()


@pytest.mark.parametrize("kind", ["server", None, 7, object()], ids=["text", "none", "number", "object"])
def test_a_kind_that_is_none_keeps_the_operation(monitor, kind):
    with monitor.monitor("op", kind=kind):
        pass
    assert names(monitor.storage) == ["op"]


def test_the_decorator_without_a_name_says_what_is_missing(monitor):
    with pytest.raises(TypeError, match="name"):

        @monitor.monitor
        def function() -> None: ...


def test_a_span_that_the_user_ended_inside_the_block_is_stored_once(monitor):
    with monitor.monitor("op") as span:
        span.end()
    assert names(monitor.storage) == ["op"]
    assert monitor.storage.get_stats("op").count == 1


def test_a_user_may_rename_the_span(monitor):
    with monitor.monitor("op") as span:
        span.update_name("GET /cart")
    assert names(monitor.storage) == ["GET /cart"]
