from __future__ import annotations

import json
import os
import random
import sqlite3
import time

import pytest

from otel_perfmon import MetricsStorage
from otel_perfmon.alerts import AlertRule
from otel_perfmon.cli.main import main
from otel_perfmon.storage.sqlite.writer import SqliteWriter

NAMES = {"charge_card": (200, 46, 12.0), "load_cart": (300, 3, 250.0), "rare": (5, 5, 900.0), "well": (100, 0, 1.0)}


def record(path: str, names=NAMES, *, age_seconds: float = 0.0) -> None:
    """For each operation so many calls, of which so many failed, of so many milliseconds."""
    with MetricsStorage(path) as storage:
        for name, (count, errors, duration) in names.items():
            for number in range(count):
                storage.insert_metric(name, duration, number < errors, timestamp=time.time() - age_seconds)


@pytest.fixture
def check(db_path, capsys):
    """Run the command on the store; gives its exit status and its lines."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = main(["check", "--db", db_path, *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def checked(check, db_path):
    record(db_path)
    return check


def test_an_operation_over_the_error_rate_is_one_line_and_the_exit_status_1(checked):
    assert checked() == (1, ["charge_card  error rate 23% > 10%  (46 of 200 calls, last 1 h)"])


def test_without_a_finding_one_line_says_what_was_checked_and_the_exit_status_is_0(checked):
    assert checked("--error-rate", "0.5") == (
        0,
        ["ok: 3 operations checked for error rate > 50%, last 1 h; 1 more with fewer than 20 calls"],
    )
    assert checked("--p95", "1s", "--error-rate", "30%", "--window", "15m", "--min-count", "1", "well") == (
        0,
        ["ok: 1 operation checked for error rate > 30%, p95 > 1.00 s, last 15 min"],
    )


def test_nothing_is_called_well_that_was_not_checked(checked):
    assert checked("--min-count", "1000") == (0, ["Nothing was checked: no operation has 1,000 calls, last 1 h."])


def test_only_what_is_asked_for_is_checked(checked):
    assert checked("--p95", "200ms") == (1, ["load_cart  p95 250 ms > 200 ms  (300 calls, last 1 h)"])
    assert checked("--p95", "200ms", "--error-rate", "0.1") == (
        1,
        [
            "charge_card  error rate 23% > 10%  (46 of 200 calls, last 1 h)",
            "load_cart    p95 250 ms > 200 ms  (300 calls, last 1 h)",
        ],
    )
    assert checked("load_cart")[0] == 0
    assert checked("load_cart", "--error-rate", "0.5%") == (
        1,
        ["load_cart  error rate 1% > 0.5%  (3 of 300 calls, last 1 h)"],
    )


def test_one_operation_can_be_over_both_and_the_highest_stands_first(check, db_path):
    record(db_path, {"a": (20, 5, 300.0), "b": (20, 6, 400.0)})
    status, lines = check("--p95", "100ms", "--error-rate", "0")
    assert status == 1
    assert [line.split("  ")[:2] for line in lines] == [
        ["b", "error rate 30% > 0%"],
        ["a", "error rate 25% > 0%"],
        ["b", "p95 400 ms > 100 ms"],
        ["a", "p95 300 ms > 100 ms"],
    ]


def test_few_calls_are_no_finding_unless_few_are_enough(checked):
    assert len(checked("--min-count", "5")[1]) == 2
    assert len(checked("--min-count", "6")[1]) == 1


def test_the_thresholds_left_out_are_the_settings(checked, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "0.225")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_MIN_COUNT", "5")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_DURABILITY", "a wrong setting of the recorder's")
    assert [line.partition("  (")[0] for line in checked()[1]] == [
        "rare         error rate 100% > 22.5%",
        "charge_card  error rate 23% > 22.5%",
    ]


@pytest.mark.parametrize(
    ("threshold", "told"), [("0.229", "23% > 22.9%"), ("0.2299", "23% > 22.99%"), ("22.99999%", "23% > 22.99999%")]
)
def test_a_finding_shows_both_sides_in_as_many_digits_as_it_takes(checked, threshold, told):
    assert f"error rate {told}" in checked("--error-rate", threshold)[1][0]


def test_durations_that_read_alike_are_told_apart(checked):
    assert "p95 250 ms > 249.9 ms" in checked("--p95", "249.9ms")[1][0]


def test_the_rule_is_that_of_the_alarm(check, db_path):
    rng = random.Random(7)
    record(db_path, {f"op{number}": (count := rng.randrange(1, 60), rng.randrange(count), 1.0) for number in range(60)})
    writer = SqliteWriter(db_path)
    alerts = {
        (alert.operation, alert.service, alert.count, alert.error_count)
        for alert in writer.evaluate_alarms(AlertRule(0.4, 25), time.time())
    }
    writer.close()
    status, (line,) = check("--error-rate", "0.4", "--min-count", "25", "--json")
    items = json.loads(line)["items"]
    assert {tuple(item[name] for name in ("operation", "service", "count", "error_count")) for item in items} == alerts
    assert len(alerts) > 5
    assert status == 1


def test_as_json_it_is_one_object_with_an_item_for_each_finding(checked, db_path):
    status, (line,) = checked("--p95", "200ms", "--error-rate", "0.1", "--json")
    answer = json.loads(line)
    assert (status, answer["command"], answer["store"], answer["is_complete"]) == (1, "check", db_path, True)
    assert answer["window"]["end_unix_nano"] - answer["window"]["start_unix_nano"] >= 3_600 * 10**9
    first, second = answer["items"]
    assert first == {
        "operation": "charge_card",
        "service": first["service"],
        "measure": "error_rate",
        "value": 0.23,
        "threshold": 0.1,
        "count": 200,
        "error_count": 46,
    }
    assert (second["measure"], second["threshold"]) == ("p95_ms", 200.0)
    assert second["value"] == pytest.approx(250, rel=0.011)
    status, (line,) = checked("--error-rate", "1", "--json")
    assert (status, json.loads(line)["items"]) == (0, [])


def test_each_service_counts_for_itself_and_is_named_where_there_are_several(check, db_path, monkeypatch):
    for service, errors in (("shop", 10), ("bank", 0)):
        monkeypatch.setenv("OTEL_SERVICE_NAME", service)
        record(db_path, {"pay": (20, errors, 1.0)})
    assert check("--error-rate", "30%") == (1, ["pay  error rate 50% > 30%  (10 of 20 calls, last 1 h, service shop)"])
    assert check("--error-rate", "30%", "--service", "bank")[0] == 0
    assert check("--error-rate", "30%", "--service", "shop")[1] == [
        "pay  error rate 50% > 30%  (10 of 20 calls, last 1 h)"
    ]


def test_only_the_window_counts_and_it_is_told(check, db_path):
    record(db_path, {"old": (50, 50, 1.0)}, age_seconds=2 * 3_600)
    record(db_path, {"new": (50, 0, 1.0)})
    assert check()[0] == 0
    assert check("--window", "5400s")[0] == 0
    assert check("--window", "1d")[1] == ["old  error rate 100% > 10%  (50 of 50 calls, last 1 d)"]
    status, (line,) = check("--window", "2001-01-31T09:00/2001-01-31T10:00")
    assert (status, line) == (0, "Nothing was checked: no operation ran, 2001-01-31 09:00:00 to 10:00:00.")


def test_names_do_nothing_to_the_terminal_and_stay_on_one_line(check, db_path):
    record(db_path, {"pay\n\x1b[31m\u202e[red]": (20, 20, 1.0), "x" * 200: (20, 20, 1.0)})
    status, lines = check()
    assert status == 1
    assert lines == [
        r"pay\n\x1b[31m\u202e[red]                  error rate 100% > 10%  (20 of 20 calls, last 1 h)",
        "x" * 200 + "  error rate 100% > 10%  (20 of 20 calls, last 1 h)",
    ]


def test_a_line_fits_80_columns_for_a_sensible_name(check, db_path):
    record(db_path, {"checkout.charge_card": (2_000, 460, 1.0)})
    (line,) = check()[1]
    assert len(line) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["--error-rate", "2"],
        ["--error-rate", "-0.1"],
        ["--error-rate", "often"],
        ["--error-rate", "nan"],
        ["--p95", "200"],
        ["--min-count", "0"],
        ["--window", "soon"],
    ],
)
def test_a_threshold_that_is_none_is_wrong_usage(checked, arguments):
    assert checked(*arguments) == (2, [])


def test_a_wrong_setting_is_wrong_usage_unless_an_argument_replaces_it(checked, monkeypatch, capsys):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "10%")
    assert main(["check"]) == 2
    assert "OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD" in capsys.readouterr().err
    assert checked("--error-rate", "0.1")[0] == 1


def test_a_name_that_the_store_has_never_seen_is_told_and_not_taken_for_well(checked):
    assert checked("charge_cart") == (3, [])
    assert checked("--service", "nobody") == (3, [])


def test_a_missing_store_and_a_foreign_file_cannot_answer_and_nothing_is_made(check, db_path):
    assert check() == (3, [])
    assert not os.path.exists(db_path)
    with sqlite3.connect(db_path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    assert check() == (3, [])


def test_asking_raises_no_alarm(checked, db_path):
    assert checked()[0] == 1
    with sqlite3.connect(db_path) as connection:
        assert connection.execute("SELECT count(*) FROM _alarms").fetchone() == (0,)
    connection.close()
