"""How much is measured: so that a short run and a long one are the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """How often, and over how much.

    In each of ``rounds`` every way runs ``burst_count`` bursts of ``burst`` operations, and ``loop`` operations in a
    tight loop; the naive one ``naive``. ``tight_loop`` and ``busy_loop`` operations must all be stored, the latter
    beside busy threads. Insertion takes ``insert_rows`` rows a time; beside busy threads ``busy_rows`` where they go
    one by one, and again and again for ``busy_seconds``.
    """

    rounds: int
    burst: int
    burst_count: int
    loop: int
    naive: int
    tight_loop: int
    busy_loop: int
    insert_rounds: int
    insert_rows: int
    busy_rows: int
    busy_seconds: float
    size_spans: int
    questions: int
    imports: int
    new_operations: int
    overload: int


FULL: Final = Sizes(
    rounds=9,
    burst=500,
    burst_count=3,
    loop=10_000,
    naive=40,
    tight_loop=1_000_000,
    busy_loop=50_000,
    insert_rounds=5,
    insert_rows=32_768,
    busy_rows=250,
    busy_seconds=2.0,
    size_spans=50_000,
    questions=25,
    imports=11,
    new_operations=200,
    overload=40_000,
)
QUICK: Final = Sizes(
    rounds=4,
    burst=500,
    burst_count=1,
    loop=1_000,
    naive=5,
    tight_loop=10_000,
    busy_loop=1_000,
    insert_rounds=3,
    insert_rows=4_096,
    busy_rows=25,
    busy_seconds=0.4,
    size_spans=6_000,
    questions=9,
    imports=2,
    new_operations=60,
    overload=18_000,
)
SPANS_DEFAULT: Final = 100_000
SPANS_QUICK: Final = 10_000
SPANS_MAX: Final = 10_000_000
