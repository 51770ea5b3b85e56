"""OTLP over HTTP as a Starlette application: ``/v1/traces``, ``/v1/metrics`` and ``/v1/logs``, in protobuf and JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from otel_perfmon.errors import StoreError
from otel_perfmon.otlp.receiver.answers import (
    JSON,
    PROTOBUF,
    RETRY_AFTER_SECONDS,
    RefusedError,
    encode_status,
    encode_success,
)
from otel_perfmon.otlp.receiver.bodies import BODY_BYTES_MAX, Body, Room, is_known_coding, too_large
from otel_perfmon.otlp.receiver.intake import Intake, refusal_of

_BAD_REQUEST: Final = 400
_Endpoint = Callable[[Request], Awaitable[Response]]


def otlp_routes(intakes: Sequence[Intake]) -> list[Route]:
    """The routes of the receiver, for any application; each with a slash at its end, too: exporters follow nowhere."""
    room = Room()
    endpoints = [(each.signal.path, _endpoint(each, room)) for each in intakes]
    return [Route(path + end, endpoint, methods=["POST"]) for path, endpoint in endpoints for end in ("", "/")]


def media_type_of(content_type: str) -> str:
    """The media type in a header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def refuse(refused: RefusedError, media_type: str) -> Response:
    """The answer to a request that is not stored."""
    media_type = media_type if media_type == PROTOBUF else JSON
    response = Response(encode_status(media_type, refused), refused.status, media_type=media_type)
    if refused.status == 503:  # noqa: PLR2004
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if refused.status == 405:  # noqa: PLR2004
        response.headers["Allow"] = "POST"
    return response


def _endpoint(intake: Intake, room: Room) -> _Endpoint:
    async def receive(request: Request) -> Response:
        media_type = media_type_of(request.headers.get("Content-Type", ""))
        body = Body(room)
        try:
            return await _store(request, media_type, body, intake)
        except RefusedError as refused:
            return refuse(refused, media_type)
        except StoreError as error:
            return refuse(refusal_of(error), media_type)
        except ClientDisconnect:
            return Response(status_code=_BAD_REQUEST)  # to nobody
        finally:
            body.close()

    return receive


async def _store(request: Request, media_type: str, body: Body, intake: Intake) -> Response:
    coding = _check(request, media_type)
    await body.read(request.stream())
    received = await intake.take_in(body, coding, media_type)
    success = encode_success(media_type, intake.signal.rejected_name, received.rejected_count, received.message)
    return Response(success, media_type=media_type)


def _check(request: Request, media_type: str) -> str:
    """The content coding of a request, or `RefusedError` for one that cannot be read whatever it holds."""
    if media_type not in {PROTOBUF, JSON}:
        raise RefusedError(415, f"The Content-Type must be {PROTOBUF} or {JSON}.")
    codings = [each.strip().lower() for each in request.headers.getlist("Content-Encoding")]
    coding = codings[0] or "identity" if codings else "identity"
    if len(codings) > 1 or not is_known_coding(coding):
        raise RefusedError(415, "The Content-Encoding must be one of gzip, deflate, zstd and identity.")
    if int(request.headers.get("Content-Length", "0")) > BODY_BYTES_MAX:
        raise too_large()
    return coding
