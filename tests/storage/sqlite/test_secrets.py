from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from storage_kit import ask, ask_one, batch, edge_row, point_row, resource_row, span_row, write

from otel_perfmon.account import SecretFinding
from otel_perfmon.errors import StoreBusyError, StoreError
from otel_perfmon.storage.redactor import RedactionPolicy
from otel_perfmon.storage.sqlite import secrets
from otel_perfmon.storage.sqlite.writer import SqliteWriter

TOKEN = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7{:02d}"
COUNT = 30


def raw_bytes(path: str) -> bytes:
    """All of the file, its log and its index; only after this process has closed it."""
    return b"".join(Path(path + end).read_bytes() for end in ("", "-wal", "-shm") if Path(path + end).exists())


def has_secrets(path: str) -> list[str]:
    content = raw_bytes(path)
    return [TOKEN.format(number) for number in range(COUNT) if TOKEN.format(number).encode() in content]


@pytest.fixture
def full_of_secrets(db_path):
    """Secrets wherever a store keeps text: written as they are, without a recorder."""
    writer = SqliteWriter(db_path)
    resource = resource_row()
    for number in range(COUNT):
        token = TOKEN.format(number)
        secret = type(resource)("shop", token, token, json.dumps({"process.command_args": [f"--token={token}"]}))
        events = [
            {"name": "exception", "time_unix_nano": 1, "attributes": {"exception.stacktrace": "x\n" * 3000 + token}}
        ]
        row = span_row(
            f"call {token}", error=f"bad {token}", error_type=token, events=json.dumps(events), resource=secret
        )
        row = row._replace(attributes=json.dumps({"http.request.header.authorization": f"Bearer {token}", "n": number}))
        points = [point_row(attributes=json.dumps({"k": token}), description=token)]
        edges = [edge_row(f"call {token}", f"called {token}")]
        writer.write(batch(row, span_row("fine"), points=points, edges=edges), timeout_seconds=1)
    writer.close()
    return db_path


def test_what_is_stored_is_found_by_place_and_key_and_never_told(full_of_secrets, store):
    found = store.find_secrets()
    assert SecretFinding("spans.attributes", "http.request.header.authorization", COUNT) in found
    assert SecretFinding("spans.events", "exception.stacktrace", COUNT) in found
    places = {each.place for each in found}
    assert {"operations.name", "services.version", "resources.attributes", "error_groups.message"} <= places
    assert {"points.attributes", "instruments.description", "spans.error_type", "spans.status_message"} <= places
    assert "ghp_" not in repr(found)
    assert len(has_secrets(full_of_secrets)) == COUNT  # finding changes nothing


def test_what_is_taken_out_is_gone_from_every_byte_and_the_figures_stay(full_of_secrets, store):
    before = ask(full_of_secrets, "SELECT sum(count), sum(error_count) FROM operations")
    found = store.find_secrets()
    assert store.remove_secrets() == found
    store.close()
    assert has_secrets(full_of_secrets) == []
    assert ask_one(full_of_secrets, "PRAGMA integrity_check") == "ok"
    assert ask(full_of_secrets, "SELECT sum(count), sum(error_count) FROM operations") == before
    assert ask_one(full_of_secrets, "SELECT count(*) FROM spans WHERE altered = 'redacted'") == COUNT
    assert ask_one(full_of_secrets, "PRAGMA freelist_count") == 0


def test_nothing_is_found_the_second_time(full_of_secrets, store):
    store.remove_secrets()
    assert store.find_secrets() == store.remove_secrets() == []


def test_what_was_pruned_before_is_gone_too(full_of_secrets, store):
    store.delete_spans_before(9e9)
    store.remove_secrets()
    store.close()
    assert has_secrets(full_of_secrets) == []


def test_beside_a_live_writer_all_that_it_writes_is_there(full_of_secrets, store):
    writer, is_done, written = SqliteWriter(full_of_secrets), threading.Event(), []

    def go_on() -> None:
        while not is_done.is_set():
            write(writer, span_row("live"), timeout=5.0)
            written.append(1)
        writer.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    store.remove_secrets()
    is_done.set()
    thread.join()
    assert ask_one(full_of_secrets, "SELECT count(*) FROM metrics WHERE operation = 'live'") == len(written) > 0
    store.close()
    assert has_secrets(full_of_secrets) == []


def test_a_reader_that_holds_the_log_is_told_of(full_of_secrets, store, monkeypatch):
    monkeypatch.setattr(secrets, "_CHECKPOINT_SECONDS", 0.1)
    with closing(sqlite3.connect(full_of_secrets, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM _spans").fetchall()
        with pytest.raises(StoreBusyError, match="run it again"):
            store.remove_secrets()
    store.remove_secrets()
    store.close()
    assert has_secrets(full_of_secrets) == []


def test_the_users_own_are_found_and_taken_out(store, db_path):
    writer = SqliteWriter(db_path)
    write(writer, span_row(attributes='{"badge":"b1","note":"corp-123456"}'))
    writer.close()
    assert store.find_secrets() == []
    policy = RedactionPolicy(keys=("badge",), patterns=("corp-[0-9]{6}",))
    assert [each.key for each in store.remove_secrets(policy)] == ["badge", "note"]
    assert ask_one(db_path, "SELECT attributes FROM spans") == '{"badge":"[redacted]","note":"[redacted]"}'


def test_a_file_that_is_not_there_is_not_made(store, db_path):
    with pytest.raises(StoreError, match="no store"):
        store.remove_secrets()
    assert not Path(db_path).exists()
