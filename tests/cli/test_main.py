from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from otel_perfmon import errors
from otel_perfmon.cli.main import COMMANDS, exit_status_of, main

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "otel_perfmon", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path) -> str:
    path = tmp_path / "sources"
    path.mkdir()
    (path / "good.py").write_text("x = 1\n")
    return str(path)


def test_options_before_the_command_are_told_where_they_belong(capsys) -> None:
    assert main(["--db", "shop.db", "stats"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "otel-perfmon: Options come after the command: otel-perfmon stats --db ..."


def test_the_version_is_that_of_the_package(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "otel-perfmon 0.1.0\n"


def test_without_a_command_it_says_what_there_is_and_that_this_was_none(capsys) -> None:
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "demo" in printed.err


def test_help_was_asked_for_and_is_no_failure(capsys) -> None:
    assert main(["demo", "--help"]) == 0
    assert "--db" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--nonsense"]])
def test_a_wrong_argument_is_wrong_usage(arguments, capsys) -> None:
    assert main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.QueryError("x"), 2),
        (errors.NotFoundError("x"), 3),
        (errors.StoreBusyError("x"), 3),
        (errors.ForwardError("x"), 3),
        (errors.PerfmonError("x"), 3),
    ],
)
def test_every_error_of_ours_has_an_exit_status(error, code) -> None:
    assert exit_status_of(error) == code


def test_the_help_has_one_line_for_each_command(capsys) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line.split(maxsplit=1)[0] for line in lines if line.startswith("    ") and not line.startswith("     ")]
    assert told == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples_and_fits_80_columns(command, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    examples = lines[lines.index("examples:") + 1 :]
    assert examples[0].startswith(f"  otel-perfmon {command}")
    assert [line for line in lines if len(line) > 80 and not line.startswith("  otel-perfmon")] == []


@posix_only
def test_only_the_chosen_command_is_loaded_and_never_the_sdk(run_python) -> None:
    """Each in a fork of one process that has loaded no more than the program itself."""
    chosen = [name for name in COMMANDS if name not in {"demo", "bench"}]
    program = f"""
        import os, sys
        from otel_perfmon.cli.main import main
        for command in {chosen!r}:
            if os.fork():
                assert os.wait()[1] == 0, command
                continue
            assert main([command, "--help"]) == 0
            modules = [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "argcomplete"))]
            names = ("operations", "spans", "demo", "sql")
            commands = [name for name in names if f"otel_perfmon.cli.{{name}}" in sys.modules]
            print("loaded", command, len(modules), *commands, flush=True)
            os._exit(0)
    """
    loaded = [line.split()[1:] for line in run_python(program).splitlines() if line.startswith("loaded ")]
    modules = {name: COMMANDS[name][0] for name in chosen}
    seen_modules = ("operations", "spans", "sql")
    assert loaded == [[name, "0", *([modules[name]] if modules[name] in seen_modules else [])] for name in chosen]


def test_a_wrong_setting_is_told_in_one_sentence(capsys, folder) -> None:
    assert main(["demo", "--folder", folder, "--db", ""]) == 2
    assert capsys.readouterr().err == (
        "otel-perfmon: path must be the path of a file, not empty; argument path is ''.\n"
    )


def test_another_programs_database_is_left_alone_and_told_before_the_work(capsys, tmp_path, folder) -> None:
    path = str(tmp_path / "foreign.db")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (tmp_path / "foreign.db").read_bytes()
    assert main(["demo", "--folder", folder, "--db", path]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"otel-perfmon: {path} is an SQLite database of another program")
    assert (tmp_path / "foreign.db").read_bytes() == before


def test_a_store_that_cannot_be_written_is_told_in_one_sentence_without_a_traceback(folder) -> None:
    result = _run("demo", "--folder", folder, "--db", os.path.join("no", "such", "folder", "x.db"))
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("otel-perfmon: ")


def test_the_module_is_the_command() -> None:
    result = _run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("otel-perfmon ")


@posix_only
@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--folder", "sources"]])
def test_a_reader_that_stops_reading_gets_no_traceback(arguments, folder) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "otel_perfmon", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 141  # 128 and SIGPIPE


@posix_only
def test_a_full_disk_behind_the_output_is_told_in_one_sentence() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "otel_perfmon", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 3
    assert result.stderr == "otel-perfmon: The output cannot be written or read: No space left on device.\n"


@posix_only
def test_a_closed_output_is_no_failure(folder) -> None:
    command = f"{sys.executable} -m otel_perfmon demo --folder {folder} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == 0


def test_a_fault_of_our_own_is_one_sentence_that_says_how_to_see_more(capsys, monkeypatch) -> None:
    monkeypatch.setitem(COMMANDS, "stats", ("no_such_module", "x"))
    assert main(["stats"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otel-perfmon: This is a fault of otel-perfmon itself: ModuleNotFoundError: ")
    assert "python -X dev -m otel_perfmon" in line


def test_a_path_with_control_characters_does_nothing_to_the_terminal(capsys) -> None:
    assert main(["stats", "--db", "\x1b[31m\n\u202e.db"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "\\x1b[31m\\n\\u202e.db" in line


def test_an_encoding_without_the_letters_of_the_data_is_no_obstacle(tmp_path, folder) -> None:
    (tmp_path / "sources" / "größe.py").write_text("x = (\n")
    result = _run("demo", "--folder", folder, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "gr\\xf6\\xdfe.py" in result.stdout
