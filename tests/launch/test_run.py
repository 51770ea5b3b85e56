"""``otel-perfmon run``: a program under the monitor that holds no line of ours, as itself in everything else."""

from __future__ import annotations

import itertools
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shop_kit import PRINTED, SEEN, SHOP, bin_path, run, seen, stored

from otel_perfmon import open_store
from otel_perfmon.cli.main import main

RUN = ["otel-perfmon", "run", "--slow", "300ms"]


@pytest.fixture(autouse=True)
def _shop() -> None:
    Path("app.py").write_text(SHOP)


def test_a_flask_app_is_stored_with_its_flags_and_says_nothing_more():
    result = run([*RUN, "--db", "shop.db", "--service", "shop", "--metrics", "--", "python", "app.py"])
    assert (result.returncode, result.stdout.splitlines()) == (0, PRINTED)
    assert "otel-perfmon" not in result.stderr
    assert seen("shop.db") == SEEN
    assert {span.service for span in stored("shop.db")} == {"shop"}
    with open_store("shop.db") as store:
        assert len(store.find_points("http.server.duration")) == 3
    assert not os.path.exists("metrics.db")


INTERPRETER = "#!/usr/bin/env python3\n"
SCRIPTS = list(itertools.product(["app.py", "./app.py"], ["", INTERPRETER], [0o644, 0o755]))
EVERY_PAIR = [
    ("app.py", "", 0o644),
    ("app.py", INTERPRETER, 0o755),
    ("./app.py", "", 0o755),
    ("./app.py", INTERPRETER, 0o644),
]
"""Those of the scripts in which each two properties meet."""


@pytest.mark.parametrize(
    ("name", "first_line", "mode"),
    [pytest.param(*each, marks=() if each in EVERY_PAIR else pytest.mark.long) for each in SCRIPTS],
)
def test_a_script_runs_by_its_name_whatever_its_mode(name, first_line, mode):
    Path("app.py").write_text(f"{first_line}print('ran')")
    os.chmod("app.py", mode)
    result = run(["otel-perfmon", "run", "--", name])
    assert (result.returncode, result.stdout) == (0, "ran\n"), result.stderr


