"""The constructor never raises and never touches the disk."""

from __future__ import annotations

import os

import pytest
from exporter_kit import SUCCESS, count_of

from otel_perfmon import SQLiteMetricExporter, SQLiteSpanExporter

BAD_ENVIRONMENTS = [
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "soon"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "-1"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "1e305"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "nan"},
    {"OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "0"},
    {"OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "1e308"},
    {"OTEL_PYTHON_PERFMON_PATH": ":memory:"},
    {"OTEL_PYTHON_PERFMON_PATH": "file:x?mode=memory"},
    {"OTEL_PYTHON_PERFMON_DURABILITY": "always"},
    {"OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD": "2"},
    {"SLOW_REQUEST_THRESHOLD_MS": "fast", "SAMPLING_WINDOW_SECONDS": "-5", "ERROR_RATE_THRESHOLD": "x"},
]


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
@pytest.mark.parametrize("environment", BAD_ENVIRONMENTS, ids=str)
def test_a_wrong_setting_is_logged_and_never_raised(monkeypatch, tmp_path, kind, environment, span):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    exporter = kind()
    assert os.listdir(tmp_path) == []
    if kind is SQLiteSpanExporter:
        assert exporter.export([span]) is SUCCESS
        assert count_of("metrics.db") == 1
    exporter.shutdown()


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": 5},
        {"path": ""},
        {"path": "a\0b"},
        {"slow_threshold_ms": "x"},
        {"slow_threshold_ms": 1e305},
        {"slow_threshold_ms": 10**5000},
        {"slow_threshold_ms": True},
        {"retention_seconds": -1},
        {"retention_seconds": float("nan")},
        {"retention_seconds": [1]},
        {"endpoint": "http://x", "insecure": True},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_wrong_or_unknown_argument_is_logged_by_its_name_and_never_raised(caplog, tmp_path, arguments, span):
    exporter = SQLiteSpanExporter(**arguments)
    assert os.listdir(tmp_path) == []
    if arguments != {"slow_threshold_ms": 1e305}:
        assert all(name in caplog.text for name in arguments)
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
def test_a_working_directory_that_is_gone_does_not_stop_the_constructor(tmp_path, monkeypatch, kind):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    exporter = kind()
    exporter.shutdown()


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
def test_a_path_that_cannot_be_written_does_not_stop_the_constructor_or_the_shutdown(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    exporter = kind(str(tmp_path / "file" / "metrics.db"))
    exporter.shutdown()
    assert os.listdir(tmp_path) == ["file"]


def test_the_path_of_the_exporter_may_hold_any_character(tmp_path, span):
    path = tmp_path / "a ?mode=ro#b%20é;.db"
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()
    assert count_of(str(path)) == 1


def test_a_relative_path_means_the_directory_at_the_time_it_was_given(tmp_path, monkeypatch, span):
    exporter = SQLiteSpanExporter("here.db")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    exporter.export([span])
    exporter.shutdown()
    assert (tmp_path / "here.db").exists()
