"""Paths that cannot be used: recording never raises, a question says why, the file stays as it is."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from otel_perfmon import MetricsStorage, SchemaError, StoreError
from otel_perfmon.storage import loss


@pytest.fixture
def log_clock(monkeypatch):
    """The clock by which messages are held back."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loss, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def foreign_database(path: Path, journal_mode: str = "DELETE") -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
        connection.commit()


def newer_store(path: Path) -> None:
    with MetricsStorage(path) as storage:
        storage.insert_metric("load", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm", ".lock"):
        if os.path.exists(f"{path}{suffix}"):
            os.unlink(f"{path}{suffix}")


REFUSED = {
    "text": (lambda path: path.write_text("Dear diary\n"), SchemaError, "not an SQLite database"),
    "long text": (lambda path: path.write_text("Dear diary\n" * 10_000), SchemaError, "not an SQLite database"),
    "foreign": (foreign_database, SchemaError, "another program"),
    "foreign WAL": (lambda path: foreign_database(path, "WAL"), SchemaError, "another program"),
    "newer": (newer_store, SchemaError, "newer"),
    "directory": (Path.mkdir, StoreError, "is a directory"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_path_that_is_not_ours_is_refused_in_a_sentence_and_left_byte_for_byte(tmp_path, kind, caplog):
    make, error, sentence = REFUSED[kind]
    path = tmp_path / "metrics.db"
    make(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
    storage = MetricsStorage(path)
    with pytest.raises(error, match=sentence) as raised:
        storage.get_metrics()
    assert str(path) in str(raised.value)
    storage.insert_metric("load", 1)
    for ask in (storage.get_metrics, storage.get_stats, storage.cleanup, lambda: storage.get_error_rate("load", 60)):
        with pytest.raises(error, match=sentence):
            ask()
    storage.insert_metric("load", 2)
    storage.close()
    assert ((path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None) == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".lock")]
    assert "1 spans were not kept" in caplog.text or "2 spans were not kept" in caplog.text


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_left_beside_a_file_that_is_not_ours(tmp_path, kind):
    path = tmp_path / "metrics.db"
    REFUSED[kind][0](path)
    with MetricsStorage(path) as storage:
        storage.insert_metric("load", 1)
        with pytest.raises(StoreError):
            storage.get_metrics()
    assert os.listdir(tmp_path) == ["metrics.db"]


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_missing_or_a_file_costs_no_exception_but_an_answer(tmp_path, folder):
    (tmp_path / "file").write_text("x")
    storage = MetricsStorage(tmp_path / folder / "metrics.db")
    storage.insert_metric("load", 1)
    with pytest.raises(StoreError, match=r"metrics\.db"):
        storage.get_metrics()
    with pytest.raises(StoreError, match=r"metrics\.db"):
        storage.get_stats("load")
    storage.close()
    assert (tmp_path / "file").read_text() == "x"


def test_what_waited_for_a_broken_path_is_stored_when_it_is_mended(tmp_path):
    folder = tmp_path / "folder"
    folder.write_text("x")
    with MetricsStorage(folder / "metrics.db") as storage:
        storage.insert_metric("load", 1)
        with pytest.raises(StoreError):
            storage.get_metrics()
        folder.unlink()
        folder.mkdir()
        storage.insert_metric("load", 2)
        assert [each["duration"] for each in storage.get_metrics()] == [2.0, 1.0]
        assert storage.store.get_health().dropped == {}


def test_losses_are_logged_at_most_once_a_minute_for_each_kind_with_their_number(storage, caplog, log_clock):
    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == "otel_perfmon"]
        caplog.clear()
        return found

    caplog.set_level(logging.WARNING, "otel_perfmon")
    for _ in range(5):
        storage.insert_metric("load", math.nan)
    (message,) = messages()
    assert message.startswith("1 spans were not kept")
    storage.recorder.lose("another", 1, "a kind of its own")
    (message,) = messages()
    assert "a kind of its own" in message
    log_clock.now += 59.9
    storage.insert_metric("load", math.nan)
    assert messages() == []
    log_clock.now += 0.2
    storage.insert_metric("load", math.nan)
    (message,) = messages()
    assert message.startswith("6 spans were not kept")


def test_a_path_that_cannot_be_written_is_logged_once_however_often_it_is_tried(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    storage = MetricsStorage(tmp_path / "file" / "metrics.db")
    for _ in range(20):
        storage.insert_metric("load", 1)
        storage.recorder.flush(0.1)
    time.sleep(0.3)  # the writer thread tries by itself
    texts = [record.getMessage() for record in caplog.records if record.name == "otel_perfmon"]
    assert len([text for text in texts if "wait to be written" in text]) == 1
    storage.close()
    (last,) = [text for text in (r.getMessage() for r in caplog.records) if "not kept" in text]
    assert last.startswith("20 spans were not kept")
