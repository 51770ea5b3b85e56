"""Several processes on one file: writers, a reader that stays, and a shell that holds the lock."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

import pytest
from faults_kit import HOLD_OUR_LOCK, HOLD_SQLITES_LOCK, locked, read_account

WRITER = """
import logging, sys
logging.basicConfig(level="WARNING")
from otel_perfmon import MetricsStorage
name, transactions, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
failed = 0
with MetricsStorage("metrics.db") as storage:
    for _ in range(transactions):
        for _ in range(rows):
            storage.insert_metric(name, 1.0)
        failed += not storage.recorder.flush(30)
print(failed)
"""


def write_from_processes(start_python, count: int, transactions: int, rows: int) -> None:
    writers = [start_python(WRITER, f"writer {n}", str(transactions), str(rows)) for n in range(count)]
    for writer in writers:
        output, errors = writer.communicate(timeout=300)
        assert (writer.returncode, output, errors) == (0, "0\n", "")


def test_eight_processes_store_everything_and_none_is_refused(start_python, account):
    write_from_processes(start_python, 8, 30, 50)
    assert account().names == {f"writer {n}": 1500 for n in range(8)}


@pytest.mark.long
def test_eight_processes_store_everything_in_400_transactions_each(start_python, account):
    write_from_processes(start_python, 8, 400, 200)
    assert account().names == {f"writer {n}": 80_000 for n in range(8)}


AT_FULL_SPEED = """
import logging, sys, threading, time
logging.basicConfig(level="DEBUG")
from otel_perfmon import configure
name, seconds = sys.argv[1], float(sys.argv[2])
monitor = configure("metrics.db")
counts = [0] * 4

def record(which):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            with monitor.monitor(name):
                pass
        counts[which] += 100

