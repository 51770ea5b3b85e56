from __future__ import annotations

import json

import pytest
from cli_kit import record_shop

from otel_perfmon import ConfigError, StoreError
from otel_perfmon.cli.answer import open_store_of
from otel_perfmon.cli.main import main


def test_the_store_is_the_arguments_else_the_environments_else_metrics_db(cli, db_path, monkeypatch) -> None:
    record_shop(db_path)
    for environment, arguments in ((None, []), ("metrics.db", []), ("other.db", ["--db", "metrics.db"])):
        if environment is not None:
            monkeypatch.setenv("OTEL_PYTHON_PERFMON_PATH", environment)
        assert cli("stats", "--json", *arguments).json["store"] == db_path


def test_a_wrong_setting_of_the_recorder_is_no_reason_not_to_answer(shop, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_DURABILITY", "diamond")
    assert shop("info").status == 0


def test_a_wrong_path_in_the_environment_is_told_by_its_name(cli, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_PATH", ":memory:")
    printed = cli("stats")
    assert printed.status == 2
    assert "OTEL_PYTHON_PERFMON_PATH is ':memory:'" in printed.err


def test_an_empty_answer_tells_when_there_was_something(shop) -> None:
    printed = shop("stats", "--window", "2001-01-01/2001-01-02", width=200)
    assert printed.status == 0
    assert printed.out.startswith(
        "No operation ran from 2001-01-01 00:00:00 to 2001-01-02 00:00:00. The last span ended "
    )


@pytest.mark.parametrize("command", ["stats", "heatmap", "slow", "errors", "spans"])
def test_a_name_that_nobody_has_is_told_with_what_was_meant(shop, command) -> None:
    printed = shop(command, "GET /crat")
    assert (printed.status, printed.out) == (3, "")
    assert printed.err == "otel-perfmon: There is no operation 'GET /crat' in the store; did you mean 'GET /cart'?\n"
    assert shop(command, "GET /crat", "--json").status == 3
    assert shop(command, "--service", "shpo").err.endswith("did you mean 'shop'?\n")


def test_colours_are_for_terminals_and_can_be_switched_off(shop, monkeypatch) -> None:
    assert "\x1b[" not in shop("stats").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in shop("stats").out
    assert "\x1b[31m" not in shop("stats", "--no-color").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shop("stats").out


def test_json_on_a_terminal_is_laid_out_for_people(shop, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    printed = shop("info", "--json")
    assert printed.out.startswith('{\n  "command": "info"')
    assert json.loads(printed.out)["items"][0]["span_count"] == 80


def test_the_errors_are_the_packages_own(db_path) -> None:
    class Arguments:
        db = db_path

    with pytest.raises(StoreError, match="There is no store"):
        open_store_of(Arguments())
    Arguments.db = ""
    with pytest.raises(ConfigError, match="path must be"):
        open_store_of(Arguments())
    assert main(["info", "--db", db_path]) == 3
