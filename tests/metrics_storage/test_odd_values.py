"""Odd values: never an exception, never a lost neighbour."""

from __future__ import annotations

import enum
import math
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from metrics_kit import NOW

from otel_perfmon import QueryError, SpanQuery


@pytest.mark.parametrize(
    "duration",
    [
        float("nan"),
        math.inf,
        -math.inf,
        -1,
        -1e-3,
        None,
        "12",
        b"1",
        [1],
        1j,
        True,
        object(),
        10**400,
        -(10**400),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_duration_that_is_no_finite_number_of_0_or_more_is_counted_and_logged_and_nothing_else(
    storage, caplog, duration
):
    storage.insert_metric("load", duration)
    storage.insert_metric("load", 1)
    assert [each["duration"] for each in storage.get_metrics()] == [1.0]
    assert storage.store.get_health().dropped == {"invalid": 1}
    assert "load" in caplog.text


@pytest.mark.parametrize(
    "timestamp",
    [float("nan"), math.inf, "now", b"", True, [NOW], object(), 10**400, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_a_timestamp_that_is_no_finite_number_is_counted_and_logged_and_nothing_else(storage, caplog, timestamp):
    storage.insert_metric("load", 1, timestamp=timestamp)
    storage.insert_metric("load", 2)
    assert [each["duration"] for each in storage.get_metrics()] == [2.0]
    assert storage.store.get_health().dropped == {"invalid": 1}
    assert "load" in caplog.text


def test_a_dropped_metric_is_in_the_account_as_soon_as_the_process_asks(storage):
    storage.insert_metric("load", 1)
    assert storage.store.get_health().dropped == {}
    for count in range(1, 4):
        storage.insert_metric("load", math.nan)
        health = storage.store.get_health()
        assert health.dropped == {"invalid": count}
        assert health.ended == 1 + count


@pytest.mark.parametrize(("duration", "timestamp"), [(1e300, None), (1, 1e300), (1, -1e300), (2**62 / 1e6, -9.2e9)])
def test_figures_too_large_for_the_file_are_brought_within_it_and_marked(storage, duration, timestamp):
    storage.insert_metric("load", duration, timestamp=timestamp)
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.altered


def test_a_duration_is_the_same_in_the_metric_and_in_the_statistics(storage):
    storage.insert_metric("load", 2**62 / 1e6, timestamp=-9.2e9)
    assert storage.get_metrics()[0]["duration"] == storage.get_stats("load").max_ms


class Evil:
    """An object none of whose methods work."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __bool__ = __len__ = __iter__ = __hash__ = __float__ = __repr__


class EvilMapping(Mapping):
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"operation": Evil()},
        {"operation": Evil(), "duration": math.nan},
        {"operation": None},
        {"operation": 5},
        {"operation": b"bytes"},
        {"error": Evil()},
        {"is_slow": Evil()},
        {"error_type": Evil(), "error_message": Evil(), "stack_trace": Evil()},
        {"error_type": ValueError, "error_message": ValueError("x"), "stack_trace": ["a", "b"]},
        {"error_message": "m" * 10**6, "stack_trace": "s" * 10**7, "error": True},
        {"context": Evil()},
        {"context": EvilMapping()},
        {"context": [("a", 1)]},
        {"context": {"evil": Evil(), "mapping": EvilMapping()}},
        {"context": {Evil: 1, None: 2, 5: 3, ("a", 1): 4, b"k": 5, "": 6}},
        {"duration": Evil()},
        {"timestamp": Evil()},
    ],
    ids=" ".join,
)
def test_whatever_is_inserted_never_raises_is_accounted_for_and_the_next_metric_is_kept(storage, arguments):
    storage.insert_metric(**{"operation": "odd", "duration": 1, **arguments})
    storage.insert_metric("plain", 2)
    metrics = storage.get_metrics()
    assert metrics[0]["operation"] == "plain"
    health = storage.store.get_health()
    assert health.ended == 2
    assert health.stored == len(metrics)


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (2**70, 2**70),
        (-(2**70), -(2**70)),
        (math.inf, math.inf),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        ("\ud800", "\ud800"),
        ("@bytes", "@bytes"),
        ({"@bytes": "x"}, {"@bytes": "x"}),
        ({"@double": "NaN"}, {"@double": "NaN"}),
        ({"@@": {"@": 1}}, {"@@": {"@": 1}}),
        ([1, [2, {"a": (3,)}]], (1, (2, {"a": (3,)}))),
        ([], ()),
        ({}, {}),
        ("", ""),
        (Colour.RED, "red"),
        (Decimal("1.5"), "1.5"),
        (-0.0, -0.0),
    ],
    ids=repr,
)
def test_a_context_value_comes_back_by_opentelemetrys_rules(storage, value, kept):
    storage.insert_metric("load", 1, context={"value": value, "next": 1})
    (metric,) = storage.get_metrics()
    assert repr(metric["context"]) == repr({"value": kept, "next": 1})


def test_nan_in_a_context_comes_back_as_nan(storage):
    storage.insert_metric("load", 1, context={"value": math.nan})
    assert math.isnan(storage.get_metrics()[0]["context"]["value"])


def test_keys_that_are_no_text_become_text_and_the_metric_is_marked(storage):
    storage.insert_metric("load", 1, context={5: "five", None: "none", ("a", 1): "tuple", True: "true"})
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.attributes == {"5": "five", "None": "none", "('a', 1)": "tuple", "True": "true"}
    assert span.altered == ("attributes",)


def test_a_huge_context_is_cut_marked_and_counted(storage):
    storage.insert_metric("load", 1, context={"text": "x" * 10**6, **{f"k{n}": "y" * 50_000 for n in range(50)}})
    (span,) = storage.store.find_spans(SpanQuery())
    assert span.altered == ("attributes",)
    assert 0 < span.dropped_attributes_count < 51
    assert sum(len(value) for value in span.attributes.values()) <= 2**20
    assert storage.store.get_health().altered == 1


def test_a_context_that_contains_itself_is_cut_at_some_depth(storage):
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = cycle
    storage.insert_metric("load", 1, context=cycle)
    storage.insert_metric("plain", 1)
    assert [each["operation"] for each in storage.get_metrics()] == ["plain", "load"]
    (_, span) = storage.store.find_spans(SpanQuery())
    assert span.altered == ("attributes",)
    assert span.attributes["self"]["self"]["a"] == 1


BRANCHING_PROGRAM = """
    from otel_perfmon import MetricsStorage
    parent = {{"children": []}}
    for number in range({count}):
        parent["children"].append({{"number": number, "parent": parent}})
    with MetricsStorage({path!r}) as storage:
        storage.insert_metric("family", 1, context={{"family": parent}})
        storage.insert_metric("plain", 1)
        print([each["operation"] for each in storage.get_metrics()])
"""


@pytest.mark.parametrize("count", [2, 10])
def test_a_context_that_contains_itself_many_times_over_takes_neither_for_ever_nor_all_memory(
    run_python, db_path, count
):
    try:
        printed = run_python(BRANCHING_PROGRAM.format(path=db_path, count=count), timeout=5)
    except subprocess.TimeoutExpired:
        pytest.fail("the writer is still busy with one context after 5 s")
    assert printed.strip() == "['plain', 'family']"


def test_a_context_is_kept_as_it_was_when_it_was_given(storage):
    items, context = [1], {"a": 1}
    storage.insert_metric("load", 1, context={"items": items, "context": context})
    items.append(2)
    context["b"] = 2
    assert storage.get_metrics()[0]["context"] == {"items": (1,), "context": {"a": 1}}


@pytest.mark.parametrize(
    "operation",
    ["", " ", "\0", "a\0b", "\ud800", "é😀", "'\"; --", "n" * 100_000, "é" * 100_000, "(other operations)"],
    ids=lambda name: ascii(name[:10]),
)
def test_an_odd_operation_name_is_kept_and_found_by_the_same_name(storage, operation):
    storage.insert_metric("before", 1)
    storage.insert_metric(operation, 2, True)
    storage.insert_metric("after", 3)
    assert [each["duration"] for each in storage.get_metrics()] == [3.0, 2.0, 1.0]
    assert [each["duration"] for each in storage.get_metrics(operation)] == [2.0]
    assert storage.get_stats(operation).count == 1
    assert storage.get_error_rate(operation, 60) == 1.0
    assert len(storage.get_metrics_in_window(operation, 60)) == 1


def test_a_name_that_was_cut_is_marked(storage):
    storage.insert_metric("n" * 100_000, 1)
    (span,) = storage.store.find_spans(SpanQuery())
    assert len(span.name) == 1000
    assert span.altered == ("name",)


@pytest.mark.parametrize("operation", [5, b"x", object(), ["a"], 2**70])
def test_a_question_about_something_that_is_no_name_is_malformed_or_finds_nothing(storage, operation):
    storage.insert_metric("load", 1)
    with suppress(QueryError):
        assert storage.get_metrics(operation) == []
    with suppress(QueryError):
        assert storage.get_stats(operation).count == 0
