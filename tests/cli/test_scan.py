from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import record, span_row

SECRET = "hunter2abc"


@pytest.fixture
def scan(cli, db_path):
    record(db_path, span_row("login", attributes=f'{{"user.password":"{SECRET}","n":1}}', error=f"password={SECRET}"))
    return lambda *arguments: cli("scan", "--db", db_path, *arguments)


def test_secrets_are_told_by_place_and_key_with_status_1(scan):
    printed = scan()
    assert printed.status == 1
    assert "user.password" in printed.out
    assert "spans.attributes" in printed.out
    assert SECRET not in printed.out + printed.err
    assert scan().status == 1  # nothing was changed


def test_rewriting_takes_them_out(scan, cli, db_path):
    assert scan("--rewrite").status == 1
    printed = scan()
    assert (printed.status, printed.out) == (0, "No secrets were found.\n")
    assert "[redacted]" in cli("sql", "--db", db_path, "SELECT attributes FROM spans").out


def test_json_has_an_item_for_each_place(scan):
    items = scan("--json").items
    assert {"place": "spans.attributes", "key": "user.password", "count": 1} in items


def test_names_and_patterns_of_the_users_own_are_added_to_those_of_the_environment(cli, db_path, monkeypatch):
    record(db_path, span_row("a", attributes='{"badge":"b1","iban":"c1","note":"corp-123456"}'))
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_REDACT_KEYS", "badge")
    printed = cli("scan", "--db", db_path, "--json", "--key", "iban", "--pattern", "corp-[0-9]{6}")
    assert [item["key"] for item in printed.items] == ["badge", "iban", "note"]


def test_a_pattern_that_could_hang_is_wrong_usage(scan):
    printed = scan("--pattern", "(a+)+$")
    assert printed.status == 2
    assert "redact_patterns" in printed.err


@pytest.mark.parametrize(
    "names", [["metrics.db"], ["metrics.db", "metrics.db-wal", "metrics.db-shm"], ["metrics.db-wal"]]
)
def test_a_damaged_file_that_was_moved_aside_is_named_since_it_was_not_scanned(cli, db_path, names):
    record(db_path, span_row("a", attributes='{"n":1}'))
    assert cli("scan", "--db", db_path).status == 0
    Path(db_path + ".corrupted").write_text("a file of another program's")
    assert cli("scan", "--db", db_path).status == 0
    moved = [f"{db_path}.corrupt-20261128T101112Z{name.removeprefix('metrics.db')}" for name in names]
    for path in moved:
        Path(path).write_text(f"password={SECRET}")
    scanned = [path for path in moved if not path.endswith("-shm")]
    printed = cli("scan", "--db", db_path)
    assert printed.status == 1
    assert printed.lines[0] == "No secrets were found."
    told = "was moved aside when it was damaged and was not scanned; delete it when you need nothing of it."
    assert printed.lines[1:] == [f"{path} {told}" for path in scanned]
    in_json = cli("scan", "--db", db_path, "--json")
    assert in_json.status == 1
    assert in_json.json["is_complete"] is False
    assert in_json.items == [{"place": path, "key": "", "count": None, "note": told} for path in scanned]
    assert cli("scan", "--db", db_path, "--rewrite").status == 1


def test_a_file_moved_aside_is_named_behind_what_was_found(scan, db_path):
    Path(db_path + ".corrupt-20261128T101112Z").write_text("x")
    printed = scan()
    assert printed.status == 1
    assert "user.password" in printed.out
    assert printed.lines[-1].startswith(f"{db_path}.corrupt-20261128T101112Z was moved aside")
    assert [item["count"] for item in scan("--json").items][-1] is None
