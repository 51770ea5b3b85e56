from __future__ import annotations

import os

import pytest

from otel_perfmon.bench.surroundings import describe_machine, environment


def test_settings_from_outside_are_hidden_and_come_back(monkeypatch) -> None:
    outside = {"OTEL_TRACES_SAMPLER": "always_off", "SLOW_REQUEST_THRESHOLD_MS": "1", "OTEL_SDK_DISABLED": "false"}
    for name, value in outside.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with environment(OTEL_SDK_DISABLED="true"):
        assert {name for name in os.environ if name in outside} == {"OTEL_SDK_DISABLED"}
        assert os.environ["OTEL_SDK_DISABLED"] == "true"
    assert dict(os.environ) == before
    with pytest.raises(ZeroDivisionError), environment():
        1 / 0  # noqa: B018 - what is raised inside, such as Ctrl-C
    assert dict(os.environ) == before


def test_the_machine_is_described_by_what_figures_depend_on() -> None:
    machine = describe_machine()
    assert set(machine) == {"python", "opentelemetry_sdk", "sqlite", "system", "cpu_count"}
    assert all(machine.values())
