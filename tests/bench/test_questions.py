from __future__ import annotations

import os
import time

import pytest
from bench_kit import NAMES, by_name, check, ignore

from otel_perfmon import ConfigError, SchemaError, SpanQuery, Window, open_store
from otel_perfmon.bench import questions
from otel_perfmon.bench.prepared import OPERATIONS, SPANS_PER_TRACE
from otel_perfmon.bench.questions import check_store, fill, measure_questions
from otel_perfmon.bench.size import measure_size


def test_a_filled_store_holds_a_day_of_operations_some_slow_and_some_failed(db_path) -> None:
    assert fill(db_path, 2_000, ignore) > 0
    now = time.time_ns()
    with open_store(db_path) as store:
        stats = store.summarize_operations(window=Window.last(86_400))
        assert len(stats) == OPERATIONS
        assert sum(each.count for each in stats) == 2_000
        assert 5 <= sum(each.error_count for each in stats) <= 60
        assert 2 <= sum(each.slow_count for each in stats) <= 40
        ends = [span.end_unix_nano for span in store.find_spans(SpanQuery(limit=2_000))]
        assert now - 60 * 10**9 < max(ends) <= now
        assert max(ends) - min(ends) > 86_000 * 10**9
        trace = store.get_trace(store.find_spans(SpanQuery(limit=1))[0].trace_id)
        assert len(trace.spans) == SPANS_PER_TRACE
        assert sum(1 for span in trace.spans if not span.parent_span_id) == 1


def test_the_filling_is_told(db_path, monkeypatch) -> None:
    monkeypatch.setattr(questions, "_BATCH", 50)
    monkeypatch.setattr(questions, "_TOLD_SPANS", 100)
    told = []
    fill(db_path, 200, told.append)
    assert told == ["100 of 200 spans", "200 of 200 spans"]


def test_what_is_interrupted_while_it_is_filled_leaves_no_file(db_path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(questions, "_BATCH", 50)
    monkeypatch.setattr(questions, "_TOLD_SPANS", 50)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(db_path, 200, interrupt)
    assert os.listdir(tmp_path) == []


def test_questions_are_timed(db_path, tmp_path) -> None:
    figures = by_name(measure_questions(db_path, str(tmp_path), 500, 2, ignore))
    assert set(figures) == NAMES["questions"]
    for figure in figures.values():
        check(figure)
        assert figure.value.median > 0
    assert figures["store_spans"].value.median == 500


def test_a_large_store_is_compared_with_a_small_one(db_path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(questions, "SMALL_SPANS", 200)
    figures = by_name(measure_questions(db_path, str(tmp_path), 400, 2, ignore))
    assert {name for name in figures if name.endswith("_growth")} == {
        "ask_stats_growth",
        "ask_slow_growth",
        "ask_trace_growth",
    }
    assert figures["ask_stats_growth"].ratio.median > 0
    assert figures["ask_stats_growth"].ratio_of == "200 spans"


def test_a_store_that_is_there_is_asked_and_not_filled(db_path, tmp_path) -> None:
    fill(db_path, 300, ignore)
    figures = by_name(measure_questions(db_path, str(tmp_path), 9_999, 1, ignore))
    assert figures["store_spans"].value.median == 300
    assert "fill_rate" not in figures


def test_one_span_is_enough_to_ask(db_path, tmp_path) -> None:
    figures = by_name(measure_questions(db_path, str(tmp_path), 1, 1, ignore))
    assert figures["ask_slow"].value is not None


def test_a_store_that_cannot_be_asked_is_told_before_anything_is_measured(tmp_path, storage) -> None:
    with pytest.raises(ConfigError, match="folder is not there"):
        check_store(str(tmp_path / "no" / "such.db"))
    foreign = tmp_path / "foreign.db"
    foreign.write_text("This is no database, and is long enough to be seen to be none.\n" * 20)
    with pytest.raises(SchemaError):
        check_store(str(foreign))
    storage.insert_metric("a", 1.0)
    storage.get_metrics()
    storage.cleanup(0)
    with pytest.raises(ConfigError, match="holds no spans"):
        check_store(storage.path)


def test_the_size_of_a_span_is_what_the_file_grows_by(tmp_path) -> None:
    figure = measure_size(str(tmp_path), 1_000)
    assert 50 < figure.value.median < 1_000
