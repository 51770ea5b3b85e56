"""``otel-perfmon demo``: measure the standard library, then show what the file answers and what to type next."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from otel_perfmon.cli import report, workload
from otel_perfmon.cli.operations import operation_rows, print_operation_table
from otel_perfmon.cli.report import Column, duration, name_text, print_heading, print_table, printable
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.quantities import count, share
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import ErrorGroup, SpanRecord
from otel_perfmon.storage.base import Store

DEFAULT_DB: Final = "perfmon-demo.db"
_SLOWEST_SHOWN: Final = 5
_ERRORS_SHOWN: Final = 6
_REFRESHES_PER_SECOND: Final = 5
_BAR_WIDTH: Final = 56
"""The progress line without the name of the file."""
_NAME_WIDTH_MIN: Final = 16
_NO_BROKEN_FILES: Final = (
    "None: this Python comes without its test packages, where the deliberately broken files are"
    " (on Debian: libpython3-testsuite)."
)
_PROGRAM: Final = (
    "import otel_perfmon",
    'monitor = otel_perfmon.configure("metrics.db")',
    'with monitor.monitor("load_cart"): ...',
)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    parser.description = (
        "Reads, tokenizes, parses and compiles every file of this Python's standard library under the monitor, which"
        " takes about half a minute. Then shows the operations, the slowest files and the errors."
    )
    parser.epilog = "examples:\n  otel-perfmon demo\n  otel-perfmon demo --folder src --db /tmp/demo.db"
    parser.add_argument("--db", metavar="FILE", default=DEFAULT_DB, help="record into FILE (default: %(default)s)")
    parser.add_argument("--folder", metavar="DIR", help="take the Python files in DIR, not the standard library's")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    run_demo(arguments.db, arguments.folder, report.open_console(), report.open_console(is_stderr=True))
    return 0


def run_demo(db: str, folder: str | None, out: Console, progress_console: Console) -> None:
    """Measure the files of ``folder`` (None: the standard library) into ``db``, and print what the store answers.

    Raises `ConfigError` when there is nothing to measure, `StoreError` when ``db`` cannot be used.
    """
    root = os.path.abspath(workload.stdlib_folder() if folder is None else folder)
    files = workload.find_files(root)
    with MetricsStorage(db) as storage:
        _print_introduction(out, db, root, len(files), is_rerun=bool(storage.get_stats()))
        with _progress(progress_console, "First pass", workload.sample_files(files)) as sample:
            slow_threshold_ms = workload.choose_slow_threshold_ms(sample)
        out.print(f"First pass: 19 of 20 files take less than {duration(slow_threshold_ms)}. More than that is slow.")
        begun_unix_nano = time.time_ns()
        try:
            with _progress(progress_console, "All files", files) as all_files:
                workload.process_files(all_files, storage, slow_threshold_ms)
        except KeyboardInterrupt:
            out.print(f"Stopped. What was measured until now is in {db}.")
            raise
        window = Window(begun_unix_nano, time.time_ns() + 1)
        errors = find_errors(storage.store)
        _print_operations(out, storage.store, slow_threshold_ms)
        _print_slowest(out, storage.store, window, root)
        _print_errors(out, errors, is_stdlib=folder is None)
        _print_next(out, db, next_commands(db, errors))
        _print_account(out, storage.store, db)


# --- what is asked


@dataclass(frozen=True, slots=True)
class SlowFile:
    """One of the slowest files, and the step that took most of its time."""

    span: SpanRecord
    step: str
    step_share: float


def find_slowest(store: Store, window: Window) -> list[SlowFile]:
    """The slowest files that ended in the window, slowest first."""
    query = SpanQuery(
        operation=workload.ROOT, service=workload.SERVICE, window=window, order="slowest", limit=_SLOWEST_SHOWN
    )
    files: list[SlowFile] = []
    for span in store.find_spans(query):
        spans = store.get_trace(span.trace_id).spans
        steps = [each for each in spans if each.parent_span_id == span.span_id]
        longest = max(steps, key=lambda step: step.duration_nano, default=span)
        files.append(SlowFile(span, longest.name, longest.duration_nano / max(1, span.duration_nano)))
    return files


def find_errors(store: Store) -> list[ErrorGroup]:
    """The groups of errors, most frequent first, each in the step that failed; the steps in turn where even."""
    by_step = [store.summarize_errors(operation=step) for step in workload.STEPS]
    in_turn = [group for groups in zip_longest(*by_step) for group in groups if group is not None]
    return sorted(in_turn, key=lambda group: -group.count)


def next_commands(db: str, errors: Sequence[ErrorGroup]) -> dict[str, list[str]]:
    """What to type next into a shell, under headings."""
    file, program = shlex.quote(db), _program()
    asked = [
        f"{program} stats {workload.ROOT} --db {file}",
        f"{program} trace slowest {workload.ROOT} --db {file}",
        f"{program} heatmap parse --db {file}",
    ]
    if errors:
        asked.append(f"{program} errors {errors[0].operation} --full --db {file}")
    shell = "With the sqlite3 shell" if shutil.which("sqlite3") else "With the sqlite3 shell (not installed here)"
    return {
        "At the terminal": asked,
        shell: [
            f"sqlite3 {file} 'SELECT * FROM metrics WHERE is_slow ORDER BY duration DESC LIMIT 3'",
            f"sqlite3 {file} 'SELECT * FROM operations'",
        ],
    }


def _program() -> str:
    """How to call this very program: another one on the path may be of another Python."""
    script = shutil.which("otel-perfmon")
    if script is not None and os.path.dirname(script) == os.path.dirname(sys.executable):
        return "otel-perfmon"
    return f"{_python_command()} -m otel_perfmon"


def _python_command() -> str:
    """The shortest name of this Python, which has the package; another one on the path may not."""
    names = (name for name in ("python", "python3") if shutil.which(name) == sys.executable)
    return next(names, shlex.quote(sys.executable))


# --- what is shown


def _print_introduction(out: Console, db: str, root: str, file_count: int, *, is_rerun: bool) -> None:
    out.print(f"Reading, tokenizing, parsing and compiling {count(file_count)} Python files, those in")
    out.print(printable(root))
    if is_rerun:
        out.print(f"{db} holds earlier operations: this run adds to them. Delete the file to start afresh.")


def _print_operations(out: Console, store: Store, slow_threshold_ms: float) -> None:
    rows = operation_rows(store.summarize_operations(service=workload.SERVICE))
    print_heading(out, "Operations", f"slow: over {duration(slow_threshold_ms)}; self: without the steps inside")
    print_operation_table(out, rows)


def _print_slowest(out: Console, store: Store, window: Window, root: str) -> None:
    columns: list[Column[SlowFile]] = [
        Column("Took", lambda file: Text(duration(file.span.duration_ms), "yellow" if file.span.is_slow else "")),
        Column("File", lambda file: _relative(file.span.attributes.get("file.path", ""), root), is_text=True),
        Column("Lines", lambda file: Text(count(file.span.attributes.get("demo.line_count", 0))), rank=2),
        Column("Mostly in", lambda file: Text(f"{file.step} {share(file.step_share)}"), rank=1, is_text=True),
    ]
    print_heading(out, "Slowest files", "of this run")
    print_table(out, columns, find_slowest(store, window))


def _print_errors(out: Console, errors: Sequence[ErrorGroup], *, is_stdlib: bool) -> None:
    total = sum(group.count for group in errors)
    print_heading(out, "Errors", f"{count(total)}, of files that are broken on purpose" if total and is_stdlib else "")
    if not errors:
        out.print(_NO_BROKEN_FILES if is_stdlib else "None.")
        return
    print_table(out, _error_columns(), errors[:_ERRORS_SHOWN])
    if len(errors) > _ERRORS_SHOWN:
        out.print(f"and {count(len(errors) - _ERRORS_SHOWN)} more kinds")


def _error_columns() -> list[Column[ErrorGroup]]:
    return [
        Column("Failed", lambda group: Text(count(group.count), "red")),
        Column("Operation", lambda group: name_text(group.operation), rank=1, is_text=True),
        Column("Type", lambda group: printable(group.error_type), rank=2, is_text=True),
        Column("Message", lambda group: printable(group.message), is_text=True),
    ]


def _print_next(out: Console, db: str, commands: dict[str, list[str]]) -> None:
    print_heading(out, "What to type next")
    for heading, lines in commands.items():
        out.print(f"{heading}:")
        for line in lines:
            out.print(f"  {line}", soft_wrap=True)  # in one piece, to be copied
    out.print("In the browser (with pip install 'otel-perfmon[web]'):")
    out.print(f"  {_program()} ui --db {shlex.quote(db)} --open", soft_wrap=True, markup=False)
    out.print("In a program of yours:")
    for line in _PROGRAM:
        out.print(f"  {line}", soft_wrap=True)


def _print_account(out: Console, store: Store, db: str) -> None:
    health = store.get_health()
    why = ", ".join(f"{reason} {count(number)}" for reason, number in health.dropped.items())
    out.print(
        f"\n{db} has taken {count(health.stored)} spans; {f'dropped were: {why}' if why else 'none was dropped'}."
    )


def _relative(path: object, root: str) -> Text:
    return printable(os.path.relpath(str(path), root) if path else report.ABSENT)  # absent: by the SDK's limits


# --- progress


@contextmanager
def _progress(console: Console, title: str, files: Sequence[str]) -> Iterator[Iterator[str]]:
    """The files, one by one, with a bar on the console while they are taken; no bar where nobody watches."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=_REFRESHES_PER_SECOND,
        disable=not console.is_interactive,
    )
    room = console.width - _BAR_WIDTH
    name_max = room if room >= _NAME_WIDTH_MIN else 0
    with progress:
        yield _advancing(progress, progress.add_task(title, total=len(files), file=""), files, name_max)


def _advancing(progress: Progress, task: TaskID, files: Sequence[str], name_max: int) -> Iterator[str]:
    for path in files:
        progress.update(task, file=printable(os.path.basename(path)).plain[:name_max])
        yield path
        progress.advance(task)
