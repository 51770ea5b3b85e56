"""A file in trouble: locked, moved, replaced, cut, overwritten; its log gone; each write failing once."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from faults_kit import HOLD_OUR_LOCK, HOLD_SQLITES_LOCK, locked, read_account

WORKER = """
import sys
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
for line in sys.stdin:
    name, count = line.split()
    for _ in range(int(count)):
        storage.insert_metric(name, 1.0)
    print(storage.recorder.flush(), flush=True)
storage.close()
"""


@pytest.fixture
def workers(start_python):
    """Two processes that record into one file, and what tells one of them to record so many of a name."""
    processes = [start_python(WORKER) for _ in range(2)]

    def tell(number: int, name: str, count: int) -> str:
        process = processes[number]
        process.stdin.write(f"{name} {count}\n")
        process.stdin.flush()
        return process.stdout.readline()

    def finish() -> str:
        errors = [process.communicate(timeout=60)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], errors
        assert "Traceback" not in "".join(errors)
        return "".join(errors)

    tell.finish = finish
    return tell


MOVED_ASIDE = re.compile(r"metrics\.db\.corrupt-\d{8}T\d{6}Z(-\d+)?")
CHECKPOINT = "import sqlite3; sqlite3.connect('metrics.db').execute('PRAGMA wal_checkpoint(TRUNCATE)')\n"


def aside(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if MOVED_ASIDE.fullmatch(name)]


# --- locked


@pytest.mark.parametrize("holder", [HOLD_OUR_LOCK, HOLD_SQLITES_LOCK], ids=["our lock", "SQLite's lock"])
@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.long)])
def test_a_file_that_is_locked_for_long_costs_a_second_and_counted_spans(
    start_python, tmp_path, figure, holder, seconds
):
    path = str(tmp_path / "metrics.db")
    make = (
        "from otel_perfmon import MetricsStorage\nwith MetricsStorage('metrics.db') as s: s.insert_metric('first', 1.0)"
    )
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    program = """
        import sys, time
        from otel_perfmon import MetricsStorage
        storage = MetricsStorage("metrics.db")
        end, count, longest = time.monotonic() + float(sys.argv[1]), 0, 0.0
        while time.monotonic() < end:
            for _ in range(2_000):
                began = time.monotonic()
                storage.insert_metric("while locked", 1.0)
                longest = max(longest, time.monotonic() - began)
            count += 2_000
            time.sleep(0.1)
        print(count, longest, flush=True)
        sys.stdin.readline()
        end = time.monotonic() + 20
        while not storage.recorder.flush() and time.monotonic() < end:
            time.sleep(0.05)
        storage.insert_metric("after", 1.0)
        storage.close()
        """
    with locked(path, holder):
        process = start_python(program, str(seconds))
        recorded, longest = process.stdout.readline().split()
    _, errors = process.communicate("on\n", timeout=60)
    assert process.returncode == 0, errors
    found = read_account(path)
    dropped = found.dropped.get("queue_full", 0)
    assert found.names["while locked"] + dropped == int(recorded)
    assert found.names["after"] == 1
    assert found.dropped.keys() <= {"queue_full"}
    figure(
        f"locked {seconds} s: recorded, stored, dropped (counted)", f"{recorded}, {found.stored}, {dropped}", "exact"
    )
    figure(f"locked {seconds} s: longest a caller waited", f"{float(longest):.2f} s", "about 1 s")
    assert float(longest) < 2.5


# --- moved, replaced, cut


def rename(folder: Path) -> None:
    (folder / "metrics.db").rename(folder / "old.db")


def delete(folder: Path) -> None:
    (folder / "metrics.db").unlink()


def replace(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "metrics.db")) as source, closing(sqlite3.connect(folder / "copy")) as target:
        source.backup(target)
    (folder / "copy").rename(folder / "metrics.db")


@pytest.mark.parametrize("how", [rename, delete, replace])
def test_two_processes_go_on_in_the_file_that_the_path_leads_to_and_lose_nothing_that_came_after(
    workers, tmp_path, figure, how
):
    assert workers(0, "before", 10) == workers(1, "before", 20) == "True\n"
    here = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", CALL_HOW, here, how.__name__, str(tmp_path)], check=True)
    for number, count in ((0, 100), (1, 7), (0, 50), (1, 3)):
        assert workers(number, "after", count) == "True\n"
    errors = workers.finish()
    assert errors.count("was moved, replaced or removed") == 2
    found = read_account(str(tmp_path / "metrics.db"))
    assert found.names["after"] == 160
    assert found.names["before"] == (30 if how is replace else 0)
    if how is rename:
        assert read_account(str(tmp_path / "old.db")).names == {"before": 30}
    figure(f"{how.__name__}d under two processes: stored after it", found.names["after"], "160 of 160")


CALL_HOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_file
getattr(test_file, sys.argv[2])(Path(sys.argv[3]))
"""
"""In a process of its own: closing the file in ours would not hurt, but the programs' files are theirs."""


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_a_log_that_is_deleted_under_live_processes_costs_at_most_what_was_in_it(workers, tmp_path, figure, ending):
    assert workers(0, "before", 10) == workers(1, "before", 20) == "True\n"
    os.unlink(tmp_path / f"metrics.db{ending}")
    for number, count in ((0, 100), (1, 7), (0, 50), (1, 3)):
        workers(number, "after", count)
    workers.finish()
    found = read_account(str(tmp_path / "metrics.db"))
    figure(f"{ending} deleted under two processes: stored", f"{found.names}", "no damage, account balances")
    assert found.names.total() <= 190


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 4096])
def test_a_log_that_is_missing_or_nonsense_at_open_costs_only_what_was_in_it(run_python, tmp_path, ending, content):
    program = """
        import os, sys
        from otel_perfmon import MetricsStorage
        storage = MetricsStorage("metrics.db")
        for _ in range(50):
            storage.insert_metric(sys.argv[1], 1.0)
        assert storage.recorder.flush()
        os._exit(0)  # the log stays beside the file
        """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run([*command, "first"], cwd=tmp_path, check=True)
    companion = tmp_path / f"metrics.db{ending}"
    companion.unlink()
    if content:
        companion.write_bytes(content)
    result = subprocess.run([*command, "second"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    found = read_account(str(tmp_path / "metrics.db"))
    assert found.names["second"] == 50
    assert found.names["first"] == (50 if ending == "-shm" else 0)
    assert aside(tmp_path) == []


def test_a_file_that_is_cut_in_half_under_two_processes_is_moved_aside_once(workers, tmp_path, figure):
    for number in range(2):
        assert workers(number, "before", 3_000) == "True\n"
    cut = "import os; os.truncate('metrics.db', os.stat('metrics.db').st_size // 8192 * 4096)"
    subprocess.run([sys.executable, "-c", CHECKPOINT + cut], cwd=tmp_path, check=True)
    for number, count in ((0, 100), (1, 7), (0, 50), (1, 3)):
        assert workers(number, "after", count) == "True\n"
    errors = workers.finish()
    found = read_account(str(tmp_path / "metrics.db"))
    moved = aside(tmp_path)
    figure("cut in half under two processes: files moved aside, stored after it",
           f"{len(moved)}, {found.names['after']}", "1, 160 of 160")  # fmt: skip
    assert len(moved) == 1
    assert errors.count("recording goes on in a new file") == 1
    assert found.names["after"] == 160


# --- bytes changed at random

FLIP = """
import json, os, random, sqlite3, sys
from contextlib import closing
from otel_perfmon import MetricsStorage, SpanQuery, StoreError
from otel_perfmon.doctor import examine
first, last = int(sys.argv[1]), int(sys.argv[2])

def questions(store):
    spans = lambda **query: lambda: [repr(span) for span in store.find_spans(SpanQuery(limit=5000, **query))]
    return {
        "statistics": lambda: repr(store.summarize_operations()),
        "spans": spans(), "slow": spans(is_slow=True), "failed": spans(is_error=True),
        "errors": lambda: repr(store.summarize_errors(limit=500)),
        "health": lambda: repr(store.get_health()),
    }

def in_child(function):
    pid = os.fork()
    if pid == 0:
        function()
        os._exit(0)
    os.waitpid(pid, 0)

def is_whole(path):
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except (sqlite3.Error, UnicodeDecodeError):
        return False

def flip(path, seed):
    chance = random.Random(seed)
    size = os.stat(path).st_size
    with open(path, "r+b") as file:
        for _ in range(chance.choice((1, 1, 3, 20))):
            file.seek(chance.randrange(size))
            file.write(bytes([chance.randrange(256)]))

def record(storage, name, count):
    for number in range(count):
        is_error = number % 11 == 0
        storage.insert_metric(f"{name} {number % 7}", 1.0 + number % 5, error=is_error, is_slow=number % 13 == 0,
                              error_type="E" if is_error else None, context={"number": number})

for seed in range(first, last):
    path = os.path.abspath(f"{seed}.db")
    storage = MetricsStorage(path)
    record(storage, "before", 300)
    assert storage.recorder.flush()
    with storage.recorder.turn.held(5):
        storage.recorder._writer.close()
    truth = {name: ask() for name, ask in questions(storage.store).items()}
    in_child(lambda: flip(path, seed))
    whole = os.fork()
    if whole == 0:
        os._exit(0 if is_whole(path) else 1)
    is_sound = os.waitpid(whole, 0)[1] == 0
    wrong, refused = [], []
    reader = os.fork()
    if reader == 0:  # another process asks before anybody records
        from otel_perfmon import open_store
        with open_store(path) as store:
            for name, ask in questions(store).items():
                try:
                    if ask() != truth[name]:
                        wrong.append(name)
                except StoreError:
                    refused.append(name)
        print(json.dumps({"seed": seed, "sound": is_sound, "wrong": wrong, "refused": refused}), flush=True)
        os._exit(0)
    assert os.waitpid(reader, 0)[1] == 0
    record(storage, "after", 100)
    flushed = storage.recorder.flush()
    storage.close()
    told = [finding.name for finding in examine(path)[0]]
    print(json.dumps({"seed": seed, "flushed": flushed, "told": told}), flush=True)
"""
CAUTION = "{}.db was changed by another program"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("seeds", [20, pytest.param(200, marks=pytest.mark.long)])
def test_bytes_that_change_at_random_never_reach_the_program_nor_give_a_wrong_answer_as_a_right_one(
    tmp_path, figure, seeds
):
    result = subprocess.run(
        [sys.executable, "-c", FLIP, "0", str(seeds)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    asked = {line["seed"]: line for line in lines if "wrong" in line}
    recorded = {line["seed"]: line for line in lines if "flushed" in line}
    assert len(asked) == len(recorded) == seeds
    seen = Counter()
    for seed, line in asked.items():
        kept = Path(tmp_path / f"{seed}.db")
        moved = [name for name in os.listdir(tmp_path) if name.startswith(f"{seed}.db.corrupt-")]
        seen["files that SQLite finds damaged"] += not line["sound"]
        seen["refused a question"] += bool(line["refused"])
        is_told = CAUTION.format(seed) in result.stderr
        seen["wrong answers of files that SQLite calls sound, and told so"] += bool(line["wrong"] and is_told)
        seen["wrong answers given as right"] += bool(line["wrong"] and not is_told)
        seen["right answers of files that SQLite calls sound, and told so"] += line["sound"] and not line["wrong"]
        assert is_told or line["refused"] or not line["sound"]
        assert {"altered", "moved_aside", "not_readable"} & set(recorded[seed]["told"])
        seen["moved aside"] += bool([name for name in moved if not name.endswith(("-wal", "-shm"))])
        if recorded[seed]["flushed"]:
            with closing(sqlite3.connect(kept)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                after = connection.execute("SELECT sum(count) FROM operations WHERE operation LIKE 'after%'").fetchone()
            seen["recorded on, all 100 stored"] += after == (100,)
        else:
            seen["refused as no store of ours, spans counted as dropped"] += 1
            assert f"{seed}.db" in result.stderr
    for what, count in seen.items():
        figure(f"bytes changed, {seeds} seeds: {what}", count)
    assert seen["wrong answers given as right"] == 0
    not_ours = seen["refused as no store of ours, spans counted as dropped"]
    assert seen["recorded on, all 100 stored"] + not_ours >= seeds * 0.95
    assert not_ours <= seeds * 0.05


def test_of_several_processes_that_meet_the_damage_at_once_one_moves_the_file_and_all_go_on(
    start_python, tmp_path, figure
):
    program = """
        import sys
        from otel_perfmon import MetricsStorage
        storage = MetricsStorage("metrics.db")
        for number in range(1500):
            storage.insert_metric(f"before {number % 50}", 1.0)
        print(storage.recorder.flush(), flush=True)
        sys.stdin.readline()
        for _ in range(200):
            storage.insert_metric("after", 1.0)
        print(storage.recorder.flush(), flush=True)
        sys.stdin.readline()
        storage.close()
        """
    processes = [start_python(program) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "True\n"
    overwrite = """
import os
size = os.stat("metrics.db").st_size
with open("metrics.db", "r+b") as file:
    for offset in range(4096, size, 1024):
        file.seek(offset)
        file.write(bytes(range(200)))
"""
    subprocess.run([sys.executable, "-c", CHECKPOINT + overwrite], cwd=tmp_path, check=True)
    for process in processes:
        process.stdin.write("on\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["True\n"] * 4
    errors = [process.communicate("on\n", timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert "Traceback" not in "".join(errors)
    assert len(aside(tmp_path)) == 1
    assert "".join(errors).count("recording goes on in a new file") == 1
    found = read_account(str(tmp_path / "metrics.db"))
    assert found.names == {"after": 800}
    figure(
        "damage met by 4 processes at once: files moved aside, stored after it", f"1, {found.stored}", "1, 800 of 800"
    )


# --- each write failing once

IO_PROGRAM = """
import sys, time
from otel_perfmon import MetricsStorage, StoreError
from otel_perfmon.storage.sqlite import writer
writer.WAL_MAX_BYTES = 20_000
storage = MetricsStorage("metrics.db")
for part in range(4):
    for number in range(100):
        storage.insert_metric("work", 1.0, context={"number": number})
    storage.recorder.flush()
try:
    storage.cleanup(3600)
except Exception as error:
    assert isinstance(error, StoreError), error
storage.close()
print("done", flush=True)
"""
CALLS = "pwrite64,fdatasync,fsync,ftruncate"


def fail_at(folder: Path, error: str, nth: int, *, is_for_good: bool = False):
    """Run the program with its ``nth`` write of each thread failing (and all after it); whether that came to pass."""
    folder.mkdir()
    inject = f"--inject={CALLS}:error={error}:when={nth}{'+' if is_for_good else ''}"
    command = ["strace", "-f", "-qq", "-o", "strace.txt", f"--trace={CALLS}", inject, sys.executable, "-c", IO_PROGRAM]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return "(INJECTED)" in (folder / "strace.txt").read_text(), result


def check_after_failure(folder: Path, result: subprocess.CompletedProcess, *, is_for_good: bool) -> None:
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "Traceback" not in result.stderr
    assert [name for name in os.listdir(folder) if "corrupt" in name] == []
    with closing(sqlite3.connect(folder / "metrics.db")) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables:
        found = read_account(str(folder / "metrics.db"))
        assert found.ended <= 400
        assert is_for_good or found.ended == 400, found
    else:
        assert is_for_good


def strace_works() -> bool:
    command = ["strace", "-f", "-o", os.devnull, "--inject=pwrite64:error=EIO:when=1000", "true"]
    return (
        shutil.which("strace") is not None and not subprocess.run(command, check=False, capture_output=True).returncode
    )


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.long)])
def test_the_nth_write_that_fails_reaches_no_program_and_leaves_a_sound_file_and_a_true_account(
    tmp_path, figure, error, step
):
    if not strace_works():
        pytest.skip("needs strace, and the right to trace")
    tried, nth = 0, 1
    while True:
        did_fail, result = fail_at(tmp_path / str(nth), error, nth)
        check_after_failure(tmp_path / str(nth), result, is_for_good=False)
        shutil.rmtree(tmp_path / str(nth))
        if not did_fail:
            break
        tried += 1
        nth += step
    figure(f"{error} at each {step}. of {nth} writes: tried, exceptions, damaged files, spans not accounted for",
           f"{tried}, 0, 0, 0", "0, 0, 0")  # fmt: skip
    assert tried >= 3


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("nths", [(1, 40), pytest.param(tuple(range(1, 120, 3)), marks=pytest.mark.long)], ids=len)
def test_a_disk_that_fails_for_good_from_the_nth_write_on_leaves_a_sound_file(tmp_path, error, nths):
    if not strace_works():
        pytest.skip("needs strace, and the right to trace")
    for nth in nths:
        _, result = fail_at(tmp_path / str(nth), error, nth, is_for_good=True)
        check_after_failure(tmp_path / str(nth), result, is_for_good=True)
        shutil.rmtree(tmp_path / str(nth))
