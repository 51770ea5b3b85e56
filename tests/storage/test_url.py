from __future__ import annotations

import os
from pathlib import Path

import pytest
from storage_kit import RowDoor, span_row

from otel_perfmon.alerts import AlertRule
from otel_perfmon.config import Config
from otel_perfmon.errors import ConfigError, StoreError
from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.url import open_configured_recorder, open_recorder, open_store


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_path_of_any_kind_opens_the_sqlite_store(db_path, kind):
    with open_store(kind(db_path)) as store:
        assert isinstance(store, SqliteStore)
        assert store.path == os.path.realpath(db_path)
    assert not os.path.exists(db_path)


@pytest.mark.parametrize("path", ["", None, 5, "a\0b", "file:x.db", ":memory:", "file::memory:"])
def test_what_is_no_path_of_a_file_is_a_config_error_that_says_so(path):
    with pytest.raises(ConfigError, match="path must be"):
        open_store(path)


def test_a_missing_file_is_a_store_error_when_it_is_asked(db_path):
    with open_store(db_path) as store, pytest.raises(StoreError):
        store.list_services()


def test_a_relative_path_means_the_folder_in_which_it_was_given(tmp_path, monkeypatch):
    recorder = open_recorder("metrics.db", RetentionPolicy(), is_override=False)
    store = open_store("metrics.db")
    os.mkdir(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    try:
        recorder.record(RowDoor(), span_row())
        assert len(store.find_spans(SpanQuery())) == 1
        assert os.path.exists(tmp_path / "metrics.db")
    finally:
        store.close()
        release_recorder(recorder)


def test_a_recorder_keeps_its_policy_unless_the_user_asked_for_another(db_path):
    first = open_recorder(db_path, RetentionPolicy(1.0), is_override=False)
    try:
        for policy, is_override, expected in ((2.0, False, 1.0), (3.0, True, 3.0), (4.0, False, 3.0)):
            again = open_recorder(db_path, RetentionPolicy(policy), is_override=is_override)
            assert again is first
            assert first._writer._policy.retention_seconds == expected
            release_recorder(again)
        assert os.listdir(os.path.dirname(db_path)) == []
    finally:
        release_recorder(first)


def test_a_setting_that_was_given_holds_for_every_door_of_a_recorder_and_others_only_where_it_is_new(db_path):
    config = Config(db_path, keep_seconds=5.0, error_rate_threshold=0.3, error_rate_min_count=7)
    first = open_configured_recorder(config, {})
    later = Config(db_path, size_max_bytes=2**21, error_rate_threshold=0.4)
    try:
        for arguments, policy, rule in (
            ({"keep_seconds": None}, RetentionPolicy(keep_seconds=5.0), AlertRule(0.3, 7)),
            ({"size_max_bytes": 2**21}, RetentionPolicy(size_max_bytes=2**21), AlertRule(0.3, 7)),
            ({"error_rate_threshold": 0.4}, RetentionPolicy(size_max_bytes=2**21), AlertRule(0.4)),
        ):
            again = open_configured_recorder(later, arguments)
            assert again is first
            assert (first._writer._policy, first.alarm.rule) == (policy, rule)
            release_recorder(again)
    finally:
        release_recorder(first)
