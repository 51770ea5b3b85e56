"""OTLP over HTTP: one request, and what came of it.

Redirects are not followed, a proxy is taken from the environment as by other programs, certificates are verified. Of an
answer at most 4 MiB are read, after decompression. One time limit holds for the whole request.
"""

from __future__ import annotations

import gzip
import ssl
import urllib.request
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.deadline_network import Deadline, DeadlineBackend
from otel_perfmon.otlp.destination import Destination
from otel_perfmon.otlp.outcome import JSON, PROTOBUF, REPLY_BYTES_MAX, Kind, Outcome, judge_http

_COMPRESSION_LEVEL: Final = 6
_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_KEEPALIVE_SECONDS: Final = 30.0


class HttpSender:
    """Sends to one destination, over connections that it keeps. One thread at a time."""

    def __init__(self, destination: Destination, user_agent: str) -> None:
        self._destination = destination
        self._deadline = Deadline()
        content_type = JSON if destination.protocol == "http/json" else PROTOBUF
        headers = {"user-agent": user_agent, **destination.headers, "content-type": content_type}
        if destination.compression != "none":
            headers["content-encoding"] = destination.compression
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._pool: httpcore.ConnectionPool | None = None

    def send(self, body: bytes, *, timeout_seconds: float | None = None) -> Outcome:
        """Send one request; never raises for what the other end does."""
        self._deadline.begin(timeout_seconds or self._destination.timeout_seconds)
        try:
            return self._request(_compressed(body, self._destination.compression))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.ProxyError) as error:
            return Outcome(Kind.BUSY, _told(error))
        except (OSError, UnicodeError) as error:  # a host name that is none, certificates that cannot be read
            return Outcome(Kind.MISDIRECTED, _told(error))

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def abandon(self) -> None:
        """In a forked child: forget the parent's connections."""
        _abandoned.append(self._pool)
        self._pool = None

    def _request(self, body: bytes) -> Outcome:
        if self._pool is None:
            self._pool = _open_pool(self._destination, DeadlineBackend(self._deadline))
        with self._pool.stream("POST", self._destination.url, headers=self._headers, content=body) as response:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            reply, is_whole = _read(response.iter_stream(), headers.get("content-encoding", ""))
            return judge_http(response.status, headers, self._destination.hide_secrets(reply), is_whole=is_whole)


def _read(pieces: Iterable[bytes], encoding: str) -> tuple[bytes, bool]:
    """The body, decompressed, up to the limit; and whether it came to its end, or was cut by us."""
    encoding = encoding.strip().lower()
    decoder = zlib.decompressobj(_WINDOW[encoding]) if encoding in _WINDOW else None
    parts: list[bytes] = []
    room = REPLY_BYTES_MAX
    try:
        for piece in pieces:
            part = piece[:room] if decoder is None else decoder.decompress(piece, room)
            parts.append(part)
            room -= len(part)
            if room <= 0:
                return b"", True
    except zlib.error:
        return b"", True
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        return b"".join(parts), False
    return (b"" if encoding not in {"", "identity", *_WINDOW} else b"".join(parts)), True


def _compressed(body: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(body, _COMPRESSION_LEVEL, mtime=0)
    return zlib.compress(body, _COMPRESSION_LEVEL) if compression == "deflate" else body


def _open_pool(destination: Destination, backend: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
    options: dict[str, Any] = {
        "max_connections": 1,
        "keepalive_expiry": _KEEPALIVE_SECONDS,
        "network_backend": backend,
    }
    if destination.is_secure:
        options["ssl_context"] = _ssl_context(destination)
    proxy = _proxy_for(destination.url, urllib.request.getproxies())
    if proxy is None:
        return httpcore.ConnectionPool(**options)
    parts = urlsplit(proxy)
    user = (parts.username or "", parts.password or "") if parts.username else None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return httpcore.HTTPProxy(address, proxy_auth=user, **options)


def _proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = proxies.get(parts.scheme)
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _ssl_context(destination: Destination) -> ssl.SSLContext:
    """Certificates are always verified, against those of the system and certifi, or the one that is given."""
    try:
        if destination.certificate is None:
            context = httpcore.default_ssl_context()
        else:
            context = ssl.create_default_context(cafile=destination.certificate)
        if destination.client_certificate is not None:
            context.load_cert_chain(destination.client_certificate, destination.client_key)
    except (OSError, ValueError) as error:
        message = f"The certificates for {destination.name} cannot be read: {error}."
        raise ConfigError(message) from error
    return context


def _told(error: Exception) -> str:
    """A sentence without its subject."""
    if isinstance(error, httpcore.TimeoutException):
        return "did not answer in time"
    if isinstance(error, httpcore.RemoteProtocolError):
        return f"broke off, or spoke no HTTP ({error})"
    return f"could not be reached ({str(error) or type(error).__name__})"


_abandoned: list[object] = []
"""What a forked child must neither use nor close: TLS would say goodbye in the parent's name."""
