"""How often errors of a kind occurred over time."""

from __future__ import annotations

import pytest
from storage_kit import NOW, NOW_S, SECOND, span_row, write

from otel_perfmon import QueryError, Window
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR = 3_600 * SECOND
DAY = 24 * HOUR


@pytest.fixture
def writer(tmp_path):
    writer = SqliteWriter(str(tmp_path / "metrics.db"))
    yield writer
    writer.close()


@pytest.fixture
def reader(writer):
    return SqliteReader(writer.path)


def counts(reader, **given):
    return [series.counts for series in reader.summarize_error_counts(reader.summarize_errors(), **given)]


def test_groups_are_counted_by_the_hour_each_for_itself(writer, reader):
    write(writer, span_row("a", error="old 1", end=NOW), span_row("a", error="old 2", end=NOW + 2 * HOUR))
    write(writer, span_row("a", error="other", end=NOW + HOUR), span_row("a", error="old 3", end=NOW + 1))
    window = Window(NOW, NOW + 3 * HOUR)
    assert counts(reader, window=window) == [(2, 0, 1), (0, 1, 0)]
    (old, _) = reader.summarize_error_counts(reader.summarize_errors(), window=window)
    assert (old.operation, old.window, old.cell_seconds, old.error_counts) == ("a", window, 3_600, (2, 0, 1))


def test_cells_are_as_wide_as_they_must_be(writer, reader):
    write(writer, *(span_row(error="no", end=NOW + number * HOUR) for number in range(48)))
    window = Window(NOW, NOW + 48 * HOUR)
    groups = reader.summarize_errors()
    for cells_max, width in ((48, 3_600), (47, 7_200), (3, 86_400), (1, 7 * 86_400)):
        (series,) = reader.summarize_error_counts(groups, window=window, cells_max=cells_max)
        assert series.cell_seconds == width
        assert sum(series.counts) == 48
        assert len(series.counts) <= max(cells_max, 2)


def test_without_a_window_it_is_from_the_first_to_the_last(writer, reader):
    write(writer, span_row(error="no 1", end=NOW), span_row(error="no 2", end=NOW + 3 * DAY))
    (found,) = reader.summarize_error_counts(reader.summarize_errors(), cells_max=100)
    assert (len(found.counts), found.counts[0], found.counts[-1]) == (73, 1, 1)
    assert found.window.start_unix_nano == NOW


def test_services_count_together_or_each_for_itself(writer, reader):
    write(writer, span_row(error="no", end=NOW, service="a"), span_row(error="no", end=NOW + 1, service="b"))
    assert counts(reader) == [(2,)]
    assert counts(reader, service="a") == [(1,)]
    assert counts(reader, service="none") == [(0,)]


def test_a_window_of_ages_has_a_bounded_number_of_cells(writer, reader):
    write(writer, span_row(error="no", end=NOW))
    (found,) = counts(reader, window=Window(0, 2**63 - 1), cells_max=48)
    assert len(found) <= 49


def test_nothing_is_asked_about_no_group(reader, writer):
    write(writer, span_row(end=NOW_S * SECOND))
    assert reader.summarize_error_counts([]) == []
    with pytest.raises(QueryError):
        reader.summarize_error_counts([], cells_max=0)
