from __future__ import annotations

import json

import pytest
from storage_kit import RowDoor, ask, ask_one, point_row, resource_row, scope_row, span_row

from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.raw_points import add_raw
from otel_perfmon.storage.redactor import RedactionPolicy, Redactor
from otel_perfmon.storage.rows import SpanDetails

SECRET = "hunter2abc"
STATEMENT = f"password={SECRET} is wrong"
CLEAN = "password=[redacted] is wrong"


@pytest.fixture
def redactor():
    return Redactor()


def redacted(redactor, *rows):
    return list(redactor.redact_spans(SpanColumns.of(rows)))


def test_rows_without_secrets_are_the_same_objects(redactor):
    rows = SpanColumns.of([span_row("a", attributes='{"n":1}'), span_row("b", error="no", events='[{"name":"x"}]')])
    again = redactor.redact_spans(rows)
    assert list(again) == list(rows)
    assert all(old is new for old, new in zip(rows.columns[5], again.columns[5], strict=True))
    assert redactor.redact_spans(SpanColumns.of([])).columns == SpanColumns.of([]).columns


def test_every_text_of_a_span_is_redacted_and_the_row_is_marked(redactor):
    events = json.dumps(
        [{"name": STATEMENT, "time_unix_nano": 1, "attributes": {"exception.stacktrace": f"x\n{STATEMENT}"}}]
    )
    links = json.dumps([{"trace_id": "00", "attributes": {"api_key": SECRET}}])
    details = SpanDetails(STATEMENT, f"Error: token={SECRET}", STATEMENT, "", events, links, altered="name")
    row = span_row(f"call token={SECRET}", attributes=json.dumps({"auth_token": SECRET, "n": 1}))._replace(
        details=details
    )
    clean = redacted(redactor, span_row(), row, span_row())[1]
    assert SECRET not in repr(clean)
    assert clean.name == "call token=[redacted]"
    assert json.loads(clean.attributes) == {"auth_token": "[redacted]", "n": 1}
    assert clean.details.status_message == clean.details.error_message == CLEAN
    assert clean.details.altered == "name,redacted"
    assert json.loads(clean.details.links)[0]["attributes"] == {"api_key": "[redacted]"}


def test_a_span_without_details_is_marked_too(redactor):
    clean = redacted(redactor, span_row(attributes='{"password":"x1"}'))[0]
    assert clean.details == SpanDetails(altered="redacted")


def test_resources_and_scopes_are_redacted_once_and_stay_shared(redactor):
    arguments = {"process.command_args": ["app", f"--password={SECRET}"]}
    resource = resource_row()
    secret = type(resource)("shop", "1", "", json.dumps(arguments))
    scope = type(scope_row())("lib", "1", "", json.dumps({"api_key": SECRET}))
    first, second, third = redacted(
        redactor, span_row()._replace(resource=secret, scope=scope), span_row()._replace(resource=secret), span_row()
    )
    assert first.resource is second.resource is not secret
    assert SECRET not in first.resource.attributes + first.scope.attributes
    assert redacted(redactor, span_row()._replace(resource=secret))[0].resource is first.resource
    assert third.resource.service_name == "shop"


def test_points_are_redacted_with_their_exemplars(redactor):
    data = json.dumps({"value": 3, "exemplars": [{"value": 3, "filtered_attributes": {"session_id": SECRET}}]})
    clean = redactor.redact_points([point_row(attributes=json.dumps({"api_key": SECRET}), data=data), point_row()])
    assert SECRET not in repr(clean)
    assert clean[1] == point_row()._replace(resource=clean[1].resource, scope=clean[1].scope)


@pytest.mark.parametrize("name", ["instrument", "unit", "description"])
def test_a_point_has_no_secret_in_any_of_its_texts_nor_the_raw_form_that_has_it(redactor, name):
    text = f"password={SECRET}"
    (clean,) = redactor.redact_points([point_row(data=add_raw('{"value":3}', text.encode()), **{name: text})])
    assert getattr(clean, name) == "password=[redacted]"
    assert clean.data == '{"value":3}'


def test_a_policy_can_switch_it_off_and_add_names_and_patterns_at_any_time(redactor):
    row = span_row(attributes=json.dumps({"password": "p1", "badge": "b1", "note": "corp-123456"}))
    redactor.policy = RedactionPolicy(is_on=False)
    assert redacted(redactor, row)[0] == row
    redactor.policy = RedactionPolicy(keys=("badge",), patterns=("corp-[0-9]{6}",))
    assert set(json.loads(redacted(redactor, row)[0].attributes).values()) == {"[redacted]"}


def test_where_redaction_itself_fails_the_text_is_not_kept(redactor, monkeypatch):
    redacted(redactor, span_row())
    monkeypatch.setattr(redactor._redaction, "redact_json", lambda _text: 1 / 0)
    clean = redacted(
        redactor, span_row(attributes=json.dumps({"password": SECRET}), events=json.dumps([{"token": SECRET}]))
    )
    assert SECRET not in repr(clean)
    assert clean[0].details.altered == "redacted"


def test_statistics_error_groups_and_names_are_made_of_the_redacted_text(recorder, db_path):
    door = RowDoor()
    for number in range(5):
        recorder.record(door, span_row(f"login token=abcdef12345{number}", error=f"password=hunter{number} is wrong"))
    recorder.write_points([point_row(attributes=json.dumps({"api_key": SECRET}))])
    recorder.flush()
    assert ask(db_path, "SELECT operation, count FROM operations") == [("login token=[redacted]", 5)]
    assert ask(db_path, "SELECT message, last_message, count FROM error_groups") == [(CLEAN, CLEAN, 5)]
    assert ask_one(db_path, "SELECT attributes FROM points") == '{"api_key":"[redacted]"}'
    assert ask_one(db_path, "SELECT altered FROM health") == 5