threads = [threading.Thread(target=record, args=(which,)) for which in range(4)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
monitor.shutdown()
print(sum(counts))
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.long)])
def test_eight_processes_of_four_threads_at_full_speed_lose_nothing_uncounted(
    start_python, account, db_path, figure, seconds
):
    processes = [start_python(AT_FULL_SPEED, f"writer {n}", str(seconds)) for n in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ended, said = {}, ""
    for number, process in enumerate(processes):
        output, errors = process.communicate(timeout=120 + 10 * seconds)
        assert process.returncode == 0, errors
        ended[f"writer {number}"] = int(output)
        said += errors
    found = account()
    figure(f"8 processes of 4 threads, {seconds} s: ended", sum(ended.values()))
    figure(f"8 processes of 4 threads, {seconds} s: stored", found.names.total())
    figure(f"8 processes of 4 threads, {seconds} s: dropped, counted", found.dropped or 0)
    assert found.ended == sum(ended.values()) == found.names.total() + sum(found.dropped.values())
    with closing(sqlite3.connect(db_path)) as connection:
        rollups = dict(connection.execute("SELECT operation, count FROM operations").fetchall())
    assert rollups == found.names
    assert "locked" not in said
    assert said == ""


def test_the_log_shrinks_again_after_a_reader_that_stayed_has_left(start_python, run_python, db_path, account):
    write_from_processes(start_python, 1, 1, 10)
    with closing(sqlite3.connect(db_path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM _spans").fetchone() == (10,)
        write_from_processes(start_python, 2, 6, 4000)
        blocked_bytes = os.stat(db_path + "-wal").st_size
        assert reader.execute("SELECT count(*) FROM _spans").fetchone() == (10,)
    assert blocked_bytes > 4 * 1024 * 1024
    write_from_processes(start_python, 1, 1, 10)
    log = db_path + "-wal"
    assert not os.path.exists(log) or os.stat(log).st_size < 4 * 1024 * 1024
    assert account().stored == 48_020


RECORD_TIMED = """
    import sys, time
    from otel_perfmon import MetricsStorage
    storage = MetricsStorage("metrics.db")
    began = time.monotonic()
    for _ in range(COUNT):
        storage.insert_metric("waits", 1.0)
    print(time.monotonic() - began, flush=True)
    sys.stdin.readline()
    time.sleep(PAUSE)
    storage.close()
"""


@pytest.mark.parametrize("holding", [HOLD_OUR_LOCK, HOLD_SQLITES_LOCK], ids=["our lock", "SQLite's lock"])
def test_spans_wait_for_a_locked_file_and_are_stored_when_it_is_free(start_python, db_path, account, holding):
    write_from_processes(start_python, 1, 1, 10)
    with locked(db_path, holding) as release:
        process = start_python(RECORD_TIMED.replace("COUNT", "2000").replace("PAUSE", "0"))
        assert float(process.stdout.readline()) < 0.5
        time.sleep(1.5)
        release()
    process.communicate("go on\n", timeout=30)
    assert process.returncode == 0
    assert account().names["waits"] == 2000


@pytest.mark.parametrize("holding", [HOLD_OUR_LOCK, HOLD_SQLITES_LOCK], ids=["our lock", "SQLite's lock"])
def test_a_full_queue_delays_the_program_by_about_a_second_and_counts_each_drop(
    start_python, db_path, account, holding
):
    write_from_processes(start_python, 1, 1, 10)
    with locked(db_path, holding) as release:
        process = start_python(RECORD_TIMED.replace("COUNT", "40_000").replace("PAUSE", "1.5"))
        assert float(process.stdout.readline()) < 3
        release()
    process.communicate("go on\n", timeout=30)
    assert process.returncode == 0
    found = account()
    assert found.ended == 40_010
    assert found.dropped.keys() == {"queue_full"}
    assert found.names["waits"] >= 16_384
    assert found.names["waits"] + found.dropped["queue_full"] == 40_000


def test_an_export_that_succeeded_has_dropped_nothing(run_python, db_path, start_python):
    """The queue is full and the lock goes while the exporter flushes: what was dropped before that was not exported."""
    run_python("""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SpanExportResult
        from otel_perfmon import SQLiteSpanExporter
        from otel_perfmon.storage import recorder as recorders
        recorders.QUEUE_MAX = 10
        exporter = SQLiteSpanExporter("metrics.db")
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
        spans = [tracer.start_span("s") for _ in range(30)]
        for span in spans:
            span.end()
        recorder = exporter._recorder
        recorder._make_room = lambda: False  # as after a second without a write
        result = exporter.export(spans)
        import sqlite3
        stored = sqlite3.connect("metrics.db").execute("SELECT count(*) FROM spans").fetchone()[0]
        assert result is not SpanExportResult.SUCCESS or stored == 30, (result, stored)
        """)


def move_away(path: str) -> None:
    os.rename(path, path + ".old")


def replace(path: str) -> None:
    os.link(path, path + ".old")
    os.replace(path + ".other", path)


@pytest.mark.parametrize("change", [os.unlink, move_away, replace], ids=["deleted", "renamed", "replaced"])
@pytest.mark.parametrize("count", [1, 3])
def test_writers_go_on_in_the_new_file_and_leave_a_whole_old_one(start_python, run_python, db_path, change, count):
    run_python("""
        from otel_perfmon import MetricsStorage
        with MetricsStorage("metrics.db.other") as storage:
            for number in range(300):
                storage.insert_metric(f"other {number}", 1.0)
        """)
    writers = [
        start_python("""
            import logging, sys
            logging.basicConfig(level="WARNING")
            from otel_perfmon import MetricsStorage
            storage = MetricsStorage("metrics.db")
            for part in range(2):
                for _ in range(200):
                    storage.insert_metric("work", 1.0)
                assert storage.recorder.flush(), storage.recorder._error
                print(part, flush=True)
                sys.stdin.readline()
            storage.close()
            """)
        for _ in range(count)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "0\n"
    change(db_path)
    for _ in range(2):
        for writer in writers:
            writer.stdin.write("on\n")
            writer.stdin.flush()
        if writers[0].poll() is None and _ == 0:
            for writer in writers:
                assert writer.stdout.readline() == "1\n"
    for writer in writers:
        _, errors = writer.communicate(timeout=20)
        assert writer.returncode == 0
        assert errors.count("WARNING") <= 1
    found = read_account(db_path)
    assert found.names["work"] == 200 * count
    if change is replace:
        assert found.names.total() == 200 * count + 300
    if change is not os.unlink:
        assert read_account(db_path + ".old").names == {"work": 200 * count}
