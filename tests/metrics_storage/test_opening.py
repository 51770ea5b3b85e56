"""A storage is opened when it is first needed, closed once, and shares its file with others and with threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from otel_perfmon import ConfigError, MetricsStorage, SpanQuery, StoreClosedError, open_store


def test_the_file_is_made_with_the_first_metric_and_not_before(db_path):
    storage = MetricsStorage(db_path)
    assert storage.get_metrics() == []
    assert storage.get_stats() == []
    assert os.listdir(os.path.dirname(db_path)) == []
    storage.insert_metric("load", 1)
    assert len(storage.get_metrics()) == 1
    assert os.path.exists(db_path)
    assert os.stat(db_path).st_mode & 0o777 == 0o600
    storage.close()


def test_the_path_comes_from_the_argument_else_the_variable_else_the_working_directory(tmp_path, monkeypatch):
    with MetricsStorage() as storage:
        assert storage.path == str(tmp_path / "metrics.db")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_PATH", "other.db")
    with MetricsStorage() as storage:
        assert storage.path == str(tmp_path / "other.db")
    with MetricsStorage(Path("mine.db")) as storage:
        assert storage.path == str(tmp_path / "mine.db")
    with MetricsStorage(b"bytes.db") as storage:
        assert storage.path == str(tmp_path / "bytes.db")


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db", "a\0b", 5])
def test_a_path_that_is_no_file_is_a_wrong_setting(path):
    with pytest.raises(ConfigError, match="path"):
        MetricsStorage(path)


def test_closing_writes_what_there_is_and_later_questions_say_that_it_is_closed(db_path):
    storage = MetricsStorage(db_path)
    storage.insert_metric("load", 1)
    storage.close()
    storage.close()
    questions = (
        storage.get_metrics,
        storage.get_stats,
        storage.cleanup,
        lambda: storage.get_metrics_in_window("load", 60),
        lambda: storage.get_error_rate("load", 60),
    )
    for question in questions:
        with pytest.raises(StoreClosedError, match="closed"):
            question()
    with MetricsStorage(db_path) as again:
        assert len(again.get_metrics()) == 1


def test_leaving_the_with_block_closes_also_after_an_exception(db_path):
    storage = MetricsStorage(db_path)

    def work() -> None:
        with storage:
            storage.insert_metric("load", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with pytest.raises(StoreClosedError):
        storage.get_metrics()
    with open_store(db_path) as store:
        assert len(store.find_spans(SpanQuery())) == 1


def test_a_metric_after_closing_is_kept_without_an_exception(db_path):
    storage = MetricsStorage(db_path)
    storage.close()
    storage.insert_metric("late", 1)
    with MetricsStorage(db_path) as again:
        assert [each["operation"] for each in again.get_metrics()] == ["late"]


def test_two_storages_of_one_file_see_each_others_metrics_also_through_a_link(db_path, tmp_path):
    (tmp_path / "link.db").symlink_to(db_path)
    with MetricsStorage(db_path) as one, MetricsStorage(tmp_path / "link.db") as two:
        one.insert_metric("a", 1)
        two.insert_metric("b", 1)
        assert {each["operation"] for each in one.get_metrics()} == {"a", "b"}
        assert {each["operation"] for each in two.get_metrics()} == {"a", "b"}
        one.close()
        two.insert_metric("c", 1)
        assert len(two.get_metrics()) == 3
        assert one.recorder is two.recorder


def test_a_read_in_the_recording_process_sees_everything_that_was_inserted_before_it(storage):
    for number in range(1, 200):
        storage.insert_metric("load", number)
        assert storage.get_stats("load").count == number


def test_metrics_of_many_threads_are_all_kept_while_others_ask(storage):
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # a thread's failure is the test's
            failures.append(error)

    def insert(name: str) -> None:
        for number in range(500):
            storage.insert_metric(name, number, context={"number": number})

    def ask() -> None:
        for _ in range(20):
            storage.get_metrics("0", limit=5)
            storage.get_stats()
            storage.get_error_rate("1", 60)
            storage.get_metrics_in_window("2", 60, True)

    work = [lambda name=str(number): insert(name) for number in range(8)] + [ask] * 2
    threads = [threading.Thread(target=guarded, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {each.operation: each.count for each in storage.get_stats()} == {str(number): 500 for number in range(8)}
    assert len(storage.get_metrics()) == 4000
