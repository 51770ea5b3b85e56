"""Whatever a program does with its spans, our tracer provider gives what the SDK's gives."""

from __future__ import annotations

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
        assert seen == expected, f"at {number}"
    assert len(ours) == len(stock)
