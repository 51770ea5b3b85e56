from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from storage_kit import ask, ask_one, child_process, names_in, span_row, write

from otel_perfmon.errors import SchemaError, StoreCorruptError, StoreFullError
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite import schema
from otel_perfmon.storage.sqlite.connection import open_reader, open_writer
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter

sys.path.insert(0, os.path.dirname(__file__))
from fixtures_kit import old_answers, write_old_file

HOUR, SECOND = 3_600, 10**9


@pytest.fixture
def old_path(db_path: str, clock) -> str:
    write_old_file(db_path)
    clock.now = float(old_answers()["now_unix_s"])
    return db_path


def plain(value: object) -> object:
    """A value of an answer as the JSON beside the old file has it."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "items"):
        return {key: plain(each) for key, each in value.items()}
    return value


def as_then(now: object, then: object) -> object:
    """Of an answer of today what an answer of then had."""
    now = plain(now)
    if isinstance(then, dict) and isinstance(now, dict):
        return {key: as_then(now[key], each) for key, each in then.items()}
    if isinstance(then, list) and isinstance(now, list):
        assert len(now) == len(then)
        return [as_then(*pair) for pair in zip(now, then, strict=True)]
    return now


def window_of(then: dict[str, int] | None) -> Window | None:
    return Window(**then) if then is not None else None


# --- what a new file and an old one become


def test_an_old_file_becomes_object_by_object_what_a_new_one_is(old_path, tmp_path):
    with closing(open_writer(old_path)) as old, closing(open_writer(str(tmp_path / "new.db"))) as new:
        assert schema.objects_of(old) == schema.objects_of(new)
        assert len(schema.objects_of(new)) > 40
        for connection in (old, new):
            assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.SCHEMA_VERSION
            assert connection.execute("PRAGMA application_id").fetchone()[0] == schema.APPLICATION_ID
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA legacy_alter_table").fetchone()[0] == 0


def test_the_version_is_that_of_the_last_migration_and_none_is_left_out():
    numbers = [number for number, _ in schema._migrations()]
    assert numbers == list(range(1, schema.SCHEMA_VERSION + 1))


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_first_migration_is_the_schema_as_it_landed(tmp_path):
    name = "migrations/0001_initial.sql"
    landed = subprocess.run(
        ["git", "show", f"33b9a15:otel_perfmon/storage/sqlite/{name}"],
        cwd=Path(__file__).parent, capture_output=True, check=False,
    )  # fmt: skip
    if landed.returncode:  # in a copy without git's folder, or one that is not deep enough
        pytest.skip("this is no clone with the history")
    assert landed.stdout == (Path(schema.__file__).parent / name).read_bytes()


def test_the_old_file_has_the_schema_that_the_first_migration_makes(old_path):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model, closing(sqlite3.connect(old_path)) as old:
        schema._run(model, 0, 1)
        assert schema.objects_of(model) == schema.objects_of(old)


# --- what is asked of an old file


def test_every_answer_that_an_old_file_gave_is_the_same(old_path):
    then = old_answers()
    with SqliteStore(old_path) as store:
        for name, window in then["windows"].items():
            statistics = store.summarize_operations(window=window_of(window))
            by_name = {each.operation: each for each in statistics}
            for each in then["statistics"][name]:
                assert as_then(by_name[each["operation"]], each) == each
            assert len(statistics) == len(then["statistics"][name])
        assert as_then(store.summarize_operations(is_by_service=True), then["by service"]) == then["by service"]
        assert store.list_operations() == then["operations"]
        assert store.list_services() == then["services"]
        assert as_then(store.get_health(), then["health"]) == then["health"]
        assert as_then(store.find_points(), then["points"]) == then["points"]


def test_every_span_of_an_old_file_is_found_as_it_was(old_path):
    then = old_answers()
    with SqliteStore(old_path) as store:
        assert as_then(list(store.find_spans(SpanQuery(limit=10_000))), then["spans"]) == then["spans"]
        for name, query in then["queries"].items():
            found = [[span.trace_id, span.span_id] for span in store.find_spans(SpanQuery(**query))]
            assert found == then["found"][name], name
        for trace_id, span_ids in then["traces"].items():
            assert sorted(span.span_id for span in store.get_trace(trace_id).spans) == sorted(span_ids)


def test_calls_and_errors_of_an_old_file_are_what_they_were(old_path):
    then = old_answers()
    with SqliteStore(old_path) as store:
        for hour in then["hours"]:
            calls = store.summarize_calls(window=Window(hour * SECOND, (hour + HOUR) * SECOND))
            expected = [each for each in then["calls"] if each["hour_unix_s"] == hour]
            found = {(each.caller, each.callee): (each.count, each.total_ms) for each in calls}
            assert found == {(each["caller"], each["callee"]): (each["count"], each["total_ms"]) for each in expected}
        everything = {(each.caller, each.callee): each.count for each in store.summarize_calls()}
        assert sum(everything.values()) == sum(each["count"] for each in then["calls"])
        for name, operation in (("errors", None), ("errors of charge_card", "charge_card")):
            found = store.summarize_errors(operation=operation, limit=500)
            groups = {(group.operation, group.error_type, group.message): group for group in found}
            for each in then[name]:
                assert as_then(groups[each["operation"], each["error_type"], each["message"]], each) == each
            assert len(groups) == len(then[name])


def test_an_error_group_of_an_old_file_has_its_examples_from_the_spans_that_are_left(old_path):
    with SqliteStore(old_path) as store:
        for group in store.summarize_errors(limit=500):
            last = next(s for s in store.get_trace(group.last_trace_id).spans if s.span_id == group.last_span_id)
            assert last.end_unix_nano / 1e9 == group.last_seen
            assert last.name == group.operation
            assert group.last_message == ((last.exception.attributes if last.exception else {}).get(
                "exception.message") or last.status_message)  # fmt: skip
    stored = ask_one(old_path, "SELECT count(*) FROM spans WHERE is_error = 1")
    assert ask(old_path, "SELECT resolution_s, sum(count) FROM _error_cells GROUP BY 1") == [
        (HOUR, stored), (24 * HOUR, stored)]  # fmt: skip


def test_a_group_whose_spans_are_all_pruned_says_what_is_known(old_path):
    with closing(sqlite3.connect(old_path)) as connection, connection:
        connection.execute("DELETE FROM _spans WHERE is_error = 1")
    then = old_answers()
    with SqliteStore(old_path) as store:
        groups = store.summarize_errors(limit=500)
        assert sum(each.count for each in groups) == sum(each["count"] for each in then["errors"])
        assert {(each.last_message, each.last_trace_id) for each in groups} == {(g.message, "") for g in groups}


def test_the_views_of_an_old_file_show_what_they_showed(old_path):
    open_reader(old_path).close()
    with closing(sqlite3.connect(old_path)) as connection:
        for view, then in old_answers()["views"].items():
            columns = ", ".join(then[0])
            rows = connection.execute(f"SELECT {columns} FROM {view}").fetchall()
            now = [plain(dict(zip(then[0], row, strict=True))) for row in rows]
            if view == "rollups":
                now = [each for each in now if each["resolution_s"] <= HOUR]
            assert sorted(now, key=repr) == sorted(then, key=repr), view  # a view promises no order


def test_the_plain_face_says_of_an_old_file_what_it_said(old_path, monkeypatch):
    then = old_answers()["plain face"]
    now = old_answers()["now_unix_s"]
    monkeypatch.setattr(time, "time_ns", lambda: now * SECOND)
    with MetricsStorage(old_path) as storage:
        assert as_then(storage.get_stats(), then["get_stats"]) == then["get_stats"]
        assert as_then(storage.get_metrics("nightly_import"), then["get_metrics"]) == then["get_metrics"]
        assert storage.get_error_rate("nightly_import", 24 * HOUR) == then["error rate"]


def test_recording_goes_on_in_an_old_file_with_ids_that_were_never_used(old_path, clock):
    last = old_answers()["sequence"]["_spans"]
    with closing(sqlite3.connect(old_path)) as connection, connection:
        connection.execute("DELETE FROM _spans WHERE id > 100")
    with closing(SqliteWriter(old_path)) as writer:
        write(writer, span_row("checkout", end=int(clock.now) * SECOND), span_row("new", end=int(clock.now) * SECOND))
    assert ask_one(old_path, "SELECT max(seq) FROM sqlite_sequence WHERE name = '_spans'") == last + 2
    assert ask_one(old_path, "SELECT sum(ended) FROM health") == old_answers()["health"]["ended"] + 2
    for resolution in (10, 60, HOUR, 24 * HOUR):
        query = f"SELECT sum(count) FROM _rollups WHERE resolution_s = {resolution}"
        assert ask_one(old_path, query) == old_answers()["health"]["counted"] + 2
    with closing(SqliteWriter(old_path)) as writer:
        clock.now += 30 * 24 * HOUR
        while writer.prune()[1]:
            pass
    assert ask_one(old_path, "SELECT count(*) FROM _spans") == 0
    assert ask_one(old_path, "PRAGMA integrity_check") == "ok"


def test_a_view_and_an_index_of_the_users_own_do_not_keep_a_file_from_being_brought_up_to_date(old_path):
    with closing(sqlite3.connect(old_path)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT operation, duration FROM metrics WHERE is_slow = 1")
        connection.execute("CREATE INDEX mine_by_kind ON _spans (kind)")
        slow = connection.execute("SELECT count(*) FROM mine").fetchone()
    open_reader(old_path).close()
    assert ask(old_path, "SELECT count(*) FROM mine") == [slow]


# --- when it cannot be done


def test_a_file_of_a_format_between_two_versions_is_refused_and_left_as_it_is(db_path):
    open_writer(db_path).close()
    with closing(sqlite3.connect(db_path)) as connection:
        connection.executescript("PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)")
    before = Path(db_path).read_bytes()
    for attempt in (open_writer, open_reader):
        with pytest.raises(SchemaError, match="not those of any released otel-perfmon; it is left as it is"):
            attempt(db_path)
    with MetricsStorage(db_path) as storage:
        storage.insert_metric("work", 1.0)
        assert not storage.recorder.flush()
    assert Path(db_path).read_bytes() == before
    assert [name for name in os.listdir(os.path.dirname(db_path)) if "corrupt" in name] == []


def test_an_old_file_into_which_somebody_still_records_is_not_taken_from_him_by_who_only_asks(old_path):
    with closing(sqlite3.connect(old_path)) as connection, connection:
        connection.execute("UPDATE _health SET updated_unix_s = ?", (int(time.time()),))
    before = Path(old_path).read_bytes()
    with pytest.raises(SchemaError, match="recorded into it just now; stop it"):
        open_reader(old_path)
    assert Path(old_path).read_bytes() == before
    open_writer(old_path).close()  # who records does


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX")
def test_who_may_not_write_an_old_file_is_told_what_to_do(old_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # root may do anything
    with pytest.raises(SchemaError, match="this user may not bring it up to date; ask as one who may write it"):
        open_reader(old_path)


def test_without_room_for_it_nothing_is_begun_and_the_sentence_says_how_much_is_wanted(old_path, monkeypatch):
    monkeypatch.setattr(schema.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(StoreFullError, match="must be free on its disk"):
        open_writer(old_path)
    monkeypatch.undo()
    assert ask_one(old_path, "PRAGMA user_version") == 1


def test_a_value_that_no_migration_can_read_is_damage_and_changes_nothing(old_path):
    with closing(sqlite3.connect(old_path)) as connection, connection:
        connection.execute("UPDATE _rollups SET histogram = x'07' WHERE resolution_s = 60")
    before = ask(old_path, "SELECT * FROM sqlite_master")
    with pytest.raises(StoreCorruptError, match="a value that was never written so"):
        open_writer(old_path)
    assert ask(old_path, "SELECT * FROM sqlite_master") == before


def test_a_file_that_a_newer_version_took_over_is_left_to_it(db_path, store):
    with closing(SqliteWriter(db_path)) as writer:
        write(writer, span_row())
        assert len(store.find_spans()) == 1
        with closing(sqlite3.connect(db_path)) as newer:
            newer.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
        with pytest.raises(SchemaError, match="run the same version everywhere"):
            write(writer, span_row())
        with pytest.raises(SchemaError, match="run the same version everywhere"):
            store.find_spans()
        with closing(sqlite3.connect(db_path)) as newer:
            newer.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        write(writer, span_row())
    assert names_in(db_path) == ["op", "op"]


# --- at the same time, and in the middle


def test_processes_that_bring_one_file_up_to_date_at_once_all_record_into_it(old_path):
    program = """
        import sys
        from storage_kit import span_row, write
        from otel_perfmon.storage.sqlite.connection import open_reader
        from otel_perfmon.storage.sqlite.writer import SqliteWriter
        print("ready", flush=True)
        sys.stdin.readline()
        if sys.argv[2] == "asks":
            print(open_reader(sys.argv[1]).execute("SELECT count(*) FROM _spans").fetchone()[0] >= 448)
        else:
            writer = SqliteWriter(sys.argv[1])
            write(writer, span_row("from all"), timeout=20)
            writer.close()
            print(True)
    """
    with ExitStack() as stack:
        kinds = ("records", "asks", "records", "asks")
        children = [stack.enter_context(child_process(program, old_path, kind)) for kind in kinds]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        assert [child.stdout.readline() for child in children] == ["True\n"] * 4
    assert ask_one(old_path, "SELECT count(*) FROM spans") == 448 + 2
    assert ask_one(old_path, "PRAGMA user_version") == connections.SCHEMA_VERSION
    assert ask_one(old_path, "PRAGMA integrity_check") == "ok"
