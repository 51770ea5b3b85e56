"""The standing service: OTLP comes in, over HTTP and gRPC, is kept in one store, and shown on pages.

This is where it is put together. What it needs beyond the core is the extra ``web``, and ``grpc`` for gRPC.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from otel_perfmon.config import Config, nano_of_ms
from otel_perfmon.errors import OtlpError, PerfmonError, StoreBusyError, StoreTimeoutError
from otel_perfmon.otlp.receiver.answers import RefusedError
from otel_perfmon.otlp.receiver.http import media_type_of, otlp_routes, refuse
from otel_perfmon.otlp.receiver.intake import Intake, signals_of
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.sqlite.path_status import size_bytes
from otel_perfmon.storage.url import open_configured_recorder, open_store
from otel_perfmon.web.api.routes import SECONDS_MAX
from otel_perfmon.web.connections import BoundedProtocol
from otel_perfmon.web.faces import Faces
from otel_perfmon.web.guard import (
    App,
    Guard,
    Receive,
    Scope,
    Send,
    check_exposure,
    host_name_of,
    is_loopback,
    is_of_otlp,
)
from otel_perfmon.web.pages.site import Settings

_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than exporters wait between two batches, or one would now and then meet a connection that is being closed."""
_SHUTDOWN_SECONDS: Final = 5
_BACKLOG: Final = 128
"""So many connections are taken up at once, before those that are too many can be closed: each has a descriptor."""
_METHOD_NOT_ALLOWED: Final = 405
_OWN: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - named, not bound
_EVERYTHING: Final = {"sample_rate": 1.0, "sample_rates": {}}
"""What was sampled was sampled by who sent it: all that comes is kept."""


@dataclass(frozen=True)
class Address:
    """Where the server listens. ``grpc_port`` is None for no gRPC; a port of 0 is any that is free.

    ``allowed_hosts`` are names by which others call it. Of who sends ``token`` is asked, of who asks ``reader_token``,
    where they are not empty.
    """

    host: str = "127.0.0.1"
    port: int = 4318
    grpc_port: int | None = 4317
    allowed_hosts: Sequence[str] = ()
    token: str = field(default="", repr=False)
    reader_token: str = field(default="", repr=False)


def run_server(
    config: Config, address: Address, on_ready: Callable[[str, str], None], *, is_receiving: bool = True
) -> None:
    """Show what is in the store, and receive unless told not to, until SIGINT or SIGTERM.

    ``on_ready`` is told the addresses for HTTP and for gRPC, empty for none. Raises `ConfigError` when others could
    send or look without a token, or a host is no name, `OtlpError` when a port is not to be had, and `StoreError` when
    the file is none of ours.
    """
    check_exposure(address.host, address.token if is_receiving else address.reader_token)
    address = replace(address, allowed_hosts=tuple(map(host_name_of, address.allowed_hosts)))
    with (
        _listening(address.host, address.port) as listener,
        open_store(config.path, seconds_max=SECONDS_MAX) as answers,
        _intakes(config if is_receiving else None) as intakes,
    ):
        _check_ours(answers, config.path)
        stop_grpc, grpc_target = _start_grpc(intakes, address) if is_receiving else ((lambda: None), "")
        http = f"http://{_name_of(listener)}"
        receives_at = http if is_receiving else ""
        settings = Settings(config.path, config.slow_threshold_ms, config.error_rate_threshold, receives_at)
        faces = Faces(answers, settings, address.reader_token)
        server = _Server(_uvicorn_config(make_app(intakes, faces, address)))
        server.on_started = lambda: on_ready(http, grpc_target)
        server.on_stopping = faces.stop
        try:
            server.run(sockets=[listener])
        finally:
            stop_grpc()


