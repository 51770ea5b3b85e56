"""The rows of open spans: written when they change, gone with their span, made spans of when their process is gone."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import astuple, replace

import pytest
from storage_kit import NOW, SECOND, batch, span_row, unstorable_row

from otel_perfmon import open_store
from otel_perfmon.storage import process as processes
from otel_perfmon.storage.base import Batch, OpenSpans
from otel_perfmon.storage.rows import OpenSpanRow, SpanDetails
from otel_perfmon.storage.sqlite import open_spans
from otel_perfmon.storage.sqlite.writer import SqliteWriter


def open_row(name="open", *, threshold_nano=SECOND, **changes) -> OpenSpanRow:
    return OpenSpanRow(span_row(name, **changes), threshold_nano, 7, "worker-1")


def write_open(writer: SqliteWriter, *rows: OpenSpanRow, is_all: bool = True) -> None:
    writer.write(Batch(open_spans=OpenSpans(rows, is_all)), timeout_seconds=1)


def names(path: str) -> list[str]:
    with open_store(path) as store:
        return [each.span.name for each in store.find_open_spans()]


def changes_of(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM _open_spans").fetchone()[0]


def claim_to_be(path: str, identity: processes.ProcessIdentity, seen_unix_nano: int) -> None:
    """Have the rows that are there be of another process."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _open_spans SET process = 'other'")
        connection.execute(
            "UPDATE _open_processes SET process = 'other', pid = ?, started = ?, boot_id = ?, pid_namespace = ?,"
            " seen_unix_nano = ?",
            (*astuple(identity), seen_unix_nano),
        )


@pytest.fixture
def gone() -> processes.ProcessIdentity:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        pid = process.pid
    return replace(processes.current(), pid=pid, started="1")


def test_rows_are_replaced_and_those_not_named_go_only_when_all_are_named(writer, db_path):
    one, two, three = open_row("one"), open_row("two"), open_row("three")
    write_open(writer, one, two)
    write_open(writer, two, three, is_all=False)
    assert sorted(names(db_path)) == ["one", "three", "two"]
    write_open(writer, three)
    assert names(db_path) == ["three"]
    write_open(writer)
    assert names(db_path) == []


def test_the_token_changes_with_what_is_open_and_not_with_time(writer, db_path, gone):
    def token() -> str:
        with open_store(db_path) as store:
            return store.get_open_token()

    one, two = open_row("one", end=NOW), open_row("two", end=NOW + 5)
    tokens = []
    for rows in ([], [one], [one, two], [two]):
        write_open(writer, *rows)
        tokens.append(token())
        write_open(writer, *rows)
        assert token() == tokens[-1]
    stack = '[{"name":"perfmon.stack","time_unix_nano":1,"attributes":{"code.stacktrace":"somewhere"}}]'
    write_open(writer, two._replace(span=two.span._replace(details=SpanDetails(events=stack))))
    tokens.append(token())
    claim_to_be(db_path, gone, NOW)
    tokens.append(token())
    assert tokens[0] == ""
    assert len(set(tokens)) == len(tokens)


def test_a_span_is_what_it_was_when_it_last_changed(writer, db_path):
    row = open_row(attributes='{"step":1}', end=NOW)
    write_open(writer, row)
    write_open(
        writer, row._replace(span=row.span._replace(attributes='{"step":2}', status_code=2, end_unix_nano=NOW + 5))
    )
    with open_store(db_path) as store:
        (found,) = store.find_open_spans()
    assert (dict(found.span.attributes), found.span.is_error) == ({"step": 2}, True)
    assert (found.thread_id, found.thread_name, found.state) == (7, "worker-1", "running")


@pytest.mark.parametrize("kind", ["spans", "kept", "counted"])
def test_a_span_that_is_written_is_open_no_longer_in_the_same_transaction(writer, db_path, kind):
    row = open_row()
    write_open(writer, row, open_row("stays"))
    rows = [row.span]
    ended = {
        "spans": batch(*rows),
        "kept": Batch(kept=rows),
        "counted": Batch(counted=rows, counted_self_nano=[1]),
    }[kind]
    writer.write(ended, timeout_seconds=1)
    assert names(db_path) == ["stays"]