def test_the_program_has_the_process_and_its_exit_status_is_its_own():
    program = "import os, sys; os.chdir('/'); print(os.getpid(), *sys.argv[1:]); sys.exit(7)"
    command = [bin_path("otel-perfmon"), "run", "--", sys.executable, "-c", program, "--db", "x", "--", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = process.communicate(timeout=60)[0]
    assert (process.returncode, printed) == (7, f"{process.pid} --db x -- -q\n")


@pytest.mark.faults
def test_a_program_that_is_killed_by_a_signal_is_seen_to_be():
    assert run(["otel-perfmon", "run", "python", "-c", "import os; os.kill(os.getpid(), 15)"]).returncode == -15


@pytest.mark.faults
def test_a_reader_that_goes_away_kills_a_program_as_it_would_without_us():
    assert run(["bash", "-c", "otel-perfmon run -- yes | head -1; exit ${PIPESTATUS[0]}"]).returncode == 128 + 13


def on_a_terminal(*words: str) -> str:
    """What a command writes when standard error is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # nobody has it open any more
            pass
        assert process.wait(60) == 0
    os.close(ours)
    return written.decode()


def test_on_a_terminal_the_last_line_says_what_was_seen_and_where():
    program = "import otel_perfmon\nwith otel_perfmon.get_monitor().monitor('op'): pass"
    told = on_a_terminal(bin_path("otel-perfmon"), "run", "--db", "a b.db", "--", sys.executable, "-c", program)
    path = os.path.abspath("a b.db")
    line = (
        "otel-perfmon: 1 call of 1 operation, 0 failed, 0 slow, since .*; where the time went: otel-perfmon stats --db"
    )
    assert re.fullmatch(f"{line} '{re.escape(path)}'\r\n", told)


@pytest.mark.faults
def test_on_a_terminal_the_last_line_tells_of_a_file_that_cannot_be_written():
    Path("file").write_text("")
    program = "import otel_perfmon\nwith otel_perfmon.get_monitor().monitor('op'): pass"
    words = [bin_path("otel-perfmon"), "run", "--db", "file/metrics.db", "--", sys.executable, "-c", program]
    line = f"otel-perfmon: not all was written; why: otel-perfmon doctor --db {os.path.abspath('file/metrics.db')}"
    assert line in on_a_terminal(*words).splitlines()


@pytest.mark.faults
def test_quietly_it_says_nothing():
    assert on_a_terminal(bin_path("otel-perfmon"), "run", "-q", "--", sys.executable, "-c", "") == ""


WITH_ITS_OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""


def test_a_program_that_sets_up_opentelemetry_itself_keeps_its_pipelines():
    code = f"{WITH_ITS_OWN_PROVIDER}{SHOP}    print([span.name for span in exporter.get_finished_spans()])\n"
    Path("app.py").write_text(code)
    result = run([*RUN, "--", "python", "app.py"])
    assert result.stdout.splitlines() == [*PRINTED, str([name for name, _, _ in SEEN])]
    assert "Overriding" not in result.stderr
    assert seen() == SEEN


@pytest.mark.faults
def test_processes_that_the_program_starts_are_stored_in_the_same_file():
    Path("app.py").write_text(
        "import multiprocessing, os, subprocess, sys\n"
        "from opentelemetry import trace\n"
        "def work(name):\n"
        "    with trace.get_tracer('t').start_as_current_span(name): pass\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'spawn'):\n"
        "        child = multiprocessing.get_context(method).Process(target=work, args=(method,))\n"
        "        child.start()\n"
        "        child.join()\n"
        "    os.mkdir('sub')\n"
        "    subprocess.run([sys.executable, '-c', 'import app; app.work(\"subprocess\")'], check=True)\n"
        "    os.chdir('sub')\n"
        "    work('itself')\n"
    )
    assert run([*RUN, "--", "python", "app.py"]).returncode == 0
    assert [span.name for span in stored()] == ["fork", "spawn", "subprocess", "itself"]


@pytest.mark.faults
def test_the_sitecustomize_of_the_environment_comes_first_and_our_folder_is_not_in_the_way():
    Path("site").mkdir()
    Path("site/sitecustomize.py").write_text("import sys\nprint('theirs', 'otel_perfmon' in sys.modules)\nmark = 1\n")
    program = "import sys, sitecustomize; print(sitecustomize.mark, [p for p in sys.path if 'otel_perfmon' in p])"
    result = run(["otel-perfmon", "run", "--", "python", "-c", program], PYTHONPATH="site")
    assert result.stdout.splitlines() == ["theirs False"] * 2 + ["1 []"]  # of the command, and of the program


@pytest.mark.faults
def test_an_instrumentation_that_fails_is_named_and_the_program_runs_with_the_others():
    for name, line in [("broken", "raise RuntimeError('no')"), ("missing", "import not_installed")]:
        folder = Path("site", f"{name}-0.1.dist-info")
        folder.mkdir(parents=True)
        folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        folder.joinpath("entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{name} = {name}:Instrumentor\n")
        Path("site", f"{name}.py").write_text(line)
    result = run([*RUN, "--", "python", "app.py"], PYTHONPATH="site")
    assert result.stdout.splitlines() == PRINTED
    assert "The instrumentation broken is left out, it failed: RuntimeError('no')\n" in result.stderr
    assert "missing" not in result.stderr
    assert seen() == SEEN


@pytest.mark.faults
@pytest.mark.parametrize("disabled", ["requests, flask", "*"])
def test_an_instrumentation_that_is_disabled_is_left_out(disabled):
    assert run([*RUN, "--", "python", "app.py"], OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled).returncode == 0
    assert not os.path.exists("metrics.db")


@pytest.mark.faults
def test_a_python_without_the_package_says_so_and_runs_the_program():
    python = os.path.join(sys.base_prefix, "bin", "python3")
    result = run(["otel-perfmon", "run", "--", python, "-c", "print('ran')"])
    assert result.stdout == "ran\n"
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"otel-perfmon: {python} cannot load otel_perfmon")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name the program to run"),
        (["--"], "Name the program to run"),
        (["--", "no-such-program"], "There is no program no-such-program"),
        (["--", "opentelemetry-instrument", "python", "app.py"], "OTEL_TRACES_EXPORTER=sqlite"),
        (["--slow", "soon", "--", "python", "app.py"], "soon"),
        (["--db", "", "--", "python", "app.py"], "path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_run_is_wrong_usage_and_nothing_runs(capfd, words, sentence):
    assert main(["run", *words]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert sentence in printed.err


def test_a_wrong_setting_in_the_environment_is_told_before_the_program_runs(capfd, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_RETENTION_SECONDS", "never")
    assert main(["run", "--", "python", "app.py"]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "OTEL_PYTHON_PERFMON_RETENTION_SECONDS" in printed.err
