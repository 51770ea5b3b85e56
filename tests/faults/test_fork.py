"""Fork: nothing lost, nothing doubled, nobody hangs, and no connection is shared."""

from __future__ import annotations

import os

import pytest

from otel_perfmon import SpanQuery, open_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

WAIT = """
def wait(pid, seconds=10):
    import os, signal, time
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"
"""


@pytest.fixture
def run_forking(run_python):
    """Run a program that can `wait` for its children, each at most ten seconds."""
    return lambda program, **options: run_python(WAIT + program, **options)


def test_spans_that_wait_in_the_queue_at_a_fork_are_stored_exactly_once(run_forking, account):
    run_forking("""
import os
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
for _ in range(200):
    storage.insert_metric("before", 1.0)
pid = os.fork()
if pid == 0:
    storage.insert_metric("child", 1.0)
else:
    storage.insert_metric("parent", 1.0)
    assert wait(pid) == 0
""")
    assert account().names == {"before": 200, "child": 1, "parent": 1}


def test_a_fork_within_an_operation_keeps_the_operation_of_each_process(run_forking, account):
    run_forking("""
import os
from otel_perfmon import configure
monitor = configure("metrics.db")
with monitor.monitor("around"):
    pid = os.fork()
    with monitor.monitor("child" if pid == 0 else "parent"):
        pass
if pid:
    assert wait(pid) == 0
""")
    assert account().names == {"around": 2, "child": 1, "parent": 1}


def test_the_spans_of_a_child_are_of_the_process_that_it_is(run_forking, db_path):
    run_forking("""
import os
from opentelemetry import trace
from otel_perfmon import configure
monitor = configure("metrics.db")
with monitor.monitor("parent"):
    pass
monitor.force_flush()
pid = os.fork()
with monitor.monitor("child" if pid == 0 else "later"):
    pass
with monitor.monitor("child" if pid == 0 else "later") as span:
    span.add_event("not plain")
monitor.force_flush()
if pid == 0:
    os._exit(0)
assert wait(pid) == 0
""")
    with open_store(db_path) as store:
        spans = store.find_spans(SpanQuery())
    instances = {name: {each.resource.attributes["service.instance.id"] for each in spans if each.name == name}
                 for name in ("parent", "child", "later")}  # fmt: skip
    assert len(instances["child"]) == 1
    assert instances["parent"] == instances["later"] != instances["child"]


def test_a_child_forked_by_a_thread_stores_its_spans(run_forking, account):
    run_forking("""
import os, threading
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
storage.insert_metric("before", 1.0)
codes = []
def fork():
    pid = os.fork()
    if pid == 0:
        storage.insert_metric("child", 1.0)
        os._exit(0 if storage.recorder.flush() else 1)
    codes.append(wait(pid))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert codes == [0], codes
storage.insert_metric("parent", 1.0)
""")
    assert account().names == {"before": 1, "child": 1, "parent": 1}


FORKS_BESIDE_WRITERS = """
import os, sys, threading, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
is_over = False
counts = [0, 0]
def record(which):
    while not is_over:
        storage.insert_metric("thread", 1.0)
        counts[which] += 1
        time.sleep(0.0002)
def ask():
    while not is_over:
        storage.get_stats("thread")
        time.sleep(0.001)
threads = [threading.Thread(target=record, args=(which,)) for which in range(2)] + [threading.Thread(target=ask)]
for thread in threads:
    thread.start()
codes, longest = [], 0
for _ in range(FORKS):
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        storage.insert_metric("child", 1.0)
        os._exit(0 if storage.recorder.flush() else 3)
    longest = max(longest, time.monotonic() - began)
    codes.append(wait(pid))
is_over = True
for thread in threads:
    thread.join()
assert codes == [0] * FORKS, [code for code in codes if code != 0]
assert longest < 1.5, longest
print(sum(counts))
"""


def test_no_child_hangs_when_other_threads_write_and_ask_during_100_forks(run_forking, account):
    count = int(run_forking(FORKS_BESIDE_WRITERS.replace("FORKS", "100")))
    assert account().names == {"thread": count, "child": 100}


