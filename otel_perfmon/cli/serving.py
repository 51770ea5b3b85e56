"""``otel-perfmon serve`` and ``ui``: the store on pages, and OTLP into it from programs in any language."""

from __future__ import annotations

import argparse
import os
import secrets
import webbrowser
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final
from urllib.parse import quote

from otel_perfmon.cli import options
from otel_perfmon.cli.escaping import escape
from otel_perfmon.config import resolve_config
from otel_perfmon.errors import ConfigError, OtlpError

_FOR_LOOKING: Final = ("starlette", "uvicorn", "jinja2")
_FOR_RECEIVING: Final = (*_FOR_LOOKING, "opentelemetry.proto")
_TOKEN_BYTES_MAX: Final = 4_096
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_TOKEN_BYTES: Final = 16
_SERVE_EPILOG: Final = """\
examples:
  otel-perfmon serve
  otel-perfmon serve --db shop.db --port 4318 --no-grpc
  otel-perfmon serve --host 0.0.0.0 --token-file token --allow-host perfmon

Programs then send to it with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
(http/protobuf, http/json) or http://127.0.0.1:4317 (grpc). What is acknowledged
is in the file. It takes pip install 'otel-perfmon[web]', and for gRPC
'otel-perfmon[grpc]'.

Other machines reach it only with --host, and must then send the token
(OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20TOKEN"); the names by which
they call it are named with --allow-host. There is no TLS: put a proxy before it.

What is stored is shown on pages, and answered as JSON under /api/, read-only, to
who opens the address that is printed, or sends its token: curl -H "Authorization:
Bearer TOKEN" http://127.0.0.1:4318/api/operations?window=1h. --token takes one for
both sides. otel-perfmon ui shows a store without receiving.

exit status: 0 it was stopped, 2 wrong usage, 3 it could not listen or store"""

_UI_EPILOG: Final = """\
examples:
  otel-perfmon ui
  otel-perfmon ui --db shop.db --open
  otel-perfmon ui --port 0 --no-token

Opens nothing and changes nothing: programs record into the file, the pages follow.
The same is answered as JSON under /api/ (/api/openapi.json describes it). It takes
pip install 'otel-perfmon[web]'.

On loopback every user of this machine could look: so the address that is printed
has a token, which is a cookie from then on. Other machines reach it only with
--host; the names by which they call it are named with --allow-host.

exit status: 0 it was stopped, 2 wrong usage, 3 it could not listen"""


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``serve``."""
    parser.epilog = _SERVE_EPILOG
    options.add_db_option(parser)
    _add_address(parser, 4318)
    grpc = parser.add_mutually_exclusive_group()
    grpc.add_argument("--grpc-port", metavar="PORT", type=_port, help="for gRPC (default: 4317, where grpcio is there)")
    grpc.add_argument("--no-grpc", action="store_true", help="receive over HTTP alone")
    _add_tokens(parser, "what who sends and who looks must know; other users see it in ps")
    parser.set_defaults(run=_run_serve)


def add_ui(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ui``."""
    parser.epilog = _UI_EPILOG
    options.add_db_option(parser)
    _add_address(parser, 4319)
    _add_tokens(parser, "what who looks must know; other users see it in ps")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.set_defaults(run=_run_ui)


