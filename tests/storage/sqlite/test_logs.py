"""Log records are kept as long as the spans beside which they stand, and found by trace, severity, service and time."""

from __future__ import annotations

import pytest
from storage_kit import NOW, NOW_S, SECOND, ask, ask_one, log_row, resource_row, span_row, trace_bytes, write

from otel_perfmon.errors import QueryError
from otel_perfmon.query import Window
from otel_perfmon.storage.attributes import encode_any_value
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.sqlite import retention as retentions
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR, DAY = 3_600, 86_400


def maintain(writer) -> None:
    for _ in range(1_000):
        if not writer.maintain():
            return


def bodies(path: str) -> list[str]:
    return [body for (body,) in ask(path, "SELECT body FROM logs ORDER BY id")]


# --- asking


def test_the_newest_come_first_by_when_they_happened_were_seen_or_arrived(writer, store, clock):
    write(
        writer,
        logs=[
            log_row("happened", at=NOW - 3 * SECOND),
            log_row("seen", at=0, observed_unix_nano=NOW - 2 * SECOND),
            log_row("arrived", at=0, observed_unix_nano=0),
            log_row("of the future", at=2**63 - 1),
        ],
    )
    assert [log.body for log in store.find_logs()] == ["of the future", "arrived", "seen", "happened"]
    assert [log.body for log in store.find_logs(limit=1, window=Window(NOW - 3 * SECOND, NOW))] == ["seen"]
    assert store.find_logs(window=Window(NOW - 5 * SECOND, NOW - 3 * SECOND)) == []


def test_they_are_found_by_trace_service_and_severity(writer, store):
    write(
        writer,
        logs=[
            log_row("a", trace_id=trace_bytes(1), severity_number=17),
            log_row("b", trace_id=trace_bytes(2), severity_number=16),
            log_row("c", severity_number=21, resource=resource_row("other")),
        ],
    )
    assert [log.body for log in store.find_logs(trace_id=trace_bytes(1).hex())] == ["a"]
    assert [log.body for log in store.find_logs(service="other")] == ["c"]
    assert [log.body for log in store.find_logs(severity_min=17)] == ["c", "a"]
    assert [log.body for log in store.find_logs(severity_min=16, service="shop")] == ["b", "a"]
    with pytest.raises(QueryError):
        store.find_logs(trace_id="xyz")


@pytest.mark.parametrize("value", ["", 5, 2.5, True, b"\x00\xff", ("a", ("b", None)), {"@bytes": {"k": 1}}, None])
def test_a_body_of_any_kind_comes_back_as_it_was(writer, store, value):
    write(writer, logs=[log_row("", body_json=encode_any_value(value).text), log_row("")])
    none, some = store.find_logs()
    assert (some.body, some.has_body) == (value, True)
    assert (none.body, none.has_body) == (None, False)


def test_pages_in_the_order_of_arrival_go_on_where_the_last_one_ended(writer, store):
    write(writer, logs=[log_row(str(number), at=NOW - number) for number in range(5)])
    first = store.find_arrived_logs(limit=3)
    second = store.find_arrived_logs(first.last, limit=3)
    assert [log.body for log in (*first.items, *second.items)] == list("01234")
    assert store.find_arrived_logs(second.last).last is None


def test_no_question_goes_through_all_of_them(writer, db_path):
    write(writer, logs=[log_row()])
    for condition, index in (
        ("trace_id = x'01' AND trace_id <> x''", "_logs_by_trace"),
        ("severity_number >= 17 AND severity_number >= 21", "_logs_by_severe"),
        ("moment_unix_nano >= 5", "_logs_by_moment"),
    ):
        sql = f"EXPLAIN QUERY PLAN SELECT * FROM _logs WHERE {condition} ORDER BY moment_unix_nano DESC LIMIT 5"
        assert index in str(ask(db_path, sql))


# --- keeping


@pytest.fixture
def kept_writer(db_path, clock):
    writer = SqliteWriter(db_path, RetentionPolicy(retention_seconds=HOUR, keep_seconds=7 * DAY))
    yield writer
    writer.close()


def test_a_record_stays_as_long_as_its_trace_and_a_severe_one_as_long_as_any(kept_writer, clock, db_path):
    failed, fine = span_row(error="no"), span_row()
    write(
        kept_writer,
        failed,
        fine,
        logs=[
            log_row("alone"),
            log_row("of one that failed", trace_id=failed.trace_id),
            log_row("of one that did not", trace_id=fine.trace_id),
            log_row("severe", severity_number=17),
            log_row("of long ago", at=5),
        ],
    )
    clock.now = NOW_S + HOUR - 1
    maintain(kept_writer)
    assert len(bodies(db_path)) == 5
    clock.now = NOW_S + HOUR + 20
    maintain(kept_writer)
    assert bodies(db_path) == ["of one that failed", "severe"]
    clock.now = NOW_S + 7 * DAY + 20
    maintain(kept_writer)
    assert bodies(db_path) == []


def test_a_step_removes_a_bounded_number(kept_writer, clock, db_path, monkeypatch):
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 10)
    write(kept_writer, logs=[log_row(severity_number=17 * (number % 2)) for number in range(45)])
    clock.now += HOUR + 1
    assert kept_writer.maintain()
    assert ask_one(db_path, "SELECT count(*) FROM _logs") == 40
    maintain(kept_writer)
    assert ask_one(db_path, "SELECT count(*) FROM _logs") == 22


def test_who_removes_spans_of_before_removes_the_records_of_before(kept_writer, db_path, monkeypatch):
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 10)
    write(
        kept_writer,
        span_row(end=NOW - SECOND),
        logs=[log_row(str(number), at=NOW + number) for number in range(-15, 1)],
    )
    removed, is_more = kept_writer.delete_spans_before(NOW)
    assert (removed, is_more) == (1, True)
    kept_writer.delete_spans_before(NOW)
    assert bodies(db_path) == ["0"]


def test_a_file_that_is_too_large_loses_what_arrived_first_of_records_and_spans(db_path, clock):
    policy = RetentionPolicy(retention_seconds=HOUR, keep_seconds=7 * DAY, size_max_bytes=3 * 1024 * 1024)
    writer = SqliteWriter(db_path, policy)
    big = "y" * 2_000
    for number in range(20):
        clock.now += 60
        logs = [log_row(f"{number} {big}") for _ in range(50)]
        write(writer, *[span_row(attributes=f'{{"x":"{big}"}}') for _ in range(50)], logs=logs)
    maintain(writer)
    writer.close()
    first_log = ask_one(db_path, "SELECT min(arrived_unix_s) FROM _logs")
    first_span = ask_one(
        db_path,
        "SELECT unix_s FROM _arrivals WHERE first_span_id <= (SELECT min(id) FROM _spans) ORDER BY 1 DESC LIMIT 1",
    )
    assert ask_one(db_path, "PRAGMA page_count") * ask_one(db_path, "PRAGMA page_size") < policy.size_max_bytes
    assert abs(first_log - first_span) <= 120
    assert NOW_S + 300 < first_log < NOW_S + 20 * 60


def test_a_resource_that_only_records_have_stays_while_they_do(kept_writer, clock, db_path):
    write(kept_writer, logs=[log_row(severity_number=17, resource=resource_row("only logs"))])
    clock.now += 6 * DAY
    maintain(kept_writer)
    assert ask(db_path, "SELECT service, body FROM logs") == [("only logs", "it happened")]
    assert ask(db_path, "PRAGMA foreign_key_check") == []
