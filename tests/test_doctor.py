"""The doctor finds what is wrong, says what to do, and changes nothing: on real files with real faults."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from otel_perfmon import MetricsStorage, RetentionPolicy
from otel_perfmon.cli.main import main
from otel_perfmon.doctor import Finding, examine, find_all
from otel_perfmon.storage import reasons
from otel_perfmon.storage.outbox import Settlement
from otel_perfmon.storage.sqlite.examination import Evidence
from otel_perfmon.storage.sqlite.outbox import SqliteOutbox
from otel_perfmon.storage.sqlite.versions import has_wal_reset_fault, known_faults
from otel_perfmon.storage.sqlite.writer import SqliteWriter

RECORD = """
import sys, time
from otel_perfmon import MetricsStorage
storage = MetricsStorage(sys.argv[1])
for number in range(20):
    storage.insert_metric("load", 1.0)
storage.store.get_health()
print("recorded", flush=True)
sys.stdin.read()
"""
HOLD_A_READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM _spans").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@contextmanager
def running(program: str, path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has said that it is ready."""
    command = [sys.executable, "-c", program, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def recorded(db_path: str) -> str:
    """A file in good order, with 20 spans."""
    with MetricsStorage(db_path) as storage:
        for _ in range(20):
            storage.insert_metric("load", 1.0)
    return db_path


def change(path: str, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(sql)
    Path(path + ".lock").unlink(missing_ok=True)  # that another program was here is a finding of its own


def findings(path: str, **options: object) -> dict[str, Finding]:
    """What is found but notes, by name; and the files must be what they were."""
    before = files_beside(path)
    found, _ = examine(path, **options)
    assert files_beside(path) == before
    return {each.name: each for each in found if each.severity != "note"}


def notes(path: str) -> set[str]:
    return {each.name for each in examine(path)[0] if each.severity == "note"}


def files_beside(path: str) -> dict[str, str]:
    """Every file in the folder with its bytes; but of what SQLite keeps in -shm about its readers."""
    folder = Path(path).parent
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() if not each.name.endswith("-shm") else ""
        for each in sorted(folder.iterdir())
        if each.is_file()
    }


def test_nothing_is_wrong_with_a_file_in_good_order_nor_while_it_is_recorded_into(recorded):
    assert findings(recorded, is_full=True) == {}
    with running(RECORD, recorded) as process:
        assert findings(recorded) == {}
        _, evidence = examine(recorded)
        (living,) = (each for each in evidence.processes if each.pid == process.pid)
        assert (living.is_alive, living.is_closed, living.health.counted, living.health.queued) == (True, False, 20, 0)
        assert evidence.row_count == 40
    assert findings(recorded) == {}  # it was killed with nothing in its queue


def test_dropped_spans_are_told_by_their_reasons_and_those_long_gone_are_a_note(recorded):
    with MetricsStorage(recorded) as storage:
        storage.recorder.lose("queue_full", 1_200, "it is full")
        storage.recorder.lose("no such reason", 1, "nobody knows")
    found = findings(recorded)
    assert found["dropped:queue_full"].sentence.startswith("1,200 spans were dropped because the queue was full")
    assert found["dropped:no such reason"].advice
    change(recorded, "UPDATE _health SET updated_unix_s = updated_unix_s - 7200")
    with closing(SqliteWriter(recorded)) as writer:
        writer.prune(RetentionPolicy(10**9, 10**9))
    assert findings(recorded) == {}
    assert "dropped:queue_full" in notes(recorded)


def test_every_reason_for_which_we_drop_has_a_meaning_and_an_advice():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(reasons.__file__).parents[1].rglob("*.py"))
    for reason in ("queue_full", "not_written", "process_died", "unreadable", "unstorable", "invalid", "missing"):
        assert f'"{reason}"' in source
        assert reason in reasons._TOLD
    assert {"not_held", "not_kept"} <= set(reasons._TOLD)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE _health SET ended = ended + 1",
        "UPDATE _health SET stored = stored - 1",
        "UPDATE _health SET pruned = 1",
        "DELETE FROM _spans WHERE id = 7",
        "UPDATE _rollups SET count = count + 5",
        "INSERT INTO _drops VALUES ('nobody', 'queue_full', 2)",
    ],
)
def test_accounts_that_do_not_balance_are_an_error(recorded, sql):
    change(recorded, sql)
    if "nobody" in sql:  # a drop without a process is no imbalance of one
        assert findings(recorded) == {}
    else:
        assert set(findings(recorded)) == {"unbalanced"}


