from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from storage_kit import NOW_S, ask, ask_one, point_row, resource_row, scope_row, span_row, write

from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.rows import ScopeRow
from otel_perfmon.storage.sqlite import names as module
from otel_perfmon.storage.sqlite import writer as writers
from otel_perfmon.storage.sqlite.connection import open_writer
from otel_perfmon.storage.sqlite.figures import begin_generation
from otel_perfmon.storage.sqlite.names import OVERFLOW_OPERATION, Names
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.writer import SqliteWriter


@pytest.fixture
def connection(db_path):
    with closing(open_writer(db_path)) as connection:
        yield connection


@pytest.fixture
def names(connection):
    names = Names(connection)
    names.now_unix_s = NOW_S
    return names


def test_a_name_has_one_id_for_each_service_whoever_asks(names, connection):
    shop, stock = resource_row("shop"), resource_row("stock")
    first = names.operation(shop, "op")
    assert names.operation(shop, "op") == first
    assert names.operation(replace(shop), "op") == first
    assert names.operation(resource_row("shop", instance="b"), "op") == first
    assert names.operation(stock, "op") != first
    assert names.operation(resource_row("shop", version="2.0"), "op") != first
    names.clear()
    assert names.operation(shop, "op") == first
    assert Names(connection).operation(shop, "op") == first


def test_resources_and_scopes_with_the_same_content_are_stored_once(names, connection):
    one = names.resource(resource_row())
    assert names.resource(replace(resource_row())) == one
    assert names.resource(resource_row(instance="b")) != one
    scope = names.scope(scope_row())
    assert names.scope(replace(scope_row())) == scope
    assert names.scope(ScopeRow("scope", "1", "", "{}")) != scope
    assert connection.execute("SELECT count(*) FROM _services").fetchone() == (1,)


def test_instruments_that_differ_in_anything_are_told_apart(names):
    point = point_row()
    first = names.instrument(point)
    assert names.instrument(point_row(at=5)) == first
    for changes in (
        {"unit": "s"},
        {"kind": "gauge"},
        {"temporality": 2},
        {"is_monotonic": False},
        {"description": "d"},
    ):
        assert names.instrument(point._replace(**changes)) != first


def test_a_resource_in_use_is_noted_once_an_hour(names, connection):
    query = "SELECT last_used_unix_s - ? FROM _resources"
    names.resource(resource_row())
    for later, noted in ((60, 0), (3600, 0), (3601, 3601), (7000, 3601)):
        names.now_unix_s = NOW_S + later
        names.resource(resource_row())
        assert connection.execute(query, (NOW_S,)).fetchone() == (noted,)


def test_a_cache_that_is_full_begins_anew_and_ids_stay(names, monkeypatch):
    monkeypatch.setattr(module, "_CACHE_MAX", 5)
    ids = [names.operation(resource_row(), f"op{i}") for i in range(20)]
    assert [names.operation(resource_row(), f"op{i}") for i in range(20)] == ids
    assert len(names._operations) <= 5


# --- operations past their limit


def test_past_two_thousand_operations_the_others_are_one_and_their_spans_keep_their_own_names(writer, db_path):
    assert module.OPERATIONS_PER_SERVICE_MAX == 2_000
    write(writer, *[span_row(f"op{i}") for i in range(2_100)], *[span_row(f"op{i}") for i in range(2_100)])
    write(writer, span_row("op2099"), span_row("op0"), span_row("op0", service="stock"))
    assert ask_one(db_path, "SELECT count(*) FROM _operations WHERE is_overflow = 0") == 2_001
    assert ask(db_path, "SELECT operation, count FROM operations WHERE operation = ?", OVERFLOW_OPERATION) == [
        (OVERFLOW_OPERATION, 201)
    ]
    assert ask_one(db_path, "SELECT count(DISTINCT name) FROM spans") == 2_100
    with closing(SqliteReader(db_path)) as reader:
        assert len(reader.find_spans(SpanQuery(operation="op2099"))) == 3
        assert len(reader.find_spans(SpanQuery(operation="op2000", service="shop"))) == 2
        assert len(reader.find_spans(SpanQuery(operation="op0"))) == 4
        assert sum(each.count for each in reader.summarize_operations()) == 4_203
    assert (
        ask_one(db_path, "SELECT count(*) FROM _spans WHERE json_extract(nullif(details, ''), '$.name') != ''") == 201
    )


