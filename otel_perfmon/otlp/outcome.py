"""What an answer means, by OTLP's rules (opentelemetry-proto, ``docs/specification.md``): pure, for HTTP and gRPC.

Success is a status of 2xx and nothing else. OTLP asks clients to try 429, 502, 503 and 504 again and to drop what gets
any other error. Nothing has to be dropped here, since the store is the queue: so what is said of a request is told
apart by whom it is about. A batch that is refused is halved, until the span is found that is to blame, and a
destination that cannot be right for any span (a redirect, 401, 404 …) is waited for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from otel_perfmon.otlp.wire import read_fields
from otel_perfmon.redaction.redaction import Redaction

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""A destination that asks for a longer pause is asked again after this one."""
REPLY_BYTES_MAX: Final = 4 * 1024 * 1024
"""So much of an answer is read, after decompression (CVE-2026-39882: an uncapped reply)."""
_SAID_MAX: Final = 200
_QUOTED_MAX: Final = 2_000
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, RecursionError)
"""What answers that are no OTLP raise, ``{"rejectedSpans": 1e400}`` among them."""
_redaction: Final = Redaction()
PROTOBUF, JSON = "application/x-protobuf", "application/json"


class Kind(Enum):
    """What to do after a request."""

    ACCEPTED = auto()
    """Go on: the spans are there, but for those that the destination says it rejected."""
    UNCERTAIN = auto()
    """It was accepted, and the answer to it broke off."""
    BUSY = auto()
    """Wait, and try the same again."""
    TOO_LARGE = auto()
    """Try a half of it."""
    REFUSED = auto()
    """Something in it is to blame."""
    FAILED = auto()
    """Something in it, or the destination, is to blame: wait, and try a half of it."""
    MISDIRECTED = auto()
    """The destination is not right, whatever is sent to it: wait, and tell."""


class Outcome(NamedTuple):
    """What came of a request; ``said`` is a sentence about it, for a person."""

    kind: Kind
    said: str = ""
    rejected_count: int = 0
    retry_after_seconds: float | None = None


_BUSY: Final = frozenset((429, 502, 503, 504))
_FAILED: Final = frozenset((408, 500))
_MISDIRECTED: Final = frozenset((401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 431, 451, 501, 505, 511))
_SUCCESS, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR, _TOO_LARGE = 200, 300, 400, 500, 413


def judge_http(status: int, headers: Mapping[str, str], body: bytes, *, is_whole: bool) -> Outcome:
    """The outcome by a status, headers in lower case and the (decompressed) body, which may have broken off."""
    if _SUCCESS <= status < _REDIRECT:
        if not is_whole:
            return Outcome(Kind.UNCERTAIN, f"answered {status}, and the answer broke off")
        return _accepted(headers.get("content-type", ""), body)
    said = f"answered {status}{_said(headers.get('content-type', ''), body)}"
    return Outcome(_kind_of(status), said, retry_after_seconds=retry_after(headers.get("retry-after", "")))


def _kind_of(status: int) -> Kind:
    if status == _TOO_LARGE:
        return Kind.TOO_LARGE
    if status in _BUSY:
        return Kind.BUSY
    if status in _MISDIRECTED or status < _CLIENT_ERROR:
        return Kind.MISDIRECTED
    return Kind.FAILED if status in _FAILED or status >= _SERVER_ERROR else Kind.REFUSED


def retry_after(value: str, now: float | None = None) -> float | None:
    """The seconds of a ``Retry-After``, which has them or a date (RFC 9110, 10.2.3); None for anything else."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), RETRY_AFTER_SECONDS_MAX)
    try:
        when = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(0.0, when - (time.time() if now is None else now)), RETRY_AFTER_SECONDS_MAX)


def _accepted(content_type: str, body: bytes) -> Outcome:
    """A ``partial_success`` in the answer tells how many spans were rejected, which must not be sent again."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return Outcome(Kind.ACCEPTED)
    if kind not in {PROTOBUF, JSON}:
        return Outcome(Kind.ACCEPTED, f"answered in {kind or 'no type'} instead of OTLP: is it an OTLP receiver?")
    try:
        rejected_count, said = _partial_success_json(body) if kind == JSON else _partial_success(body)
    except _UNREADABLE:
        return Outcome(Kind.ACCEPTED, "accepted, with an answer that is not OTLP")
    return Outcome(Kind.ACCEPTED, _short(said), max(0, rejected_count))


