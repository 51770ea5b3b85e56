"""Disks that fill up, folders that go away, files that nobody may write, and damage."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults_kit import read_account

FILL_AND_GO_ON = """
import os, sys, time
from otel_perfmon import MetricsStorage
from otel_perfmon.storage import recorder as recorders
recorders.QUEUE_MAX = 2000
storage = MetricsStorage("metrics.db")
for _ in range(500):
    storage.insert_metric("before", 1.0)
assert storage.recorder.flush()
fill = open("fill", "wb")
try:
    while True:
        fill.write(b"x" * 65536)
        fill.flush()
except OSError:
    pass
longest = 0
for _ in range(5000):
    began = time.monotonic()
    storage.insert_metric("full", 1.0, context={"text": "x" * 500})
    longest = max(longest, time.monotonic() - began)
assert longest < 2.5, longest
fill.close()
os.remove("fill")
end = time.monotonic() + 10
while not storage.recorder.flush() and time.monotonic() < end:
    time.sleep(0.05)
for _ in range(500):
    storage.insert_metric("after", 1.0)
storage.close()
"""


@pytest.mark.parametrize("floor", ["FREE_SPACE_MIN_BYTES", "0"], ids=["with the floor", "to the last byte"])
def test_a_full_disk_costs_counted_drops_and_writing_goes_on_when_there_is_room(small_disk, figure, floor):
    folder = small_disk(24)
    program = FILL_AND_GO_ON
    if floor == "0":
        program = "from otel_perfmon.storage.sqlite import free_space\nfree_space.FREE_SPACE_MIN_BYTES = 0\n" + program
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    found = read_account(str(folder / "metrics.db"))
    assert found.names["before"] == 500
    assert found.names["after"] == 500
    dropped = found.dropped.get("queue_full", 0)
    figure("disk full, 5,000 recorded: stored, dropped (counted)", f"{found.names['full']}, {dropped}", "exact")
    assert found.names["full"] + dropped == 5000
    assert found.ended == 6000


def test_a_checkpoint_that_fails_after_the_commit_doubles_no_span(run_python, account):
    run_python("""
        import sqlite3
        from otel_perfmon import MetricsStorage
        from otel_perfmon.storage.sqlite import writer as writers
        writers.WAL_MAX_BYTES = 0
        storage = MetricsStorage("metrics.db")
        writer = storage.recorder._writer
        checkpoint, failures = writer._checkpoint, [1, 2, 3]
        def fail():
            if failures:
                failures.pop()
                raise sqlite3.OperationalError("database or disk is full")
            checkpoint()
        writer._checkpoint = fail
        for number in range(5):
            storage.insert_metric("work", 1.0)
            storage.recorder.flush()
        storage.close()
        """)
    assert account().names == {"work": 5}


def test_a_folder_that_is_removed_costs_spans_but_not_the_program_and_comes_back(run_python, tmp_path):
    run_python("""
        import os, shutil, time
        from otel_perfmon import MetricsStorage
        os.mkdir("folder")
        storage = MetricsStorage("folder/metrics.db")
        storage.insert_metric("before", 1.0)
        assert storage.recorder.flush()
        shutil.rmtree("folder")
        for _ in range(100):
            storage.insert_metric("without", 1.0)
        began = time.monotonic()
        assert not storage.recorder.flush()
        assert time.monotonic() - began < 6
        os.mkdir("folder")
        end = time.monotonic() + 5
        while not storage.recorder.flush() and time.monotonic() < end:
            time.sleep(0.05)
        storage.close()
        """)
    assert read_account(str(tmp_path / "folder" / "metrics.db")).names == {"without": 100}


def as_nobody() -> list[str]:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("to become another user one must be root and have setpriv")
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_may_not_be_written_is_left_alone_with_one_warning_and_no_delay(tmp_path: Path, run_python, which):
    prefix = as_nobody()
    run_python(
        "from otel_perfmon import MetricsStorage\nwith MetricsStorage('metrics.db') as s: s.insert_metric('a', 1.0)"
    )
    target = Path("/tmp") / f"faults-{os.getpid()}-{which}"
    shutil.copytree(tmp_path, target)
    try:
        database = target / "metrics.db"
        database.chmod(0o444)
        (target / "metrics.db.lock").chmod(0o444)
        target.chmod(0o777 if which == "file" else 0o555)
        digest = hashlib.sha256(database.read_bytes()).hexdigest()
        program = """
