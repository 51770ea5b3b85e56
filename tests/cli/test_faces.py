"""Every command in every bad situation: a clear sentence, the right exit status, and lines that fit."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager

import pytest
from cli_kit import HOSTILE, SECOND, Printed, error_row, record, span_row, write
from rich.cells import cell_len

from otel_perfmon.cli.main import COMMANDS, main
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.sqlite import connection as connections

WIDTHS = [80, 120, 200, *(pytest.param(width, marks=pytest.mark.long) for width in (100, 160))]
READING = (
    ("stats",),
    ("stats", "GET /cart"),
    ("stats", "--by-service"),
    ("heatmap",),
    ("heatmap", "GET /cart"),
    ("slow",),
    ("slow", "--full"),
    ("errors",),
    ("errors", "--full"),
    ("spans",),
    ("spans", "--full"),
    ("spans", "--show", "cart.size"),
    ("trace", "last"),
    ("logs",),
    ("logs", "--full"),
    ("running",),
    ("running", "--full"),
    ("check",),
    ("info",),
    ("scan",),
    ("sql",),
    ("sql", "SELECT name, duration_ms, attributes FROM spans"),
    ("sql", "SELECT * FROM spans"),
)
"""Each command that ends by itself and changes nothing."""
NOBODY = ("--to", "http://127.0.0.1:9", "--once", "--max-elapsed-time", "1ms")
ALL = (*READING, ("prune",), ("export",), ("forward", *NOBODY), ("tail",))


def _ids(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)


def test_every_command_is_here() -> None:
    # What is wrong with a file is what the doctor has to tell, of one that is not ours too: see tests/test_doctor.py.
    assert {arguments[0] for arguments in ALL} == set(COMMANDS) - {
        "run",
        "serve",
        "ui",
        "demo",
        "bench",
        "doctor",
        "import",
    }


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_no_file_is_one_sentence_that_says_what_to_do_and_no_new_file(cli, tmp_path, arguments) -> None:
    printed = cli(*arguments, "--db", "none.db")
    assert printed == Printed(
        3,
        "",
        f"otel-perfmon: There is no store at {tmp_path}/none.db: nothing has been recorded into it;"
        " --db FILE names another one.\n",
    )
    assert os.listdir() == []


def test_without_the_default_file_the_sentence_tells_how_to_fill_one(cli, tmp_path) -> None:
    printed = cli("stats")
    assert printed.status == 3
    assert printed.err.startswith(f"otel-perfmon: There is no metrics.db in {tmp_path}: name the store with --db FILE")
    program = printed.err.partition("three lines: ")[2].replace("; ", "\n")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert "load_cart" in cli("stats").out


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_a_file_in_a_folder_that_is_none_is_no_file(cli, arguments, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    printed = cli(*arguments, "--db", "file/x.db")
    assert (printed.status, printed.out) == (3, "")
    assert printed.err.startswith("otel-perfmon: There is no store at ")


@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_an_empty_store_is_no_failure_and_says_so(cli, empty_path, arguments) -> None:
    printed = cli(*arguments, "--db", empty_path)
    if arguments == ("trace", "last"):
        assert (printed.status, printed.out) == (3, "")
        assert printed.err.startswith("otel-perfmon: No span")
        return
    assert (printed.status, printed.err) == (0, "")
    if arguments[0] not in ("info", "sql", "check", "scan"):
        assert printed.lines[0].startswith("No ")
        assert "holds no spans." in " ".join(printed.out.split())


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_another_programs_database_is_left_alone(cli, db_path, tmp_path, arguments) -> None:
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "metrics.db").read_bytes()
    printed = cli(*arguments, "--db", db_path)
    assert (printed.status, printed.out) == (3, "")
    assert printed.err.startswith(f"otel-perfmon: {db_path} is an SQLite database of another program")
    assert (tmp_path / "metrics.db").read_bytes() == before
    assert os.listdir() == ["metrics.db"]


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_a_newer_store_is_left_alone(cli, db_path, empty_path, arguments) -> None:
    shutil.copyfile(empty_path, db_path)
    with closing(sqlite3.connect(db_path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    printed = cli(*arguments, "--db", db_path)
    assert (printed.status, printed.out) == (3, "")
    assert printed.err.startswith(f"otel-perfmon: {db_path} was written by a newer otel-perfmon (schema 99")
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_what_is_no_database_at_all_is_said_to_be_none(cli, arguments, tmp_path) -> None:
    (tmp_path / "text.db").write_text("hello " * 200)
    printed = cli(*arguments, "--db", "text.db")
    assert (printed.status, printed.out) == (3, "")
    assert "text.db is not an SQLite database" in printed.err


@pytest.mark.parametrize("arguments", ALL, ids=_ids)
def test_a_locked_store_is_said_to_be_locked(cli, db_path, shop_path, monkeypatch, arguments) -> None:
    shutil.copyfile(shop_path, db_path)
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_MS", 10)
    with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE mine (x)")
        printed = cli(*arguments, "--db", db_path)
    assert (printed.status, printed.out) == (3, "")
    assert printed.err == f"otel-perfmon: {db_path} is locked by another program (database is locked).\n"


@contextmanager
def _as_nobody():
    """As a user who may not write everywhere; one who is root becomes nobody for a while."""
    if os.name != "posix" or not hasattr(os, "setresuid"):
        pytest.skip("needs POSIX users")
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65_534, 65_534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def readable_folder(shop_path):
    """A folder that anybody may read and nobody may write, with the store of the shop in it."""
    folder = tempfile.mkdtemp()
    shutil.copyfile(shop_path, os.path.join(folder, "metrics.db"))
    yield folder
    os.chmod(folder, 0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("arguments", ALL[:-1], ids=_ids)
def test_in_a_folder_that_only_can_be_read_questions_are_answered(cli, readable_folder, arguments) -> None:
    path = os.path.join(readable_folder, "metrics.db")
    cli(*arguments, "--db", path)  # what the command imports is imported now: nobody may not read all of this Python
    for name in os.listdir(readable_folder):
        if name != "metrics.db":
            os.unlink(os.path.join(readable_folder, name))
    os.chmod(path, 0o444)
    os.chmod(readable_folder, 0o555)
    with _as_nobody():
        printed = cli(*arguments, "--db", path)
    assert os.listdir(readable_folder) == ["metrics.db"]
    if arguments[0] in {"prune", "forward"}:
        assert (printed.status, printed.out) == (3, "")
        assert len(printed.err.splitlines()) == 1
        assert path in printed.err
    else:
        assert (printed.status, printed.err) == (0, "")


@pytest.fixture(scope="module")
def empty_path(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("empty") / "metrics.db")
    write(path, Batch())
    return path


@pytest.fixture(scope="module")
def hostile_path(tmp_path_factory) -> str:
    """A store in which everything that somebody can name is named by somebody who means ill."""
    path = str(tmp_path_factory.mktemp("hostile") / "metrics.db")
    now = time.time_ns()
    rows = []
    for number, name in enumerate(HOSTILE):
        attributes = json.dumps({name: name, "cart.size": [name, {"deep": name}]})
        changes = {"attributes": attributes, "end": now - number * SECOND, "ms": 5.0 + number, "slow": True}
        failed = {"error_message": name, "status_message": name, "error_type": name or "ValueError"}
        rows.append(span_row(name, **changes))
        rows.append(error_row(name, number, **changes, **failed))
    record(path, *rows)
    return path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_nothing_in_the_data_reaches_the_terminal_and_no_line_is_too_long(cli, hostile_path, arguments, width) -> None:
    arguments = ("stats", HOSTILE[0]) if arguments == ("stats", "GET /cart") else arguments
    arguments = ("heatmap", HOSTILE[1]) if arguments == ("heatmap", "GET /cart") else arguments
    printed = cli(*arguments, "--db", hostile_path, width=width)
    assert (printed.status, printed.err) in ((0, ""), (1, ""))
    _assert_harmless(printed.out)
    _assert_narrow(printed.lines, width, arguments)


@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_json_is_one_object_of_one_shape_in_plain_ascii(cli, hostile_path, arguments) -> None:
    arguments = arguments[:1] if "GET /cart" in arguments else arguments
    printed = cli(*arguments, "--json", "--db", hostile_path)
    assert printed.status in (0, 1)
    assert len(printed.lines) == 1
    assert printed.out.isascii()
    _assert_harmless(printed.out)
    assert list(printed.json) == ["command", "store", "window", "items", "is_complete", "next_page_token"]
    assert printed.json["command"] == arguments[0]
    assert printed.json["store"] == hostile_path
    assert isinstance(printed.items, list)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_the_shop_fits_every_width(cli, shop_path, arguments, width) -> None:
    printed = cli(*arguments, "--db", shop_path, width=width)
    assert (printed.status, printed.err) == (0, "")
    assert printed.lines
    _assert_narrow(printed.lines, width, arguments)


@pytest.mark.parametrize(
    "arguments", [("stats",), ("errors",), ("spans",), ("slow",), ("heatmap",), ("check",)], ids=_ids
)
def test_thousands_of_operations_are_no_trouble(cli, many, arguments) -> None:
    printed = cli(*arguments, "--db", many[0])
    assert (printed.status, printed.err) == (0, "")
    assert len(printed.lines) < 130


def test_of_thousands_of_operations_the_rest_is_counted_and_shown_on_demand(cli, many) -> None:
    path, count = many
    assert cli("stats", "--db", path).lines[-1] == f"and {count - 50:,} more (--limit 0 shows all)"
    everything = cli("stats", "--db", path, "--limit", "0", "--json")
    assert len(everything.items) == count


@pytest.fixture(scope="module", params=[2_500, pytest.param(10_000, marks=pytest.mark.long)])
def many(request, tmp_path_factory) -> tuple[str, int]:
    """A store of so many operations, of six services."""
    path = str(tmp_path_factory.mktemp("many") / "metrics.db")
    end, count = time.time_ns() - SECOND, request.param
    record(path, *(span_row(f"operation {n}", service=f"service {n % 6}", end=end, ms=n % 7) for n in range(count)))
    return path, count


@pytest.mark.parametrize("path_of", ["shop", "hostile"])
@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_an_answer_begins_with_a_word_and_no_line_of_it_ends_in_blanks(
    cli, shop_path, hostile_path, path_of, arguments
) -> None:
    arguments = arguments[:1] if path_of == "hostile" and "GET /cart" in arguments else arguments
    lines = cli(*arguments, "--db", shop_path if path_of == "shop" else hostile_path, width=80).lines
    assert lines[0].strip()
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("arguments", READING, ids=_ids)
def test_without_unicode_all_is_ascii_and_no_line_is_too_long(
    cli, hostile_path, monkeypatch, capsys, arguments
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setenv("COLUMNS", "100")
    arguments = arguments[:1] if "GET /cart" in arguments else arguments
    assert main([*arguments, "--db", hostile_path]) in (0, 1)
    lines = raw.getvalue().decode("ascii").splitlines()
    _assert_narrow(lines, 100, arguments)
    assert "\\xb5" not in "".join(lines)
    assert "\\u2026" not in "".join(lines)


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_fits_80_columns(cli, command) -> None:
    printed = cli(*([command] if command else []), "--help", width=80)
    assert [line for line in printed.lines if len(line) > 80] == []


@pytest.mark.parametrize(
    "arguments", [("stats",), ("stats", ""), ("heatmap", ""), ("slow", "--full"), ("errors",), ("spans",), ("check",)]
)
def test_an_operation_without_a_name_is_said_to_have_none(cli, db_path, arguments) -> None:
    end = time.time_ns() - SECOND
    record(db_path, *(error_row("", 1, end=end, slow=True) for _ in range(30)))
    assert "(no name)" in cli(*arguments).out


@pytest.mark.parametrize(
    "arguments", [("stats",), ("slow",), ("errors",), ("spans",), ("spans", "--order", "arrival")], ids=_ids
)
def test_an_answer_in_json_is_complete_when_nothing_more_can_match(cli, db_path, arguments) -> None:
    end = time.time_ns() - SECOND
    record(db_path, error_row("one", 1, end=end, slow=True), error_row("two", 1, end=end, slow=True))
    assert cli(*arguments, "--limit", "1", "--json").json["is_complete"] is False
    assert cli(*arguments, "--limit", "3", "--json").json["is_complete"] is True


def _assert_harmless(text: str) -> None:
    """No control character but the end of a line, and none that turns the direction or cannot be seen.

    But the mark that keeps text from right to left from turning what stands after it; of the data it is escaped.
    """
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200d\u200f\u202a-\u202e\u2060-\u206f\ufeff]", text) == []


def _assert_narrow(lines: list[str], width: int, arguments: tuple[str, ...]) -> None:
    for line in lines:
        is_to_copy = (
            "--page" in line or line.startswith(("/", "ok:")) or ("--full" in arguments and line.startswith("  "))
        )
        assert is_to_copy or cell_len(line) <= width, line
