"""The same over gRPC, to a server of OpenTelemetry's own service definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from destination_kit import free_port
from forwarding_kit import counts, drive, record
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from storage_kit import span_row

from otel_perfmon.otlp.forwarder import State
from otel_perfmon.otlp.wire import LENGTH, sized, tag

COUNT = 8
NAMES = [f"op{number}" for number in range(COUNT)]
Answer = Callable[[Any, list[str]], ExportTraceServiceResponse]


@dataclass
class GrpcDestination(TraceServiceServicer):
    """Answers by ``script``, and with success when it is used up."""

    script: list[Answer] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802 - the service's name
        names = [span.name for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
        self.metadata.append(dict(context.invocation_metadata()))
        answer = self.script.pop(0) if self.script else take
        response = answer(context, names)
        self.names += names
        return response


def take(context: Any, names: list[str]) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse()


def code(name: str, details: str = "", retry_seconds: float | None = None) -> Answer:
    def answer(context: Any, names: list[str]) -> ExportTraceServiceResponse:
        if retry_seconds is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", status_with_retry(retry_seconds)),))
        context.abort(grpc.StatusCode[name], details)

    return answer


def status_with_retry(seconds: float) -> bytes:
    """A ``google.rpc.Status`` whose details ask for a pause (``RetryInfo``)."""
    delay = Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)).SerializeToString()
    retry_info = sized(tag(1, LENGTH), delay)
    detail = AnyMessage(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry_info).SerializeToString()
    return sized(tag(2, LENGTH), b"busy") + sized(tag(3, LENGTH), detail)


@contextmanager
def grpc_destination(*script: Answer) -> Iterator[GrpcDestination]:
    server = grpc.server(ThreadPoolExecutor(2))
    destination = GrpcDestination(list(script))
    add_TraceServiceServicer_to_server(destination, server)
    destination.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield destination
    finally:
        server.stop(None).wait()


@pytest.fixture
def filled(db_path: str) -> str:
    record(db_path, [span_row(name) for name in NAMES])
    return db_path


def partial(context: Any, names: list[str]) -> ExportTraceServiceResponse:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans, response.partial_success.error_message = 3, "no quota"
    return response


# What it answers first; the pauses; the account.
TABLE = {
    **{
        name: (code(name), [5.0], {"sent": COUNT})
        for name in ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
    },
    "UNAVAILABLE, RetryInfo": (code("UNAVAILABLE", retry_seconds=7.5), [7.875], {"sent": COUNT}),
    "RESOURCE_EXHAUSTED": (code("RESOURCE_EXHAUSTED", "too large"), [], {"sent": COUNT}),
    "RESOURCE_EXHAUSTED, RetryInfo": (code("RESOURCE_EXHAUSTED", retry_seconds=6), [6.3], {"sent": COUNT}),
    "UNAVAILABLE, RetryInfo of nothing": (code("UNAVAILABLE", retry_seconds=0), [5.0], {"sent": COUNT}),
    "INVALID_ARGUMENT": (code("INVALID_ARGUMENT"), [], {"sent": COUNT}),
    "UNAUTHENTICATED": (code("UNAUTHENTICATED"), [5.0], {"sent": COUNT}),
    "PERMISSION_DENIED": (code("PERMISSION_DENIED"), [5.0], {"sent": COUNT}),
    "UNIMPLEMENTED": (code("UNIMPLEMENTED"), [5.0], {"sent": COUNT}),
    "UNKNOWN": (code("UNKNOWN"), [5.0], {"sent": COUNT}),
    "INTERNAL": (code("INTERNAL"), [5.0], {"sent": COUNT}),
    "partial success": (partial, [], {"sent": COUNT - 3, "refused": 3}),
}


@pytest.mark.parametrize(("answer", "pauses", "account"), TABLE.values(), ids=TABLE.keys())
def test_a_destination_that_first_answers_so_gets_every_span(filled, answer, pauses, account) -> None:
    with grpc_destination(answer) as destination:
        driven = drive(filled, destination.url).until_idle()
        assert driven.pauses == pytest.approx(pauses)
    assert counts(filled) == account
    assert sorted(destination.names) == NAMES


def test_a_destination_that_is_not_there_is_waited_for(filled) -> None:
    driven = drive(filled, f"grpc://127.0.0.1:{free_port()}", timeout_seconds=1.0)
    assert driven.step().state is State.FAILING
    assert "UNAVAILABLE" in driven.forwarder.trouble or "DEADLINE" in driven.forwarder.trouble


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_headers_are_metadata_and_requests_may_be_compressed(filled, compression) -> None:
    with grpc_destination() as destination:
        drive(filled, destination.url, headers=[("x-key", "5")], compression=compression).until_idle()
    assert destination.names == NAMES
    assert destination.metadata[0]["x-key"] == "5"
    assert destination.metadata[0]["user-agent"].startswith("otel-perfmon/")


def test_more_than_a_receiver_takes_goes_in_several_requests(db_path) -> None:
    record(db_path, [span_row(attributes=f'{{"text":"{"x" * 65_000}"}}') for _ in range(100)])
    with grpc_destination() as destination:
        drive(db_path, destination.url).until_idle()
    assert len(destination.names) == 100
    assert len(destination.metadata) > 1
