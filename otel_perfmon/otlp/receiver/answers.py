"""What a sender is answered, in the encoding in which it asked: how much was stored, or a ``google.rpc.Status``."""

from __future__ import annotations

import json
from typing import Final

from otel_perfmon.otlp import wire

PROTOBUF, JSON = "application/x-protobuf", "application/json"
RETRY_AFTER_SECONDS: Final = 2

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 3, 4, 5, 7
RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE, UNAUTHENTICATED = 8, 12, 14, 16
_CODES: Final = {
    400: INVALID_ARGUMENT,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    405: UNIMPLEMENTED,
    408: DEADLINE_EXCEEDED,
    413: RESOURCE_EXHAUSTED,
    415: INVALID_ARGUMENT,
    503: UNAVAILABLE,
}
_FIRST, _SECOND, _THIRD = 1, 2, 3
_COUNT_TAG: Final = wire.tag(_FIRST, wire.VARINT)
_PARTIAL_TAG: Final = wire.tag(_FIRST, wire.LENGTH)
_TEXT_TAG: Final = wire.tag(_SECOND, wire.LENGTH)
_DETAIL_TAG: Final = wire.tag(_THIRD, wire.LENGTH)
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


class RefusedError(Exception):
    """A request that is not stored: the status of HTTP, and a sentence for who sent it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def code(self) -> int:
        """The same as a status of gRPC."""
        return _CODES[self.status]


def encode_success(media_type: str, rejected_name: str, rejected_count: int, message: str) -> bytes:
    """An ``Export…ServiceResponse``, whose partial success is unset where everything was taken."""
    if media_type == JSON:
        partial = {rejected_name: str(rejected_count), "errorMessage": message}
        return json.dumps({"partialSuccess": partial} if rejected_count else {}).encode()
    if not rejected_count:
        return b""
    return wire.sized(_PARTIAL_TAG, wire.number(_COUNT_TAG, rejected_count) + wire.text(_TEXT_TAG, message))


def encode_status(media_type: str, refused: RefusedError) -> bytes:
    """A ``google.rpc.Status``."""
    if media_type == PROTOBUF:
        return wire.number(_COUNT_TAG, refused.code) + wire.text(_TEXT_TAG, str(refused))
    return json.dumps({"code": refused.code, "message": str(refused)}).encode()


def encode_retry_status(refused: RefusedError) -> bytes:
    """A ``google.rpc.Status`` with the ``RetryInfo`` that tells gRPC's senders to come again."""
    delay = wire.sized(_PARTIAL_TAG, wire.number(_COUNT_TAG, RETRY_AFTER_SECONDS))
    detail = wire.text(_PARTIAL_TAG, _RETRY_INFO) + wire.sized(_TEXT_TAG, delay)
    return encode_status(PROTOBUF, refused) + wire.sized(_DETAIL_TAG, detail)
