"""Whatever a program does with its spans, our tracer provider gives what the SDK's gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from opentelemetry.sdk import trace as sdk
from program_kit import Program, programs
from runner_kit import Clock, Run

from otel_perfmon.sdk.tracer import TracerProvider


@given(program=programs)
def test_everything_that_can_be_seen_of_a_program_of_spans_equals_the_sdks(program: Program, monkeypatch) -> None:
    with monkeypatch.context() as patches:
        clock = Clock(patches)
        stock = Run(sdk.TracerProvider, program, clock).seen
        ours = Run(TracerProvider, program, clock).seen
    for number, (expected, seen) in enumerate(zip(stock, ours, strict=False)):
        if seen != expected:
            pytest.fail(f"At {number} of {len(stock)}: " + "; ".join(_differences(expected, seen)))
    assert len(ours) == len(stock)


def _differences(expected: tuple, seen: tuple) -> Iterator[str]:
    for one, other in itertools.zip_longest(expected, seen):
        if one != other and isinstance(one, dict) and isinstance(other, dict):
            yield from (
                f"{expected[0]}: {key}: {one[key]!r}, ours {other[key]!r}" for key in one if one[key] != other[key]
            )
        elif one != other:
            yield f"{expected[0]}: {one!r}, ours {seen[0]}: {other!r}"