@pytest.mark.long
def test_no_child_hangs_when_other_threads_write_and_ask_during_1000_forks(run_forking, account):
    count = int(run_forking(FORKS_BESIDE_WRITERS.replace("FORKS", "1000"), timeout=600))
    assert account().names == {"thread": count, "child": 1000}


def test_threads_that_fork_at_once_leave_parent_and_children_able_to_write(run_forking, account):
    run_forking("""
import concurrent.futures.thread  # imported first, its fork hook does not keep the threads apart
import os, threading, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
close = storage.recorder._writer.close
storage.recorder._writer.close = lambda: (time.sleep(0.01), close())  # as when the log is long
codes = []
def fork():
    for _ in range(10):
        storage.insert_metric("parent", 1.0)
        pid = os.fork()
        if pid == 0:
            storage.insert_metric("child", 1.0)
            os._exit(0 if storage.recorder.flush(2) else 3)
        codes.append(wait(pid))
threads = [threading.Thread(target=fork) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert codes == [0] * 30, codes
assert storage.recorder.flush(2), "the recorder's lock is still held"
""")
    assert account().names == {"child": 30, "parent": 30}


@pytest.mark.parametrize("durability", ["root", "span"])
def test_a_durable_span_outlives_an_exit_without_cleaning_up(run_forking, account, durability):
    run_forking(f"""
import os
from otel_perfmon import configure
monitor = configure("metrics.db", durability="{durability}")
pid = os.fork()
if pid == 0:
    with monitor.monitor("root"), monitor.monitor("inner"):
        pass
    os._exit(7)
assert wait(pid) == 7
""")
    assert account().names == {"root": 1, "inner": 1}


def test_a_grandchild_whose_parent_is_gone_stores_its_spans(run_forking, account):
    run_forking("""
import os
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
storage.insert_metric("before", 1.0)
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    storage.insert_metric("child", 1.0)
    if os.fork() == 0:
        storage.insert_metric("grandchild", 1.0)
        storage.recorder.flush()
        os.write(writing, b"x")
        os._exit(0)
    storage.recorder.flush()
    os._exit(0)
assert wait(pid) == 0
assert os.read(reading, 1) == b"x"
""")
    assert account().names == {"before": 1, "child": 1, "grandchild": 1}


def test_a_child_never_uses_a_connection_of_its_parent_nor_has_its_files_open(run_forking, account):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files can only be listed through /proc")
    run_forking("""
import os
from otel_perfmon import MetricsStorage
from otel_perfmon.storage.sqlite import connection as connections

makers, foreign = {}, []
class Watched(connections.SteppedConnection):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        makers[id(self)] = os.getpid()
    def execute(self, *arguments):
        if makers[id(self)] != os.getpid():
            foreign.append(arguments)
        return super().execute(*arguments)
    def close(self):
        if makers[id(self)] != os.getpid():
            foreign.append("close")
        super().close()
connections.SteppedConnection = Watched

def open_files():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + name))
        except FileNotFoundError:
            pass
    return [each for each in links if "metrics.db" in each]

storage = MetricsStorage("metrics.db")
storage.insert_metric("parent", 1.0)
assert storage.get_stats("parent").count == 1
assert open_files()
pid = os.fork()
if pid == 0:
    if open_files():
        os._exit(4)
    storage.insert_metric("child", 1.0)
    if storage.get_stats("child").count != 1:
        os._exit(5)
    storage.close()
    os._exit(6 if foreign else 0)
assert wait(pid) == 0
assert storage.get_stats("child").count == 1
""")
    assert account().names == {"parent": 1, "child": 1}


CHILD_OUTLIVES_PARENT = """
import os, threading, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
storage.insert_metric("parent", 1.0)
storage.recorder.flush()
BUSY
reading, writing = os.pipe()
back_reading, back_writing = os.pipe()
pid = os.fork()
if pid == 0:
    storage.insert_metric("child", 1.0)
    is_flushed = storage.recorder.flush()
    os.write(writing, b"x")
    os.read(back_reading, 1)  # the parent has closed the file by now
    storage.insert_metric("child", 1.0)
    is_flushed = storage.recorder.flush() and is_flushed
    os._exit(0 if is_flushed else 3)
RELEASE
os.read(reading, 1)
storage.close()
os.write(back_writing, b"x")
assert wait(pid) == 0
"""