import time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
began = time.monotonic()
for _ in range(100):
    storage.insert_metric("work", 1.0)
assert time.monotonic() - began < 1
assert not storage.recorder.flush(1)
time.sleep(0.5)
print("went on")
"""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        check = subprocess.run([*prefix, sys.executable, "-c", "import otel_perfmon"], check=False, capture_output=True)
        if check.returncode:
            pytest.skip("another user may not read this Python")
        result = subprocess.run(
            [*prefix, sys.executable, "-c", program],
            cwd=target, env=environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (result.returncode, result.stdout) == (0, "went on\n"), result.stderr
        assert result.stderr.count("Spans wait to be written") == 1
        assert hashlib.sha256(database.read_bytes()).hexdigest() == digest
    finally:
        shutil.rmtree(target)


def test_a_disk_that_becomes_read_only_costs_neither_the_program_nor_the_file(small_disk, start_python):
    folder = small_disk(32)
    process = start_python(
        """
        import sys, time
        from otel_perfmon import MetricsStorage
        def close_file(storage):
            with storage.recorder.turn.held(5):
                storage.recorder._writer.close()
        storage = MetricsStorage("metrics.db")
        storage.insert_metric("before", 1.0)
        storage.recorder.flush()
        close_file(storage)
        print("written", flush=True)
        sys.stdin.readline()
        for _ in range(100):
            storage.insert_metric("while read-only", 1.0)
        print(storage.recorder.flush(1), flush=True)
        sys.stdin.readline()
        end = time.monotonic() + 5
        while not storage.recorder.flush() and time.monotonic() < end:
            time.sleep(0.05)
        storage.close()
        """,
        cwd=folder,
    )
    assert process.stdout.readline() == "written\n"
    if subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=False).returncode:
        pytest.skip("this machine does not remount")
    process.stdin.write("on\n")
    process.stdin.flush()
    assert process.stdout.readline() == "False\n"
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    _, errors = process.communicate("on\n", timeout=20)
    assert process.returncode == 0, errors
    assert read_account(str(folder / "metrics.db")).names == {"before": 1, "while read-only": 100}


DAMAGE = ["a byte of the header", "bytes in the middle", "cut in half", "replaced by text", "emptied"]


def damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        if how == "a byte of the header":
            file.seek(20)
            file.write(b"\xff")
        elif how == "bytes in the middle":
            chance = random.Random(0)
            for _ in range(200):
                file.seek(chance.randrange(4096, size))
                file.write(bytes([chance.randrange(256)]))
        elif how == "cut in half":
            file.truncate(size // 2)
        elif how == "replaced by text":
            file.truncate(0)
            file.write(b"This is a letter to my aunt.\n" * 1000)
        else:
            file.truncate(0)


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_under_a_live_process_never_reaches_the_program(start_python, tmp_path, how):
    process = start_python("""
        import sys
        from otel_perfmon import MetricsStorage, StoreError
        def close_file(storage):
            with storage.recorder.turn.held(5):
                storage.recorder._writer.close()
        storage = MetricsStorage("metrics.db")
        for number in range(3000):
            storage.insert_metric(f"work {number % 50}", 1.0, context={"number": number})
        storage.recorder.flush()
        close_file(storage)
        print("written", flush=True)
        sys.stdin.readline()
        for _ in range(300):
            storage.insert_metric("after", 1.0)
        storage.recorder.flush(1)
        for ask in (storage.get_stats, storage.get_metrics, storage.store.get_health, storage.cleanup):
            try:
                ask()
            except StoreError:
                pass
        """)
    assert process.stdout.readline() == "written\n"
    database = tmp_path / "metrics.db"
    damage(database, how)
    before = database.read_bytes()
    _, errors = process.communicate("on\n", timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".bak", ".corrupt"))]
    if how == "replaced by text":
        assert database.read_bytes() == before


def test_the_time_of_a_write_to_a_dead_disk_is_about_a_second_in_all(run_python, tmp_path):
    (tmp_path / "metrics.db").mkdir()
    began = time.monotonic()
    run_python("""
        import time
        from otel_perfmon import MetricsStorage
        from otel_perfmon.storage import recorder as recorders
        recorders.QUEUE_MAX = 100
        storage = MetricsStorage("metrics.db")
        began = time.monotonic()
        for _ in range(5000):
            storage.insert_metric("work", 1.0)
        assert time.monotonic() - began < 2.5, time.monotonic() - began
        """)
    assert time.monotonic() - began < 10
