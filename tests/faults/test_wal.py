"""The write-ahead log: no checkpoint but TRUNCATE, and that only by the holder of our lock file."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from faults_kit import read_account

from otel_perfmon import MetricsStorage
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import reader_patience
from otel_perfmon.storage.sqlite import writer as writers

fcntl = pytest.importorskip("fcntl")


def is_held(path: str) -> bool:
    """Whether the lock file is locked, seen from a descriptor of our own."""
    descriptor = os.open(path + ".lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@pytest.fixture
def statements(monkeypatch, db_path):
    """Every statement that any connection of ours runs, and whether our lock was held then."""
    seen: list[tuple[str, bool]] = []

    class Watched(connections.SteppedConnection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.set_trace_callback(self._note)

        def _note(self, statement):
            seen.append((statement, is_held(db_path) if os.path.exists(db_path + ".lock") else False))

        def close(self):
            self.set_trace_callback(None)
            super().close()

    monkeypatch.setattr(connections, "SteppedConnection", Watched)
    monkeypatch.setattr(writers, "WAL_MAX_BYTES", 100_000)
    with MetricsStorage(db_path) as storage:
        for _ in range(20):
            for _ in range(100):
                storage.insert_metric("work", 1.0)
            storage.recorder.flush()
            storage.get_stats("work")
        storage.cleanup(0)
        with storage.recorder.turn.held(1):
            while storage.recorder._writer.maintain():
                pass
    return seen


def test_the_only_checkpoint_ever_asked_for_is_truncate_under_our_lock(statements):
    checkpoints = [each for each in statements if "checkpoint" in each[0] and "autocheckpoint" not in each[0]]
    assert len(checkpoints) > 2
    assert {statement for statement, _ in checkpoints} == {"PRAGMA wal_checkpoint(TRUNCATE)"}
    assert all(was_held for _, was_held in checkpoints)


def test_every_write_transaction_is_immediate_and_holds_our_lock(statements):
    begins = [each for each in statements if each[0].startswith("BEGIN IMMEDIATE")]
    commits = [each for each in statements if each[0].startswith("COMMIT")]
    assert len(begins) >= 20
    assert all(was_held for _, was_held in begins + commits)


def test_no_connection_that_writes_checkpoints_by_itself(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        connection = storage.recorder._writer._connection
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1


def test_readers_that_relieve_each_other_do_not_keep_the_log_from_the_file(db_path, monkeypatch, figure):
    monkeypatch.setattr(writers, "WAL_MAX_BYTES", 100_000)
    monkeypatch.setattr(reader_patience, "PAUSE_SECONDS", 0.1)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            with closing(sqlite3.connect(db_path, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM metrics").fetchone()
                time.sleep(0.15)

    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        readers = [threading.Thread(target=read) for _ in range(4)]
        for number, each in enumerate(readers):
            each.start()
            time.sleep(0.04 if number < 3 else 0)  # so that there is always one
        sizes = []
        for _ in range(60):
            for _ in range(50):
                storage.insert_metric("work", 1.0)
            storage.recorder.flush()
            sizes.append(os.stat(db_path + "-wal").st_size)
            time.sleep(0.03)
        over.set()
        for each in readers:
            each.join()
    emptied = sum(after < before for before, after in itertools.pairwise(sizes))
    figure("readers without a gap: the log was emptied", f"{emptied} times, largest {max(sizes):,} bytes", "> 0 times")
    assert emptied


def test_no_connection_that_reads_can_write_or_checkpoint(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        with closing(connections.open_reader(db_path)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("DELETE FROM _spans")
            log_bytes = os.stat(db_path + "-wal").st_size
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert os.stat(db_path + "-wal").st_size == log_bytes > 0


def test_a_lock_file_that_was_deleted_excludes_newcomers_again_with_the_next_write(db_path):
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        storage.recorder.flush()
        os.unlink(db_path + ".lock")
        writer = storage.recorder._writer
        storage.insert_metric("work", 1.0)
        assert storage.recorder.flush()
        with writer._lock.held(1):
            assert is_held(db_path)


def test_the_suppressed_instrumentation_of_sqlite3_sees_nothing_of_the_store(tmp_path):
    pytest.importorskip("opentelemetry.instrumentation.sqlite3")
    program = """
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from otel_perfmon import configure
SQLite3Instrumentor().instrument()
monitor = configure("metrics.db")
with monitor.monitor("work"):
    pass
assert [each.operation for each in monitor.storage.get_stats()] == ["work"]
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


# --- the log, or its index, removed or replaced under live processes

LOSING = (("-wal",), ("-shm",), ("-wal", "-shm"), ("-shm", "-wal"))
LOSE_AND_DIE = """
import os, sys
import otel_perfmon
monitor = otel_perfmon.configure("metrics.db", durability="span")
def record(count):
    for _ in range(count):
        with monitor.monitor("work"):
            pass
record(50)
if "asked" in sys.argv:
    monitor.storage.get_stats("work")
for ending in sys.argv[1].split(","):
    (os.unlink if "removed" in sys.argv else lambda name: os.rename(name, "moved"))("metrics.db" + ending)
record(100)
assert monitor.force_flush()
os.kill(os.getpid(), 9)
"""
RECORD_ON = """
import os, sys, time
from otel_perfmon import MetricsStorage
name, is_killed = sys.argv[1], "killed" in sys.argv
storage = MetricsStorage("metrics.db")
count, is_flushed = 0, True
print("up", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for _ in range(200):
        storage.insert_metric(name, 1.0)
    count += 200
    is_flushed = storage.recorder.flush()
print(is_flushed or storage.recorder.flush(20), count, flush=True)
if is_killed:
    os.kill(os.getpid(), 9)
storage.close()
"""


