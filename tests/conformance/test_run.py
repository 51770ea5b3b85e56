"""What the comparison of the SDK's tests takes for wrong. The comparison itself needs a network: see `run`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("conformance_run", HERE / "run.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_what_passes_on_the_sdks_provider_and_fails_on_ours_or_is_not_run_there_is_wrong(run):
    stock = {"a": "passed", "b": "passed", "c": "passed", "d": "passed"}
    comparison = run.compare(stock, {"a": "passed", "b": "failed", "c": "skipped"}, {})
    assert comparison.deviating == ["b", "c", "d"]
    assert not comparison.is_good
    assert (comparison.passed_on_stock, comparison.passed_on_ours) == (4, 1)


def test_what_does_not_pass_on_the_sdks_provider_need_not_pass_on_ours(run):
    comparison = run.compare({"a": "failed", "b": "skipped"}, {"a": "failed", "b": "skipped"}, {})
    assert comparison.is_good


def test_what_is_listed_may_fail_on_ours(run):
    comparison = run.compare({"a": "passed"}, {"a": "failed"}, {"a": "reason"})
    assert comparison.is_good
    assert comparison.listed == ["a"]


@pytest.mark.parametrize("stock", [{"a": "passed"}, {"a": "failed"}, {}])
def test_what_is_listed_and_does_not_deviate_is_wrong(run, stock):
    comparison = run.compare(stock, {"a": "passed"}, {"a": "reason"})
    assert comparison.needless == ["a"]
    assert not comparison.is_good


def test_each_deviation_has_a_reason_that_is_a_sentence(run):
    for test, reason in run.DEVIATIONS.items():
        assert "::" in test
        assert len(reason.split()) > 5
