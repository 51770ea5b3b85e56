from __future__ import annotations

import math
import random
import time
from contextlib import closing
from fractions import Fraction

import pytest
from storage_kit import NOW, NOW_S, SECOND, ask_one, resource_row, span_row, write

from otel_perfmon.errors import QueryError
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.cells import Kept, align_window
from otel_perfmon.storage.histogram import bucket_of, estimate_of
from otel_perfmon.storage.sqlite import statistics
from otel_perfmon.storage.sqlite.connection import open_reader
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.sums import sum_cells
from otel_perfmon.storage.sqlite.writer import SqliteWriter

DAY = 86_400


@pytest.fixture
def reader(db_path):
    with closing(SqliteReader(db_path)) as reader:
        yield reader


def nearest_rank(values, share):
    return sorted(values)[max(1, math.ceil(Fraction(share) * len(values))) - 1]


DISTRIBUTIONS = {
    "constant": lambda rng: 1_234_567,
    "uniform": lambda rng: rng.randrange(1, 10**9),
    "exponential": lambda rng: int(rng.expovariate(1) * 1e7) + 1,
    "pareto": lambda rng: min(2**62, int(rng.paretovariate(0.5) * 1e3)),
    "bimodal": lambda rng: rng.choice((50_000, 3_000_000_000)),
    "nanoseconds": lambda rng: rng.randrange(4),
    "days": lambda rng: rng.randrange(10**14, 10**15),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentiles_are_within_1_1_percent_of_the_nearest_rank_and_the_rest_is_exact(writer, reader, name):
    rng = random.Random(name)
    durations = [DISTRIBUTIONS[name](rng) for _ in range(999)]
    for part in range(3):
        write(writer, *[span_row(duration_nano=each, start_unix_nano=0) for each in durations[part::3]])
    stats = reader.summarize_operations(operation="op")[0]
    for share, value in ((".5", stats.p50_ms), (".9", stats.p90_ms), (".95", stats.p95_ms), (".99", stats.p99_ms)):
        assert value * 1e6 == pytest.approx(nearest_rank(durations, share), rel=0.011)
    assert (stats.count, stats.min_ms, stats.max_ms) == (999, min(durations) / 1e6, max(durations) / 1e6)
    assert stats.total_ms == sum(durations) / 1e6
    assert stats.avg_ms == sum(durations) / 999 / 1e6


def test_histograms_of_any_bytes_are_read_as_they_were_written(writer, db_path):
    """Counts that are no UTF-8, of one byte and of two, with zeros between them; and of single spans."""
    counts = {700: 1, 701: 128, 703: 192, 704: 255, 705: 237, 706: 256}
    counts |= {1000 + 50 * i: 1 for i in range(3)}
    durations = [round(estimate_of(key)) for key, count in counts.items() for _ in range(count)]
    for day in range(3):
        write(writer, *[span_row(end=NOW + day * DAY * SECOND, duration_nano=each) for each in durations[day:]])
        write(writer, span_row("another", end=NOW + day * DAY * SECOND, duration_nano=durations[0]))
    all_time = [(DAY, 0, NOW_S + 9 * DAY)]
    with closing(open_reader(db_path)) as connection:
        cells = sum_cells(connection, all_time, operation=None, service=None, is_split=False)
    expected = [bucket_of(each) for day in range(3) for each in durations[day:]]
    assert cells["op", None].lanes == sum(1 << 64 * key for key in expected)
    assert cells["another", None].lanes == 3 << 64 * 700


def test_figures_of_a_window_are_those_of_the_spans_that_ended_in_it(writer, reader, clock):
    rng = random.Random(5)
    clock.now = NOW_S + 1800.5
    rows = [
        span_row(f"op{rng.randrange(3)}", end=NOW + rng.randrange(1800 * SECOND), ms=rng.random()) for _ in range(900)
    ]
    for part in range(9):
        write(writer, *rows[part::9])
    for seconds in (0, 5, 60, 61.5, 600, 1800, 3600, 90_000):
        asked = Window.last(seconds, now_unix_nano=int(clock.now * 1e9))
        stats = reader.summarize_operations(window=asked)
        window = align_window(asked, Kept(int(clock.now)))
        inside = [row for row in rows if window.start_unix_nano <= row.end_unix_nano < window.end_unix_nano]
        assert {each.operation: each.count for each in stats} == {
            name: sum(row.name == name for row in inside) for name in {row.name for row in inside}
        }
        assert sum(each.total_ms for each in stats) == pytest.approx(sum(row.duration_nano for row in inside) / 1e6)
        assert all(each.window == window for each in stats)
        assert [each.total_ms for each in stats] == sorted((each.total_ms for each in stats), reverse=True)


def test_figures_of_an_old_window_stay_whole_while_finer_cells_are_pruned_away(writer, reader, clock, db_path):
    """A span each ten seconds for thirty hours; whatever is asked at its end counts them all."""
    start = NOW_S - 30 * 3600
    for hour in range(30):
        clock.now = start + hour * 3600
        write(writer, *[span_row(end=(start + hour * 3600 + i * 10 + 5) * SECOND) for i in range(360)])
    clock.now = NOW_S + 1800.0
    while writer.maintain():
        pass
    assert ask_one(db_path, "SELECT count(*) FROM _rollups WHERE resolution_s = 10") < 400
    rng = random.Random(3)
    for i in range(300):
        latest = NOW_S if i % 2 else NOW_S - 22 * 3600
        begin, end = sorted(rng.randrange(start, latest) for _ in range(2))
        asked = Window(begin * SECOND, end * SECOND)
        stats = reader.summarize_operations(window=asked)
        window = align_window(asked, Kept(int(clock.now)))
        seconds = (min(window.end_unix_nano, NOW) - window.start_unix_nano) // SECOND
        assert sum(each.count for each in stats) == seconds // 10, (asked, window)


def test_services_count_together_unless_one_is_asked_for_or_each(writer, reader):
    new = resource_row("shop", version="2.0")
    write(writer, span_row(), span_row(service="stock", ms=9), span_row(error="x"), span_row(resource=new, slow=True))
    together = reader.summarize_operations()
    assert [(each.service, each.count, each.error_count, each.slow_count) for each in together] == [(None, 4, 1, 1)]
    split = reader.summarize_operations(is_by_service=True)
    assert [(each.service, each.count) for each in split] == [("stock", 1), ("shop", 3)]
    assert [(each.service, each.count) for each in reader.summarize_operations(service="stock")] == [("stock", 1)]
    assert reader.summarize_operations(service="none") == []
    assert reader.summarize_operations(operation="none") == []


def test_first_and_last_seen_and_the_rate_of_errors_are_exact(writer, reader):
    write(writer, *[span_row(end=NOW + i * SECOND, error="x" if i % 4 == 0 else None) for i in range(10)])
    stats = reader.summarize_operations()[0]
    assert (stats.first_seen, stats.last_seen) == (NOW_S, NOW_S + 9)
    assert stats.error_rate == 0.3


def test_a_sum_beyond_what_64_bits_hold_is_exact(writer, reader):
    largest = 2**63 - 1
    write(writer, *[span_row(duration_nano=largest, start_unix_nano=0) for _ in range(5)])
    write(writer, *[span_row(duration_nano=largest, start_unix_nano=0) for _ in range(2)])
    stats = reader.summarize_operations()[0]
    assert stats.total_ms == 7 * largest / 1e6
    assert stats.self_ms == 7 * largest / 1e6
    assert stats.avg_ms == pytest.approx(largest / 1e6)


def test_a_question_costs_the_same_over_many_spans_as_over_few(tmp_path):
    def seconds_of(count):
        path = str(tmp_path / f"{count}.db")
        with closing(SqliteWriter(path)) as writer, closing(SqliteReader(path)) as reader:
            write(writer, *[span_row(f"op{i % 10}") for i in range(10)])
            for _ in range(count // 4000):
                write(writer, *[span_row(f"op{i % 10}") for i in range(4000)])
            reader.summarize_operations()
            times = []
            for _ in range(10):
                start = time.perf_counter()
                reader.summarize_operations()
                times.append(time.perf_counter() - start)
            return min(times)

    assert seconds_of(40_000) < 5 * seconds_of(10)


def test_figures_stay_whole_when_fine_cells_are_given_up_for_want_of_room(writer, reader, clock):
    clock.now = NOW_S + 1800.0
    write(writer, *[span_row(f"op {i % 100}", end=NOW + i * SECOND // 2) for i in range(3_600)])
    for _ in range(3):
        assert writer._retention._prune_finest_figures()
        for seconds in (300, 900, 1_800, 3_600):
            asked = Window.last(seconds, now_unix_nano=int(clock.now * 1e9))
            found = reader.summarize_operations(window=asked)
            window = found[0].window
            exact = sum(window.start_unix_nano <= NOW + i * SECOND // 2 < window.end_unix_nano for i in range(3_600))
            assert window.start_unix_nano <= asked.start_unix_nano
            assert sum(stats.count for stats in found) == exact
        assert sum(point.count for point in reader.summarize_series().points) == 3_600
    assert ask_one(writer.path, "SELECT count(*) FROM _rollups WHERE resolution_s = 10") < 3_600 // 2


def test_a_question_about_very_many_operations_takes_coarser_cells_and_says_so(writer, reader, clock, monkeypatch):
    monkeypatch.setattr(statistics, "_CELLS_READ_MAX", 500)
    clock.now = NOW_S + 1830.0
    write(writer, *[span_row(f"op {i}", end=NOW + 1000 * SECOND) for i in range(200)])
    asked = Window.last(1_800, now_unix_nano=int(clock.now * 1e9))
    found = reader.summarize_operations(window=asked)
    assert len(found) == 200
    assert found[0].window == Window(NOW, NOW + 3600 * SECOND)
    one = reader.summarize_operations(operation="op 7", window=asked)[0]
    assert one.window.seconds < 1_830
    assert len(reader.summarize_heatmap(window=asked).counts) < len(
        reader.summarize_heatmap("op 7", window=asked).counts
    )


def test_what_is_remembered_of_histograms_changes_no_answer(writer, reader, db_path, clock):
    """One reader asks again and again, another for the first time, while calls arrive late, now and ahead."""
    rng = random.Random(3)
    clock.now = NOW_S + 2 * DAY + 4_321.0
    for ahead_s in (-DAY, -5_000, -30, -1, 0, 40, 4_000, DAY):
        end = int((clock.now + ahead_s) * SECOND)
        write(writer, *[span_row(f"op{rng.randrange(3)}", end=end, ms=rng.expovariate(0.1)) for _ in range(40)])
        for seconds in (60, 3_600, DAY, 2 * DAY):
            asked = Window.last(seconds, now_unix_nano=int(clock.now * SECOND))
            with closing(SqliteReader(db_path)) as fresh:
                found = reader.summarize_operations(window=asked)
                assert found == fresh.summarize_operations(window=asked)
                assert reader.summarize_operations(window=asked) == found
                spread = reader.summarize_distribution("op1", window=asked)
            counts = {each.operation: each.count for each in found}
            assert sum(bucket.count for bucket in spread.buckets) == counts.get("op1", 0)
        clock.now += 7


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.summarize_operations(window="1h"),
        lambda reader: reader.summarize_operations(operation=5),
        lambda reader: reader.summarize_series(service=b"shop"),
        lambda reader: reader.summarize_series(cells_max=0),
        lambda reader: reader.summarize_series(cells_max="9"),
        lambda reader: reader.summarize_heatmap(rows_max=-1),
        lambda reader: reader.summarize_errors(limit=0),
        lambda reader: reader.summarize_calls(window=(1, 2)),
        lambda reader: reader.find_points(limit=-(2**70)),
        lambda reader: reader.find_points(instrument=1),
        lambda reader: reader.find_trace_ids("ab", limit="x"),
        lambda reader: reader.query_sql("SELECT 1", rows_max=0),
        lambda reader: reader.query_sql("SELECT 1", seconds_max="x"),
        lambda reader: reader.find_spans("op"),
        lambda reader: SpanQuery(window="1h"),
        lambda reader: SpanQuery(attributes=[("a", 1)]),
        lambda reader: SpanQuery(operation=b"a"),
        lambda reader: Window(float("nan"), 5),
        lambda reader: Window(None, 5),
        lambda reader: Window(1.0, 2.0),
        lambda reader: Window.parse(5),
    ],
)
def test_a_malformed_question_is_told_as_that_and_not_as_a_damaged_file(writer, reader, ask):
    write(writer, span_row())
    with pytest.raises(QueryError):
        ask(reader)