def test_a_process_that_died_with_a_queue_and_one_that_gives_no_sign_of_life_are_told(recorded):
    with running(RECORD, recorded) as process:
        change(recorded, f"UPDATE _health SET updated_unix_s = updated_unix_s - 200 WHERE pid = {process.pid}")
        assert f"Process {process.pid} is alive" in findings(recorded)["silent"].sentence
        queued = f"UPDATE _health SET queued = 7, oldest_queued_unix_nano = {time.time_ns() - 20 * 10**9}"
        change(recorded, f"{queued}, updated_unix_s = updated_unix_s + 200 WHERE pid = {process.pid}")
        assert "7 spans wait, the oldest for 2" in findings(recorded)["lag"].sentence
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (
            f"Process {process.pid} is gone without closing its account; 7 spans"
            in findings(recorded)["died_with_queue"].sentence
        )
        change(recorded, f"UPDATE _health SET is_closed = 1 WHERE pid = {process.pid}")
        told = findings(recorded)["died_with_queue"]
        assert f"Process {process.pid} had closed its account when threads of it went on recording" in told.sentence
        assert "Daemon threads" in told.advice


def test_writes_that_failed_and_were_tried_again_are_a_note(recorded):
    with running(RECORD, recorded) as process:
        sql = "UPDATE _health SET failure_count = 3, failure = 'it was locked' WHERE pid = "
        change(recorded, f"{sql}{process.pid}")
        assert "writes_failed" in notes(recorded)
        assert findings(recorded) == {}


def test_a_log_that_a_reader_holds_up_is_told(recorded):
    with running(HOLD_A_READ, recorded), MetricsStorage(recorded) as storage:
        for _ in range(40):
            for _ in range(20):
                storage.insert_metric("load", 1.0, context={"text": "x" * 30_000})
            storage.store.get_health()
        found = findings(recorded)
    assert "log_large" in found
    assert "long transaction" in found["log_large"].advice


def test_permissions_a_file_moved_aside_and_a_missing_lock_are_told(recorded):
    os.chmod(recorded, 0o644)
    Path(recorded + ".corrupt-20260102T030405Z").write_bytes(b"")
    found = findings(recorded)
    assert set(found) == {"mode", "moved_aside"}
    assert found["mode"].advice == f"chmod 600 {recorded}"
    with running(RECORD, recorded):
        os.unlink(recorded + ".lock")
        assert "lock_missing" in notes(recorded)


def test_a_clock_that_ran_ahead_or_back_is_told(recorded):
    change(recorded, "UPDATE _spans SET end_unix_nano = end_unix_nano + 7200000000000 WHERE id = 3")
    assert "s in the future" in findings(recorded)["future"].sentence
    change(recorded, "INSERT INTO _arrivals SELECT 21, unix_s - 3600 FROM _arrivals")
    assert "clock_back" in notes(recorded)


def test_room_that_is_short_and_a_file_over_its_limit_are_told(recorded):
    _, evidence = examine(recorded)
    full = {each.name: each for each in find_all(replace(evidence, free_bytes=1024))}
    assert full["disk_full"].severity == "error"
    low = {each.name for each in find_all(replace(evidence, free_bytes=100 * 1024 * 1024))}
    assert "disk_low" in low
    large = replace(evidence, sizes_bytes={"": 600 * 1024 * 1024})
    assert "over_size" in {each.name for each in find_all(large)}


def test_a_file_on_a_network_file_system_is_told(recorded):
    _, evidence = examine(recorded)
    assert evidence.remote_file_system is None
    (found,) = (each for each in find_all(replace(evidence, remote_file_system="nfs4")) if each.name == "network")
    assert "nfs4" in found.sentence


def test_a_log_without_its_shm_is_not_touched(recorded):
    with running(RECORD, recorded) as process:
        process.kill()
        process.wait()
    assert Path(recorded + "-wal").stat().st_size
    os.unlink(recorded + "-shm")
    assert "log_not_read" in findings(recorded)
    assert not os.path.exists(recorded + "-shm")