@contextmanager
def _intakes(config: Config | None) -> Iterator[list[Intake]]:
    """The ways into the store, for a block, none without a config."""
    if config is None:
        yield []
        return
    with open_store(config.path) as store:
        _check_ours(store, config.path)
        recorder = open_configured_recorder(config, _EVERYTHING)
        recorder.ledger.slow_threshold_nano = nano_of_ms(config.slow_threshold_ms)
        signals = signals_of(recorder, store, recorder.ledger.slow_threshold_nano)
        intakes = [Intake(each, recorder) for each in signals]
        try:
            yield intakes
        finally:
            for intake in intakes:
                intake.close()
            release_recorder(recorder)


def _check_ours(store: Store, path: str) -> None:
    """Find out now, and not with the first request, that the file is none of ours; it need not be there yet."""
    if os.path.isdir(path) or size_bytes(path):
        with suppress(StoreBusyError, StoreTimeoutError):  # it is there, and will answer later
            store.summarize_store()


def make_app(intakes: Sequence[Intake], faces: App, address: Address) -> App:
    """The application: the receiver, if there are intakes, and beside it what people and programs look at."""
    receiver = Starlette(routes=otlp_routes(intakes), exception_handlers={HTTPException: _refuse_http})
    receiver.router.redirect_slashes = False  # the answer would have no Status

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (receiver if intakes and is_of_otlp(scope) else faces)(scope, receive, send)

    hosts = list(address.allowed_hosts)
    if not is_loopback(address.host) and address.host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        hosts.append(f"[{address.host}]" if ":" in address.host else address.host)
    return Guard(app, _refuse, hosts=hosts, token=address.token if intakes else "")


class _Server(uvicorn.Server):
    """Tells when it listens, and ends in order when it is told to stop.

    uvicorn sends itself the signal again at the end, which would leave the store open.
    """

    on_started: Callable[[], None] = staticmethod(lambda: None)
    on_stopping: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, for a block."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_stopping()
        await super().shutdown(sockets)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether what uvicorn says is of use: what the end of the server breaks off is not, and of ours a sentence is."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, PerfmonError):  # while a file was being sent
        record.msg, record.args, record.exc_info = "An answer ends before its end: %s", (str(error),), None
    return not isinstance(error, asyncio.CancelledError) and "timeout graceful shutdown" not in str(record.msg)


def _uvicorn_config(app: App) -> uvicorn.Config:
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.ERROR)  # a warning for each malformed request
    logger.addFilter(_is_worth_telling)
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(name)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"{host}:{port} cannot be listened at: {why}. {_advice(error)}"
        raise OtlpError(message) from error
    return listener


def _advice(error: Exception) -> str:
    """What to do when nobody can listen there."""
    number = getattr(error, "errno", None)
    if isinstance(error, (socket.gaierror, UnicodeError)) or number == errno.EADDRNOTAVAIL:
        return "--host takes an address of this machine, such as 127.0.0.1."
    if number == errno.EADDRINUSE:
        return "Another program is there, perhaps otel-perfmon itself: --port takes another, --port 0 any that is free."
    if number == errno.EACCES:
        return "--port takes one from 1024 on, which is open to everybody."
    return "--port takes another."


def _name_of(listener: socket.socket) -> str:
    """How this machine itself calls it: where all addresses are listened at, by the one that is its own."""
    host, port = listener.getsockname()[:2]
    host = _OWN.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _start_grpc(intakes: Sequence[Intake], address: Address) -> tuple[Callable[[], None], str]:
    """Begin to receive over gRPC; how to end that, and where it is. Nothing where it is not wanted."""
    if address.grpc_port is None:
        return (lambda: None), ""
    from otel_perfmon.otlp.receiver.grpc_server import start_grpc  # noqa: PLC0415 - an extra, and 100 ms

    return start_grpc(intakes, address.host, address.grpc_port, address.token)


def _refuse(status: int, message: str, content_type: str) -> App:
    response = refuse(RefusedError(status, message), media_type_of(content_type))
    if status == 401:  # noqa: PLR2004
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code if error.status_code == _METHOD_NOT_ALLOWED else 404
    refused = RefusedError(status, "OTLP is received by POST at /v1/traces, /v1/metrics and /v1/logs.")
    return refuse(refused, media_type_of(request.headers.get("Content-Type", "")))
