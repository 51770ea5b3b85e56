"""What the README says is true: its code runs, its settings exist, its commands and examples work."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from shop_kit import NO_OTHER_SIGNALS, PRINTED, SEEN, SHOP, collector, run, seen

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
    with collector() as (address, names):
        for block in blocks:
            run_python(block, OTEL_EXPORTER_OTLP_ENDPOINT=address)
    assert names == ["charge_card", "checkout"]


def test_the_readmes_doors_without_code_store_the_spans_of_a_flask_app(tmp_path: Path) -> None:
    lines = "from opentelemetry.instrumentation.flask import FlaskInstrumentor\nFlaskInstrumentor().instrument()\n"
    (tmp_path / "otel.yaml").write_text(_blocks("yaml")[0])
    commands = [line for block in _blocks("sh") for line in block.splitlines() if "python app.py" in line]
    assert len(commands) == 4
    with collector() as (address, names):
        for command in commands:
            (tmp_path / "app.py").write_text((lines if "TRACER_PROVIDER" in command else "") + SHOP)
            environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
            result = run(["bash", "-c", command], **environment, **NO_OTHER_SIGNALS)
            assert result.stdout.splitlines() == PRINTED, result.stderr
    stored = [name for name, _, _ in SEEN]
    assert [name for name, _, _ in seen("shop.db")] == stored * 2  # by run, and by the file
    assert [name for name, _, _ in seen("metrics.db")] == stored * 2
    assert names == stored


def test_the_readmes_packages_are_there_to_be_installed() -> None:
    named = set(re.findall(r"`pip install (opentelemetry-[\w-]+)`", README)) | {"opentelemetry-configuration"}
    assert len(named) >= 3
    for name in named:
        assert distribution(name).version


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


def _words(text: str) -> set[str]:
    """All but what is said of a moment, and units: less than a second ago is now, and a slow machine has no µs."""
    return {word for word in text.split() if word.isalpha()} - {"ago", "now", "ns", "µs", "ms", "s"}


@pytest.mark.parametrize("block", _blocks("console"), ids=lambda block: block.partition("\n")[0])
def test_a_command_of_the_readme_prints_what_stands_there(block: str, shop: Path, monkeypatch, capsys) -> None:
    """Figures differ from run to run, and how many columns they leave room for; each word must be there."""
    prompt, *told = block.splitlines()
    program, *words = shlex.split(prompt.removeprefix("$ "))
    assert program == "otel-perfmon"
    monkeypatch.chdir(shop)
    for columns in (100, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(words) == (1 if words[0] == "check" else 0), capsys.readouterr().err
    assert _words(" ".join(told)) <= _words(capsys.readouterr().out)


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


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"run", "serve", "ui", "forward", "tail", "demo", "bench"}))
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
