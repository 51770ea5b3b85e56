from __future__ import annotations

from bench_kit import by_name, check

from otel_perfmon.bench.startup import measure_first_spans, measure_imports


def test_importing_is_timed_in_processes_of_their_own() -> None:
    told = []
    figures = by_name(measure_imports(1, told.append))
    assert 0 < figures["import"].value.median < figures["import_configure"].value.median * 10
    assert told == ["importing, 1 of 2", "importing, 2 of 2"]


def test_first_spans_are_timed_of_operations_and_of_processes(tmp_path) -> None:
    figures = by_name(measure_first_spans(str(tmp_path), 5, 1))
    assert set(figures) == {"first_span", "first_span_of_process"}
    for figure in figures.values():
        check(figure)
        assert figure.value.median > 0
