"""Every figure a store gives, against the same figure worked out from the raw spans of random programs."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from contextlib import closing
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import NOW, NOW_S, SECOND, RowDoor, details_of, span_bytes, span_row, trace_bytes, write

from otel_perfmon.query import Window
from otel_perfmon.storage.fingerprint import message_pattern
from otel_perfmon.storage.histogram import bucket_of
from otel_perfmon.storage.intake import Intake, opaque
from otel_perfmon.storage.loss import Losses
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR = 3600
OPERATIONS = ("GET /", "load", "query", "render")
MESSAGES = ("no user 5", "no user 77", "disk full", "timeout after 3.5 s")


@st.composite
def programs(draw):
    """The spans of a few requests of a program whose operations call each other one after another, in order of end."""
    rows, ids = [], itertools.count(1)
    for trace in range(draw(st.integers(1, 6))):
        start = NOW + draw(st.integers(-30 * HOUR, 0)) * SECOND + draw(st.integers(0, SECOND - 1))
        rows += _call(draw, ids, {"trace_id": trace_bytes(trace + 1)}, start, depth=0)
    return sorted(rows, key=lambda row: row.end_unix_nano)


def _call(draw, ids, lineage, start, *, depth):
    """The spans of one call and of those it makes, which end before it."""
    span_id, rows = span_bytes(next(ids)), []
    end = start + draw(st.sampled_from((0, 1, 999, 10_000, 1_000_000, 40 * SECOND)))
    for _ in range(draw(st.integers(0, 3 if depth < 3 else 0))):
        rows += _call(draw, ids, {**lineage, "parent": span_id}, end, depth=depth + 1)
        end = rows[-1].end_unix_nano + draw(st.integers(0, 2_000_000))
    own = span_row(
        draw(st.sampled_from(OPERATIONS)),
        service=draw(st.sampled_from(("shop", "stock"))),
        error=draw(st.sampled_from((None, None, None, *MESSAGES))),
        slow=end - start > SECOND,
        end=end,
        duration_nano=end - start,
        span_id=span_id,
        **lineage,
    )
    return [*rows, own]


@pytest.fixture
def store_of(tmp_path, clock):
    """The reader of a new store that holds the rows, written in batches as a recorder would."""
    readers = []

    def make(rows):
        clock.now = NOW_S + 2 * HOUR
        path = str(tmp_path / f"{len(readers)}.db")
        intake, door = Intake(Losses(), lambda: None), RowDoor()
        intake.queue.extend(place for row in rows for place in opaque(row, door, 0))
        with closing(SqliteWriter(path)) as writer:
            write(writer)
            while intake.queue:
                intake.take_batch(7)
                writer.write(intake.unfinished, timeout_seconds=1)
        readers.append(SqliteReader(path))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


WINDOWS = st.one_of(
    st.none(),
    st.builds(
        lambda first, length: Window(NOW + first * SECOND, NOW + (first + length) * SECOND),
        st.integers(-32 * HOUR, HOUR),
        st.integers(1, 33 * HOUR),
    ),
)


def inside(rows, window):
    return [row for row in rows if window is None or window.start_unix_nano <= row.end_unix_nano < window.end_unix_nano]


def nearest_rank(durations, share):
    return sorted(durations)[max(1, math.ceil(Fraction(share) * len(durations))) - 1]


def assert_figures(stats, rows):
    """What ``stats`` says is so of ``rows``: counts exactly, percentiles within 1.1 % of the nearest rank."""
    durations = [row.duration_nano for row in rows]
    assert stats.count == len(rows)
    assert stats.error_count == sum(row.is_error for row in rows)
    assert stats.slow_count == sum(row.is_slow for row in rows)
    assert stats.total_ms == sum(durations) / 1e6
    if not rows:
        assert (stats.min_ms, stats.p50_ms, stats.max_ms, stats.error_rate) == (None, None, None, 0.0)
        return
    assert (stats.min_ms, stats.max_ms) == (min(durations) / 1e6, max(durations) / 1e6)
    assert stats.error_rate == stats.error_count / stats.count
    for share, value in (("0.5", stats.p50_ms), ("0.9", stats.p90_ms), ("0.95", stats.p95_ms), ("0.99", stats.p99_ms)):
        assert value * 1e6 == pytest.approx(nearest_rank(durations, share), rel=0.011)


def self_nanos(rows):
    """The exact self time of each span of programs whose calls follow one another."""
    children = defaultdict(int)
    for row in rows:
        children[row.trace_id, row.parent_span_id] += row.duration_nano
    return {row.span_id: row.duration_nano - children[row.trace_id, row.span_id] for row in rows}


@settings(max_examples=25)
@given(rows=programs(), window=WINDOWS)
def test_statistics_are_those_of_the_spans_and_so_is_self_time(store_of, rows, window):
    reader = store_of(rows)
    own = self_nanos(rows)
    found = reader.summarize_operations(window=window)
    covered = found[0].window if found else window
    by_name = defaultdict(list)
    for row in inside(rows, covered):
        by_name[row.name].append(row)
    assert {stats.operation for stats in found} == set(by_name)
    for stats in found:
        assert_figures(stats, by_name[stats.operation])
        assert stats.self_ms == sum(own[row.span_id] for row in by_name[stats.operation]) / 1e6


@settings(max_examples=25)
@given(rows=programs(), window=WINDOWS, operation=st.sampled_from((None, *OPERATIONS)), cells_max=st.integers(1, 70))
def test_a_series_holds_the_figures_of_each_of_its_cells_without_a_gap(store_of, rows, window, operation, cells_max):
    series = store_of(rows).summarize_series(operation, window=window, cells_max=cells_max)
    assert 1 <= len(series.points) <= max(2, cells_max)
    cells = [point.window for point in series.points]
    assert (cells[0].start_unix_nano, cells[-1].end_unix_nano) == (
        series.window.start_unix_nano,
        series.window.end_unix_nano,
    )
    assert all(cell.seconds == series.cell_seconds for cell in cells)
    assert all(cell.end_unix_nano == after.start_unix_nano for cell, after in itertools.pairwise(cells))
    wanted = [row for row in rows if operation in (None, row.name)]
    if window is None:
        assert sum(point.count for point in series.points) == len(wanted)
    else:
        assert series.window.start_unix_nano <= window.start_unix_nano
        assert series.window.end_unix_nano >= window.end_unix_nano
    for point in series.points:
        assert_figures(point, inside(wanted, point.window))


@settings(max_examples=20)
@given(rows=programs(), window=WINDOWS, service=st.sampled_from((None, "shop", "stock")))
def test_counts_over_time_are_those_of_the_series(store_of, rows, window, service):
    reader = store_of(rows)
    found = reader.summarize_counts(["render", "none", "load"], service=service, window=window)
    assert [each.operation for each in found] == ["render", "none", "load"]
    for each in found:
        series = reader.summarize_series(each.operation, service=service, window=window, cells_max=24)
        assert (each.window, each.cell_seconds) == (series.window, series.cell_seconds)
        assert each.counts == tuple(point.count for point in series.points)
        assert each.error_counts == tuple(point.error_count for point in series.points)


@settings(max_examples=25)
@given(rows=programs(), window=WINDOWS, rows_max=st.integers(1, 30))
def test_a_heatmap_counts_each_call_once_in_the_cell_of_its_end_and_duration(store_of, rows, window, rows_max):
    heatmap = store_of(rows).summarize_heatmap(window=window, rows_max=rows_max)
    covered = inside(rows, heatmap.window)
    assert sum(map(sum, heatmap.counts)) == len(covered)
    assert sum(heatmap.error_counts) == sum(row.is_error for row in covered)
    assert len(heatmap.bounds_ms) == (len(heatmap.counts[0]) + 1 if covered else 0)
    assert len(heatmap.counts[0]) <= rows_max
    assert list(heatmap.bounds_ms) == sorted(heatmap.bounds_ms)
    exact = Counter()
    for row in covered:
        cell = (row.end_unix_nano - heatmap.window.start_unix_nano) // (heatmap.cell_seconds * SECOND)
        exact[cell, _row_of(row.duration_nano, heatmap.bounds_ms)] += 1
    assert exact == Counter(
        {(i, j): count for i, cell in enumerate(heatmap.counts) for j, count in enumerate(cell) if count}
    )


def _row_of(duration_nano, bounds_ms):
    """The row whose bounds hold a duration; at a bound, where floating point may tell otherwise, that of its bucket.

    A bound is the bucket's just below it. Rounded to a nanosecond, one of 1,116.7 would be in the next bucket.
    """
    bounds = [bucket_of(bound * 1e6 * (1 - 1e-9)) for bound in bounds_ms]
    return next(
        (j for j in range(len(bounds) - 1) if bucket_of(duration_nano) <= bounds[j + 1]),
        len(bounds) - 2,
    )


@settings(max_examples=20)
@given(rows=programs(), window=WINDOWS, operation=st.sampled_from(OPERATIONS))
def test_a_distribution_and_its_percentile_ranks_are_those_of_the_durations(store_of, rows, window, operation):
    found = store_of(rows).summarize_distribution(operation, window=window)
    durations = [row.duration_nano for row in inside(rows, found.window) if row.name == operation]
    assert found.count == len(durations)
    for bucket in found.buckets:
        held = [each for each in durations if bucket.lower_ms * 1e6 < each <= bucket.upper_ms * 1e6]
        held += [0] * durations.count(0) if bucket.upper_ms == 0 else []
        assert bucket.count == len(held)
    if not durations:
        assert found.percentile_rank(1.0) is None
    for each in durations:
        faster = sum(bucket_of(other) < bucket_of(each) for other in durations)
        assert found.percentile_rank(each / 1e6) == faster / len(durations)


@settings(max_examples=25)
@given(rows=programs(), window=WINDOWS, operation=st.sampled_from((None, *OPERATIONS)))
def test_calls_are_those_between_spans_and_their_parents(store_of, rows, window, operation):
    found = store_of(rows).summarize_calls(operation=operation, window=window)
    hours = Window(*_hours(window)) if window else None
    names = {(row.trace_id, row.span_id): row.name for row in rows}
    exact = defaultdict(list)
    for row in inside(rows, hours):
        caller = names.get((row.trace_id, row.parent_span_id))
        if caller is not None and operation in (None, caller, row.name):
            exact[caller, row.name].append(row.duration_nano)
    assert {(edge.caller, edge.callee): edge.count for edge in found} == {
        key: len(durations) for key, durations in exact.items()
    }
    for edge in found:
        assert edge.total_ms == pytest.approx(sum(exact[edge.caller, edge.callee]) / 1e6)
        assert edge.window == hours
    assert [edge.total_ms for edge in found] == sorted((edge.total_ms for edge in found), reverse=True)


def _hours(window):
    hour = HOUR * SECOND
    return window.start_unix_nano // hour * hour, -(-window.end_unix_nano // hour) * hour


def may_be_within(rows, window):
    """Whether the window overlaps the time between the first and the last of the rows."""
    ends = [row.end_unix_nano for row in rows]
    return window is None or (min(ends) < window.end_unix_nano and max(ends) >= window.start_unix_nano)


@settings(max_examples=25)
@given(rows=programs(), window=WINDOWS, operation=st.sampled_from((None, *OPERATIONS)))
def test_error_groups_count_alike_errors_and_name_the_first_and_the_last(store_of, rows, window, operation):
    found = store_of(rows).summarize_errors(operation=operation, window=window)
    hours = Window(*_hours(window)) if window else None
    groups = defaultdict(list)
    for row in rows:
        if row.is_error and operation in (None, row.name):
            groups[row.name, details_of(row).error_type, message_pattern(details_of(row).error_message)].append(row)
    counts = {key: len(inside(each, hours)) for key, each in groups.items()}
    assert {(group.operation, group.error_type, group.message): group.count for group in found} == {
        key: count for key, count in counts.items() if count and may_be_within(groups[key], window)
    }
    for group in found:
        each = groups[group.operation, group.error_type, group.message]
        ends = [row.end_unix_nano for row in each]
        assert (group.first_seen, group.last_seen) == (min(ends) / 1e9, max(ends) / 1e9)
        last = [row for row in each if row.end_unix_nano == max(ends)]
        assert (group.last_trace_id, group.last_span_id, group.last_message) in {
            (row.trace_id.hex(), row.span_id.hex(), details_of(row).error_message) for row in last
        }
        assert group.first_trace_id in {row.trace_id.hex() for row in each if row.end_unix_nano == min(ends)}
    assert [group.last_seen for group in found] == sorted((group.last_seen for group in found), reverse=True)
