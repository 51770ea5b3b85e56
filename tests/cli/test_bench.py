from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from otel_perfmon import open_store
from otel_perfmon.bench import run as runs
from otel_perfmon.bench.figures import Figure
from otel_perfmon.bench.run import SECTIONS
from otel_perfmon.bench.sizes import FULL, QUICK, SPANS_DEFAULT, SPANS_QUICK
from otel_perfmon.cli import bench
from otel_perfmon.cli.main import main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "bench"))
from bench_kit import NAMES, TINY

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def figures() -> dict[str, list[Figure]]:
    """What was measured, by section."""
    return {}


@pytest.fixture
def measured_once(figures, monkeypatch) -> None:
    """But for the questions, whose store is told by name, no section is measured again to be printed otherwise."""
    measure = runs._measure

    def measure_once(name: str, *arguments: object) -> list[Figure]:
        if name == "questions" or name not in figures:
            figures[name] = measure(name, *arguments)
        return figures[name]

    monkeypatch.setattr(runs, "_measure", measure_once)


def _run(width: int = 80, *, is_json: bool = False, db: str | None = None) -> str:
    file = io.StringIO()
    out = Console(file=file, width=width, markup=False, highlight=False, legacy_windows=False)
    bench.run_bench(TINY, (300, db), out, Console(file=io.StringIO()), is_json=is_json)
    return file.getvalue()


def test_tables_with_every_figure_fit_a_terminal_and_leave_no_file(fresh_process, measured_once, temporary) -> None:
    printed = _run()
    assert max(map(len, printed.splitlines())) <= 80
    assert "\x1b" not in printed
    places = [printed.index(f"\n{title}") for title in SECTIONS.values()]
    assert places == sorted(places)
    for told in ("monitor: until stored", "Beside other ways", "█", "many rows at once", "Met", "must be"):
        assert told in printed
    assert os.listdir(temporary) == []


def test_json_is_one_object_with_every_figure_and_a_named_store_is_kept(
    fresh_process, measured_once, temporary, tmp_path
) -> None:
    db = str(tmp_path / "kept.db")
    answer = json.loads(_run(is_json=True, db=db))
    assert set(answer) == {"command", "machine", "is_quick", "seconds", "figures"}
    by_section: dict[str, set[str]] = {}
    for name, figure in answer["figures"].items():
        by_section.setdefault(figure["section"], set()).add(name)
        assert set(figure) == {
            *("section", "title", "unit", "value", "ratio", "ratio_of", "goal", "verdict", "note"),
        }
        for spread in (figure["value"], figure["ratio"]):
            assert spread is None or set(spread) == {"median", "low", "high"}
        assert figure["goal"] is None or set(figure["goal"]) == {"must", "aim", "is_at_least"}
        assert figure["verdict"] in {"aim", "must", "missed", None}
        assert figure["value"] is not None or figure["note"]
    assert by_section == NAMES
    assert os.listdir(temporary) == []
    with open_store(db) as store:
        assert store.summarize_store().span_count == 300


def test_the_command_takes_its_sizes_from_its_options(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(bench, "run_bench", lambda *given, is_json: asked.append((given[0], given[1], is_json)))
    assert main(["bench"]) == 0
    assert main(["bench", "--quick", "--json"]) == 0
    assert main(["bench", "--spans", "7", "--db", "here.db"]) == 0
    assert asked == [
        (FULL, (SPANS_DEFAULT, None), False),
        (QUICK, (SPANS_QUICK, None), True),
        (FULL, (7, "here.db"), False),
    ]


@pytest.mark.parametrize("wrong", ["0", "-5", "many", "10000001"])
def test_a_wrong_number_of_spans_is_wrong_usage(wrong, capsys) -> None:
    assert main(["bench", f"--spans={wrong}"]) == 2
    assert "--spans" in capsys.readouterr().err


def test_a_store_that_cannot_be_made_is_told_at_once(capsys, temporary) -> None:
    assert main(["bench", "--db", "no/such/folder.db"]) == 2
    assert "folder is not there" in capsys.readouterr().err
    assert os.listdir(temporary) == []


def test_the_examples_of_the_help_are_understood(monkeypatch) -> None:
    monkeypatch.setattr(bench, "run_bench", lambda *_, is_json: None)
    examples = re.findall(r"^  otel-perfmon (bench.*?)(?:\s{3,}|\s[|>]|$)", bench._EPILOG, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        assert main(shlex.split(example)) == 0


def test_a_figure_that_is_named_in_the_help_exists() -> None:
    (name,) = re.findall(r"jq \.figures\.(\w+)\.", bench._EPILOG)
    assert name in NAMES["overhead"]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (12.34, "us", "12.3 µs"),
        (1234.0, "us", "1.23 ms"),
        (12.34, "ms", "12.3 ms"),
        (49.2, "rows/s", "49/s"),
        (83_717.0, "rows/s", "83.7k/s"),
        (203.4, "bytes", "203 bytes"),
        (2.0**26, "bytes", "64.0 MB"),
        (1_000_000, "spans", "1,000,000"),
        (None, "us", "-"),
    ],
)
def test_an_amount_has_the_unit_that_suits_it(value, unit, shown) -> None:
    assert bench._amount(value, unit) == shown


def test_where_somebody_watches_it_tells_what_is_measured() -> None:
    file = io.StringIO()
    watch = bench._Watch(Console(file=file, force_terminal=True, force_interactive=True, width=100))

    def measure() -> None:
        watch.tell("insertion", "inserting, 2 of 7")

    assert watch.over(measure) is None
    assert "Inserting prepared rows" in file.getvalue()
    assert "2 of 6" in file.getvalue()
    assert "inserting, 2 of 7" in file.getvalue()


@posix_only
def test_interrupted_it_ends_cleanly_and_leaves_no_file(temporary, tmp_path) -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's '&' would ignore it
        "from otel_perfmon.cli.main import main; sys.exit(main(['bench', '--quick', '--db', 'kept.db']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not any(temporary.glob("*/metrics.db")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any(temporary.glob("*/metrics.db"))
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, "")
    assert os.listdir(temporary) == []
    assert not os.path.exists("kept.db")


def test_the_quick_run_is_the_full_run_with_smaller_sizes() -> None:
    for name in QUICK.__dataclass_fields__:
        assert getattr(QUICK, name) <= getattr(FULL, name)
