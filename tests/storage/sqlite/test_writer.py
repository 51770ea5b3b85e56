from __future__ import annotations

import os
import time
from contextlib import closing

import pytest
from storage_kit import (
    NOW,
    SECOND,
    ask,
    ask_one,
    batch,
    child_process,
    edge_row,
    held_by_another_process,
    let_go,
    names_in,
    point_row,
    sampled_out,
    span_row,
    unstorable_row,
    wait_until,
    write,
)

from otel_perfmon.errors import SchemaError, StoreBusyError, StoreError, StoreFullError
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import error_groups, free_space, reader_patience
from otel_perfmon.storage.sqlite import writer as writers
from otel_perfmon.storage.sqlite.error_groups import ErrorGroups
from otel_perfmon.storage.sqlite.retention import Retention
from otel_perfmon.storage.sqlite.rollup import Rollup
from otel_perfmon.storage.sqlite.writer import SqliteWriter

COUNTED = "SELECT coalesce(sum(count), 0) FROM _rollups WHERE resolution_s = 3600"


def assert_account_balances(path, *, stored, dropped=0):
    sums = "SELECT sum(ended), sum(counted), sum(stored), sum(sampled_out) FROM _health"
    ended, counted, counted_stored, not_stored = ask(path, sums)[0]
    in_file = ask_one(path, "SELECT count(*) FROM _spans")
    lost = ask_one(path, "SELECT coalesce(sum(count), 0) FROM _drops")
    assert (counted_stored, in_file, lost) == (stored, stored, dropped)
    assert ended == counted + lost
    assert counted == counted_stored + not_stored == ask_one(path, COUNTED)


def test_a_batch_puts_spans_and_the_figures_counted_from_them_into_the_file(writer, db_path):
    assert write(writer, span_row("a", ms=2), span_row("a", ms=3, error="no"), edges=[edge_row()]) == 0
    assert names_in(db_path) == ["a", "a"]
    assert ask(db_path, "SELECT count, error_count, total_ms FROM operations WHERE operation = 'a'") == [(2, 1, 5.0)]
    assert ask(db_path, "SELECT caller, callee, count FROM calls") == [("a", "b", 1)]
    assert ask(db_path, "SELECT error_type, message, count FROM error_groups") == [("ValueError", "no", 1)]
    assert_account_balances(db_path, stored=2)


def test_an_empty_batch_is_no_trouble(writer, db_path):
    assert writer.write(Batch(), timeout_seconds=1) == 0
    assert_account_balances(db_path, stored=0)


