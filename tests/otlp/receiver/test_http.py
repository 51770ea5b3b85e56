"""OTLP over HTTP: what is acknowledged is stored, once; what is not OTLP is refused in the sender's own encoding."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib

import pytest
import zstandard
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from serve_kit import JSON, PROTOBUF, span_json, traces_json

from otel_perfmon import SpanQuery
from otel_perfmon.otlp.wire import varint


def names_in(store, operation):
    return [span.name for span in store.find_spans(SpanQuery(operation=operation, limit=1000))]


def as_protobuf(*spans) -> bytes:
    data = TracesData()
    scope_spans = data.resource_spans.add().scope_spans.add()
    for span in spans:
        scope_spans.spans.add(
            trace_id=bytes.fromhex(span["traceId"]),
            span_id=bytes.fromhex(span["spanId"]),
            name=span["name"],
            end_time_unix_nano=int(span["endTimeUnixNano"]),
        )
    return data.SerializeToString()


def test_json_is_answered_in_json_and_stored(served, store):
    answer = served.post(traces_json(span_json(1, "json")), media_type=f"{JSON}; charset=utf-8")
    assert (answer.status, answer.media_type, answer.json()) == (200, JSON, {})
    assert names_in(store, "json") == ["json"]


def test_protobuf_is_answered_in_protobuf_and_stored(served, store):
    answer = served.post(as_protobuf(span_json(2, "protobuf")), media_type=PROTOBUF)
    assert (answer.status, answer.media_type, answer.body) == (200, PROTOBUF, b"")
    assert names_in(store, "protobuf") == ["protobuf"]


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
@pytest.mark.parametrize(("media_type", "empty"), [(PROTOBUF, b""), (JSON, b"{}")])
def test_an_empty_request_succeeds(served, path, media_type, empty):
    answer = served.post(empty, path, media_type=media_type)
    assert (answer.status, answer.body) == (200, empty)


def test_metrics_and_logs_are_stored(served, store):
    point = {"asInt": "3", "timeUnixNano": "1764000000000000000"}
    metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [point]}}]}]}]}
    assert served.post(json.dumps(metrics).encode(), "/v1/metrics").status == 200
    assert [each.instrument for each in store.find_points("m")] == ["m"]
    record = {"body": {"stringValue": "said"}, "timeUnixNano": "1764000000000000000"}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    assert served.post(json.dumps(logs).encode(), "/v1/logs").status == 200


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:])),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("identity", bytes),
    ],
    ids=["gzip", "gzip of two members", "deflate", "bare deflate", "zstd", "identity"],
)
def test_every_content_coding_is_understood(served, store, coding, pack, request):
    name = request.node.callspec.id
    answer = served.post(pack(traces_json(span_json(1_000 + sum(name.encode()), name))), Content_Encoding=coding)
    assert answer.status == 200
    assert names_in(store, name) == [name]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("fault", ["nonsense", "cut", "more"])
def test_a_body_that_is_broken_is_refused(served, coding, fault):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    whole = pack(traces_json(span_json(4)))
    body = {"nonsense": b"nonsense", "cut": whole[:-7], "more": whole + b"more"}[fault]
    answer = served.post(body, Content_Encoding=coding)
    assert answer.status == 400
    assert answer.json()["code"] == 3


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("kept", [10, 0.5, -1])
def test_a_packed_body_that_is_cut_off_is_refused_though_protobuf_may_end_there(served, store, coding, kept):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    whole = pack(b"".join(as_protobuf(span_json(900 + number, "cut off")) for number in range(20)))
    body = whole[: int(kept * len(whole)) if kept == 0.5 else kept]
    assert served.post(as_protobuf(span_json(899, "whole")), media_type=PROTOBUF).status == 200
    assert served.post(body, media_type=PROTOBUF, Content_Encoding=coding).status == 400
    assert names_in(store, "cut off") == []


def test_so_is_one_of_several_frames_of_which_the_last_is_cut_off(served, store):
    pack = zstandard.ZstdCompressor().compress
    whole = b"".join(pack(as_protobuf(span_json(950 + number, "frames"))) for number in range(4))
    assert served.post(whole[:-5], media_type=PROTOBUF, Content_Encoding="zstd").status == 400
    assert names_in(store, "frames") == []
    assert served.post(whole, media_type=PROTOBUF, Content_Encoding="zstd").status == 200
    assert len(names_in(store, "frames")) == 4


def test_thousands_of_empty_frames_are_refused(served):
    body = zstandard.ZstdCompressor().compress(b"") * 100_000
    assert served.post(body, media_type=PROTOBUF, Content_Encoding="zstd").status == 400


def test_a_chunked_body_is_read(served, store):
    body = traces_json(span_json(5, "chunked"))
    head = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:9], body[9:]))
    answer = served.say(head.encode() + b"Connection: close\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert names_in(store, "chunked") == ["chunked"]


def test_spans_without_ids_are_refused_and_told_and_the_others_stored(served, store):
    body = traces_json(span_json(6, "good"), {"name": "bad"}, {"name": "worse", "spanId": "12"})
    answer = served.post(body)
    assert answer.status == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "2"
    assert names_in(store, "good") == ["good"]
    told = ExportTraceServiceResponse.FromString(
        served.post(TracesData.FromString(b"\n\x04\x12\x02\x12\x00").SerializeToString(), media_type=PROTOBUF).body
    )
    assert told.partial_success.rejected_spans == 1
    assert "trace_id" in told.partial_success.error_message


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ({"traceId": "12"}, "1 span had no trace_id of 16 bytes."),
        ({"spanId": "00" * 9}, "1 span had no span_id of 8 bytes."),
        ({"traceId": "00" * 16}, "1 span had a trace_id that is all zeros."),
        ({"spanId": "00" * 8}, "1 span had a span_id that is all zeros."),
        ({"parentSpanId": "abcdef"}, "1 span had a parent_span_id that is not of 8 bytes."),
    ],
)
def test_of_a_span_that_is_refused_it_is_said_what_is_wrong(served, ids, fault):
    bad = {**span_json(7), **ids}
    answer = served.post(traces_json(span_json(8), bad))
    assert answer.json()["partialSuccess"] == {"rejectedSpans": "1", "errorMessage": fault}
    two = served.post(traces_json(bad, bad, {**span_json(9), "parentSpanId": "ab" * 7})).json()["partialSuccess"]
    assert two["rejectedSpans"] == "3"


def test_faults_of_several_kinds_are_counted_each(served):
    bad = [{**span_json(7), "spanId": "12"}] * 2 + [{**span_json(7), "parentSpanId": "ab"}]
    told = served.post(traces_json(*bad)).json()["partialSuccess"]["errorMessage"]
    assert told == "2 spans had no span_id of 8 bytes; 1 span had a parent_span_id that is not of 8 bytes."


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
def test_a_slash_at_the_end_of_a_path_changes_nothing(served, path):
    assert served.post(b"{}", f"{path}/").status == 200
    assert served.post(b"nonsense", f"{path}/").status == 400
    answer = served.post(b"{}", f"{path}//")
    assert (answer.status, answer.json()["code"]) == (404, 5)


def test_a_span_that_is_sent_again_is_stored_and_counted_once(served, store):
    body = traces_json(*(span_json(100 + number, "again") for number in range(50)))
    assert [served.post(body).status for _ in range(3)] == [200, 200, 200]
    assert len(names_in(store, "again")) == 50
    assert [each.count for each in store.summarize_operations(operation="again")] == [50]


def test_so_it_is_when_it_is_sent_many_times_at_once(served, store):
    body = traces_json(*(span_json(200 + number, "at once") for number in range(50)))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(served.post(body).status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert len(names_in(store, "at once")) == 50
    assert [each.count for each in store.summarize_operations(operation="at once")] == [50]


def test_slow_and_failed_spans_are_marked_and_counted_for_their_service(served, store):
    slow = span_json(300, "slow one", endTimeUnixNano=str(1_764_000_000_000_000_000 + 5 * 10**9))
    failed = span_json(301, "failed one", status={"code": 2, "message": "no"})
    assert served.post(traces_json(slow, failed, service="till")).status == 200
    marks = {span.name: (span.is_slow, span.is_error) for span in store.find_spans(SpanQuery(service="till"))}
    assert marks == {"slow one": (True, False), "failed one": (False, True)}
    stats = {each.operation: (each.slow_count, each.error_count) for each in store.summarize_operations(service="till")}
    assert stats == {"slow one": (1, 0), "failed one": (0, 1)}


NONSENSE = [
    (JSON, b""),
    (JSON, b"nonsense"),
    (JSON, b"[]"),
    (JSON, b"[" * 100_000),
    (JSON, b'{"resourceSpans": ' + b'{"a": ' * 50_000),
    (JSON, b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\xff"}]}]}]}'),
    (JSON, b'{"resourceSpans": 5}'),
    (JSON, traces_json({"traceId": "xyz"})),
    (JSON, traces_json({"name": 5, "kind": "SERVER!"})),
    (PROTOBUF, b"nonsense"),
    (PROTOBUF, b"\x0a\xff"),
    (PROTOBUF, b"\x0a\x05ab"),
    (PROTOBUF, b"\x0b"),
    (PROTOBUF, b"\xff" * 100),
]


@pytest.mark.parametrize(("media_type", "body"), NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_a_400_with_a_status_in_the_encoding_of_the_request(served, media_type, body):
    answer = served.post(body, media_type=media_type)
    assert (answer.status, answer.media_type) == (400, media_type)
    if media_type == PROTOBUF:
        status = Status.FromString(answer.body)
        told = status.code, status.message
    else:
        told = answer.json()["code"], answer.json()["message"]
    assert told[0] == 3
    assert len(told[1]) > 20


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_another_content_type_is_a_415(served, media_type):
    answer = served.post(traces_json(span_json(7, "typeless")), media_type=media_type)
    assert (answer.status, answer.media_type) == (415, JSON)


def test_an_unknown_content_coding_is_a_415(served):
    assert served.post(b"{}", Content_Encoding="br").status == 415
    assert served.post(b"{}", Content_Encoding="gzip, gzip").status == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_another_method_is_a_405(served, method):
    answer = served.say(f"{method} /v1/traces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: POST" in answer
    assert b"access-control" not in answer.lower()


def test_another_path_is_a_404(served):
    assert served.post(b"{}", "/v1/profiles").status == 404


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(served):
    head = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {65 << 20}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_millions_of_empty_values_are_refused(served):
    body = gzip.compress(b'{"resourceSpans": [' + b"{}," * 5_000_000 + b"{}]}")
    assert served.post(body, Content_Encoding="gzip").status == 413
    empty = b"\x12\x00" * 5_000_000
    data = b"\x0a" + varint(len(empty)) + empty
    for path in ("/v1/traces", "/v1/metrics", "/v1/logs"):
        assert served.post(gzip.compress(data), path, media_type=PROTOBUF, Content_Encoding="gzip").status == 413
