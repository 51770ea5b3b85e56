"""Spans reach their destination once, though it is away, and though who sends them is killed."""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(1, str(Path(__file__).parent.parent / "otlp"))

from destination_kit import Answering, Request, ScriptedDestination, free_port, ok, scripted_destination

import otel_perfmon
from otel_perfmon.otlp.forwarder import BATCH_SPANS_MAX

PER_SECOND = 2_000
RECORD = """
    import sys, time, otel_perfmon
    monitor = otel_perfmon.configure("metrics.db")
    with monitor.monitor("checkout", attributes={"order": 0}):
        pass
    monitor.force_flush()  # there is a store then: a sender that comes before that says so, and ends
    print("ready", flush=True)
    began, count = time.monotonic(), 1
    while (passed := time.monotonic() - began) < float(sys.argv[1]):
        while count < passed * 2000:
            with monitor.monitor("checkout", attributes={"order": count}):
                count += 1
        time.sleep(0.01)
    monitor.shutdown()
    print(count)
"""
SEND = "import sys; from otel_perfmon.cli.main import main; sys.exit(main(sys.argv[1:]))"


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def taking(answering: Answering, request: Request) -> None:
    """Takes the spans, and is a while about the answer."""
    answering.server.destination.take(request)
    time.sleep(0.02)
    ok(answering, request)


def away(answering: Answering, request: Request) -> None:
    answering.reply(503, Retry_After="1")


