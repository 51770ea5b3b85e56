"""A span that was answered is, as a row, the one that was stored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "otlp"))
from otlp_kit import Station, batches

from otel_perfmon.storage.row_maker import RowMaker


@pytest.mark.parametrize("examples", [20, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_stored_span_goes_into_another_store_as_it_was(tmp_path, monkeypatch, examples):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_REDACT", "false")
    first, second = Station(str(tmp_path / "first.db")), Station(str(tmp_path / "second.db"))

    @settings(max_examples=examples)
    @given(batches())
    def check(spans):
        stored = first.through(spans)
        maker = RowMaker()
        again = second.through_rows([maker.row_of(span) for span in stored])
        assert sorted(map(repr, again)) == sorted(map(repr, stored))

    check()


def test_the_rows_of_one_resource_are_one_object():
    from records_kit import span_record  # noqa: PLC0415

    maker = RowMaker()
    first, second = maker.row_of(span_record()), maker.row_of(span_record())
    assert first.resource is second.resource
    assert first.scope is second.scope
