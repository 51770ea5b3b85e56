"""OTLP over gRPC: the same requests as in HTTP's protobuf, by the same rules."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn

import grpc

from otel_perfmon.errors import OtlpError, StoreError
from otel_perfmon.otlp.receiver.answers import (
    PROTOBUF,
    RefusedError,
    encode_retry_status,
    encode_status,
    encode_success,
)
from otel_perfmon.otlp.receiver.bodies import BODY_BYTES_MAX, Body, Room
from otel_perfmon.otlp.receiver.intake import Intake, refusal_of

_THREADS: Final = 8
"""Requests at once; others wait in gRPC's queue, of which each sender has its own flow control."""
_STOP_SECONDS: Final = 5.0
_UNAVAILABLE: Final = 503
_AGE_MS, _GRACE_MS = 60_000, 30_000
"""After so long a connection is to be made anew, and what is under way on it then has so long to end. So ends, too, a
message that never becomes whole."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", BODY_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_connection_age_ms", _AGE_MS),
    ("grpc.max_connection_age_grace_ms", _GRACE_MS),
)
_SERVICES: Final = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def start_grpc(intakes: Sequence[Intake], host: str, port: int, token: str) -> tuple[Callable[[], None], str]:
    """Begin to receive; how to end it, and the address at which it listens. Raises `OtlpError` when it cannot."""
    server = grpc.server(ThreadPoolExecutor(_THREADS, "otel-perfmon-grpc"), options=_OPTIONS)
    room = Room()
    for intake in intakes:
        method: Any = grpc.stream_unary_rpc_method_handler(_export(intake, room, token))
        service = _SERVICES[intake.signal.name]
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    name = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{name}:{port}")
    except RuntimeError as error:
        message = f"{name}:{port} cannot be listened at for gRPC. --grpc-port takes another, --no-grpc does without."
        raise OtlpError(message) from error
    server.start()

    def stop() -> None:
        server.stop(_STOP_SECONDS).wait(_STOP_SECONDS)

    return stop, f"{name}:{bound}"


def _export(intake: Intake, room: Room, token: str) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
    """The method, as one that takes a stream: so it runs, and asks for the token, before the one message is read."""

    def export(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        body = Body(room)
        try:
            _check_token(context, token)
            request = _only(requests)
            body.add(request)
            received = intake.decode(request, PROTOBUF)
            intake.commit(received).result()
        except RefusedError as refused:
            _abort(context, refused)
        except StoreError as error:
            _abort(context, refusal_of(error))
        finally:
            body.close()
        return encode_success(PROTOBUF, intake.signal.rejected_name, received.rejected_count, received.message)

    return export


def _only(requests: Iterator[bytes]) -> bytes:
    for request in requests:
        return request
    raise RefusedError(400, "A call has one message; this one has none.")


def _check_token(context: grpc.ServicerContext, token: str) -> None:
    if not token:
        return
    given = [value for key, value in context.invocation_metadata() if key == "authorization"]
    scheme, _, told = str(given[0]).strip().partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not hmac.compare_digest(told.strip().encode(), token.encode()):
        raise RefusedError(401, "Metadata authorization: Bearer TOKEN is wanted, with the server's token.")


def _abort(context: grpc.ServicerContext, refused: RefusedError) -> NoReturn:
    is_retryable = refused.status == _UNAVAILABLE
    status = encode_retry_status(refused) if is_retryable else encode_status(PROTOBUF, refused)
    context.set_trailing_metadata((("grpc-status-details-bin", status),))
    context.abort(_CODES[refused.code], str(refused))
    raise AssertionError  # abort() always raises