def test_each_service_has_room_of_its_own(names, monkeypatch):
    monkeypatch.setattr(module, "OPERATIONS_PER_SERVICE_MAX", 2)
    for service in ("shop", "stock"):
        found = [names.operation(resource_row(service), f"op{i}") for i in range(4)]
        assert [own for _, own in found] == ["", "", "op2", "op3"]
        assert found[2][0] == found[3][0]


def test_several_processes_share_the_room_of_a_service(db_path, monkeypatch):
    monkeypatch.setattr(module, "OPERATIONS_PER_SERVICE_MAX", 10)
    with closing(SqliteWriter(db_path)) as first, closing(SqliteWriter(db_path)) as second:
        for i in range(40):
            write(first if i % 2 else second, span_row(f"op{i}"))
    assert ask_one(db_path, "SELECT count(*) FROM _operations WHERE is_overflow = 0") <= 11
    assert ask_one(db_path, "SELECT count(*) FROM spans") == 40


def test_a_span_that_bears_the_name_of_the_overflow_itself_is_found(writer, db_path, monkeypatch):
    monkeypatch.setattr(module, "OPERATIONS_PER_SERVICE_MAX", 1)
    write(writer, span_row("op"), span_row("over"), span_row(OVERFLOW_OPERATION))
    with closing(SqliteReader(db_path)) as reader:
        found = reader.find_spans(SpanQuery(operation=OVERFLOW_OPERATION))
        assert OVERFLOW_OPERATION in [span.name for span in found]


def test_an_operation_that_was_rolled_back_is_not_remembered(writer, db_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(writers, "add_edges", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(writer, span_row("new", service="new"))
    write(writer, span_row("other"))
    write(writer, span_row("new", service="new"))
    assert ask(db_path, "SELECT name, service FROM spans") == [("other", "shop"), ("new", "new")]


def test_names_for_which_there_is_no_room_share_one_and_their_spans_are_marked(db_path, monkeypatch):
    monkeypatch.setattr(writers, "NAMES_BYTES_MAX", 2_000)
    with closing(SqliteWriter(db_path)) as writer:
        rows = [
            span_row(f"op {number}")._replace(
                scope=ScopeRow(f"scope {number}", "", "", "{}"), resource=resource_row(f"s{number}")
            )
            for number in range(100)
        ]
        write(writer, *rows)
    assert ask_one(db_path, "SELECT count(*) FROM _scopes") < 20
    assert ask_one(db_path, "SELECT count(*) FROM _services") < 20
    assert ask_one(db_path, "SELECT count(*) FROM spans") == 100
    assert ask_one(db_path, "SELECT count(DISTINCT name) FROM spans") == 100
    altered = ask_one(db_path, "SELECT count(*) FROM spans WHERE altered LIKE '%scope%'")
    assert altered > 70
    assert ask_one(db_path, "SELECT sum(altered) FROM health") >= altered


def test_a_writer_follows_when_another_gives_ids_up(db_path):
    with closing(SqliteWriter(db_path)) as one, closing(SqliteWriter(db_path)) as other:
        write(one, span_row("op"))
        write(other, span_row("else"))
        connection = other._open_connection()
        connection.execute("DELETE FROM _spans WHERE operation_id = (SELECT id FROM _operations WHERE name = 'op')")
        connection.execute("DELETE FROM _rollups WHERE operation_id = (SELECT id FROM _operations WHERE name = 'op')")
        connection.execute("DELETE FROM _operations WHERE name = 'op'")
        begin_generation(connection)
        write(other, span_row("new"))
        write(one, span_row("op"))
    assert ask(db_path, "SELECT operation, count(*) FROM metrics GROUP BY 1 ORDER BY 1") == [
        ("else", 1),
        ("new", 1),
        ("op", 1),
    ]