def _partial_success(body: bytes) -> tuple[int, str]:
    for number, value in read_fields(body):
        if number == 1 and isinstance(value, bytes):
            return _count_and_text(value)
    return 0, ""


def _count_and_text(message: bytes) -> tuple[int, str]:
    """Field 1, a number, and field 2, a text: of a partial success, and of a ``google.rpc.Status``."""
    count, said = 0, ""
    for number, value in read_fields(message):
        if number == 1 and isinstance(value, int):
            count = value if value < 1 << 63 else 0
        elif number == 2 and isinstance(value, bytes):  # noqa: PLR2004
            said = value.decode(errors="replace")
    return count, said


def _partial_success_json(body: bytes) -> tuple[int, str]:
    partial = _object(_object(json.loads(body)).get("partialSuccess", {}))
    return int(partial.get("rejectedSpans", 0)), str(partial.get("errorMessage", ""))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _said(content_type: str, body: bytes) -> str:
    """What a body says of an error, behind a colon; nothing where that cannot be read."""
    kind = content_type.partition(";")[0].strip().lower()
    said = ""
    try:
        if kind == PROTOBUF:
            said = _count_and_text(body)[1]
        elif kind == JSON:
            said = str(_object(json.loads(body)).get("message", ""))
        elif kind == "text/plain":
            said = body[: 4 * _SAID_MAX].decode(errors="replace")
    except _UNREADABLE:
        return ""
    return f": {_short(said)}" if said.strip() else ""


def _short(said: str) -> str:
    """On one line, not long, and without secrets that it quotes; what a terminal would obey is escaped."""
    line = _redaction.redact_text(" ".join(said[:_QUOTED_MAX].split()))
    line = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line[: _SAID_MAX + 1])
    return line if len(line) <= _SAID_MAX else line[: _SAID_MAX - 1] + "…"


# --- gRPC

_GRPC_BUSY: Final = frozenset(("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"))
_GRPC_MISDIRECTED: Final = frozenset(("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"))
_GRPC_FAILED: Final = frozenset(("UNKNOWN", "INTERNAL"))
_RETRY_INFO: Final = b"google.rpc.RetryInfo"


def judge_grpc(code: str, message: str, details: bytes, body: bytes) -> Outcome:
    """The outcome by the name of a status code, its message, ``grpc-status-details-bin``, and the answer to success."""
    if code == "OK":
        return _accepted(PROTOBUF, body)
    pause = _retry_info(details)
    kind = Kind.REFUSED
    if code in _GRPC_BUSY or (code == "RESOURCE_EXHAUSTED" and pause is not None):
        kind = Kind.BUSY
    elif code == "RESOURCE_EXHAUSTED":  # as gRPC calls a message that is larger than the receiver takes
        kind = Kind.TOO_LARGE
    elif code in _GRPC_MISDIRECTED:
        kind = Kind.MISDIRECTED
    elif code in _GRPC_FAILED:
        kind = Kind.FAILED
    said = f": {_short(message)}" if message.strip() else ""
    return Outcome(kind, f"answered {code}{said}", retry_after_seconds=pause)


def _retry_info(details: bytes) -> float | None:
    """The pause that a ``RetryInfo`` asks for among the details of a ``google.rpc.Status``."""
    try:
        for number, detail in read_fields(details):
            if number == 3 and isinstance(detail, bytes):  # noqa: PLR2004
                parts = dict(read_fields(detail))
                if _bytes(parts, 1).endswith(_RETRY_INFO):
                    delay = dict(read_fields(_bytes(dict(read_fields(_bytes(parts, 2))), 1)))
                    seconds = _signed(delay.get(1, 0)) + _signed(delay.get(2, 0)) / 1e9
                    return min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)
    except _UNREADABLE:
        return None
    return None


def _signed(value: int | bytes) -> int:
    """A number of protobuf's ``int64``."""
    if isinstance(value, bytes):
        raise TypeError
    return value if value < 1 << 63 else value - (1 << 64)


def _bytes(fields: Mapping[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise TypeError
    return value
