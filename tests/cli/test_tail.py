from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager

import pytest
from cli_kit import SECOND, error_row, record, record_shop, span_row, trace_of
from storage_kit import child_process, wait_until

from otel_perfmon.cli.span_view import span_line
from otel_perfmon.storage.url import open_store

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

WRITER = """
    import sys, time
    from otel_perfmon import MetricsStorage, PerformanceMonitor
    storage = MetricsStorage(sys.argv[1])
    monitor = PerformanceMonitor(storage)
    sys.stdin.readline()
    for number in range(int(sys.argv[2])):
        with monitor.monitor("work", attributes={"number": number, "process": sys.argv[3]}):
            time.sleep(0.001)
    monitor.shutdown()
    storage.close()
    print("done", flush=True)
"""


class Tail:
    """``otel-perfmon tail`` in a process of its own: its lines, and when each came."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otel_perfmon", "tail", *arguments],
            env={**os.environ, "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.came: list[float] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.came.append(time.time())
            self.lines.append(line.rstrip("\n"))

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(10)
        return status, self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def tailing(path: str, *arguments: str):
    """A tail that has begun: it has shown what came last before it."""
    tail = Tail("--db", path, "--last", "1", *arguments)
    try:
        assert wait_until(lambda: tail.lines, 30), tail.process.poll()
        yield tail
    finally:
        tail.close()


@pytest.fixture
def begun(db_path: str) -> str:
    record(db_path, span_row("first", end=time.time_ns()))
    return db_path


@posix_only
def test_beside_three_writing_processes_every_span_comes_once_and_soon(begun) -> None:
    count = 200
    with tailing(begun, "--json") as tail:
        with ExitStack() as stack:
            children = [stack.enter_context(child_process(WRITER, begun, str(count), name)) for name in "abc"]
            for child in children:
                child.stdin.write("go\n")
                child.stdin.flush()
            assert [child.stdout.readline() for child in children] == ["done\n"] * 3
        assert wait_until(lambda: len(tail.lines) > 3 * count, 10)
        time.sleep(0.3)
        spans = [json.loads(line) for line in tail.lines[1:]]
    seen = Counter((span["attributes"]["process"], span["attributes"]["number"]) for span in spans)
    assert seen == Counter((name, number) for name in "abc" for number in range(count))
    late = sorted(came - span["end_unix_nano"] / 1e9 for came, span in zip(tail.came[1:], spans, strict=True))
    assert late[len(late) // 2] <= 0.5  # of the slowest, the machine's other work has its part
    assert late[-1] <= 2.0


@posix_only
def test_ctrl_c_ends_it_quietly_and_well(begun) -> None:
    with tailing(begun) as tail:
        assert tail.stop() == (0, "")


@posix_only
def test_it_survives_a_lock_a_pruning_and_another_file_in_its_place(begun, tmp_path) -> None:
    with tailing(begun, "--json") as tail:
        with closing(sqlite3.connect(begun, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.3)
            other.execute("COMMIT")
        record(begun, span_row("after the lock"))
        assert wait_until(lambda: len(tail.lines) == 2)
        with open_store(begun) as store:
            store.delete_spans_before(time.time() + 10**9)
        record(begun, span_row("after the pruning"))
        assert wait_until(lambda: len(tail.lines) == 3)
        os.mkdir("elsewhere")
        record("/".join((str(tmp_path), "elsewhere", "metrics.db")), *(span_row(f"new {n}") for n in range(3)))
        for name in ("metrics.db", "metrics.db-wal", "metrics.db-shm"):
            if os.path.exists(name):
                os.unlink(name)
        time.sleep(0.3)
        for name in ("metrics.db-wal", "metrics.db"):
            if os.path.exists(os.path.join("elsewhere", name)):
                shutil.move(os.path.join("elsewhere", name), name)
        assert wait_until(lambda: len(tail.lines) == 6)
        names = [json.loads(line)["name"] for line in tail.lines]
        assert names == ["first", "after the lock", "after the pruning", "new 0", "new 1", "new 2"]
        assert tail.stop() == (0, "")


@posix_only
def test_a_reader_that_goes_away_ends_it(begun) -> None:
    command = f"{sys.executable} -m otel_perfmon tail --last 1 --db {begun} 2>&1 | head -1"
    command = ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout.readline()
        deadline = time.monotonic() + 20
        while shell.poll() is None and time.monotonic() < deadline:
            record(begun, span_row("more"))
            time.sleep(0.1)
        assert shell.stdout.read() == "141\n"


@pytest.fixture
def tail_once(cli, monkeypatch):
    """Run tail in this process until it would wait for more."""

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    def run(*arguments: str, width: int = 100):
        with monkeypatch.context() as patch:
            patch.setattr("otel_perfmon.cli.tail.time.sleep", stop)
            return cli("tail", *arguments, width=width)

    return run


def test_the_last_ones_come_first_in_their_order_through_the_same_filters(tail_once, db_path) -> None:
    record_shop(db_path)
    lines = tail_once("charge", "--error", "--last", "3").lines
    assert [line.split()[-1] for line in lines] == [trace_of(number).hex()[:16] for number in (20, 30, 40)]
    assert tail_once("--min", "48ms", "--last", "9", "--json").lines[0].startswith("{")
    assert tail_once().lines == []


def test_a_name_that_nothing_has_had_is_told_and_waited_for(tail_once, db_path) -> None:
    record_shop(db_path)
    printed = tail_once("nosuch", "--service", "nobody")
    assert printed.status == 0
    assert printed.err.splitlines() == [
        "otel-perfmon: The operation 'nosuch' has not been recorded yet; waiting for it.",
        "otel-perfmon: The service 'nobody' has not been recorded yet; waiting for it.",
    ]


def test_errors_and_slow_spans_are_marked(tail_once, db_path) -> None:
    end = time.time_ns()
    record(
        db_path,
        error_row("bad", 1, end=end),
        span_row("lame", slow=True, end=end, ms=2000.0),
        span_row("well", end=end),
    )
    bad, lame, well = tail_once("--last", "3", width=160).lines
    assert "! TimeoutError: card-gateway-1 timed out after 30 s" in bad
    assert "  ~ slow  " in lame
    assert "  2.00 s  lame" in lame
    assert "!" not in well
    assert "slow" not in well


@pytest.mark.parametrize("width", [40, 80, 100, 160, 200])
def test_every_span_is_one_line_of_the_width(width, db_path) -> None:
    attributes = json.dumps({"a": "文字" * 99, "b": "\x1b[31m\n"})
    rows = [error_row(name, 1, attributes=attributes, end=SECOND) for name in ("x" * 300, "文" * 99, "a\nb", "")]
    record(db_path, *rows)
    with open_store(db_path) as store:
        for span in store.find_spans():
            line = span_line(span, width)
            assert line.cell_len == width
            assert line.plain.isprintable()


def test_json_lines_are_spans_as_in_the_items_of_spans(tail_once, cli, db_path) -> None:
    record_shop(db_path)
    (line,) = tail_once("--last", "1", "--json").lines
    assert json.loads(line) == cli("spans", "--limit", "1", "--json").items[0]