def test_a_fork_while_another_thread_asks_gives_the_child_a_store_of_its_own(run_forking, account):
    """SQLite's locks belong to a process: a child with the parent's connection believes that it holds them too."""
    busy = """
def ask():
    with storage.store._transaction() as connection:
        connection.execute("SELECT count(*) FROM _spans").fetchone()
        is_asking.set()
        time.sleep(0.5)
is_asking = threading.Event()
threading.Thread(target=ask).start()
is_asking.wait()
"""
    run_forking(
        CHILD_OUTLIVES_PARENT.replace("BUSY", busy).replace(
            "RELEASE", "time.sleep(0.6); storage.insert_metric('parent', 1.0)"
        )
    )
    assert account().names == {"parent": 2, "child": 2}


def test_a_fork_while_a_flush_waits_for_a_locked_file_gives_the_child_a_store_of_its_own(run_forking, account):
    busy = """
import subprocess, sys
holder = subprocess.Popen(
    [sys.executable, "-c", "import fcntl, sys; f = open('metrics.db.lock', 'a'); fcntl.flock(f, fcntl.LOCK_EX);"
     "print(1, flush=True); sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
holder.stdout.readline()
storage.insert_metric("parent", 1.0)
threading.Thread(target=storage.recorder.flush, args=(30,)).start()
time.sleep(0.3)
"""
    release = "holder.kill(); holder.wait(); time.sleep(0.3)"
    run_forking(CHILD_OUTLIVES_PARENT.replace("BUSY", busy).replace("RELEASE", release))
    assert account().names == {"parent": 2, "child": 2}


def test_a_child_does_not_keep_the_lock_of_a_parent_that_died_while_it_held_it(run_forking, account):
    run_forking("""
import os, signal, subprocess, sys, time
parent = '''
import os, sys, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
storage.insert_metric("parent", 1.0)
storage.recorder.flush()
writer = storage.recorder._writer
storage.recorder.turn.lock.acquire()  # a write that takes longer than a fork waits
with writer._lock.held(1):
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    print("forked", flush=True)
    time.sleep(10)
'''
process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
process.stdout.readline()
process.kill()
process.wait()
from otel_perfmon import MetricsStorage
storage = MetricsStorage("metrics.db")
storage.insert_metric("other", 1.0)
assert storage.recorder.flush(1.5), storage.recorder._error
""")
    assert account().names == {"parent": 1, "other": 1}


def test_a_subprocess_has_none_of_our_files_open_and_both_store_their_spans(run_python, account):
    count = int(
        run_python("""
import os, subprocess, sys, threading, time
from otel_perfmon import configure
monitor = configure("metrics.db")
child = '''
import os
fds = "/proc/self/fd"
if os.path.isdir(fds):
    links = [os.readlink(f"{fds}/{name}") for name in os.listdir(fds) if os.path.exists(f"{fds}/{name}")]
    assert not [link for link in links if "metrics.db" in link], links
from otel_perfmon import configure
with configure("metrics.db").monitor("child"):
    pass
'''
count, is_over = 0, False
def record():
    global count
    while not is_over:
        with monitor.monitor("thread"):
            pass
        count += 1
        time.sleep(0.0005)
thread = threading.Thread(target=record)
thread.start()
for preexec in (None, os.getpid, None, os.getpid):
    subprocess.run([sys.executable, "-c", child], close_fds=False, preexec_fn=preexec, check=True)
is_over = True
thread.join()
print(count)
""")
    )
    assert account().names == {"thread": count, "child": 4}


def test_a_bare_fork_that_leaves_by_os_exit_keeps_what_its_writer_has_written_unasked(run_forking, account):
    run_forking("""
import os, time
from otel_perfmon import configure
monitor = configure("metrics.db")
with monitor.monitor("parent"):
    pass
pid = os.fork()
if pid == 0:
    for _ in range(100):
        with monitor.monitor("child"):
            pass
    end = time.monotonic() + 8
    while monitor.storage.recorder.queued_count and time.monotonic() < end:
        time.sleep(0.01)
    os._exit(7)
assert wait(pid) == 7
""")
    assert account().names == {"parent": 1, "child": 100}