def test_a_write_that_fails_leaves_what_is_known_right(writer, db_path):
    row = open_row()
    write_open(writer, row)
    writer.write(batch(row.span, unstorable_row()), timeout_seconds=1)
    assert names(db_path) == []
    write_open(writer, open_row("next"))
    assert names(db_path) == ["next"]


def test_rows_of_a_process_that_lives_are_left_alone(writer, db_path):
    write_open(writer, open_row())
    other = SqliteWriter(db_path)
    other.write(batch(span_row()), timeout_seconds=1)
    write_open(other, open_row("other's"))
    assert sorted(names(db_path)) == ["open", "other's"]
    other.close()


def test_rows_of_a_process_that_is_gone_become_spans_once_and_are_counted_in_no_figure(writer, db_path, gone):
    began = NOW - 30 * SECOND
    row = open_row("was running", end=NOW, ms=30_000, attributes='{"cart":7}', error="half way")
    write_open(writer, row, open_row("quick", end=NOW, ms=1, threshold_nano=60 * SECOND))
    writer.close()
    claim_to_be(db_path, gone, NOW)
    with open_store(db_path) as store:
        assert {each.state for each in store.find_open_spans()} == {"interrupted"}
    for _ in range(2):
        next_process = SqliteWriter(db_path)
        next_process.write(batch(span_row("next")), timeout_seconds=1)
        next_process.close()
    with open_store(db_path) as store:
        assert store.find_open_spans() == []
        spans = {each.name: each for each in store.find_spans() if each.is_interrupted}
        assert set(spans) == {"was running", "quick"}
        span = spans["was running"]
        assert (span.start_unix_nano, span.end_unix_nano) == (began, NOW)
        assert dict(span.attributes) == {"perfmon.interrupted": True, "cart": 7}
        assert (span.is_slow, spans["quick"].is_slow) == (True, False)
        assert (span.is_error, span.status_message) == (True, "half way")
        assert dict(spans["quick"].attributes) == {"perfmon.interrupted": True}
        assert [each.operation for each in store.summarize_operations()] == ["next"]
        health = store.get_health()
        assert (health.counted, health.stored, health.interrupted) == (2, 2, 2)


def test_of_more_than_fit_into_one_transaction_all_become_spans(writer, db_path, gone, monkeypatch):
    monkeypatch.setattr(open_spans, "INTERRUPTED_AT_ONCE", 3)
    write_open(writer, *[open_row(f"open {number}") for number in range(8)])
    writer.close()
    claim_to_be(db_path, gone, NOW)
    next_process = SqliteWriter(db_path)
    for _ in range(4):
        next_process.write(batch(span_row("next")), timeout_seconds=1)
    next_process.close()
    with open_store(db_path) as store:
        assert sorted(each.name for each in store.find_spans() if each.is_interrupted) == [
            f"open {n}" for n in range(8)
        ]


@pytest.mark.parametrize(("silent_seconds", "state"), [(1, "running"), (600, "interrupted")])
def test_of_a_process_in_another_container_its_last_sign_of_life_tells(writer, db_path, silent_seconds, state):
    write_open(writer, open_row())
    writer.close()
    elsewhere = replace(processes.current(), pid_namespace="pid:[1]")
    claim_to_be(db_path, elsewhere, time.time_ns() - silent_seconds * SECOND)
    with open_store(db_path) as store:
        assert [each.state for each in store.find_open_spans()] == [state]


def test_the_view_has_a_row_for_each(writer, db_path):
    write_open(writer, open_row("shown", attributes='{"a":1}', end=NOW, ms=2_000))
    with closing(sqlite3.connect(db_path)) as connection:
        sql = "SELECT name, service, start_time, thread_name, attributes FROM open_spans"
        (row,) = connection.execute(sql).fetchall()
    assert row[:2] == ("shown", "shop")
    assert row[2].startswith("2027-01-15T07:59:58")
    assert (row[3], json.loads(row[4])) == ("worker-1", {"a": 1})
    assert changes_of(db_path) == 1


def test_names_that_only_an_open_span_refers_to_are_not_pruned(writer, db_path):
    write_open(writer, open_row("only here"))
    with closing(sqlite3.connect(db_path)) as connection, connection:
        connection.execute("UPDATE _resources SET last_used_unix_s = 0")
    for _ in range(5):
        writer.maintain()
    assert names(db_path) == ["only here"]
