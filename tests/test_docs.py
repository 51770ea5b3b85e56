"""What the README says is true: its code runs, its settings exist, its commands and examples work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from otel_perfmon import MetricsStorage, PerformanceMonitor
from otel_perfmon.cli.main import COMMANDS, main
from otel_perfmon.config import SETTINGS, Config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_readmes_python_runs_in_one_program_after_another(run_python) -> None:
    blocks = _blocks("python")
    assert len(blocks) >= 3
    for block in blocks:
        run_python(block)


def test_the_readmes_sql_runs_on_a_store(storage: MetricsStorage) -> None:
    monitor = PerformanceMonitor(storage)
    with monitor.monitor("load_cart"):
        pass
    monitor.force_flush()
    connection = sqlite3.connect(storage.path)
    statements = [each for block in _blocks("sql") for each in block.split(";") if each.strip()]
    assert len(statements) >= 4
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the example has left the store that the README's commands are about."""
    folder = tmp_path_factory.mktemp("shop")
    subprocess.run([sys.executable, str(ROOT / "examples" / "shop.py")], cwd=folder, check=True, capture_output=True)
    return folder


def _run_command(words: list[str], folder: Path, columns: int = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _words(text: str) -> set[str]:
    """All but what is said of a moment, and units: less than a second ago is now, and a slow machine has no µs."""
    return {word for word in text.split() if word.isalpha()} - {"ago", "now", "ns", "µs", "ms", "s"}


@pytest.mark.parametrize("block", _blocks("console"), ids=lambda block: block.partition("\n")[0])
def test_a_command_of_the_readme_prints_what_stands_there(block: str, shop: Path) -> None:
    """Figures differ from run to run, and how many columns they leave room for; each word must be there."""
    prompt, *told = block.splitlines()
    words = shlex.split(prompt.removeprefix("$ ").replace("otel-perfmon", "otel_perfmon"))
    results = [_run_command(words, shop, columns) for columns in (100, 200)]
    for result in results:
        assert result.returncode == (1 if words[1] == "check" else 0), result.stderr
    assert _words(" ".join(told)) <= _words(" ".join(result.stdout for result in results))


def test_the_readmes_commands_are_the_programs() -> None:
    table = README.partition("| command | shows |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`([a-z]+)", "".join(row.split("|")[1] for row in table.splitlines() if row.count("|") > 2)))
    assert told == set(COMMANDS) - {"demo", "bench"}


def _examples(command: str, capsys: pytest.CaptureFixture) -> list[str]:
    """The commands that the help of a command shows, without what stands behind them."""
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    examples = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    return [re.split(r"\s{3,}|\s[|>]", example.strip())[0] for example in examples]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"tail", "demo", "bench", "forward"}))
def test_the_examples_of_a_commands_help_are_understood(command: str, shop: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(shop)
    examples = _examples(command, capsys)
    assert len(examples) >= 2
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "otel-perfmon"
        if "--db" not in words:
            words += ["--db", "shop.db"]
        status = main(words)
        errors = capsys.readouterr().err
        assert status in {0, 1, 3}, (example, errors)  # 3: a trace or a file that is not here
        assert "Traceback" not in errors


def test_the_readmes_views_are_the_stores(storage: MetricsStorage) -> None:
    storage.insert_metric("load_cart", 1.0)
    storage.get_metrics()
    connection = sqlite3.connect(storage.path)
    views = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    connection.close()
    table = README.partition("| view |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table.replace("`x'", ""))) == views


def _told(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")


def test_the_readmes_settings_are_the_programs() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (?:`(\w+)`)? ?\| `?([\w.{}()]+)`? \|$", README, re.MULTILINE)
    defaults = Config("metrics.db")
    told = [(name, variable, plain or None, default) for name, variable, plain, default in rows]
    held = [(s.field, s.prefixed_variable, s.plain_variable, _told(getattr(defaults, s.field))) for s in SETTINGS]
    assert told == held


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_in_an_empty_folder_and_says_something(example: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 50


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_the_readmes_commands_are_those_of_the_ci() -> None:
    test_command = next(block for block in _blocks("sh") if "pytest" in block).strip()
    assert test_command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_installed_command_answers() -> None:
    command = shutil.which("otel-perfmon", path=str(Path(sys.executable).parent))
    assert command is not None
    printed = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.match(r"otel-perfmon \d+\.\d+\.\d+", printed)


def test_the_changelog_speaks_of_this_version() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
