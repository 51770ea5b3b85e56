"""Export and import among enemies: signals, closed pipes, full disks, hostile names, a trace of very many spans."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from records_kit import span_record

from otel_perfmon.cli.exporting import FORMATS
from otel_perfmon.formats.jaeger_encoding import encode_jaeger_json
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.row_maker import RowMaker
from otel_perfmon.storage.sqlite.writer import SqliteWriter

COMMAND = [sys.executable, "-m", "otel_perfmon"]
MEASURED = """
import sys
from otel_perfmon.cli.main import main
status = main(sys.argv[1:])
memory = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(memory.split()[1]) // 1024, file=sys.stderr)
sys.exit(status)
"""
HOSTILE = (
    "two\nlines", "\x1b[31mred\x1b[0m", "\x9b31m", "\u202eright to left", "nul\x00nul", "\u2028\u2029", '"},{"',
    " ", "", "=cmd|'/c calc'!A1", "</script>", "\ufeffbom", "\x7f", "\xe9" * 1_000,
)  # fmt: skip


def store(path: str, *spans) -> None:
    maker = RowMaker()
    writer = SqliteWriter(path)
    rows = [maker.row_of(span) for span in spans]
    for first in range(0, len(rows), 1_000):
        some = rows[first : first + 1_000]
        assert writer.write(Batch(some, [row.duration_nano for row in some]), timeout_seconds=5) == 0
    writer.close()


def many(count: int, **fields) -> list:
    return [span_record(span_id=f"{number:016x}", name=f"op {number % 9}", **fields) for number in range(1, count + 1)]


def run(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, **options)


def names_in(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(name for (name,) in connection.execute("SELECT name FROM spans"))


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("otlp-json", signal.SIGINT),
        ("otlp-json", signal.SIGKILL),
        ("jaeger-json", signal.SIGTERM),
        ("parquet", signal.SIGINT),
    ],
)
def test_an_export_that_is_ended_leaves_the_file_that_was_there(db_path, form, sent):
    store(db_path, *many(6_000, attributes={"text": "x" * 2_000}))
    Path("spans.out").write_text("old")
    exporting = subprocess.Popen([*COMMAND, "export", "--db", db_path, "--format", form, "-o", "spans.out"])
    deadline = time.monotonic() + 20
    while not [name for name in os.listdir() if name.startswith(".spans.out.")] and time.monotonic() < deadline:
        time.sleep(0.005)
    exporting.send_signal(sent)
    status = exporting.wait()
    assert status != 0
    assert Path("spans.out").read_text() == "old"
    left = [name for name in os.listdir() if name.startswith(".spans.out.")]
    assert left == [] or sent is not signal.SIGINT


@pytest.mark.parametrize("form", FORMATS)
def test_a_pipe_that_is_closed_early_and_a_full_disk_end_it_in_order(db_path, form):
    store(db_path, *many(2_000))
    words = f"{sys.executable} -m otel_perfmon export --db {db_path} --format {form}"
    reader = "true" if form == "parquet" else "head -c 10"  # which takes so little room that a pipe would hold it all
    closed = f"{words} | {reader} > /dev/null; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", closed], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == ("141", "")
    if os.path.exists("/dev/full") and form in {"otlp-json", "parquet"}:
        for target in ("> /dev/full", "-o /dev/full"):
            ended = subprocess.run(["bash", "-c", f"{words} {target}"], capture_output=True, text=True, check=False)
            assert ended.returncode == 3
            assert ended.stderr.startswith("otel-perfmon: ")
            assert "No space left on device" in ended.stderr
            assert ended.stderr.count("\n") == 1


def test_an_output_that_cannot_be_is_told_in_a_sentence(db_path):
    store(db_path, *many(3))
    os.mkdir("folder")
    for output in ("folder", "folder/", "none/spans", "", "nul\0name", "x" * 300):
        try:
            ended = run("export", "--db", db_path, "-o", output)
        except ValueError:  # no command can be given such a name
            continue
        assert ended.returncode in {2, 3}, output
        assert ended.stderr.startswith("otel-perfmon: ")
        assert ended.stderr.count("\n") == 1
    assert run("export", "--db", db_path, "-o", "x" * 255).returncode == 0
    assert os.listdir("folder") == []


def test_an_input_that_cannot_be_is_told_in_a_sentence(db_path):
    os.mkdir("folder")
    for name in ("folder", "none"):
        ended = run("import", name, "--db", db_path)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert ended.stderr.startswith(f"{name}: It cannot be read: ")
    ended = run("import", "/dev/null", "--db", db_path)
    assert (ended.returncode, ended.stderr) == (
        0,
        "/dev/null: There is nothing in it: no span, data point or log record.\n",
    )
    closed = f"{sys.executable} -m otel_perfmon import - --db {db_path} <&-"
    ended = subprocess.run(["bash", "-c", closed], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "-: There is no standard input to read.\n")


@pytest.mark.parametrize("form", ["otlp-json", "otlp-proto", "jaeger-json"])
def test_hostile_names_and_a_megabyte_of_text_go_out_and_come_in_as_they_were(db_path, form):
    large = {"text": "\U0001f600" * 60_000, "more": "x" * 65_000, "\u2028": "\x00\x1b", "=a": "\ufffe"}
    spans = [
        span_record(span_id=f"{number:016x}", name=name, attributes=large, status_code=2, status_message=name)
        for number, name in enumerate(HOSTILE, 1)
    ]
    store(db_path, *spans)
    assert run("export", "--db", db_path, "--format", form, "-o", "spans.out").returncode == 0
    ended = run("import", "spans.out", "--db", "other.db", env={**os.environ, "OTEL_PYTHON_PERFMON_REDACT": "false"})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert names_in("other.db") == names_in(db_path)
    with closing(sqlite3.connect("other.db")) as other, closing(sqlite3.connect(db_path)) as own:
        sql = "SELECT attributes, status_message FROM spans ORDER BY span_id"
        found, expected = other.execute(sql).fetchall(), own.execute(sql).fetchall()
    assert [message for _, message in found] == [message for _, message in expected]
    tags = [json.loads(attributes) for attributes, _ in found]
    assert tags == [json.loads(attributes) for attributes, _ in expected]


def test_what_is_told_of_a_hostile_file_does_nothing_to_a_terminal():
    hostile = "\x1b[2J\x9b\u202e\n"
    Path("bad\x1b[2J.json").write_text(
        json.dumps([{"traceId": hostile, "id": "1"}, {"traceId": "1", "id": "1", "timestamp": hostile}])
    )
    ended = run("import", "bad\x1b[2J.json", "--db", "other.db")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 2
    assert not {"\x1b", "\x9b", "\u202e"} & set(ended.stderr)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is not told there")
@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_trace_of_very_many_spans_goes_out_in_every_form_and_comes_in(db_path, count, figure):
    store(db_path, *many(count, parent_span_id="f" * 16, attributes={"http.route": "/cart/{id}", "n": 1}))
    for form in FORMATS:
        began = time.monotonic()
        words = ("export", "--db", db_path, "--format", form, "-o", f"spans.{form}")
        ended = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True)
        took, memory = time.monotonic() - began, int(ended.stderr)
        figure(f"a trace of {count:,} spans: export to {form}", f"{took:.1f} s, {memory} MiB")
        assert memory < (170 if form != "chrome-trace" else 600) + count // 500
    for form in ("otlp-json", "jaeger-json"):
        ended = run("import", f"spans.{form}", "--db", f"{form}.db")
        assert ended.stdout.startswith(f"{count:,} spans stored")


def test_jaegers_own_order_of_a_large_trace_is_read(db_path):
    (trace,) = json.loads(b"".join(encode_jaeger_json([many(3_000)])))["data"]
    order = {name: trace[name] for name in ("traceID", "spans", "processes", "warnings")}
    Path("jaeger.json").write_text(json.dumps({"data": [order], "total": 0}, indent=2))
    ended = run("import", "jaeger.json", "--db", db_path)
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "3,000")
    with closing(sqlite3.connect(db_path)) as connection:
        assert connection.execute("SELECT DISTINCT service FROM spans").fetchall() == [("shop",)]