def test_an_older_schema_is_a_note_and_is_left_as_it_is(tmp_path):
    path = str(tmp_path / "old.db")
    first = Path(reasons.__file__).parent / "sqlite" / "migrations" / "0001_initial.sql"
    change(path, first.read_text(encoding="utf-8") + "PRAGMA application_id = 0x50464D4E; PRAGMA user_version = 1;")
    os.chmod(path, 0o600)
    change(path, f"INSERT INTO _health VALUES ('a', 7, {int(time.time())}, 5, 0, 0, 0, 0, 0, 0)")
    change(path, "INSERT INTO _drops VALUES ('a', 'queue_full', 5)")
    assert set(findings(path)) == {"dropped:queue_full"}
    assert "old_schema" in notes(path)


@pytest.mark.parametrize("kind", ["text", "foreign", "newer", "empty", "tiny"])
def test_a_file_that_is_not_ours_is_told_and_left_alone(kind, tmp_path, capsys):
    path = str(tmp_path / "other.db")
    if kind in ("foreign", "newer"):
        change(path, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        if kind == "newer":
            change(path, "PRAGMA application_id = 0x50464D4E; PRAGMA user_version = 999")
    else:
        Path(path).write_bytes({"text": b"no database at all\n" * 200, "empty": b"", "tiny": b"x"}[kind])
    os.chmod(path, 0o600)
    assert set(findings(path)) == (set() if kind == "empty" else {"not_readable"})
    assert main(["doctor", "--db", path]) == (0 if kind == "empty" else 1)
    assert "Traceback" not in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_examined_without_a_traceback_and_not_changed(recorded, seed, capsys):
    source = random.Random(seed)
    content = bytearray(Path(recorded).read_bytes())
    for _ in range(source.choice([1, 4, 64])):
        content[source.randrange(100 if seed % 3 else 0, len(content))] = source.randrange(256)
    if seed % 5 == 0:
        del content[source.randrange(len(content)) :]
    Path(recorded).write_bytes(content)
    found = findings(recorded, is_full=True)
    status = main(["doctor", "--db", recorded, "--full", "--json"])
    printed = capsys.readouterr()
    assert (status, printed.err) == (1 if found else 0, "")
    assert {each["name"] for each in json.loads(printed.out)["items"][0]["findings"]} >= set(found)
    assert main(["doctor", "--db", recorded, "--full"]) == status


def test_a_file_of_which_a_page_is_zeroed_is_damaged(recorded):
    content = bytearray(Path(recorded).read_bytes())
    content[3 * 4096 : 12 * 4096] = bytes(9 * 4096)
    Path(recorded).write_bytes(content)
    found = findings(recorded)
    assert set(found) & {"damaged", "not_readable"}
    assert next(iter(found.values())).severity == "error"


def test_a_large_file_is_checked_for_no_longer_than_given(recorded):
    change(
        recorded,
        "CREATE TABLE _more (x); INSERT INTO _more SELECT randomblob(900) FROM "
        "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n)",
    )
    begun = time.monotonic()
    found, evidence = examine(recorded, seconds_max=0.0)
    assert time.monotonic() - begun < 2
    assert not evidence.is_whole
    assert "not_checked" in {each.name for each in found}
    assert examine(recorded, is_full=True)[1].is_whole


@pytest.mark.parametrize(
    ("version", "is_faulty"),
    [
        *(((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 6), True)),
        *(((3, 50, 7), False), ((3, 51, 0), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False)),
    ],
)
def test_sqlites_known_faults_are_told_by_its_version_and_are_a_note(version, is_faulty):
    assert has_wal_reset_fault(version) == bool(known_faults(version)) == is_faulty
    (note,) = find_all(Evidence("metrics.db", sqlite_version=(3, 40, 1)))
    assert (note.name, note.severity) == ("sqlite_fault", "note")


def test_the_command_ends_with_1_when_something_is_wrong_and_says_what_to_do(recorded, capsys):
    assert main(["doctor", "--db", recorded]) == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    os.chmod(recorded, 0o666)
    assert main(["doctor", "--db", recorded]) == 1
    printed = capsys.readouterr().out
    assert "warning:" in printed
    assert "chmod 600" in printed
    assert "Nothing is wrong." not in printed


def test_a_missing_file_is_no_finding_but_nothing_to_look_at(tmp_path, capsys):
    assert main(["doctor", "--db", str(tmp_path / "no.db")]) == 3
    assert "There is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- a path that is not what it was


def test_a_file_that_was_removed_under_a_process_is_told_by_the_one_made_after_it(db_path):
    with running(RECORD.replace("sys.stdin.read()", "sys.stdin.readline(); storage.close()"), db_path) as process:
        for ending in ("", "-wal", "-shm"):
            os.unlink(db_path + ending)
        process.communicate("on\n", timeout=20)
    assert "begun_anew" in findings(db_path)


def test_a_file_that_was_begun_anew_is_told_for_as_long_as_spans_are_kept(recorded):
    def found(ago_seconds):
        change(
            recorded, f"INSERT OR REPLACE INTO _facts VALUES ('begun_anew_unix_s', {int(time.time()) - ago_seconds})"
        )
        return set(findings(recorded))

    assert found(60) == {"begun_anew"}
    assert found(8 * 86_400) == set()


def test_a_sound_file_that_another_program_changed_is_told_until_its_lock_file_is_removed(recorded):
    with closing(sqlite3.connect(recorded)) as connection, connection:
        connection.execute("UPDATE _rollups SET max_nano = max_nano + 1")
    for _ in range(2):
        found = findings(recorded)["altered"]
        assert "not every answer need be what was recorded" in found.sentence
        with closing(MetricsStorage(recorded)) as storage:
            storage.insert_metric("load", 1.0)
    assert f"remove {recorded}.lock" in found.advice
    os.unlink(recorded + ".lock")
    assert findings(recorded) == {}


@pytest.mark.parametrize("ending", ["-wal", "-shm", ".lock"])
def test_a_directory_in_the_place_of_a_file_is_told(recorded, ending):
    if os.path.exists(recorded + ending):
        os.unlink(recorded + ending)
    os.mkdir(recorded + ending)
    found, _ = examine(recorded)
    assert "not_a_file" in {each.name for each in found if each.severity == "error"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives files away")
def test_a_file_that_its_owner_may_not_write_is_told_unless_that_is_root(recorded):
    os.chmod(recorded, 0o444)
    assert set(findings(recorded)) == {"mode"}
    os.chown(recorded, 65_534, 65_534)
    assert set(findings(recorded)) == {"mode", "not_writable"}


# --- what is sent on


def forwarded(path: str, **changes: object) -> None:
    """A destination that has come half way, and what stands of it."""
    outbox = SqliteOutbox(path, "http://collector:4318/v1/traces")
    outbox.acquire()
    outbox.settle(outbox.next_stretch(10), Settlement(10, sent_count=10))
    outbox.release()
    if changes:
        change(path, "UPDATE _destinations SET " + ", ".join(f"{name} = {value!r}" for name, value in changes.items()))


def test_a_destination_that_takes_spans_is_nothing_to_tell(recorded):
    forwarded(recorded)
    assert findings(recorded) == {}
    assert not {each for each in notes(recorded) if "collector" in each}


def test_a_destination_that_is_away_is_told_with_what_it_said_and_how_much_waits(recorded):
    forwarded(recorded, failing_since_unix_s=time.time() - 300, failure="answered 503")
    found = findings(recorded)["destination_away:http://collector:4318/v1/traces"]
    assert found.severity == "warning"
    assert "it answered 503. 10 spans wait." in found.sentence


def test_spans_that_were_pruned_before_they_were_sent_are_told_though_nobody_sends(recorded):
    forwarded(recorded)
    change(recorded, "DELETE FROM _spans WHERE id IN (3, 15, 16); UPDATE _health SET pruned = pruned + 3")
    found = findings(recorded)["pruned_unsent:http://collector:4318/v1/traces"]
    assert found.severity == "error"
    assert found.sentence.startswith("2 spans were pruned before their turn")
    change(recorded, "UPDATE _destinations SET span_cursor = 20, pruned_count = 2")
    assert "pruned_unsent:http://collector:4318/v1/traces" in notes(recorded)


def test_a_destination_to_which_nobody_sends_is_a_note(recorded):
    forwarded(recorded)
    change(recorded, "UPDATE _arrivals SET unix_s = unix_s - 3600")
    assert "destination_behind:http://collector:4318/v1/traces" in notes(recorded)


def test_parked_spans_are_told(recorded):
    forwarded(recorded, parked_count=2)
    found = findings(recorded)["parked:http://collector:4318/v1/traces"]
    assert "would not take 2 spans" in found.sentence
