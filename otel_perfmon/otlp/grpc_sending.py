"""OTLP over gRPC: one call of ``TraceService/Export``, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.destination import Destination
from otel_perfmon.otlp.outcome import REPLY_BYTES_MAX, Outcome, judge_grpc

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DETAILS: Final = "grpc-status-details-bin"


class GrpcSender:
    """Sends to one destination over one channel. One thread at a time."""

    def __init__(self, destination: Destination, user_agent: str) -> None:
        self._destination = destination
        self._user_agent = user_agent
        self._channel: grpc.Channel | None = None
        self._export: Any = None

    def send(self, body: bytes, *, timeout_seconds: float | None = None) -> Outcome:
        """Make one call; never raises for what the other end does."""
        if self._channel is None:
            self._open()
        try:
            reply = self._export(
                body,
                timeout=timeout_seconds or self._destination.timeout_seconds,
                metadata=tuple(self._destination.headers.items()),
            )
        except grpc.RpcError as error:
            call: Any = error
            trailing = dict(call.trailing_metadata() or ())
            said = self._destination.hide_secrets((call.details() or "").encode()).decode()
            return judge_grpc(call.code().name, said, trailing.get(_DETAILS, b""), b"")
        return judge_grpc("OK", "", b"", self._destination.hide_secrets(reply))

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = self._export = None

    def abandon(self) -> None:
        """In a forked child: forget the parent's channel."""
        _abandoned.append(self._channel)
        self._channel = self._export = None

    def _open(self) -> None:
        target = urlsplit(self._destination.url).netloc
        options = (
            ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
            ("grpc.primary_user_agent", self._user_agent),
            ("grpc.enable_retries", 0),
        )
        if self._destination.is_secure:
            channel = grpc.secure_channel(target, self._credentials(), options)
        else:
            channel = grpc.insecure_channel(target, options)
        compression = grpc.Compression.NoCompression
        if self._destination.compression != "none":
            compression = getattr(grpc.Compression, self._destination.compression.capitalize())
        self._channel = channel
        callable_: Any = channel.unary_unary(_METHOD, request_serializer=None, response_deserializer=None)
        self._export = lambda body, **options: callable_(body, compression=compression, **options)

    def _credentials(self) -> grpc.ChannelCredentials:
        found = self._destination
        try:
            root, key, chain = (
                Path(each).read_bytes() if each else None
                for each in (found.certificate, found.client_key, found.client_certificate)
            )
        except OSError as error:
            message = f"The certificates for {found.name} cannot be read: {error}."
            raise ConfigError(message) from error
        return grpc.ssl_channel_credentials(root, key, chain)


_abandoned: list[object] = []
"""What a forked child must neither use nor close."""
