"""Children of multiprocessing, in every way it makes them: each span stored once."""

from __future__ import annotations

import os
import sys

import pytest

CHILDREN, SPANS = 8, 200
TOTAL = CHILDREN * SPANS

PROGRAM = """
import concurrent.futures, multiprocessing, sqlite3, sys, time
from otel_perfmon import configure

WHERE = sys.argv[3]
if WHERE == "at import":
    monitor = configure("metrics.db")

def work(_):
    monitor = configure("metrics.db")
    for _ in range(SPANS):
        with monitor.monitor("child"):
            pass

def by_processes(context):
    children = [context.Process(target=work, args=(None,)) for _ in range(CHILDREN)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * CHILDREN

def by_pool(context):
    with context.Pool(4) as pool:
        pool.map(work, range(CHILDREN), chunksize=1)
        pool.close()
        pool.join()

def by_pool_of_one_task_each(context):
    with context.Pool(4, maxtasksperchild=1) as pool:
        pool.map(work, range(CHILDREN), chunksize=1)
        pool.close()
        pool.join()

def by_executor(context):
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as executor:
        list(executor.map(work, range(CHILDREN)))

def by_terminated_pool(context):
    with context.Pool(4) as pool:
        pool.map(work, range(CHILDREN), chunksize=1)
        if sys.argv[4] == "when stored":
            wait_until_stored()

def wait_until_stored():
    monitor.force_flush()  # there is a file then
    connection, end = sqlite3.connect("metrics.db"), time.monotonic() + 30
    query = "SELECT count(*) FROM metrics WHERE operation = 'child'"
    while connection.execute(query).fetchone()[0] < CHILDREN * SPANS and time.monotonic() < end:
        time.sleep(0.01)

if __name__ == "__main__":
    if WHERE == "at import":
        with monitor.monitor("parent"):
            pass
    globals()["by_" + sys.argv[2]](multiprocessing.get_context(sys.argv[1]))
""".replace("SPANS", str(SPANS)).replace("CHILDREN", str(CHILDREN))

METHODS = ["fork", "spawn", "forkserver"] if hasattr(os, "fork") else ["spawn"]


def several(ways: list[str], slow: set[tuple[str, str]]) -> list:
    """Each method with each way; starting eight interpreters takes seconds."""
    pairs = [(method, way) for method in METHODS for way in ways]
    return [pytest.param(*pair, marks=pytest.mark.long if pair in slow else ()) for pair in pairs]


@pytest.fixture
def run_children(tmp_path, run_python):
    def run(method: str, way: str, where: str, *arguments: str, **environment: str) -> None:
        (tmp_path / "program.py").write_text(PROGRAM)
        command = [sys.executable, "program.py", method, way, where, *arguments]
        run_python(f"import subprocess; subprocess.run({command!r}, check=True)", **environment)

    return run


@pytest.mark.parametrize(("method", "way"), several(["processes", "pool", "executor"], slow={("spawn", "processes")}))
def test_every_span_of_eight_children_is_stored_once(run_children, account, figure, method, way):
    run_children(method, way, "at import")
    names = account().names
    figure(f"multiprocessing, {method}, {way}: stored", names["child"], f"{TOTAL}")
    assert names["child"] == TOTAL
    assert names["parent"] == 1  # a spawned child has a __main__ of another name


@pytest.mark.parametrize(
    ("method", "way"),
    several(
        ["processes", "pool_of_one_task_each"],
        slow={("spawn", "processes"), ("spawn", "pool_of_one_task_each"), ("forkserver", "processes")},
    ),
)
def test_every_span_of_children_that_configure_themselves_is_stored_once(run_children, account, method, way):
    run_children(method, way, "in the child")
    assert account().names == {"child": TOTAL}


# `with Pool()` ends its workers by SIGTERM when the block is left, which no process outlives that has not asked to.


def test_the_idle_workers_of_a_pool_write_by_themselves_so_that_ending_it_then_loses_nothing(run_children, account):
    run_children(METHODS[0], "terminated_pool", "at import", "when stored")
    assert account().names == {"child": TOTAL, "parent": 1}


@pytest.mark.parametrize("durability", ["root", "span"])
def test_a_pool_that_is_terminated_loses_nothing_of_durable_spans(run_children, account, durability):
    run_children(METHODS[0], "terminated_pool", "at import", "at once", OTEL_PYTHON_PERFMON_DURABILITY=durability)
    assert account().names == {"child": TOTAL, "parent": 1}
