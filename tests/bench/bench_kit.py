"""Sizes so small that every measuring function runs in a moment."""

from __future__ import annotations

from otel_perfmon.bench.figures import Figure
from otel_perfmon.bench.sizes import Sizes

TINY = Sizes(
    rounds=2,
    burst=5,
    burst_count=1,
    loop=20,
    naive=2,
    tight_loop=300,
    busy_loop=20,
    insert_rounds=1,
    insert_rows=300,
    busy_rows=3,
    busy_seconds=0.0,
    size_spans=1_000,
    questions=2,
    imports=1,
    new_operations=3,
    overload=50,
)
NAMES = {
    "overhead": {
        "bare",
        "caller",
        "stored",
        "caller_attributes",
        "stored_attributes",
        "unsampled",
        "disabled",
        "reader_added",
        "batch_processor",
        "otlp",
        "timer",
        "naive",
    },
    "loops": {
        "tight_loop_stored",
        "tight_loop_counted",
        "busy_loop_stored",
        "busy_loop_counted",
        "overload_memory",
    },
    "insertion": {
        "insert_executemany",
        "insert_multirow",
        "insert_writer",
        "busy_insert_executemany",
        "busy_insert_multirow",
        "busy_insert_writer",
    },
    "size": {"span_bytes"},
    "questions": {"fill_rate", "store_spans", "ask_stats", "ask_slow", "ask_trace", "store_span_bytes"},
    "startup": {"import", "import_configure", "first_span", "first_span_of_process"},
}
"""Every figure, by section."""


def ignore(*_: object) -> None:
    """Who is told how far it is and does not care."""


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def check(figure: Figure) -> None:
    """That the figure is one: in order, and finite."""
    for spread in (figure.value, figure.ratio):
        if spread is not None:
            assert spread.low <= spread.median <= spread.high < float("inf")
    assert (figure.value is not None) or figure.note