@pytest.mark.parametrize("endings", LOSING[:3], ids="".join)
@pytest.mark.parametrize("options", [("removed",), ("removed", "asked"), ("renamed",)], ids=" ".join)
def test_a_log_that_is_lost_under_a_process_is_carried_over_before_the_next_write(
    run_lossy, tmp_path, endings, options
):
    errors = run_lossy(",".join(endings), *options)
    assert errors.count("was carried over into the file") == 1, errors
    assert read_account(str(tmp_path / "metrics.db")).names == {"work": 150}


@pytest.fixture
def run_lossy(tmp_path):
    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", LOSE_AND_DIE, *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == -9, result.stderr
        return result.stderr

    return run


@pytest.mark.parametrize("rounds", [20, pytest.param(400, marks=pytest.mark.long)])
@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_two_writers_at_full_speed_and_a_newcomer_lose_nothing_however_often_the_log_is_lost(
    start_python, tmp_path, figure, rounds, ending
):
    chance, path = random.Random(rounds), str(tmp_path / "metrics.db")
    seconds = rounds * 0.1 + 1
    writers = {name: start_python(RECORD_ON, name, str(seconds), ending) for name in ("one", "two")}
    for writer in writers.values():
        assert writer.stdout.readline() == "up\n"
    lost = 0
    for number in range(rounds):
        time.sleep(chance.random() * 0.15)
        lost += lose(path, chance)
        if number == rounds // 2:
            writers["newcomer"] = start_python(RECORD_ON, "newcomer", "0.5", ending)
    told, errors = {}, ""
    for name, writer in writers.items():
        printed, error = writer.communicate(timeout=60)
        is_flushed, count = printed.splitlines()[-1].split()
        assert is_flushed == "True", error
        told[name], errors = int(count), errors + error
    assert read_account(path).names == told, errors
    assert [name for name in os.listdir(tmp_path) if "corrupt" in name] == []
    figure(f"log lost {lost} times under two writers ({ending}): spans flushed, lost", f"{sum(told.values())}, 0", "0")


def lose(path: str, chance: random.Random) -> int:
    """Remove or rename some of the files beside it; how many were there."""
    count = 0
    for ending in chance.choice(LOSING):
        try:
            if chance.random() < 1 / 3:
                os.rename(path + ending, f"{path}.moved{ending}")
            else:
                os.unlink(path + ending)
        except FileNotFoundError:
            continue
        count += 1
    return count


def test_a_log_that_is_lost_while_a_reader_holds_a_snapshot_is_carried_over_when_it_lets_go(db_path, tmp_path):
    hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN');"
    hold += "c.execute('SELECT count(*) FROM _spans').fetchone(); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, db_path]
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        assert storage.recorder.flush()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout.readline() == "held\n"
            storage.insert_metric("work", 1.0)
            assert storage.recorder.flush()
            os.unlink(db_path + "-wal")
            storage.insert_metric("work", 1.0)
            assert storage.recorder.flush()
            assert not os.path.exists(db_path + "-wal")
            reader.communicate("")
        time.sleep(1.1)
        storage.insert_metric("work", 1.0)
        assert storage.recorder.flush()
        assert os.path.exists(db_path + "-wal")
    assert read_account(db_path).names == {"work": 4}


LOSE_AT = """
import os, sys
from otel_perfmon import MetricsStorage
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import stepped
when, endings = sys.argv[1], sys.argv[2].split(",")
def losing(call):
    def lose_and_call(*arguments, **options):
        if when == "before it is opened":
            lose()
        result = call(*arguments, **options)
        if when == "after it was opened":
            lose()
        return result
    return lose_and_call
def lose():
    while endings:
        os.unlink("metrics.db" + endings.pop())
storage = MetricsStorage("metrics.db")
connections.open_writer = losing(connections.open_writer)
storage.insert_metric("newcomer", 1.0)
while not storage.recorder.flush(20):
    pass
close = stepped.SteppedConnection.close
def lose_and_close(connection):
    if when == "before it is closed":
        lose()
    close(connection)
stepped.SteppedConnection.close = lose_and_close
storage.close()
assert not endings
"""


@pytest.mark.parametrize("endings", LOSING[:3], ids="".join)
@pytest.mark.parametrize("when", ["before it is opened", "after it was opened", "before it is closed"])
def test_a_log_that_is_lost_just_while_a_newcomer_opens_or_closes_it_is_carried_over(
    start_python, db_path, tmp_path, endings, when
):
    with MetricsStorage(db_path) as storage:
        count = 0
        newcomer = None
        while newcomer is None or newcomer.poll() is None:
            storage.insert_metric("work", 1.0)
            count += 1
            assert storage.recorder.flush(20)
            newcomer = newcomer or start_python(LOSE_AT, when, ",".join(endings))
            time.sleep(0.01)
        assert newcomer.returncode == 0, newcomer.communicate()
        storage.insert_metric("work", 1.0)
        assert storage.recorder.flush(20)
    assert read_account(db_path).names == {"work": count + 1, "newcomer": 1}