def _add_address(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", type=_port, default=port, help=f"for HTTP (default: {port})")
    parser.add_argument("--allow-host", metavar="NAME", action="append", default=[], help="a name it is called by")


def _add_tokens(parser: argparse.ArgumentParser, what: str) -> None:
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token", metavar="TOKEN", help=what)
    token.add_argument("--token-file", metavar="FILE", help="the same, from a file")
    token.add_argument("--no-token", action="store_true", help="let every user of this machine look")


def _run_serve(arguments: argparse.Namespace) -> int:
    _check_extras(_FOR_RECEIVING, "Receiving")
    if arguments.grpc_port is not None and not _is_there("grpc"):
        raise OtlpError("Receiving over gRPC takes one package more: pip install 'otel-perfmon[grpc]'.")
    from otel_perfmon.server import Address, run_server  # noqa: PLC0415 - an extra

    config = resolve_config({"path": arguments.db})
    token = _token_of(arguments)
    reader_token = _reader_token_of(arguments, token)
    address = Address(
        arguments.host, arguments.port, _grpc_port(arguments), tuple(arguments.allow_host), token, reader_token
    )

    def tell(http: str, grpc: str) -> None:
        print(f"Receiving OTLP into {escape(config.path)}")
        print(f"  {http} (http/protobuf, http/json)")
        print(f"  http://{grpc} (grpc)" if grpc else "  no gRPC")
        print("What is stored is shown at")
        _print_addresses(http, arguments, "" if token else reader_token)

    run_server(config, address, tell)
    return 0


def _run_ui(arguments: argparse.Namespace) -> int:
    _check_extras(_FOR_LOOKING, "The page")
    from otel_perfmon.server import Address, run_server  # noqa: PLC0415 - an extra

    config = resolve_config({"path": arguments.db})
    reader_token = _reader_token_of(arguments, token := _token_of(arguments))
    address = Address(arguments.host, arguments.port, None, tuple(arguments.allow_host), "", reader_token)

    def tell(http: str, _: str) -> None:
        print(f"{escape(config.path)} is shown at")
        _print_addresses(http, arguments, "" if token else reader_token)
        if not os.path.exists(config.path):
            print("No file is there yet; the page waits for it.", flush=True)
        if arguments.open:
            webbrowser.open(_shown_address(http, reader_token))

    run_server(config, address, tell, is_receiving=False)
    return 0


def _reader_token_of(arguments: argparse.Namespace, token: str) -> str:
    """What who looks must know: what was given, else a new one; empty for nothing."""
    return "" if arguments.no_token else token or secrets.token_urlsafe(_TOKEN_BYTES)


def _print_addresses(http: str, arguments: argparse.Namespace, token: str) -> None:
    """Where it is shown: for this machine, and by the names that are allowed; or that there are none."""
    print(f"  {_shown_address(http, token)}", flush=True)
    port = http.rpartition(":")[2]
    for name in arguments.allow_host:
        host = name if name.rpartition(":")[2].isdigit() else f"{name}:{port}"
        print(f"  {_shown_address(f'http://{host}', token)}", flush=True)
    if arguments.host in _EVERYWHERE and not arguments.allow_host:
        print("Other machines may call it by names that --allow-host NAME allows; there are none.", flush=True)


def _shown_address(http: str, token: str) -> str:
    from otel_perfmon.web.admission import PARAMETER  # noqa: PLC0415 - an extra

    return f"{http}/?{PARAMETER}={quote(token)}" if token else f"{http}/"


def _check_extras(modules: Iterable[str], what: str) -> None:
    if not all(map(_is_there, modules)):
        message = f"{what} takes some packages more: pip install 'otel-perfmon[web]'."
        raise OtlpError(message)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _grpc_port(arguments: argparse.Namespace) -> int | None:
    if arguments.no_grpc or not _is_there("grpc"):
        return None
    return 4317 if arguments.grpc_port is None else int(arguments.grpc_port)


def _token_of(arguments: argparse.Namespace) -> str:
    """The token, empty for none; `ConfigError` for one that no header can carry."""
    token: str | None = arguments.token
    if arguments.token_file is not None:
        try:
            with open(arguments.token_file, encoding="ascii") as file:
                token = file.read(_TOKEN_BYTES_MAX).strip()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is not ASCII"
            message = f"--token-file {arguments.token_file} cannot be read: {why}."
            raise ConfigError(message) from error
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ConfigError("A token is of ASCII letters, digits and signs, without spaces, and not empty.")
    return token or ""


def _port(text: str) -> int:
    port = options.count_at_least_0(text)
    if port > 65_535:  # noqa: PLR2004
        message = f"a port is at most 65535; {port} is none"
        raise argparse.ArgumentTypeError(message)
    return port
