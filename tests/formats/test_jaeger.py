"""What goes out as Jaeger's JSON comes in again as it was, and what Jaeger itself writes is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from formats_kit import errors_in, read, records, rows_in
from hypothesis import given, settings
from hypothesis import strategies as st
from records_kit import span_record

from otel_perfmon.formats.jaeger_encoding import encode_jaeger_json
from otel_perfmon.records import EventRecord, LinkRecord, ResourceRecord, ScopeRecord, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes
from otel_perfmon.storage.row_maker import RowMaker

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=pytest.mark.long)])
TOLD_IN_TAGS = ("otel.", "span.kind", "error", "w3c.tracestate", "event", "service.name")


def encode(*spans: SpanRecord) -> bytes:
    return b"".join(encode_jaeger_json([spans]))


def held(span: SpanRecord) -> SpanRecord:
    """What Jaeger can hold of a span: microseconds, one bit of flags, scalars, no kind for what is internal."""
    start, end = span.start_unix_nano // 1000 * 1000, span.end_unix_nano // 1000 * 1000
    scope = ScopeRecord(span.scope.name, span.scope.version)
    parent = span.parent_span_id
    links = list(span.links)
    if parent is None and (own := next((link for link in links if link.trace_id == span.trace_id), None)):
        links.remove(own)
        parent = own.span_id
    events = tuple(
        replace(event, time_unix_nano=event.time_unix_nano // 1000 * 1000, attributes=held_attributes(event.attributes))
        for event in span.events
    )
    return replace(
        span,
        parent_span_id=parent,
        start_unix_nano=start,
        end_unix_nano=end,
        kind=span.kind or 1,
        flags=span.flags & 1,
        attributes=held_attributes(span.attributes),
        events=events,
        links=tuple(links),
        scope=scope,
        resource=held_resource(span.resource),
        is_slow=end - start > 10**9,
    )


def held_attributes(attributes):
    return {key: held_value(value) for key, value in attributes.items()}


def held_resource(resource: ResourceRecord) -> ResourceRecord:
    others = {key: value for key, value in resource.attributes.items() if key != "service.name"}
    name = resource.attributes.get("service.name") or "unknown_service"
    return ResourceRecord({"service.name": name, **held_attributes(others)})


def held_value(value):
    if value is None:
        return ""
    if isinstance(value, (str, bytes)):
        return value
    return (
        json.dumps(untupled(value), ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, (Mapping, Sequence))
        else value
    )


def untupled(value):
    return json.loads(encode_attributes({"v": value}).text)["v"]


def fields_of(row):
    """A row, its resource and scope by what they hold, the attributes in any order."""
    resource = (row.resource.service_name, json.loads(row.resource.attributes), row.resource.schema_url)
    scope = (row.scope.name, row.scope.version, row.scope.attributes)
    return row._replace(resource=resource, scope=scope, attributes=json.loads(row.attributes or "{}"))


def is_plain(span: SpanRecord) -> bool:
    parts = [span.attributes, span.resource.attributes, *(event.attributes for event in span.events)]
    names = [key for part in parts for key in part]
    return not any(key.startswith(TOLD_IN_TAGS) for key in names)


@EXAMPLES
def test_a_span_that_went_out_as_jaegers_comes_in_as_far_as_jaeger_can_hold_it(examples):
    @settings(max_examples=examples)
    @given(st.lists(records().filter(is_plain), min_size=1, max_size=3))
    def check(spans):
        maker = RowMaker()
        expected = [fields_of(maker.row_of(held(span))) for span in spans]
        assert sorted(map(fields_of, rows_in(encode(*spans))), key=repr) == sorted(expected, key=repr)

    check()


def test_the_document_is_what_jaegers_query_service_answers():
    event = EventRecord("exception", 5_000, {"exception.type": "E"}, 2)
    link = LinkRecord("c" * 32, "d" * 16, attributes={"opentracing.ref_type": "child_of"})
    span = span_record(
        parent_span_id="e" * 16, kind=2, status_code=2, status_message="why", is_error=True, altered=("name",),
        attributes={"n": 2**60, "f": 1.5, "yes": True, "raw": b"\x00", "list": ("a", 1), "none": None},
        events=(event,), links=(link, LinkRecord("c" * 32, "f" * 16)), flags=0x103, scope=ScopeRecord("lib", "2"),
    )  # fmt: skip
    document = json.loads(encode(span))
    assert {key: document[key] for key in ("total", "limit", "offset", "errors")} == {
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    (trace,) = document["data"]
    assert trace["traceID"] == span.trace_id
    assert trace["processes"] == {"p1": {"serviceName": "shop", "tags": []}}
    (found,) = trace["spans"]
    assert found == {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "flags": 1,
        "operationName": "op",
        "references": [
            {"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": "e" * 16},
            {"refType": "CHILD_OF", "traceID": "c" * 32, "spanID": "d" * 16},
            {"refType": "FOLLOWS_FROM", "traceID": "c" * 32, "spanID": "f" * 16},
        ],
        "startTime": 0,
        "duration": 2500,
        "tags": [
            {"key": "n", "type": "int64", "value": str(2**60)},
            {"key": "f", "type": "float64", "value": 1.5},
            {"key": "yes", "type": "bool", "value": True},
            {"key": "raw", "type": "binary", "value": "AA=="},
            {"key": "list", "type": "string", "value": '["a",1]'},
            {"key": "none", "type": "string", "value": ""},
            {"key": "otel.scope.name", "type": "string", "value": "lib"},
            {"key": "otel.scope.version", "type": "string", "value": "2"},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "otel.status_code", "type": "string", "value": "ERROR"},
            {"key": "otel.status_description", "type": "string", "value": "why"},
            {"key": "error", "type": "bool", "value": True},
        ],
        "logs": [
            {
                "timestamp": 5,
                "fields": [
                    {"key": "event", "type": "string", "value": "exception"},
                    {"key": "exception.type", "type": "string", "value": "E"},
                    {"key": "otel.event.dropped_attributes_count", "type": "int64", "value": 2},
                ],
            }
        ],
        "processID": "p1",
        "warnings": ["Cut or replaced to be stored: name."],
    }


def test_an_export_without_spans_is_a_document_without_traces():
    assert json.loads(encode())["data"] == []
    assert rows_in(encode()) == []


SPAN = {"traceID": "ab", "spanID": "cd", "operationName": "op", "startTime": 1_000_000, "duration": 2_000}
PROCESS = {"serviceName": "shop", "tags": [{"key": "host", "type": "string", "value": "h1"}]}
TRACE = {"traceID": "ab", "spans": [{**SPAN, "processID": "p1"}], "processes": {"p1": PROCESS}, "warnings": None}


def bytes_of(value, **options) -> bytes:
    return json.dumps(value, **options).encode()


@pytest.mark.parametrize(
    "data",
    [
        bytes_of({"data": [TRACE], "total": 0, "errors": None}),
        bytes_of({"data": [TRACE]}, indent=4),
        bytes_of({"data": [TRACE]}, sort_keys=True),
        bytes_of(TRACE),
        bytes_of([TRACE]),
        bytes_of({**SPAN, "process": PROCESS}),
        bytes_of({**SPAN, "process": PROCESS}, indent=1).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + bytes_of(TRACE) + b"\r\n",
        bytes_of({"data": [TRACE]}, indent=2).replace(b"\n", b"\r\n"),
        bytes_of(TRACE, indent=2).replace(b"\n", b"\r"),
    ],
)
def test_all_the_forms_of_jaegers_json_are_read(data):
    (row,) = rows_in(data)
    assert (row.trace_id.hex(), row.span_id.hex()) == ("ab".rjust(32, "0"), "cd".rjust(16, "0"))
    assert (row.name, row.start_unix_nano, row.duration_nano) == ("op", 10**9, 2_000_000)
    assert json.loads(row.resource.attributes) == {"service.name": "shop", "host": "h1"}
    assert (row.kind, row.flags, row.status_code) == (1, 1, 0)


def test_a_bad_span_is_told_by_its_number_and_the_rest_goes_on():
    spans = [SPAN, {**SPAN, "spanID": "xyz"}, 5, {**SPAN, "spanID": "1", "startTime": "soon"}, {**SPAN, "spanID": "2"}]
    data = bytes_of({"data": [{**TRACE, "spans": spans}]})
    assert errors_in(data) == [
        ("line 1, span 2", "This is no span of Jaeger's: its spanID is no id of up to 16 hex digits: 'xyz'."),
        ("line 1, span 3", "This is no span of Jaeger's: an object was expected, not 5."),
        ("line 1, span 4", "This is no span of Jaeger's: its startTime is no number of microseconds: 'soon'."),
    ]


@pytest.mark.parametrize("told", [123, 1.5, ["9"], {"a": 1}, True])
def test_a_parent_that_is_no_text_is_told_and_the_rest_goes_on(told):
    line = bytes_of({**SPAN, "process": PROCESS})
    pieces = read(bytes_of({**SPAN, "parentSpanID": told}) + b"\n" + line)
    assert [(piece.place, str(piece.error)) for piece in pieces if piece.error] == [
        ("line 1, span 1", f"This is no span of Jaeger's: its parentSpanID is no id of up to 16 hex digits: {told!r}.")
    ]
    assert sum(len(piece.rows) for piece in pieces) == 1


def test_a_number_of_any_length_is_read_alike_before_the_processes_and_behind_them():
    spans = f'"spans":[{{"traceID":"1","spanID":"2","tags":[{{"key":"n","value":{"9" * 5_000}}}]}}]'
    for text in (f'{{{spans},"processes":{{}}}}', f'{{"processes":{{}},{spans}}}'):
        (row,) = rows_in(text.encode())
        assert json.loads(row.attributes) == {"n": {"@double": "Infinity"}}


def test_a_bad_line_is_told_and_the_next_one_is_read():
    line = bytes_of({**SPAN, "process": PROCESS})
    assert [place for place, _ in errors_in(line + b"\n{nonsense\n" + line + b"\n7\n" + line)] == [
        "line 2",
        "line 4",
    ]


def test_a_document_that_breaks_off_gives_what_was_whole():
    data = b"".join(encode_jaeger_json([[span_record(span_id=f"{number:016x}") for number in range(1, 700)]]))
    pieces = read(data[: len(data) // 2])
    assert 300 < sum(len(piece.rows) for piece in pieces) < 400
    assert [str(piece.error)[:16] for piece in pieces if piece.error] == ["This is no JSON:"]


def tag(key, value, kind="string"):
    return {"key": key, "type": kind, "value": value}


@pytest.mark.parametrize(
    ("tags", "code", "message", "left"),
    [
        ([tag("error", True, "bool")], 2, "", {}),
        ([tag("error", "true")], 2, "", {}),
        ([tag("error", False, "bool"), tag("otel.status_code", "OK")], 1, "", {}),
        ([tag("error", "timeout")], 0, "", {"error": "timeout"}),
        ([tag("otel.status_code", "ERROR"), tag("otel.status_description", "why")], 2, "why", {}),
        ([tag("otel.status_code", 2, "int64")], 2, "", {}),
        ([tag("otel.status_code", "nonsense")], 0, "", {}),
    ],
)
def test_a_status_is_told_by_the_tags_of_either_kind(tags, code, message, left):
    (row,) = rows_in(bytes_of({**SPAN, "tags": tags}))
    assert (row.status_code, json.loads(row.attributes or "{}")) == (code, left)
    assert (row.details.status_message if row.details else "") == message


def test_tags_that_elasticsearch_has_as_fields_are_tags_like_the_others():
    fields = {"http@status_code": 500, "error": True, "span@kind": "server"}
    process = {**PROCESS, "tag": {"host@name": "h2", "zone": "z"}}
    (row,) = rows_in(bytes_of({**SPAN, "tags": [tag("a", "b")], "tag": fields, "process": process}))
    assert json.loads(row.attributes) == {"http.status_code": 500, "a": "b"}
    assert (row.kind, row.status_code, row.details) == (2, 2, None)
    assert json.loads(row.resource.attributes) == {
        "service.name": "shop", "host.name": "h2", "zone": "z", "host": "h1",
    }  # fmt: skip
    (row,) = rows_in(bytes_of({**SPAN, "tags": [tag("a.b", 1, "int64")], "tag": {"a@b": 2}}))
    assert (json.loads(row.attributes), row.details.altered) == ({"a.b": 1}, "attributes")


def test_values_are_what_their_type_says_and_stay_when_they_cannot_be():
    tags = [
        tag("i", "12", "int64"), tag("f", 1, "float64"), tag("b", "TRUE", "bool"), tag("raw", "aGk=", "binary"),
        tag("odd", "x", "int64"), tag("nan", "NaN", "float64"), tag("odder", "!", "binary"), {"key": "bare"},
    ]  # fmt: skip
    (row,) = rows_in(bytes_of({**SPAN, "tags": tags}))
    assert json.loads(row.attributes) == {
        "i": 12, "f": 1.0, "b": True, "raw": {"@bytes": "aGk="}, "odd": "x", "nan": {"@double": "NaN"}, "odder": "!",
        "bare": None,
    }  # fmt: skip


def test_references_are_the_parent_and_the_links_as_jaeger_draws_them():
    def reference(kind, trace_id, span_id):
        return {"refType": kind, "traceID": trace_id, "spanID": span_id}

    follows = reference("FOLLOWS_FROM", "ab", "1")
    child = reference("CHILD_OF", "ab", "2")
    other = reference("CHILD_OF", "ff", "3")
    (row,) = rows_in(bytes_of({**SPAN, "references": [other, follows, child]}))
    assert row.parent_span_id == (2).to_bytes(8, "big")
    links = json.loads(row.details.links)
    assert [(link["span_id"][-1], link["attributes"]) for link in links] == [
        ("3", {"opentracing.ref_type": "child_of"}),
        ("1", {}),
    ]
    (row,) = rows_in(bytes_of({**SPAN, "references": [follows]}))
    assert (row.parent_span_id, row.details) == ((1).to_bytes(8, "big"), None)
    (row,) = rows_in(bytes_of({**SPAN, "parentSpanID": "9"}))
    assert row.parent_span_id == (9).to_bytes(8, "big")


def test_an_error_of_the_query_service_holds_no_spans():
    assert rows_in(b'{"data":null,"total":0,"errors":[{"code":404,"msg":"trace not found"}]}') == []
