"""The accounts balance at every moment, whatever is recorded and goes wrong: told by the file, and recounted."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import RowDoor, ask, ask_one, span_bytes, span_row, unstorable_row

from otel_perfmon.account import ProcessHealth
from otel_perfmon.errors import StoreError
from otel_perfmon.storage import process
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.sampling import SamplingPolicy
from otel_perfmon.storage.sqlite import account
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter

UNSAMPLED = b"\1" * 8
KINDS = ("ok", "ok", "ok", "slow", "failed", "unstorable", "unreadable", "interrupting", "remote")


def unreadable() -> None:
    raise ValueError("cannot be read")


def interrupting() -> None:
    raise KeyboardInterrupt


def processes(path: str) -> list[ProcessHealth]:
    with closing(SqliteReader(path)) as reader:
        return reader.list_processes()


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Nobody else can write, in this process either."""
    with open(path + ".lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def assert_file_balances(path: str) -> tuple[int, int, dict[str, int]]:
    """What the file tells must agree with what is in it; what is counted, stored so far, and dropped."""
    for each in processes(path):
        health = each.health
        assert health.ended == health.counted + sum(health.dropped.values()) + health.queued
        assert health.counted == health.stored + health.sampled_out
    with closing(SqliteReader(path)) as reader:
        health = reader.get_health()
    assert ask_one(path, "SELECT count(*) FROM _spans") == health.stored + health.interrupted - health.pruned
    for resolution in (10, 60, 3_600, 86_400):
        query = "SELECT coalesce(sum(count), 0) FROM _rollups WHERE resolution_s = ?"
        assert ask_one(path, query, resolution) == health.counted
    return health.counted, health.stored, dict(health.dropped)


@dataclass
class Program:
    """A program that records, with a count of its own of every span that ended."""

    path: str
    ended: int = 0
    before: Counter[str] = field(default_factory=Counter)
    is_locked: bool = False

    def __post_init__(self) -> None:
        self.door = RowDoor()
        self.begin()

    def begin(self) -> None:
        self.recorder = Recorder(self.path, SqliteWriter(self.path))
        self.recorder.sampling.policy = SamplingPolicy(0.3)
        self.recorder._is_awake = True  # so that no thread writes when it likes
        self.recorder.open_door(self.door)

    def record(self, trace: int, parent: int, kind: str) -> None:
        ids = {
            "trace_id": trace.to_bytes(1, "big") + UNSAMPLED + b"\0" * 7,
            "parent": span_bytes(parent) if parent else b"",
        }
        self.ended += 1
        if kind in ("unreadable", "interrupting"):
            payload = unreadable if kind == "unreadable" else interrupting
        elif kind == "unstorable":
            payload = unstorable_row(**ids)
        else:
            payload = span_row(
                slow=kind == "slow", error="no" if kind == "failed" else None, is_parent_remote=kind == "remote", **ids
            )
        self.recorder.record(self.door, payload)

    def lose(self, count: int) -> None:
        self.ended += count
        self.recorder._losses.add("invalid", count, "it is no span")

    def flush(self) -> None:
        with suppress(KeyboardInterrupt):
            self.recorder.flush(0.02)

    def restart(self) -> None:
        """End in good order, and begin again; in a locked file what is queued is lost, and so is the count of it."""
        for _ in range(50):
            with suppress(KeyboardInterrupt):
                self.recorder.finish()
                break
        self.before += Counter(counted=self.recorder.ledger.counted_count)
        self.before += Counter(self.recorder.ledger.dropped_counts)
        assert self.recorder.queued_count == 0
        self.begin()

    def check(self) -> None:
        ledger = self.recorder.ledger
        counted = self.before["counted"] + ledger.counted_count
        dropped = self.before + Counter(ledger.dropped_counts)
        del dropped["counted"]
        assert self.ended == counted + dropped.total() + self.recorder.queued_count
        if os.path.exists(self.path):
            told_counted, _, told_dropped = assert_file_balances(self.path)
            assert told_counted == counted
            assert all(count <= dropped[reason] for reason, count in told_dropped.items())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 4), st.integers(0, 2), st.sampled_from(KINDS)),
        st.tuples(st.just("record"), st.integers(1, 4), st.integers(0, 2), st.sampled_from(KINDS)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(st.sampled_from(("flush", "flush", "lock", "unlock", "prune", "delete", "restart"))),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_the_accounts_balance_after_every_step_of_any_program(steps, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("otel_perfmon.storage.recorder.FINISH_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr("otel_perfmon.storage.recorder.WRITE_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr("otel_perfmon.storage.recorder.FLUSH_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr("otel_perfmon.storage.sqlite.connection.BUSY_TIMEOUT_MS", 20)
    program = Program(str(tmp_path_factory.mktemp("account") / "metrics.db"))
    with open(program.path + ".lock", "a", encoding="utf-8") as lock:
        for name, *arguments in steps:
            if name in ("lock", "unlock"):
                fcntl.flock(lock, fcntl.LOCK_EX if name == "lock" else fcntl.LOCK_UN)
            elif name in ("prune", "delete"):
                for _ in range(20):
                    with suppress(StoreError, KeyboardInterrupt):
                        if name == "prune":
                            program.recorder.prune(RetentionPolicy(0.001, 0.001))
                        else:
                            program.recorder.delete_spans_before(2**62)
                        break
            else:
                getattr(program, name)(*arguments)
            program.check()
        fcntl.flock(lock, fcntl.LOCK_UN)
    program.restart()
    program.check()


@pytest.fixture
def recorder(db_path):
    recorder = Recorder(db_path, SqliteWriter(db_path))
    yield recorder
    recorder.finish()


def test_a_held_span_is_sampled_out_until_its_trace_is_kept(recorder, db_path):
    recorder.sampling.policy = SamplingPolicy(0.0)
    trace = {"trace_id": UNSAMPLED * 2}
    recorder.record(RowDoor(), span_row("child", parent=span_bytes(1), **trace))
    assert recorder.flush()
    (health,) = (each.health for each in processes(db_path))
    assert (health.ended, health.counted, health.stored, health.sampled_out, health.held) == (1, 1, 0, 1, 1)
    recorder.record(RowDoor(), span_row("other", parent=span_bytes(1), **trace))
    recorder.record(RowDoor(), span_row("root", slow=True, **trace))
    assert recorder.flush()
    assert_file_balances(db_path)
    (health,) = (each.health for each in processes(db_path))
    assert (health.ended, health.counted, health.stored, health.sampled_out) == (3, 3, 3, 0)
    assert health.held == 0


def test_the_file_tells_how_much_waits_behind_what_was_written_and_since_when(recorder, db_path):
    recorder._is_awake = True
    for number in range(3):
        recorder.record(RowDoor(), span_row(str(number), end=(1_800_000_000 + number) * 10**9))
    with recorder.turn.held(1):
        recorder._drain(1, 1)
    (told,) = processes(db_path)
    assert (told.health.queued, told.oldest_queued, told.health.ended) == (2, 1_800_000_001.0, 3)
    assert ask(db_path, "SELECT ended, counted, queued, oldest_queued FROM health") == [
        (3, 1, 2, "2027-01-15T08:00:01.000Z")
    ]
    assert recorder.flush()
    (told,) = processes(db_path)
    assert (told.health.queued, told.oldest_queued, told.is_alive) == (0, None, True)


def test_what_was_queued_by_a_process_that_died_is_dropped_once_somebody_notices(db_path, recorder):
    pid = os.fork()
    if not pid:
        dying = Recorder(db_path, SqliteWriter(db_path))
        dying._is_awake = True
        for number in range(5):
            dying.record(RowDoor(), span_row(str(number)))
        with dying.turn.held(1):
            dying._drain(2, 1)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    (told,) = processes(db_path)
    assert (told.is_alive, told.pid, told.health.ended, told.health.queued) == (False, pid, 5, 3)
    recorder.record(RowDoor(), span_row("later"))
    recorder.maintain()
    dead = next(each for each in processes(db_path) if each.pid == pid)
    assert (dead.health.ended, dead.health.counted, dead.health.queued) == (5, 2, 0)
    assert dead.health.dropped == {account.DIED: 3}
    assert_file_balances(db_path)


def test_a_process_that_lives_is_not_buried_nor_one_of_which_nobody_can_tell(db_path, recorder, monkeypatch):
    recorder._is_awake = True
    for number in range(3):
        recorder.record(RowDoor(), span_row(str(number)))
    with recorder.turn.held(1):
        recorder._drain(1, 1)
    other = SqliteWriter(db_path)
    with closing(other):
        other.prune(RetentionPolicy())
        assert processes(db_path)[-1].health.dropped == processes(db_path)[0].health.dropped == {}
        monkeypatch.setattr(account, "is_alive", lambda _: None)
        other.prune(RetentionPolicy())
        assert sum(each.health.queued for each in processes(db_path)) == 2
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 86_400 + 60)
        while other.prune(RetentionPolicy())[1]:
            pass
    with closing(SqliteReader(db_path)) as reader:
        assert reader.get_health().dropped == {account.DIED: 2}


def test_a_minute_tick_is_a_sign_of_life_and_tells_which_writes_failed(recorder, db_path):
    recorder._is_awake = True
    recorder.record(RowDoor(), span_row())
    assert recorder.flush()
    recorder.record(RowDoor(), span_row())
    with locked(db_path):
        assert not recorder.flush(0.01)
    recorder.maintain()
    (told,) = processes(db_path)
    assert (told.failure_count, told.health.stored, told.is_alive) == (1, 2, True)
    assert "another process is writing" in told.failure
    assert abs(told.failed - time.time()) < 60


def test_what_ctrl_c_makes_go_missing_in_the_writer_is_counted(recorder, db_path):
    recorder._is_awake = True
    for number in range(4):
        recorder.record(RowDoor(), span_row(str(number)))
    assert recorder._intake.take_batch(3) == 3
    recorder._intake.unfinished = None  # as if a second Ctrl-C had come
    assert recorder.flush()
    (told,) = processes(db_path)
    assert (told.health.ended, told.health.counted, told.health.dropped) == (4, 1, {"missing": 3})


def test_spans_that_two_doors_bring_in_are_not_missed(recorder, db_path):
    doors = RowDoor(), RowDoor()
    for door in doors:
        recorder.open_door(door)
    rows = [span_row(str(number)) for number in range(5)]
    for door in doors:
        for row in rows:
            recorder.record(door, row)
    assert recorder.flush()
    (told,) = processes(db_path)
    assert (told.health.ended, told.health.stored, told.health.dropped) == (5, 5, {})


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by Linux's /proc")
def test_a_forked_child_gives_an_account_of_its_own(db_path, recorder):
    recorder.record(RowDoor(), span_row())
    assert recorder.flush()
    pid = os.fork()
    if not pid:
        recorder.record(RowDoor(), span_row())
        recorder.finish()
        os._exit(0)
    os.waitpid(pid, 0)
    told = {each.pid: each for each in processes(db_path)}
    assert {pid: each.is_alive for pid, each in told.items()} == {os.getpid(): True, pid: False}
    assert ask_one(db_path, "SELECT started FROM _health WHERE pid = ?", os.getpid()) == process.current().started


def test_an_account_of_schema_1_reads_by_the_same_rules(tmp_path: Path):
    path = str(tmp_path / "old.db")
    sql = Path(account.__file__).with_name("migrations").joinpath("0001_initial.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
        connection.execute("INSERT INTO _health VALUES ('a', 7, 100, 12, 10, 4, 5, 0, 0, 0)")
        connection.execute("INSERT INTO _drops VALUES ('a', 'not_held', 3), ('a', 'queue_full', 2)")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA application_id = 0x50464D4E")
        connection.commit()
    read = processes(path)[0].health
    assert (read.ended, read.counted, read.stored, read.sampled_out) == (12, 10, 4, 6)
    assert (read.dropped, read.not_kept) == ({"queue_full": 2}, {"not_held": 3})
    with closing(SqliteWriter(path)) as writer:
        writer.prune(RetentionPolicy(10**9, 10**9))
    assert processes(path)[0].health.dropped == read.dropped
    assert ask(path, "SELECT sum(ended), sum(sampled_out), sum(dropped), sum(not_kept) FROM health") == [(12, 6, 2, 3)]
