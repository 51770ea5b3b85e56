"""OTLP over gRPC, by the same rules as over HTTP."""

from __future__ import annotations

import gzip
import re
import threading
from pathlib import Path

import grpc
import pytest
from faults_kit import locked
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from serve_kit import serving

from otel_perfmon import SpanQuery
from otel_perfmon.otlp.receiver import grpc_server
from otel_perfmon.otlp.receiver.bodies import BODY_BYTES_MAX
from otel_perfmon.otlp.receiver.intake import Intake, Signal

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
"""The method, for bytes as they are."""


def request_of(name: str, count: int = 1) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(count):
        ids = {"trace_id": name.encode()[-16:].ljust(16, b"."), "span_id": (number + 1).to_bytes(8, "big")}
        spans.add(**ids, name=name, start_time_unix_nano=5, end_time_unix_nano=1_764_000_000 * 10**9)
    return request


@pytest.fixture
def channel(served):
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        yield channel


def names_in(store, operation):
    return [span.name for span in store.find_spans(SpanQuery(operation=operation, limit=1000))]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip], ids=["plain", "gzip"])
def test_what_is_acknowledged_is_stored_once(channel, store, compression):
    stub = trace_service_pb2_grpc.TraceServiceStub(channel)
    name = f"grpc {compression.name}"
    for _ in range(2):
        answer = stub.Export(request_of(name, 20), compression=compression, timeout=10)
        assert not answer.HasField("partial_success")
    assert len(names_in(store, name)) == 20


def test_spans_without_ids_are_told(channel, store):
    request = request_of("good")
    request.resource_spans[0].scope_spans[0].spans.add(name="bad")
    answer = trace_service_pb2_grpc.TraceServiceStub(channel).Export(request, timeout=10)
    assert answer.partial_success.rejected_spans == 1
    assert names_in(store, "good") == ["good"]


def test_metrics_and_logs_are_taken(channel, store):
    metrics = metrics_service_pb2.ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="by grpc")
    metric.gauge.data_points.add(as_int=5, time_unix_nano=1_764_000_000 * 10**9)
    metrics_service_pb2_grpc.MetricsServiceStub(channel).Export(metrics, timeout=10)
    assert len(store.find_points("by grpc")) == 1
    logs = logs_service_pb2.ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="WARN")
    logs_service_pb2_grpc.LogsServiceStub(channel).Export(logs, timeout=10)


@pytest.mark.parametrize("body", [b"nonsense", b"\x0a\xff", b"\xff" * 100])
def test_nonsense_is_an_invalid_argument(channel, body):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(EXPORT)(body, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no" in caught.value.details()


def test_a_message_that_is_too_large_is_refused_unpacked_or_not(channel):
    too_large = bytes(BODY_BYTES_MAX + 1)
    assert len(gzip.compress(too_large)) < 100_000
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(EXPORT)(too_large, timeout=20, compression=compression)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_token_is_asked_of_everybody(tmp_path):
    with (
        serving(str(tmp_path / "metrics.db"), "--token", "s3cret") as served,
        grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel,
    ):
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        for metadata in ((), (("authorization", "Bearer s3cre"),), (("authorization", "Basic s3cret"),)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Export(request_of("refused"), timeout=10, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        stub.Export(request_of("let in"), timeout=10, metadata=(("authorization", "Bearer s3cret"),))


@pytest.fixture
def never():
    """Requests of which the first never comes, until the test ends."""
    is_over = threading.Event()

    def requests():
        is_over.wait(20)
        yield from ()

    yield requests
    is_over.set()


def test_who_has_no_token_is_refused_before_a_message_is_read(tmp_path, never):
    with (
        serving(str(tmp_path / "metrics.db"), "--token", "s3cret") as served,
        grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(EXPORT)(never(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_message_that_does_not_come_is_not_waited_for_without_end(monkeypatch, never):
    options = [(name, 200 if "age" in name and "_ms" in name else value) for name, value in grpc_server._OPTIONS]
    monkeypatch.setattr(grpc_server, "_OPTIONS", options)
    intake = Intake(Signal("traces", lambda: None, len, "rejectedSpans"), None)
    stop, target = grpc_server.start_grpc([intake], "127.0.0.1", 0, "")
    try:
        with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(EXPORT)(never(), timeout=8)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        stop()
        intake.close()


def test_a_call_without_a_message_is_an_invalid_argument(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(EXPORT)(iter(()), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_the_store_cannot_take_is_to_be_sent_again(tmp_path):
    path = str(tmp_path / "metrics.db")
    with serving(path) as served, grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        stub.Export(request_of("first"), timeout=10)
        with locked(path), pytest.raises(grpc.RpcError) as caught:
            stub.Export(request_of("again"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        status, info = Status.FromString(details), RetryInfo()
        assert (status.code, status.details[0].Unpack(info), info.retry_delay.seconds) == (14, True, 2)
        stub.Export(request_of("again"), timeout=10)


def test_every_extra_asks_for_a_grpc_that_unpacks_no_more_than_a_message_may_have():
    """Versions up to 1.81 at least unpack a message wholly before they look at its size, and at who sends it."""
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'"grpcio>=(.+?)"', pyproject) == ["1.85"] * 3
