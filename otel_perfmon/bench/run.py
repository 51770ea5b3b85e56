"""The whole run: every section of figures, one after another, over files that are gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final

from otel_perfmon.application import configure
from otel_perfmon.bench.figures import Figure
from otel_perfmon.bench.insertion import measure_insertion
from otel_perfmon.bench.loops import measure_overload, measure_tight_loop
from otel_perfmon.bench.overhead import measure_overhead
from otel_perfmon.bench.questions import check_store, measure_questions
from otel_perfmon.bench.size import measure_size
from otel_perfmon.bench.sizes import Sizes
from otel_perfmon.bench.startup import measure_first_spans, measure_imports
from otel_perfmon.bench.surroundings import environment

SECTIONS: Final[dict[str, str]] = {
    "overhead": "One operation",
    "loops": "Nothing is lost",
    "insertion": "Inserting prepared rows",
    "size": "On disk",
    "questions": "Questions",
    "startup": "Starting",
}
"""For each section its title, in the order in which they are measured."""


@dataclass(frozen=True, slots=True)
class Section:
    """The figures of one of `SECTIONS`."""

    name: str
    figures: tuple[Figure, ...]


def measure_sections(
    sizes: Sizes, spans: int, db: str | None, tell: Callable[[str, str], None]
) -> Generator[Section, None, None]:
    """Measure everything, section by section; close the iterator to stop early.

    Questions are asked over ``spans`` spans, or over the store at ``db``, which is filled and kept if it is not there.
    ``tell`` is told the section and how far it is. The environment's settings of OpenTelemetry and ours do not count.
    Must run at most once in a process: it installs the global tracer provider, as a program that is monitored does.
    """
    if db is not None:
        db = os.path.realpath(db)
        check_store(db)
    with environment(), TemporaryDirectory(prefix="otel-perfmon-bench-", ignore_cleanup_errors=True) as folder:
        for name in SECTIONS:
            tell(name, "")
            yield Section(name, tuple(_measure(name, folder, sizes, (spans, db), partial(tell, name))))


def _measure(
    name: str, folder: str, sizes: Sizes, asked: tuple[int, str | None], tell: Callable[[str], None]
) -> list[Figure]:
    if name == "overhead":
        return _overhead(folder, sizes, tell)
    if name == "loops":
        return _loops(folder, sizes, tell)
    if name == "insertion":
        return measure_insertion(folder, sizes, tell)
    if name == "size":
        return [measure_size(folder, sizes.size_spans)]
    if name == "questions":
        spans, db = asked
        return measure_questions(db or os.path.join(folder, "questions.db"), folder, spans, sizes.questions, tell)
    return [
        *measure_imports(sizes.imports, tell),
        *measure_first_spans(folder, sizes.new_operations, sizes.imports),
    ]


def _overhead(folder: str, sizes: Sizes, tell: Callable[[str], None]) -> list[Figure]:
    """As a program would have it: `configure()`, and the monitor that it gives."""
    monitor = configure(os.path.join(folder, "metrics.db"))
    try:
        return measure_overhead(monitor, folder, sizes, tell)
    finally:
        monitor.shutdown()


def _loops(folder: str, sizes: Sizes, tell: Callable[[str], None]) -> list[Figure]:
    tell(f"{sizes.tight_loop:,} operations")
    figures = measure_tight_loop(folder, sizes.tight_loop)
    tell(f"{sizes.busy_loop:,} operations beside busy threads")
    figures += measure_tight_loop(folder, sizes.busy_loop, is_busy=True)
    tell("a store that cannot be written")
    return [*figures, measure_overload(folder, sizes.overload)]