@pytest.mark.parametrize(
    "place",
    [(Rollup, "save"), (Retention, "add_health"), (writers, "add_edges"), (ErrorGroups, "add")],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_error_in_mid_transaction_leaves_neither_spans_nor_figures(writer, db_path, monkeypatch, place, error):
    write(writer, span_row("before"))
    with monkeypatch.context() as patch:
        patch.setattr(*place, lambda *_, **__: (_ for _ in ()).throw(error()))
        with pytest.raises(error):
            write(writer, span_row("lost", error="x"), edges=[edge_row()])
    assert names_in(db_path) == ["before"]
    assert ask_one(db_path, COUNTED) == 1
    write(writer, span_row("lost", error="x"), edges=[edge_row()])
    assert names_in(db_path) == ["before", "lost"]
    assert ask_one(db_path, COUNTED) == 2
    assert_account_balances(db_path, stored=2)


def test_a_process_killed_in_mid_transaction_leaves_nothing_half_and_no_lock(db_path):
    program = """
        import os, signal, sys
        from storage_kit import span_row, write
        from otel_perfmon.storage.sqlite.retention import Retention
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        writer = SqliteWriter(sys.argv[1])
        write(writer, span_row("kept"))
        Retention.add_health = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        write(writer, *[span_row("lost") for _ in range(500)])
    """
    with child_process(program, db_path) as child:
        assert child.wait(20) == -9
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, span_row("after"), timeout=0.5)
    assert names_in(db_path) == ["kept", "after"]
    assert ask_one(db_path, COUNTED) == 2
    assert ask_one(db_path, "PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("place", [0, 1, 4, 6])
def test_an_unstorable_span_is_left_out_and_counted_and_the_others_stay(writer, db_path, place):
    rows = [span_row(f"good{i}") for i in range(6)]
    rows.insert(place, unstorable_row())
    more = {"edges": [edge_row()], "points": [point_row()], "dropped": {"queue_full": 2}, **sampled_out(3)}
    assert write(writer, *rows, **more) == 1
    assert sorted(names_in(db_path)) == [f"good{i}" for i in range(6)]
    assert ask_one(db_path, COUNTED) == 6 + 3
    assert dict(ask(db_path, "SELECT reason, count FROM _drops")) == {"queue_full": 2, "unstorable": 1}
    assert_account_balances(db_path, stored=6, dropped=3)
    assert ask_one(db_path, "SELECT sum(sampled_out) FROM _health") == 3
    assert ask_one(db_path, "SELECT count(*) FROM calls") == 1
    assert ask_one(db_path, "SELECT count(*) FROM _points") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 2**63},
        {"name": "\ud800"},
        {"attributes": "\udfff"},
        {"status_message": object()},
        {"kind": "server"},
        {"trace_state": None},
        {"altered": ["a"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_makes_a_row_unstorable_only_that_row_is_lost(writer, db_path, changes):
    assert write(writer, span_row("a"), span_row(**{"name": "b", **changes}), span_row("c")) == 1
    assert names_in(db_path) == ["a", "c"]
    assert_account_balances(db_path, stored=2, dropped=1)


def test_a_batch_of_nothing_but_unstorable_spans_is_counted_whole(writer, db_path):
    assert write(writer, *[unstorable_row() for _ in range(5)]) == 5
    assert_account_balances(db_path, stored=0, dropped=5)


def test_an_error_while_an_unstorable_span_is_searched_for_keeps_nothing_so_that_the_batch_can_be_tried_again(
    writer, db_path, monkeypatch
):
    write(writer, span_row("first"))
    rows = [span_row("a"), span_row("b"), unstorable_row(), span_row("c")]
    tries = iter(range(100))
    note = Retention.add_health

    def fail_at_second(*arguments):
        if next(tries) == 1:
            raise connections.sqlite3.OperationalError("disk I/O error")
        return note(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Retention, "add_health", fail_at_second)
        try:
            write(writer, *rows)
        except StoreError:
            assert names_in(db_path) == ["first"]
            write(writer, *rows)
    assert sorted(names_in(db_path)) == ["a", "b", "c", "first"]


def test_a_batch_whose_checkpoint_fails_after_the_commit_is_known_to_be_written(db_path):
    """The file may not grow beyond 6 MiB: the log can still be written, the checkpoint can not."""
    program = """
        import resource, signal, sys
        from storage_kit import ask_one, batch, span_row
        from otel_perfmon.errors import StoreError
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))
        writer = SqliteWriter(sys.argv[1])
        told = 0
        for _ in range(20):
            each = batch(*[span_row("a", attributes='{"x":"' + "y" * 1000 + '"}') for _ in range(1000)])
            try:
                writer.write(each, timeout_seconds=1)
            except StoreError:
                told += 1000 * each.is_written
                break
            told += 1000
        print(told, ask_one(sys.argv[1], "SELECT count(*) FROM _spans"), flush=True)
    """
    with child_process(program, db_path) as child:
        told, stored = child.stdout.readline().split()
    assert told == stored


def test_an_unlinked_file_is_noticed_and_made_anew(writer, db_path):
    write(writer, span_row("old"))
    for ending in ("", "-wal", "-shm"):
        os.unlink(db_path + ending)
    write(writer, span_row("new", error="x"))
    assert names_in(db_path) == ["new"]
    assert ask_one(db_path, COUNTED) == 1


def test_a_file_that_was_replaced_by_another_store_is_written_from_then_on(writer, db_path, tmp_path):
    other = str(tmp_path / "other.db")
    with closing(SqliteWriter(other)) as another:
        write(another, span_row("theirs"), span_row("op"))
    write(writer, span_row("op"))
    for ending in ("-wal", "-shm"):
        os.unlink(db_path + ending)
    os.replace(other, db_path)
    write(writer, span_row("op"), span_row("ours"))
    assert names_in(db_path) == ["theirs", "op", "op", "ours"]
    assert ask_one(db_path, "PRAGMA integrity_check") == "ok"


def test_a_file_that_was_replaced_by_a_foreign_one_is_refused(writer, db_path):
    write(writer, span_row())
    for ending in ("", "-wal", "-shm"):
        os.unlink(db_path + ending)
    with open(db_path, "w", encoding="utf-8") as file:
        file.write("shopping list" * 100)
    with pytest.raises(SchemaError):
        write(writer, span_row())


def test_a_lock_that_another_process_holds_is_waited_for_and_then_reported(writer, db_path):
    write(writer, span_row("a"))
    with held_by_another_process(db_path) as child:
        start = time.monotonic()
        with pytest.raises(StoreBusyError):
            write(writer, span_row("b"), timeout=0.2)
        assert 0.15 < time.monotonic() - start < 0.8
        let_go(child)
        write(writer, span_row("c"), timeout=5)
    assert names_in(db_path) == ["a", "c"]


def test_the_first_write_of_all_waits_no_longer_for_the_lock_than_it_may(writer, db_path):
    with held_by_another_process(db_path):
        start = time.monotonic()
        with pytest.raises(StoreBusyError):
            write(writer, span_row("b"), timeout=0.2)
        assert time.monotonic() - start < 0.8


def test_a_transaction_of_another_program_is_waited_for_no_longer_than_allowed(writer, db_path):
    write(writer, span_row("a"))
    with closing(connections.sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(StoreBusyError):
            write(writer, span_row("b"), timeout=0.02)
        assert time.monotonic() - start < 0.5
        other.execute("ROLLBACK")
    write(writer, span_row("c"))
    assert names_in(db_path) == ["a", "c"]


def test_two_writers_on_one_file_lose_nothing(db_path):
    with closing(SqliteWriter(db_path)) as first, closing(SqliteWriter(db_path)) as second:
        for i in range(20):
            write(first if i % 2 else second, *[span_row(f"op{i % 7}", error=str(i)) for _ in range(5)])
    assert ask_one(db_path, COUNTED) == 100
    assert_account_balances(db_path, stored=100)
    assert ask_one(db_path, "SELECT count(*) FROM _health") == 2


def test_the_log_is_truncated_when_it_has_passed_its_size(writer, db_path):
    peak = 0
    for _ in range(12):
        write(writer, *[span_row(attributes='{"x":"' + "y" * 2000 + '"}') for _ in range(400)])
        peak = max(peak, os.stat(db_path + "-wal").st_size)
    assert peak < writers.WAL_MAX_BYTES
    assert os.stat(db_path).st_size > 2 * writers.WAL_MAX_BYTES


def test_the_log_is_never_checkpointed_but_by_us(writer, db_path):
    statements: list[str] = []
    write(writer, span_row())
    writer._connection.set_trace_callback(statements.append)
    for _ in range(5):
        write(writer, *[span_row(attributes='{"x":"' + "y" * 2000 + '"}') for _ in range(500)])
    checkpoints = [each for each in statements if "checkpoint" in each]
    assert checkpoints
    assert set(checkpoints) == {"PRAGMA wal_checkpoint(TRUNCATE)"}
    assert writer._connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_a_reader_in_mid_question_holds_up_neither_a_write_nor_the_next_checkpoint_for_ever(
    writer, db_path, monkeypatch
):
    monkeypatch.setattr(reader_patience, "PAUSE_SECONDS", 0.0)
    write(writer, span_row())
    big = [span_row(attributes='{"x":"' + "y" * 2000 + '"}') for _ in range(2500)]
    with closing(connections.open_reader(db_path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM _spans").fetchone() == (1,)
        start = time.monotonic()
        write(writer, *big)
        assert time.monotonic() - start < 2
        assert os.stat(db_path + "-wal").st_size > writers.WAL_MAX_BYTES
        assert reader.execute("SELECT count(*) FROM _spans").fetchone() == (1,)
    write(writer, span_row())
    assert os.stat(db_path + "-wal").st_size == 0


def test_close_leaves_all_in_one_file_and_a_later_write_opens_it_again(writer, db_path):
    write(writer, span_row("a"))
    writer.close()
    assert not os.path.exists(db_path + "-wal")
    write(writer, span_row("b"))
    assert names_in(db_path) == ["a", "b"]


def test_error_groups_of_one_operation_are_bounded_and_count_every_error(writer, db_path, monkeypatch):
    monkeypatch.setattr(error_groups, "GROUPS_PER_OPERATION_MAX", 10)
    words = [chr(97 + i) + chr(97 + j) for i in range(10) for j in range(10)]
    for part in range(4):
        write(writer, *[span_row("a", error=f"no {word}") for word in words[part * 25 : (part + 1) * 25]])
    write(writer, span_row("b", error="no aa"))
    groups = ask(db_path, "SELECT message, count FROM error_groups WHERE operation = 'a' ORDER BY count DESC")
    assert len(groups) == 11
    assert groups[0] == (error_groups.OTHER_MESSAGES, 90)
    assert ask(db_path, "SELECT message FROM error_groups WHERE operation = 'b'") == [("no aa",)]


def test_error_groups_stay_bounded_when_several_processes_write(db_path, monkeypatch):
    monkeypatch.setattr(error_groups, "GROUPS_PER_OPERATION_MAX", 10)
    with closing(SqliteWriter(db_path)) as first, closing(SqliteWriter(db_path)) as second:
        for i in range(40):
            write(first if i % 2 else second, span_row("a", error=f"no {chr(97 + i % 26)}{i // 26 * 'x'}"))
    assert ask_one(db_path, "SELECT count(*) FROM _error_groups") <= 12
    assert ask_one(db_path, "SELECT sum(count) FROM _error_groups") == 40


def test_an_error_group_knows_when_it_was_first_and_last_seen(writer, db_path):
    write(writer, span_row(error="x", end=NOW), span_row(error="x", end=NOW - 9 * SECOND))
    write(writer, span_row(error="x", end=NOW + 5 * SECOND))
    columns = "count, first_unix_nano, last_unix_nano"
    assert ask(db_path, f"SELECT {columns} FROM _error_groups") == [(3, NOW - 9 * SECOND, NOW + 5 * SECOND)]


def test_writing_stops_while_the_disk_is_nearly_full_and_goes_on_when_there_is_room(writer, db_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(free_space, "FREE_SPACE_MIN_BYTES", 2**62)
        with pytest.raises(StoreFullError, match="free on the disk"):
            write(writer, span_row("a"))
    write(writer, span_row("b"))
    assert names_in(db_path) == ["b"]


def test_a_folder_that_is_missing_is_a_store_error_until_it_is_there(tmp_path):
    path = str(tmp_path / "later" / "metrics.db")
    with closing(SqliteWriter(path)) as writer:
        with pytest.raises(StoreError):
            write(writer, span_row("a"))
        os.mkdir(tmp_path / "later")
        write(writer, span_row("b"))
    assert names_in(path) == ["b"]


def test_a_repeated_span_id_is_stored_again_rather_than_refused(writer, db_path):
    row = span_row()
    write(writer, row, row)
    write(writer, row)
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 3


def test_row_ids_are_never_used_again(writer, db_path):
    write(writer, span_row(), span_row())
    assert writer.delete_spans_before(NOW + 1) == (2, False)
    write(writer, span_row())
    assert ask(db_path, "SELECT id FROM _spans") == [(3,)]


def test_spans_at_the_ends_of_time_are_stored(writer, db_path):
    largest = 2**63 - 1
    rows = [span_row(end=end, duration_nano=0, start_unix_nano=end) for end in (-largest, -1, 0, largest)]
    rows.append(span_row(duration_nano=largest, start_unix_nano=-largest, end=largest))
    assert write(writer, *rows) == 0
    assert ask_one(db_path, COUNTED) == 5
    assert ask_one(db_path, "SELECT count(*) FROM spans") == 5


def test_a_batch_becomes_visible_to_other_processes_at_once_or_not_at_all(writer, db_path):
    """A second connection counts spans and figures in one question while batches are written."""
    write(writer, span_row())
    program = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1])
        print("ready", flush=True)
        query = f"SELECT (SELECT count(*) FROM _spans) - ({sys.argv[2]})"
        while connection.execute("SELECT count(*) FROM _spans").fetchone()[0] < 4001:
            assert connection.execute(query).fetchone() == (0,)
        print("done", flush=True)
    """
    with child_process(program, db_path, COUNTED) as child:
        assert child.stdout.readline() == "ready\n"
        for _ in range(40):
            write(writer, *[span_row(f"op{i % 9}") for i in range(100)])
        assert wait_until(lambda: child.poll() is not None, 20)
        assert child.stdout.readline() == "done\n"


def test_the_time_of_arrival_is_noted_with_the_first_row_of_each_cell(writer, db_path, clock):
    for seconds, count in ((0, 3), (5, 2), (12, 4), (31, 1)):
        clock.now = NOW / SECOND + seconds
        write(writer, *[span_row() for _ in range(count)])
    start = NOW // SECOND
    assert ask(db_path, "SELECT unix_s, first_span_id FROM _arrivals") == [
        (start, 1),
        (start + 10, 6),
        (start + 30, 10),
    ]


def test_size_counts_the_file_and_its_log(db_path):
    with closing(SqliteWriter(db_path, writers.RetentionPolicy(size_max_bytes=300_000))) as writer:
        write(writer, span_row())
        writer.close()
        assert not writer.is_over_size
        write(writer, *[span_row(attributes='{"x":"' + "y" * 500 + '"}') for _ in range(500)])
        assert writer.is_over_size
        assert writer.write(batch(), timeout_seconds=1) == 0
