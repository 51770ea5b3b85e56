"""Each in a process of its own: a fork of the tests' process would take their threads' locks along."""

from __future__ import annotations

import os

import pytest
from storage_kit import ask, ask_one

PRELUDE = f"""
import os, sys, threading, time
sys.path.insert(0, {os.path.dirname(__file__)!r})
from storage_kit import RowDoor, span_row, wait_until
from otel_perfmon.storage.registry import recorder_for
from otel_perfmon.storage.sqlite.writer import SqliteWriter
recorder = recorder_for("metrics.db", SqliteWriter)
door = RowDoor()
def record(name, count):
    for _ in range(count):
        recorder.record(door, span_row(name))
"""


@pytest.fixture
def run(run_python):
    def run(program):
        return run_python(PRELUDE + program, timeout=60, PYTHONWARNINGS="ignore")

    return run


def counts(path):
    assert ask_one(path, "PRAGMA integrity_check") == "ok"
    found = dict(ask(path, "SELECT name, count(*) FROM spans GROUP BY name"))
    assert ask_one(path, "SELECT sum(ended) FROM _health") == sum(found.values())
    return found


def test_what_waits_at_the_fork_is_written_once_by_the_parent_and_the_child_writes_its_own(run, db_path):
    run("""
record("before", 500)
if os.fork() == 0:
    record("child", 300)
    sys.exit()
record("parent", 200)
assert os.wait()[1] == 0
""")
    assert counts(db_path) == {"before": 500, "child": 300, "parent": 200}
    assert ask_one(db_path, "SELECT count(*) FROM _health") == 2


def test_a_hook_that_is_broken_off_keeps_no_other_from_being_called(run, db_path):
    run("""
from otel_perfmon.storage import fork
class Breaking:
    def before_fork(self):
        raise KeyboardInterrupt
    after_fork_in_parent = after_fork_in_child = finish = before_fork
first = Breaking()
fork.tell_of_forks(first)
recorders = [recorder_for(name, SqliteWriter) for name in ("other.db", "metrics.db")]
last = Breaking()
fork.tell_of_forks(last)
sys.unraisablehook = lambda _: None
record("before", 10)
if os.fork() == 0:
    record("child", 1)
    sys.exit()
assert os.wait()[1] == 0
record("parent", 5)
""")
    assert counts(db_path) == {"before": 10, "child": 1, "parent": 5}


def test_a_child_that_leaves_without_a_word_has_what_it_flushed_or_what_is_older_than_200_ms(run, db_path):
    run("""
record("before", 10)
if os.fork() == 0:
    record("flushed", 300)
    recorder.flush()
    os._exit(0)
if os.fork() == 0:
    record("waited", 300)
    wait_until(lambda: recorder.queued_count == 0)
    os._exit(0)
os.wait(), os.wait()
""")
    assert counts(db_path) == {"before": 10, "flushed": 300, "waited": 300}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing(run_python, tmp_path, db_path, method):
    (tmp_path / "program.py").write_text(
        PRELUDE
        + f"""
import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    record("before", 50)
    children = [context.Process(target=record, args=("child", 200)) for _ in range(3)]
    for child in children:
        child.start()
    record("parent", 100)
    for child in children:
        child.join()
        assert child.exitcode == 0
"""
    )
    run_python("import runpy; runpy.run_path('program.py', run_name='__main__')", PYTHONWARNINGS="ignore")
    assert counts(db_path) == {"before": 50, "child": 600, "parent": 100}


def test_forks_at_any_moment_of_a_busy_writer_never_hang_and_lose_nothing(run, db_path):
    run("""
is_done = False
made = [0]
def busy():
    while not is_done:
        record("parent", 50)
        made[0] += 50
        time.sleep(0.001)
thread = threading.Thread(target=busy)
thread.start()
for _ in range(25):
    if os.fork() == 0:
        record("child", 20)
        recorder.flush()
        os._exit(0)
for _ in range(25):
    assert os.wait()[1] == 0
is_done = True
thread.join()
recorder.flush()
with open("made", "w") as file:
    file.write(str(made[0]))
""")
    with open("made", encoding="utf-8") as file:
        assert counts(db_path) == {"parent": int(file.read()), "child": 500}


def test_a_fork_within_a_write_neither_hangs_nor_takes_the_parents_spans_along(run, db_path):
    run("""
def forking():
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    return span_row("forked in mid-write")
record("before", 5)
recorder.record(door, forking)
start = time.monotonic()
assert recorder.flush()
assert time.monotonic() - start < 5
""")
    assert counts(db_path) == {"before": 5, "forked in mid-write": 1}


def test_a_child_never_keeps_the_parents_lock_nor_its_connection(run, db_path):
    """The child outlives a parent that was killed: another process can write at once."""
    out = run("""
record("parent", 5)
recorder.flush()
def descriptors():
    paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(path) for path in paths if os.path.exists(path) and "metrics.db" in os.readlink(path)]
assert descriptors()
if os.fork() == 0:
    print(descriptors(), flush=True)
    os._exit(0)
os.wait()
record("after", 5)
""")
    assert out == "[]\n"
    assert counts(db_path) == {"parent": 5, "after": 5}
