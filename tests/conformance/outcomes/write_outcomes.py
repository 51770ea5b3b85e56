"""A plugin of pytest that writes the outcome of each test into the file ``CONFORMANCE_OUTCOMES``, as JSON.

``{"provider": the module whose TracerProvider was tested, "tests": {test id: "passed", "skipped" or "failed"}}``: a
test has passed when each of its phases and each of its subtests has.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from opentelemetry.sdk import trace

_RANKS = ("passed", "skipped", "failed")
_tests: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcomes = (_tests.get(report.nodeid, "passed"), report.outcome)
    _tests[report.nodeid] = max(outcomes, key=_RANKS.index)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _tests[report.nodeid] = "failed"


def pytest_sessionfinish() -> None:
    outcomes = {"provider": trace.TracerProvider.__module__, "tests": _tests}
    Path(os.environ["CONFORMANCE_OUTCOMES"]).write_text(json.dumps(outcomes), encoding="utf-8")