def stored_ids(path: str) -> set[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return {bytes(span_id) for (span_id,) in connection.execute("SELECT span_id FROM _spans")}


@pytest.mark.parametrize(
    ("seconds", "away_seconds"),
    [(12, 6), pytest.param(90, 60, marks=pytest.mark.long), pytest.param(660, 600, marks=pytest.mark.long)],
)
def test_nothing_is_lost_while_the_destination_is_away_and_the_sender_is_killed_twice(
    db_path, start_python, figure, seconds, away_seconds
) -> None:
    with scripted_destination(rule=taking) as destination:
        recording = start_python(RECORD, str(seconds))
        assert recording.stdout.readline() == "ready\n"
        began = time.monotonic()
        sending = [start_sending(start_python, destination)]
        assert wait_until(lambda: destination.taken.total() > 0)
        kill_in_a_request(sending[-1], destination)
        sending.append(start_sending(start_python, destination))
        assert wait_until(lambda: destination.taken.total() > PER_SECOND)
        destination.rule = away
        time.sleep(away_seconds / 2)
        sending[-1].kill()
        sending.append(start_sending(start_python, destination))
        time.sleep(away_seconds / 2)
        at_the_end_of_the_outage = destination.taken.total()
        destination.rule = taking
        recorded = int(recording.communicate(timeout=seconds + 60)[0])
        back = time.monotonic() - began
        is_there = wait_until(lambda: len(destination.taken) >= recorded, 60 + seconds)
        caught_up = time.monotonic() - began
        sending[-1].kill()
    missing = stored_ids(db_path) - set(destination.taken)
    duplicates = destination.taken.total() - len(destination.taken)
    what = f"destination away for {away_seconds} s, {recorded:,} spans, sender killed twice"
    figure(f"{what}: lost", len(missing), "0")
    figure(f"{what}: duplicates", duplicates, f"{2 * BATCH_SPANS_MAX}")
    figure(f"{what}: seconds until caught up, of {back:.0f} recording", f"{caught_up:.1f}")
    assert is_there
    assert missing == set()
    assert duplicates <= 2 * BATCH_SPANS_MAX
    assert recorded >= PER_SECOND * seconds * 0.9
    assert recorded - at_the_end_of_the_outage > PER_SECOND * away_seconds / 2


def start_sending(start_python, destination: ScriptedDestination):
    return start_python(SEND, "forward", "--db", "metrics.db", "--to", destination.url)


def kill_in_a_request(process, destination: ScriptedDestination) -> None:
    """Once the destination has taken spans, and before the sender knows."""
    seen = len(destination.requests)
    assert wait_until(lambda: len(destination.requests) > seen)
    time.sleep(0.01 * random.random())
    process.kill()
    process.wait()


def test_of_four_senders_one_sends_and_when_it_is_killed_another_goes_on(db_path, start_python, figure) -> None:
    with scripted_destination(rule=taking) as destination:
        recording = start_python(RECORD, "8")
        assert recording.stdout.readline() == "ready\n"
        senders = {process.pid: process for process in (start_sending(start_python, destination) for _ in range(4))}
        assert wait_until(lambda: destination.taken.total() > 2 * PER_SECOND)
        duplicates_before = destination.taken.total() - len(destination.taken)
        with otel_perfmon.open_store(db_path) as store:
            (found,) = store.list_destinations()
        senders.pop(found.sender_pid).kill()
        killed, seen = time.monotonic(), len(destination.requests)
        assert wait_until(lambda: len(destination.requests) > seen + 1)
        takeover = time.monotonic() - killed
        recorded = int(recording.communicate(timeout=60)[0])
        assert wait_until(lambda: len(destination.taken) >= recorded)
        for process in senders.values():
            process.kill()
    duplicates = destination.taken.total() - len(destination.taken)
    figure("four senders: duplicates before one is killed", duplicates_before, "0")
    figure("four senders: duplicates after one was killed", duplicates, f"{BATCH_SPANS_MAX}")
    figure("four senders: seconds until another goes on", f"{takeover:.1f}", "5")
    assert duplicates_before == 0
    assert duplicates <= BATCH_SPANS_MAX
    assert takeover < 5
    assert stored_ids(db_path) == set(destination.taken)


def silent(answering: Answering, request: Request) -> None:
    answering.server.destination.ended.wait(30)


@pytest.mark.parametrize("kind", ["nobody", "black hole"])
def test_a_destination_that_is_away_costs_less_than_a_second_at_the_end(run_python, kind, figure) -> None:
    program = """
        import atexit, time
        began = []
        atexit.register(lambda: print(time.monotonic() - began[0]))  # called last
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("checkout"):
            pass
        time.sleep(1.5)  # a request is under way
        with monitor.monitor("checkout"):
            pass
        began.append(time.monotonic())
    """
    with scripted_destination(rule=silent) as destination:
        url = destination.url if kind == "black hole" else f"http://127.0.0.1:{free_port()}"
        seconds = float(run_python(program, OTEL_PYTHON_PERFMON_FORWARD_TO=url))
    figure(f"end of a program whose destination is away ({kind}), seconds", f"{seconds:.2f}", "1")
    assert seconds < 1.0
    with otel_perfmon.open_store("metrics.db") as store:
        (found,) = store.list_destinations()
        assert (found.sent_count, found.waiting_count) == (0, 2)


def test_who_was_forked_goes_on_when_the_parent_is_gone(db_path, run_python) -> None:
    """As a program that becomes a daemon."""
    program = """
        import os, time, otel_perfmon
        from otel_perfmon.storage import maintenance
        maintenance.MAINTAIN_SECONDS = 0.2
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("parent"):
            pass
        time.sleep(1.2)
        if os.fork():
            os._exit(0)
        for _ in range(30):
            with monitor.monitor("daemon"):
                pass
            time.sleep(0.1)
    """
    with scripted_destination() as destination:
        run_python(program, OTEL_PYTHON_PERFMON_FORWARD_TO=destination.url)
        assert wait_until(lambda: destination.names().count("daemon") == 30)
        assert destination.names().count("parent") == 1


COST = """
    import sys, time, statistics, otel_perfmon
    monitor = otel_perfmon.configure("metrics-" + sys.argv[1] + ".db", forward_to=sys.argv[2:] or None)
    for line in sys.stdin:
        blocks = []
        for _ in range(40):
            began = time.perf_counter()
            for _ in range(50):
                with monitor.monitor("checkout"):
                    pass
            blocks.append((time.perf_counter() - began) / 50 * 1e6)
            time.sleep(0.005)
        print(statistics.quantiles(blocks, n=4)[0], flush=True)  # without what other processes took
"""


def test_a_measured_block_costs_the_same_while_the_destination_is_away(start_python, figure) -> None:
    with scripted_destination(rule=silent) as destination:
        plain, forwarding = start_python(COST, "plain"), start_python(COST, "forwarding", destination.url)
        costs: dict[str, list[float]] = {"plain": [], "forwarding": []}
        for _ in range(6):
            for name, process in (("plain", plain), ("forwarding", forwarding)):
                process.stdin.write("go\n")
                process.stdin.flush()
                costs[name].append(float(process.stdout.readline()))
    ratio = min(costs["forwarding"]) / min(costs["plain"])
    figure("monitor() while the destination is away, against without one", f"{ratio:.2f}", "1.25")
    assert ratio < 1.25
