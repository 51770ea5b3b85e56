from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.util import find_spec

import pytest
from bench_kit import NAMES, TINY, by_name, check, ignore
from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import SpanQuery
from otel_perfmon.bench import ways
from otel_perfmon.bench.overhead import measure_overhead


def test_every_way_is_measured_beside_the_bare_sdk(monitor, tmp_path) -> None:
    told = []
    figures = by_name(measure_overhead(monitor, str(tmp_path), TINY, told.append))
    assert set(figures) == NAMES["overhead"]
    for name, figure in figures.items():
        check(figure)
        if figure.value is not None and name != "reader_added":  # a difference may be below 0
            assert figure.value.median > 0
            assert figure.ratio.median > 0
            assert figure.ratio_of
    assert told == ["round 1 of 2", "round 2 of 2"]


def test_what_is_not_there_is_left_out_and_told(monitor, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ways, "UNSAMPLED", {"no_such_setting": 0})
    monkeypatch.setattr(ways, "_ENCODER", "no_such_package.at_all")
    figures = by_name(measure_overhead(monitor, str(tmp_path), TINY, ignore))
    assert figures["unsampled"].value is None
    assert figures["unsampled"].note
    assert figures["otlp"].value is None
    assert "opentelemetry-exporter-otlp-proto-common" in figures["otlp"].note


def test_the_monitor_stores_what_it_is_measured_with(monitor, storage) -> None:
    run = ways.until_stored(monitor, ways.monitored(monitor, with_attributes=True))
    run(7)
    spans = storage.store.find_spans(SpanQuery())
    assert len(spans) == 7
    assert {tuple(sorted(span.attributes)) for span in spans} == {("cart.items", "outcome", "user.tier")}


def test_the_disabled_monitor_stores_nothing_and_leaves_the_environment_alone(tmp_path) -> None:
    with ways.disabled(str(tmp_path / "disabled.db")) as monitor:
        ways.until_stored(monitor, ways.monitored(monitor))(5)
        assert monitor.storage.get_metrics() == []
        assert TracerProvider(shutdown_on_exit=False).get_tracer("a").start_span("a").is_recording()


def test_a_reader_gets_what_the_histogram_counts(monitor, storage) -> None:
    watched = ways.with_reader(monitor)
    ways.until_stored(watched, ways.monitored(watched))(4)
    assert storage.get_stats(ways.OPERATION).count == 4


def test_the_sdks_own_pipeline_exports_every_span() -> None:
    class Counting(ways.NullExporter):
        count = 0

        def export(self, spans):
            self.count += len(spans)
            return super().export(spans)

    exporter = Counting()
    with ways.exporting(exporter, 5_000) as run:
        run(5_000)
        assert exporter.count == 5_000


@pytest.mark.skipif(not ways.EncodingExporter.is_installed(), reason="opentelemetry-exporter-otlp-proto-common")
def test_spans_are_encoded_as_otlp() -> None:
    assert find_spec("opentelemetry.exporter.otlp.proto.common")
    with ways.exporting(ways.EncodingExporter(), 10) as run:
        run(10)


def test_the_naive_way_commits_each_operation(tmp_path) -> None:
    path = str(tmp_path / "naive.db")
    ways.naive(path)(3)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone() == (3,)
