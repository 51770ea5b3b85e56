"""Where spans go: a URL, how to speak there, with which credentials; from text, or from OpenTelemetry's variables.

A URL is a base, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` is: ``/v1/traces`` is appended, unless its path ends so already
(opentelemetry-specification, ``protocol/exporter.md``). A user and a password in it become a header, and are never part
of the name.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from otel_perfmon.errors import ConfigError
from otel_perfmon.redaction.urls import shown_url

_logger = logging.getLogger("otel_perfmon")

ENVIRONMENT: Final = "env"
"""Stands for the destination that OpenTelemetry's own variables name."""
PROTOCOLS: Final = ("http/protobuf", "http/json", "grpc")
COMPRESSIONS: Final = ("none", "gzip", "deflate")
TRACES_PATH: Final = "/v1/traces"
TIMEOUT_SECONDS: Final = 10.0
_SECONDS_MAX: Final = 1_000
"""A longer timeout is in milliseconds, as the specification has it; Python's exporters read seconds."""
_SCHEMES: Final = {"http": "http/protobuf", "https": "http/protobuf", "grpc": "grpc", "grpcs": "grpc"}
_DEFAULTS: Final = {"http/protobuf": "http://localhost:4318", "http/json": "http://localhost:4318"}
_GRPC_DEFAULT: Final = "http://localhost:4317"
_SECRET_MIN: Final = 4
"""A header such as ``x-scope-orgid: 1`` holds no secret."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Destination:
    """One receiver of OTLP. ``name`` may be shown and stored; the fields that may hold a secret are not in its repr.

    ``url`` is that of the requests; of gRPC, ``http://`` or ``https://`` with a host and a port.
    """

    name: str
    url: str = field(repr=False)
    protocol: str = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: str = "none"
    timeout_seconds: float = TIMEOUT_SECONDS
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.url.startswith("https://")

    @property
    def secrets(self) -> list[str]:
        """What it may quote of a request and nobody may see: values of headers, and of the query, and their parts."""
        found = {part for value in self.headers.values() for part in (value, *value.split())}
        for value in self.headers.values():
            with suppress(ValueError):
                found.update(base64.b64decode(value.removeprefix("Basic "), validate=True).decode().split(":", 1))
        found.update(value for _, value in parse_qsl(urlsplit(self.url).query))
        return sorted((each for each in found if len(each) >= _SECRET_MIN), key=len, reverse=True)

    def hide_secrets(self, said: bytes) -> bytes:
        """What it said without them, and of the same length, lest messages of OTLP break."""
        for each in self.secrets:
            said = said.replace(each.encode(), b"*" * len(each.encode()))
        return said


def parse_destination(
    text: str,
    *,
    protocol: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    compression: str | None = None,
    timeout_seconds: float | None = None,
    environ: Mapping[str, str] | None = None,
) -> Destination:
    """The destination that a URL means, or ``env``; what is given beside it wins. Raises `ConfigError`.

    ``grpc://`` and ``grpcs://`` say the protocol; ``http://`` and ``https://`` are http/protobuf unless told otherwise.
    No variable is looked at but for ``env``.
    """
    found = _of_environment(environ or {}, protocol) if text == ENVIRONMENT else _of_url(text, protocol)
    return replace(
        found,
        headers={**found.headers, **dict(headers)},
        compression=compression or found.compression,
        timeout_seconds=timeout_seconds or found.timeout_seconds,
    )


def parse_header(text: str) -> tuple[str, str]:
    """``name=value``, as a header; the message of the `ConfigError` does not hold the value."""
    name, is_there, value = text.partition("=")
    name, value = name.strip().lower(), value.strip()
    if not is_there or not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
        message = f"A header is written name=value; what begins with {name[:20]!r} is none."
        raise ConfigError(message)
    return name, value


def _of_url(text: str, protocol: str | None) -> Destination:
    parts = _split(text)
    meant = protocol or _SCHEMES[parts.scheme]
    if (meant == "grpc") != (_SCHEMES[parts.scheme] == "grpc") and parts.scheme not in {"http", "https"}:
        message = f"{shown_url(text)} cannot be spoken to in {meant}."
        raise ConfigError(message)
    if meant == "grpc":
        return _grpc(parts)
    path = parts.path.rstrip("/")
    return _http(parts, path if path.endswith(TRACES_PATH) else path + TRACES_PATH, meant)


def _http(parts: SplitResult, path: str, protocol: str) -> Destination:
    place = _place(parts)
    return Destination(
        name=f"{parts.scheme}://{place}{path}",
        url=urlunsplit((parts.scheme, place, path or "/", parts.query, "")),
        protocol=protocol,
        headers=_credentials(parts),
    )


def _grpc(parts: SplitResult) -> Destination:
    is_secure = parts.scheme in {"grpcs", "https"}
    place = _place(parts) if parts.port else f"{_place(parts)}:4317"
    return Destination(
        name=f"{'grpcs' if is_secure else 'grpc'}://{place}",
        url=f"{'https' if is_secure else 'http'}://{place}",
        protocol="grpc",
        headers=_credentials(parts),
    )


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
        is_url = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or not text.strip().isprintable() or " " in text.strip():
        message = (
            f"A destination is a URL such as http://collector:4318, or grpc://collector:4317, or {ENVIRONMENT!r};"
            f" {shown_url(text)!r} is none."
        )
        raise ConfigError(message)
    if "@" in parts.path + parts.query + parts.fragment:  # it is likelier that the password went on until there
        message = (
            f"The destination {shown_url(text)!r} has an @ behind its host. In a password / is written as %2F, ? as %3F"
            " and # as %23; in a path and a query @ is %40."
        )
        raise ConfigError(message)
    return parts


def _place(parts: SplitResult) -> str:
    """Host and port, without the user."""
    return parts.netloc.rpartition("@")[2].lower()


def _credentials(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


# --- OpenTelemetry's variables


def _of_environment(environ: Mapping[str, str], protocol: str | None) -> Destination:
    def read(name: str) -> str:
        """That of traces wins over that of all signals; an empty one is an unset one."""
        of_traces = environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
        return of_traces or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()

    protocol = _one_of(PROTOCOLS, protocol or read("PROTOCOL") or PROTOCOLS[0], "PROTOCOL")
    if protocol == "grpc":
        endpoint = read("ENDPOINT") or _GRPC_DEFAULT
        if "://" not in endpoint:
            is_insecure = read("INSECURE").lower() == "true"
            endpoint = f"{'http' if is_insecure else 'https'}://{endpoint}"
        found = _grpc(_split(endpoint))
    elif verbatim := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip():
        parts = _split(verbatim)
        found = _http(parts, parts.path, protocol)
    else:
        parts = _split(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or _DEFAULTS[protocol])
        found = _http(parts, parts.path.rstrip("/") + TRACES_PATH, protocol)
    return replace(
        found,
        headers={**found.headers, **_headers(read("HEADERS"))},
        compression=_one_of(COMPRESSIONS, read("COMPRESSION").lower() or "none", "COMPRESSION"),
        timeout_seconds=_timeout_seconds(read("TIMEOUT")),
        certificate=read("CERTIFICATE") or None,
        client_certificate=read("CLIENT_CERTIFICATE") or None,
        client_key=read("CLIENT_KEY") or None,
    )


def _headers(text: str) -> dict[str, str]:
    """``k=v,k2=v2`` with values encoded as in URLs; what is no pair is left out, and told without its value."""
    headers: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        try:
            name, value = parse_header(unquote(pair))
        except ConfigError as error:  # noqa: PERF203 - once for each destination
            _logger.warning("OTEL_EXPORTER_OTLP_HEADERS: %s It is left out.", error)
        else:
            headers[name] = value
    return headers


def _one_of(allowed: tuple[str, ...], value: str, name: str) -> str:
    if value not in allowed:
        message = f"OTEL_EXPORTER_OTLP_{name} must be one of {', '.join(allowed)}; it is {value!r:.100}."
        raise ConfigError(message)
    return value


def _timeout_seconds(text: str) -> float:
    try:
        seconds = float(text) if text else TIMEOUT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:  # noqa: PLR2004 - nor NaN
        message = f"OTEL_EXPORTER_OTLP_TIMEOUT must be a number of seconds above 0; it is {text!r:.100}."
        raise ConfigError(message)
    return seconds / 1000 if seconds >= _SECONDS_MAX else seconds
