"""Statistics as metric data points: each bucket of the store is OpenTelemetry's own at its scale, in nanoseconds."""

from __future__ import annotations

import random

from storage_kit import NOW, SECOND, span_row, write

HOUR = 3_600 * SECOND


def test_each_duration_lies_within_the_bounds_of_its_bucket(writer, store):
    durations = [0, 1, 2, 3, 1000, 32**5, *(random.Random(5).randrange(1, 10**12) for _ in range(200))]
    write(writer, *[span_row(duration_nano=each) for each in durations])
    duration, errors, slow = store.find_rollup_points().items
    data = duration.data
    base = 2 ** (2 ** -data["scale"])
    found = data["zero_count"]
    for number, count in enumerate(data["positive"]["bucket_counts"]):
        lower = base ** (data["positive"]["offset"] + number)
        held = sum(lower * (1 + 1e-9) < each <= lower * base * (1 + 1e-9) for each in durations)
        assert held == count
        found += count
    assert found == data["count"] == len(durations)
    assert (data["sum"], data["min"], data["max"]) == (sum(durations), 0, max(durations))
    assert (duration.kind, duration.unit, duration.temporality) == ("exponential_histogram", "ns", 1)
    assert (errors.data["value"], slow.data["value"]) == (0, 0)


def test_there_is_one_for_each_operation_and_hour_and_pages_go_on(writer, store):
    write(writer, span_row("a", error="no"), span_row("b", slow=True), span_row("a", end=NOW + HOUR))
    write(writer, span_row("a", service="other"))
    found, after = [], (0, 0)
    while (page := store.find_rollup_points(after, limit=1)).last is not None:
        found += page.items
        after = page.last
    told = [
        (point.resource.attributes["service.name"], point.attributes["perfmon.operation"], point.data["count"])
        for point in found
        if point.kind != "sum"
    ]
    assert sorted(told) == [("other", "a", 1), ("shop", "a", 1), ("shop", "a", 1), ("shop", "b", 1)]
    assert all(point.time_unix_nano - point.start_unix_nano == HOUR for point in found)
    assert sum(point.data["value"] for point in found if point.instrument == "perfmon.rollup.errors") == 1
    assert sum(point.data["value"] for point in found if point.instrument == "perfmon.rollup.slow") == 1


def test_a_store_without_spans_has_none(writer, store):
    write(writer)
    assert store.find_rollup_points().last is None
