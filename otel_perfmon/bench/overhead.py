"""What one operation costs, in the caller's time and in all CPU of the process, each beside the bare SDK."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from otel_perfmon.bench import ways
from otel_perfmon.bench.figures import Figure, Goal, Spread, unmeasured
from otel_perfmon.bench.sizes import Sizes
from otel_perfmon.bench.ways import FLUSH_MS, Run
from otel_perfmon.monitor import PerformanceMonitor

R: Final = "R"
_SAME: Final = "the SDK with the same attributes"
_REST_SECONDS: Final = 0.15
"""Longer than the writer gathers spans before it writes: after that it is at rest."""
_NOT_INSTALLED: Final = "opentelemetry-exporter-otlp-proto-common is not installed"
_NO_SAMPLING: Final = "there is no sample_rate yet"
_UNIT: Final = "us"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One way beside its base: ``sample`` gives pairs of µs an operation, first of the base, then of the way."""

    name: str
    title: str
    sample: Callable[[], list[tuple[float, float]]]
    goal: Goal | None = None
    ratio_of: str = R


def measure_overhead(
    monitor: PerformanceMonitor, folder: str, sizes: Sizes, tell: Callable[[str], None]
) -> list[Figure]:
    """Figures of every way, in µs an operation and as ratios to R; ``monitor`` is the one that is measured.

    ``folder`` takes the files of the ways that have some. ``tell`` is told how far it is.
    """
    with ExitStack() as stack:
        comparisons = list(_comparisons(monitor, folder, sizes, stack))
        pairs: dict[str, list[tuple[float, float]]] = {each.name: [] for each in comparisons}
        for each in comparisons:
            each.sample()  # what is made at first use is no part of it
        for number in range(sizes.rounds):
            tell(f"round {number + 1} of {sizes.rounds}")
            for each in comparisons:
                pairs[each.name].append(_middle(each.sample()))
    figures = [_figure(each, pairs[each.name]) for each in comparisons]
    if not ways.can_sample():
        figures.append(unmeasured("unsampled", "unsampled, only counted", _UNIT, _NO_SAMPLING))
    if not ways.EncodingExporter.is_installed():
        figures.append(unmeasured("otlp", "SDK + OTLP encoding", _UNIT, _NOT_INSTALLED))
    return figures


def _comparisons(monitor: PerformanceMonitor, folder: str, sizes: Sizes, stack: ExitStack) -> Iterator[Comparison]:
    yield from _of_monitor(monitor, sizes)
    bare, loop = ways.bare(), sizes.loop
    if ways.can_sample():
        unsampled = stack.enter_context(ways.unsampled(os.path.join(folder, "unsampled.db")))
        run = ways.until_stored(unsampled, ways.monitored(unsampled))
        yield Comparison("unsampled", "unsampled, only counted", _cpu(bare, run, loop), Goal(0.5, 0.3))
    disabled = stack.enter_context(ways.disabled(os.path.join(folder, "disabled.db")))
    run = ways.monitored(disabled)
    yield Comparison("disabled", "OTEL_SDK_DISABLED=true", _cpu(bare, run, loop), Goal(0.1))
    plain = ways.until_stored(monitor, ways.monitored(monitor))
    watched = ways.with_reader(monitor)
    run = ways.until_stored(watched, ways.monitored(watched))
    title = "added by a metric reader"
    yield Comparison("reader_added", title, _added_cpu(bare, plain, run, loop), Goal(0.4, 0.1))
    yield from _of_others(folder, sizes, stack)


def _of_monitor(monitor: PerformanceMonitor, sizes: Sizes) -> Iterator[Comparison]:
    """The monitor itself: what the caller waits, and what all of it costs until it is in the file."""
    bare, bare_with = ways.bare(), ways.bare(with_attributes=True)
    run, run_with = ways.monitored(monitor), ways.monitored(monitor, with_attributes=True)
    stored, stored_with = ways.until_stored(monitor, run), ways.until_stored(monitor, run_with)
    yield Comparison("bare", "the SDK's bare span (R)", _cpu(bare, ways.bare(), sizes.loop))
    yield Comparison("caller", "monitor: the caller's wait", _bursts(monitor, bare, run, sizes), Goal(0.5, 0.3))
    yield Comparison("stored", "monitor: until stored", _cpu(bare, stored, sizes.loop), Goal(0.9, 0.6))
    title = "with attributes: the wait"
    yield Comparison("caller_attributes", title, _bursts(monitor, bare_with, run_with, sizes), ratio_of=_SAME)
    title = "with attributes: stored"
    sample = _cpu(bare_with, stored_with, sizes.loop)
    yield Comparison("stored_attributes", title, sample, Goal(1.2, 0.8), _SAME)


def _of_others(folder: str, sizes: Sizes, stack: ExitStack) -> Iterator[Comparison]:
    """What else people do; each until it has done all it does."""
    bare = ways.bare()
    null = stack.enter_context(ways.exporting(ways.NullExporter(), sizes.loop))
    title = "SDK + BatchSpanProcessor"
    yield Comparison("batch_processor", title, _cpu(bare, null, sizes.loop))
    if ways.EncodingExporter.is_installed():
        encoding = stack.enter_context(ways.exporting(ways.EncodingExporter(), sizes.loop))
        yield Comparison("otlp", "SDK + OTLP encoding", _cpu(bare, encoding, sizes.loop))
    yield Comparison("timer", "a contextlib timer", _cpu(bare, ways.timed(), sizes.loop))
    naive = ways.naive(os.path.join(folder, "naive.db"))
    title = "one commit per operation"
    yield Comparison("naive", title, lambda: [_pair(bare, naive, sizes.naive, time.perf_counter_ns)])


# --- one sample


def _us_each(run: Run, count: int, clock: Callable[[], int]) -> float:
    start = clock()
    run(count)
    return (clock() - start) / count / 1000


def _pair(base: Run, run: Run, count: int, clock: Callable[[], int]) -> tuple[float, float]:
    return _us_each(base, count, clock), _us_each(run, count, clock)


def _cpu(base: Run, run: Run, count: int) -> Callable[[], list[tuple[float, float]]]:
    return lambda: [_pair(base, run, count, time.process_time_ns)]


def _added_cpu(base: Run, without: Run, run: Run, count: int) -> Callable[[], list[tuple[float, float]]]:
    """What ``run`` takes more than ``without``, of which one stands on either side: a difference doubles the noise."""

    def sample() -> list[tuple[float, float]]:
        base_us, before_us = _pair(base, without, count, time.process_time_ns)
        run_us, after_us = (_us_each(each, count, time.process_time_ns) for each in (run, without))
        return [(base_us, run_us - (before_us + after_us) / 2)]

    return sample


def _bursts(monitor: PerformanceMonitor, base: Run, run: Run, sizes: Sizes) -> Callable[[], list[tuple[float, float]]]:
    """Bursts that the queue takes, with the writer at rest before each."""

    def burst() -> tuple[float, float]:
        monitor.force_flush(FLUSH_MS)
        time.sleep(_REST_SECONDS)
        return _pair(base, run, sizes.burst, time.perf_counter_ns)

    return lambda: [burst() for _ in range(sizes.burst_count)]


def _middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The value of a round, and its ratio to the base: medians."""
    return statistics.median(way for _, way in pairs), statistics.median(way / base for base, way in pairs)


def _figure(comparison: Comparison, rounds: list[tuple[float, float]]) -> Figure:
    values, ratios = zip(*rounds, strict=True)
    name, title = comparison.name, comparison.title
    return Figure(name, title, _UNIT, Spread.of(values), Spread.of(ratios), comparison.ratio_of, comparison.goal)
