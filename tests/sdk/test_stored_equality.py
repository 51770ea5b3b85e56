"""Whatever a program does with its spans, our tracer provider has the same stored as the SDK's.

Ours hands over the span itself, and takes a shorter way to a row where there is little in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from opentelemetry.sdk import trace as sdk
from program_kit import Block, Call, Program, Start, programs
from runner_kit import Clock, Run
from witness_kit import without_frames

from otel_perfmon import MetricsStorage
from otel_perfmon.sdk.processor import SpanDoor, StoreSpanProcessor
from otel_perfmon.sdk.tracer import TracerProvider

SLOW_NANO = 2_000
"""A step of a program takes 1,000."""
NEW_SPANS = """
    SELECT v.*, s.parent_span_id AS parent, s.kind AS kind_number, s.flags, s.status_code, s.start_skew_nano, s.details,
        s.attributes AS text, c.version, c.attributes AS scope_attributes
    FROM spans v JOIN _spans s ON s.id = v.id JOIN _scopes c ON c.id = s.scope_id WHERE v.id > ? ORDER BY v.id
"""
NOT_COMPARED = {"id", "operation_id"}


class StoreOfOne:
    """A store for the spans of one provider, program after program."""

    def __init__(self, storage: MetricsStorage, connection: sqlite3.Connection) -> None:
        self.processor = StoreSpanProcessor(SpanDoor(storage.recorder, SLOW_NANO, takes_stacks=False))
        self._connection = connection
        self._last_id = 0

    def new_rows(self) -> list[dict[str, Any]]:
        cursor = self._connection.execute(NEW_SPANS, (self._last_id,))
        columns = [column[0] for column in cursor.description]
        rows = [dict(zip(columns, values, strict=True)) for values in cursor]
        self._last_id = max((row["id"] for row in rows), default=self._last_id)
        return [{name: _plain(value) for name, value in row.items() if name not in NOT_COMPARED} for row in rows]


def _plain(value: Any) -> Any:
    return without_frames(value) if isinstance(value, str) else value


@contextmanager
def store_of_one(path: str) -> Iterator[StoreOfOne]:
    with MetricsStorage(path) as storage:
        storage.insert_metric("first", 1)
        storage.recorder.flush_or_raise()
        with closing(sqlite3.connect(path)) as connection:
            store = StoreOfOne(storage, connection)
            assert len(store.new_rows()) == 1
            yield store


@pytest.fixture
def stores(tmp_path) -> Iterator[tuple[StoreOfOne, StoreOfOne]]:
    with store_of_one(str(tmp_path / "stock.db")) as stock, store_of_one(str(tmp_path / "ours.db")) as ours:
        yield stock, ours


nothing_said = Call(0, "set_attribute", ("perfmon.slow", None))
one_slow_span_that_says_nothing = Program(
    "default", {}, "none", "none", (Block("with", Start(), True, (nothing_said,) * 4, None),)
)


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "beside others"])
@given(program=programs)
@example(program=one_slow_span_that_says_nothing)
def test_what_is_stored_of_a_program_of_spans_equals_what_is_stored_of_it_with_the_sdk(
    program: Program, is_alone, stores, monkeypatch
) -> None:
    if is_alone:  # then nobody reads a span before it is stored
        program = program._replace(processors="none")
    stock, ours = stores
    with monkeypatch.context() as patches:
        clock = Clock(patches)
        Run(sdk.TracerProvider, program, clock, stock.processor)
        Run(TracerProvider, program, clock, ours.processor)
    expected, found = stock.new_rows(), ours.new_rows()
    for one, other in zip(expected, found, strict=False):
        assert other == one
    assert len(found) == len(expected)
