"""Zipkin's JSON of version 2 is read as OpenTelemetry's transformation has it, backwards."""

from __future__ import annotations

import json

import pytest
from formats_kit import errors_in, rows_in

from otel_perfmon.storage.rows import key_of

CLIENT = {
    "traceId": "5982fe77008310cc80f1da5e10147517",
    "parentId": "90394f6bcffb5d13",
    "id": "67fae42571535f60",
    "kind": "CLIENT",
    "name": "get /api",
    "timestamp": 1_516_781_775_726_000,
    "duration": 26_000,
    "localEndpoint": {"serviceName": "frontend", "ipv4": "192.168.99.1", "port": 8081},
    "remoteEndpoint": {"serviceName": "backend", "ipv6": "2001:db8::c001", "port": 9000},
    "annotations": [{"timestamp": 1_516_781_775_727_000, "value": "ws"}],
    "tags": {"http.path": "/api", "otel.scope.name": "lib", "w3c.tracestate": "a=b"},
}
SERVER = {
    **CLIENT, "kind": "SERVER", "shared": True, "timestamp": 1_516_781_775_726_000, "name": "get",
    "localEndpoint": {"serviceName": "backend"}, "annotations": [], "tags": {},
}  # fmt: skip


def bytes_of(value, **options) -> bytes:
    return json.dumps(value, **options).encode()


@pytest.mark.parametrize(
    "data",
    [
        bytes_of([CLIENT]),
        bytes_of([[CLIENT], []]),
        bytes_of([CLIENT], indent=2),
        bytes_of([CLIENT], sort_keys=True),
        bytes_of(CLIENT) + b"\r\n",
        b"\xef\xbb\xbf\n" + bytes_of([[CLIENT]]),
    ],
)
def test_all_the_forms_of_zipkins_json_are_read(data):
    (row,) = rows_in(data)
    assert (row.trace_id.hex(), row.span_id.hex(), row.parent_span_id.hex()) == (
        CLIENT["traceId"],
        CLIENT["id"],
        CLIENT["parentId"],
    )
    assert (row.name, row.kind, row.flags) == ("get /api", 3, 1)
    assert (row.start_unix_nano, row.duration_nano) == (1_516_781_775_726_000_000, 26_000_000)
    assert json.loads(row.resource.attributes) == {"service.name": "frontend"}
    assert row.scope.name == "lib"
    assert row.details.trace_state == "a=b"
    assert json.loads(row.attributes) == {
        "peer.service": "backend",
        "network.peer.address": "2001:db8::c001",
        "network.peer.port": 9000,
        "network.local.address": "192.168.99.1",
        "network.local.port": 8081,
        "http.path": "/api",
    }
    (event,) = json.loads(row.details.events)
    assert (event["name"], event["time_unix_nano"]) == ("ws", 1_516_781_775_727_000_000)


def test_both_sides_of_a_call_that_share_an_id_are_kept_and_the_servers_is_marked():
    client, server = rows_in(bytes_of([CLIENT, SERVER]))
    assert client.span_id == server.span_id
    assert key_of(client) != key_of(server)
    assert (client.duration_nano, server.duration_nano) == (26_000_000, 26_000_000)
    assert server.start_unix_nano // 1_000 == CLIENT["timestamp"]
    assert (client.kind, server.kind) == (3, 2)
    assert json.loads(server.attributes)["zipkin.shared"] is True


@pytest.mark.parametrize(
    ("tags", "code", "message"),
    [
        ({"error": ""}, 2, ""),
        ({"error": "true"}, 2, ""),
        ({"error": "timed out"}, 2, "timed out"),
        ({"error": "false"}, 0, ""),
        ({"otel.status_code": "OK"}, 1, ""),
        ({"otel.status_code": "ERROR", "error": "why"}, 2, "why"),
        ({"otel.status_code": "ERROR", "otel.status_description": "why"}, 2, "why"),
        ({}, 0, ""),
    ],
)
def test_a_status_is_told_by_the_tags(tags, code, message):
    (row,) = rows_in(bytes_of([{"traceId": "1", "id": "2", "tags": tags}]))
    assert row.status_code == code
    assert (row.details.status_message if row.details else "") == message
    assert row.attributes == ""


def test_a_span_without_times_has_those_of_its_annotations():
    notes = [{"timestamp": 7, "value": "b"}, {"timestamp": 3, "value": "a"}]
    (row,) = rows_in(bytes_of([{"traceId": "1", "id": "2", "annotations": notes}]))
    assert (row.start_unix_nano, row.end_unix_nano) == (3_000, 7_000)
    (row,) = rows_in(bytes_of([{"traceId": "1", "id": "2"}]))
    assert (row.start_unix_nano, row.end_unix_nano, row.name, row.kind) == (0, 0, "", 1)


@pytest.mark.parametrize(
    ("value", "name", "attributes"),
    [
        ('"retry": {"n": 1}', "retry", {"n": 1}),
        ('{"retry": {"n": 1}}', "retry", {"n": 1}),
        ('{"retry": 1}', '{"retry": 1}', {}),
        ('"quoted"', '"quoted"', {}),
        ("{" * 10_000, "{" * 999 + "…", {}),
        ("plain", "plain", {}),
    ],
)
def test_an_annotation_is_an_event_whose_attributes_may_be_in_its_text(value, name, attributes):
    (row,) = rows_in(bytes_of([{"traceId": "1", "id": "2", "annotations": [{"timestamp": 1, "value": value}]}]))
    (event,) = json.loads(row.details.events)
    assert (event["name"], event["attributes"]) == (name, attributes)


@pytest.mark.parametrize(
    ("span", "what"),
    [
        ({"traceId": "1"}, "its id is no id"),
        ({"traceId": "0" * 32, "id": "1"}, "its traceId is no id"),
        ({"traceId": "1" * 33, "id": "1"}, "its traceId is no id"),
        ({"traceId": "1", "id": "+1"}, "its id is no id"),
        ({"traceId": "1", "id": "\N{FULLWIDTH DIGIT ONE}"}, "its id is no id"),
        ({"traceId": "1", "id": "1", "timestamp": {}}, "its timestamp is no number"),
        ({"traceId": "1", "id": "1", "timestamp": "9" * 5_000}, "its timestamp is no number"),
        ({"traceId": "1", "id": "1", "duration": 1e999}, "its duration is no number"),
        ({"traceId": "1", "id": "1", "tags": []}, "its tags are no object"),
        ({"traceId": "1", "id": "1", "annotations": {}}, "its annotations are no list"),
        ({"traceId": "1", "id": "1", "annotations": [{}]}, "an annotation has no value"),
        ({"traceId": "1", "id": "1", "localEndpoint": "x"}, "its localEndpoint is no object"),
        ({"traceId": "1", "id": "1", "binaryAnnotations": []}, "version 1"),
        ([[]], "an object was expected"),
    ],
)
def test_a_bad_span_is_told_in_a_sentence_and_the_rest_goes_on(span, what):
    data = bytes_of([CLIENT, span, CLIENT])
    ((place, error),) = errors_in(data)
    assert place == "line 1, span 2"
    assert error.startswith("This is no span of Zipkin's: ")
    assert what in error
    assert len(error) < 200


def test_times_beyond_64_bits_are_cut_and_that_is_told():
    (row,) = rows_in(bytes_of([{"traceId": "1", "id": "2", "timestamp": 10**30, "duration": -(10**40)}]))
    assert row.start_unix_nano == 2**63 - 1
    assert row.duration_nano == 0
    assert row.details.altered == "times"
