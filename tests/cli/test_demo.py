from __future__ import annotations

import gc
import io
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from otel_perfmon import MetricsStorage, PerformanceMonitor, SpanQuery, StoreError, open_store
from otel_perfmon.cli import demo, workload
from otel_perfmon.cli.main import main

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and terminals")

GOOD = 'def double(x):\n    """Twice."""\n    return 2 * x\n\n\n'
BROKEN = {
    "bad_coding.py": ("read_file", "SyntaxError"),
    "bad_bytes.py": ("read_file", "UnicodeDecodeError"),
    "open_bracket.py": ("tokenize", "tokenize.TokenError"),
    "bad_grammar.py": ("parse", "SyntaxError"),
    "bad_future.py": ("compile", "SyntaxError"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight good files of growing size, five that break each step, one that warns, and what is to be left out."""
    path = tmp_path / "sources"
    (path / "inner" / "site-packages").mkdir(parents=True)
    for number in range(8):
        (path / "inner" / f"good_{number}.py").write_text(GOOD * 3 * 2**number)
    (path / "bad_coding.py").write_text("# coding: uft-8\n")
    (path / "bad_bytes.py").write_bytes(b"x = 1\ny = 2\n" + b"# far from the cookie\n" * 3 + b"z = '\xff'\n")
    (path / "open_bracket.py").write_text("x = (\n")
    (path / "bad_grammar.py").write_text("def def\n")
    (path / "bad_future.py").write_text("from __future__ import rested_snopes\n")
    (path / "warns.py").write_text("x = 1 is 1\ny = '\\d'\n")
    (path / "inner" / "site-packages" / "installed.py").write_text("x = 1\n")
    (path / "notes.txt").write_text("no Python\n")
    return path


def _demo(folder: Path, db: str = "demo.db", width: int = 80) -> str:
    file = io.StringIO()
    demo.run_demo(db, str(folder), Console(file=file, width=width, markup=False), Console(file=io.StringIO()))
    return file.getvalue()


def _process(folder: Path, storage: MetricsStorage, slow_threshold_ms: float = 1000.0) -> None:
    workload.process_files(workload.find_files(str(folder)), storage, slow_threshold_ms)


# --- the work


def test_all_python_files_are_found_but_installed_packages(folder) -> None:
    found = [os.path.relpath(path, folder) for path in workload.find_files(str(folder))]
    assert found == sorted(found)
    assert len(found) == 14
    assert not any("site-packages" in path or path.endswith(".txt") for path in found)


def test_the_standard_library_is_found() -> None:
    found = workload.find_files(workload.stdlib_folder())
    assert os.path.join(workload.stdlib_folder(), "ast.py") in found
    assert not any("site-packages" in path for path in found)


def test_a_file_is_a_trace_of_its_steps(folder, storage) -> None:
    _process(folder, storage)
    (root,) = storage.store.find_spans(
        SpanQuery(operation="process_file", attributes={"file.path": str(folder / "inner" / "good_3.py")})
    )
    nodes = storage.store.get_trace(root.trace_id).tree().nodes
    assert nodes[0].span == root
    assert [step.span.name for step in nodes[1:]] == ["read_file", "tokenize", "parse", "compile"]
    assert {step.parent_index for step in nodes[1:]} == {0}
    assert root.attributes["file.size"] == len(GOOD) * 24
    assert root.attributes["demo.line_count"] == GOOD.count("\n") * 24
    assert root.service == "otel-perfmon-demo"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_real_error_of_the_step_that_failed(folder, storage, name) -> None:
    step, error_type = BROKEN[name]
    monitor = PerformanceMonitor(storage)
    with pytest.raises(workload._FILE_ERRORS):
        workload.process_file(monitor, str(folder / name))
    monitor.shutdown()
    failed = {span.name: span for span in storage.store.find_spans(SpanQuery(is_error=True))}
    assert set(failed) == {"process_file", step}
    assert failed[step].error_type == error_type
    assert "Traceback" in failed[step].exception.attributes["exception.stacktrace"]
    assert failed["process_file"].exception is None


def test_broken_files_do_not_end_the_work(folder, storage) -> None:
    _process(folder, storage)
    stats = storage.get_stats("process_file")
    assert (stats.count, stats.error_count) == (14, 5)


def test_warnings_of_the_files_are_not_shown_and_the_process_is_left_as_it_was(folder, storage) -> None:
    _process(folder, storage)  # pytest makes any warning an exception
    failed = storage.get_metrics_in_window("process_file", 60, filter_errors=True)
    assert {os.path.basename(metric["context"]["file.path"]) for metric in failed} == set(BROKEN)
    assert ("ignore", None, Warning, None, 0) not in warnings.filters
    assert gc.isenabled()


def test_the_sample_is_spread_over_the_sizes(tmp_path) -> None:
    files = []
    for number in range(100):
        files.append(str(tmp_path / f"{number}.py"))
        Path(files[-1]).write_text("#" * (1000 - number))
    sample = workload.sample_files(files)
    assert len(sample) <= 40
    sizes = [os.stat(path).st_size for path in sample]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (903, 999)
    assert max(b - a for a, b in itertools.pairwise(sizes)) == 3


def test_a_few_files_are_their_own_sample() -> None:
    assert workload.sample_files([__file__]) == [__file__]


@pytest.mark.parametrize(
    ("number", "rounded"), [(61.2, 62), (2.71, 2.8), (0.0234, 0.024), (99.1, 100), (1234.0, 1300), (0.3, 0.3), (70, 70)]
)
def test_a_threshold_is_rounded_up_to_two_digits(number, rounded) -> None:
    assert workload.round_up(number) == rounded


def test_the_threshold_has_two_digits_and_lies_above_most_of_the_sample(folder) -> None:
    threshold = workload.choose_slow_threshold_ms(workload.find_files(str(folder)))
    assert threshold == float(f"{threshold:.2g}")
    with MetricsStorage("check.db") as storage:
        _process(folder, storage, threshold * 1000)
        assert storage.get_stats("process_file").slow_count == 0
    with MetricsStorage("slow.db") as storage:
        _process(folder, storage, threshold / 1000)
        assert storage.get_stats("process_file").slow_count == 14


def test_a_sampler_that_drops_everything_is_told(folder, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert main(["demo", "--folder", str(folder)]) == 2
    assert "OTEL_TRACES_SAMPLER" in capsys.readouterr().err


# --- what is shown


def test_the_report_tells_the_operations_the_slowest_the_errors_and_what_is_next(folder) -> None:
    printed = _demo(folder)
    parts = [
        "14 Python files",
        "First pass",
        "\nOperations",
        "\nSlowest files",
        "\nErrors",
        "\nWhat to type next",
        "none was dropped",
    ]
    places = [printed.index(part) for part in parts]
    assert places == sorted(places)
    assert "! 36%" in printed
    assert os.path.join("inner", "good_7.py") in printed
    assert "unknown encoding" in printed


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_is_printed_into_a_file_is_plain_and_fits(folder, width) -> None:
    shown, _, commands = _demo(folder, width=width).partition("What to type next")
    assert "\x1b" not in shown + commands
    assert max(map(len, shown.splitlines())) <= width


def test_a_step_shows_how_much_of_a_slow_files_time_it_took(folder, storage) -> None:
    _process(folder, storage)
    slowest = demo.find_slowest(storage.store, _all_time())
    durations = [file.span.duration_ms for file in slowest]
    assert durations == sorted(durations, reverse=True)
    assert len(slowest) == 5
    assert all(file.step in workload.STEPS and 0 < file.step_share <= 1 for file in slowest)


def _all_time() -> demo.Window:
    return demo.Window(0, time.time_ns() + 1)


def test_each_error_is_listed_once_in_the_step_that_failed(folder, storage) -> None:
    _process(folder, storage)
    errors = demo.find_errors(storage.store)
    assert sorted((group.operation, group.error_type) for group in errors) == sorted(BROKEN.values())


def test_a_second_run_adds_to_the_first_and_says_so(folder) -> None:
    assert "adds to them" not in _demo(folder)
    second = _demo(folder)
    assert "adds to them" in second
    assert second.count(os.path.join("inner", "good_7.py")) == 1
    with open_store("demo.db") as store:
        assert {stats.operation: stats.count for stats in store.summarize_operations()}["process_file"] == 28


def test_a_folder_without_errors_has_none(tmp_path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    assert "Errors\nNone.\n" in _demo(tmp_path)


def test_a_python_without_broken_files_is_told_where_they_are() -> None:
    file = io.StringIO()
    demo._print_errors(Console(file=file, width=200), [], is_stdlib=True)
    assert "test packages" in file.getvalue()


@posix_only
@pytest.mark.parametrize("db", ["demo.db", "my [red] demo's.db"])
def test_every_command_to_type_next_works(folder, db) -> None:
    printed = _demo(folder, db)
    with open_store(db) as store:
        headings = demo.next_commands(db, demo.find_errors(store))
    commands = [line for lines in headings.values() for line in lines]
    assert len(commands) == 6
    for command in commands:
        assert f"  {command}\n" in printed
        if command.startswith("sqlite3") and not shutil.which("sqlite3"):
            continue
        result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() or "is_slow" in command


def test_the_sql_to_type_next_is_right_where_the_shell_is_missing(folder) -> None:
    _demo(folder)
    commands = list(demo.next_commands("demo.db", []).values())[-1]
    connection = sqlite3.connect("demo.db")
    for command in commands:
        connection.execute(command.split("'")[1]).fetchall()
    connection.close()


# --- in a process and a terminal of its own


@posix_only
def test_interrupted_it_ends_cleanly_and_keeps_what_was_recorded() -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's '&' would ignore it
        "from otel_perfmon.cli.main import main; sys.exit(main(['demo', '--db', 'stopped.db']))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while _stored_count("stopped.db") < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    seen = _stored_count("stopped.db")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert err == ""
    assert child.returncode == 130
    assert "What was measured until now is in stopped.db." in out
    assert _stored_count("stopped.db") >= seen >= 10
    with open_store("stopped.db") as store:
        interrupted = store.find_spans(SpanQuery(attributes={"perfmon.outcome": "interrupted"}))
        assert not any(span.is_error for span in interrupted)


def _stored_count(db: str) -> int:
    try:
        with open_store(db) as store:
            return store.get_health().stored
    except StoreError:
        return 0  # not made yet


@posix_only
def test_on_a_terminal_a_bar_is_shown_while_it_works_and_gone_afterwards(folder) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "otel_perfmon", "demo", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    out, _ = child.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1_000_000).decode()
    os.close(ours)
    assert child.returncode == 0
    assert "All files" in shown
    assert "14 of 14" in shown
    assert shown.rstrip().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")
    assert "Operations" in out
    assert "\x1b" not in out
