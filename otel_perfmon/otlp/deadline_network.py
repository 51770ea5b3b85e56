"""Sockets that keep to one point in time, however slowly the other end goes.

Timeouts of HTTP clients count for each read by itself: a destination that sends one byte each second is never late.
Here every connect, read and write gets what is left of the whole.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore

_WRITTEN_AT_ONCE_BYTES: Final = 16_384
_LEAST_SECONDS: Final = 0.001


class Deadline:
    """The point in time, which is set before each request."""

    def __init__(self) -> None:
        self._at = 0.0

    def begin(self, seconds: float) -> None:
        """Let it be in so many seconds."""
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """What is left, in seconds; never nothing, which would mean for ever."""
        return max(_LEAST_SECONDS, self._at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._at


class DeadlineBackend(httpcore.NetworkBackend):
    """What httpcore opens its connections by."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """As `httpcore.NetworkBackend`."""
        stream = self._plain.connect_tcp(host, port, self._deadline.remaining(), local_address, socket_options)
        return _DeadlineStream(stream, self._deadline)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._check(httpcore.ReadTimeout)
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE_BYTES):
            self._check(httpcore.WriteTimeout)
            self._stream.write(buffer[start : start + _WRITTEN_AT_ONCE_BYTES], self._deadline.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _check(self, error: type[Exception]) -> None:
        if self._deadline.is_over:
            message = "the time for the whole request was over"
            raise error(message)
