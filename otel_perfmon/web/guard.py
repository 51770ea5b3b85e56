"""Who may speak to the server: programs on this machine, and who knows the token; no page of another site.

A page that a person here looks at can have its browser send requests to this machine. So each request must name this
machine in its Host header: the name of a site whose address was changed to ours meanwhile (DNS rebinding) is refused,
whatever the request says. Nothing is answered to a page of another origin, which could read no answer, as there is no
CORS, but have us work for one; who follows a link from there is let in. What changes something comes from no such page.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from otel_perfmon.errors import ConfigError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""
Refuse = Callable[[int, str, str], App]
"""Makes the answer to a request that is refused: the status, a sentence, and the request's Content-Type."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_OUR_PAGES: Final = frozenset({"same-origin", "none"})
_OTLP: Final = "/v1/"
_PORT_MAX: Final = 65_535
_PORT_DIGITS_MAX: Final = len(str(_PORT_MAX))
_HOST_NAME: Final = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.?", re.ASCII)


class Guard:
    """An ASGI application in front of another, which sees only what may come to it.

    ``hosts`` are names by which it may be called, beside ``localhost`` and the addresses of this machine's loopback;
    a ``token``, where there is one, is asked of every request below ``/v1/``: what is below the others has its own.
    """

    def __init__(self, app: App, refuse: Refuse, *, hosts: Collection[str] = (), token: str = "") -> None:
        self._app = app
        self._refuse = refuse
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts) | {"localhost"}
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        app = self._app
        if scope["type"] != "lifespan":
            headers: list[tuple[bytes, bytes]] = scope["headers"]
            if refusal := self._refusal_of(scope, headers):
                content_type = b"".join(_all(headers, b"content-type")[:1]).decode("latin-1")
                app = self._refuse(*refusal, content_type)
        await app(scope, receive, send)

    def _refusal_of(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """The status and the sentence with which a request is refused; None when it may pass."""
        hosts = _all(headers, b"host")
        if len(hosts) != 1 or not scope["path"].startswith("/"):
            return 400, "A request has one Host header, and a path that begins with /."
        host = hosts[0].decode("latin-1").strip().lower()
        if not self._is_ours(host):
            return 403, f"{host!r:.100} is no name of this server; otel-perfmon serve --allow-host NAME makes it one."
        is_link = scope.get("method", "POST") in _READING and _is_followed(headers)
        if not is_link and not _is_from_here(headers, host):
            return 403, "Pages of other sites may send nothing here, and have nothing of it among their own."
        if self._token and is_of_otlp(scope) and not self._has_token(headers):
            return 401, "Authorization: Bearer TOKEN is wanted, with the token that otel-perfmon serve was given."
        return None

    def _is_ours(self, host: str) -> bool:
        name, port = _split(host)
        if port and not _is_port(port):
            return False
        if name.removesuffix(".") in self._hosts:
            return True
        try:
            if name.startswith("[") and name.endswith("]"):
                return ipaddress.IPv6Address(name[1:-1]).is_loopback
            return ipaddress.IPv4Address(name).is_loopback
        except ValueError:
            return False

    def _has_token(self, headers: list[tuple[bytes, bytes]]) -> bool:
        return hmac.compare_digest(bearer_of(headers).encode("latin-1"), self._token)


def is_of_otlp(scope: Scope) -> bool:
    """Whether a request is of OTLP's, by its path."""
    return bool(scope["path"].startswith(_OTLP))


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can reach a server at that address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_exposure(address: str, token: str) -> None:
    """Raise `ConfigError` when others could reach the server and would not be asked for a token."""
    if not is_loopback(address) and not token:
        raise ConfigError(
            f"At {address} other machines can reach this server: give it a token (--token-file FILE, --token TOKEN),"
            " or leave it on 127.0.0.1."
        )


def host_name_of(text: str) -> str:
    """The name in what is to be allowed as a host, without a port; `ConfigError` where no Host header could have it."""
    try:
        return f"[{ipaddress.IPv6Address(text.strip('[]'))}]"
    except ValueError:
        name, port = _split(text)
    try:
        if name.startswith("["):
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        elif not _HOST_NAME.fullmatch(name):
            name = ""
    except ValueError:
        name = ""
    if not name or (port and not _is_port(port)):
        message = f"--allow-host {text!r:.100} is no name of a host; NAME or NAME:PORT is, without http:// and a path."
        raise ConfigError(message)
    return name


def bearer_of(headers: list[tuple[bytes, bytes]]) -> str:
    """The token in the one Authorization header; empty where there is none."""
    given = _all(headers, b"authorization")
    scheme, _, token = given[0].strip().partition(b" ") if len(given) == 1 else (b"", b"", b"")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _all(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _split(host: str) -> tuple[str, str]:
    """The name and the port of a Host header; an address of IPv6 keeps its brackets."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        if rest and not rest.startswith(":"):
            return "", ""
        return name + bracket, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def _is_port(text: str) -> bool:
    """Whether it is a port's number. Of more digits than 4,300 Python makes no number, but a `ValueError`."""
    return len(text) <= _PORT_DIGITS_MAX and text.isascii() and text.isdigit() and int(text) <= _PORT_MAX


def _is_followed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a person goes here by a link: the answer takes the place of the page where that was."""
    return (_all(headers, b"sec-fetch-mode"), _all(headers, b"sec-fetch-dest")) == ([b"navigate"], [b"document"])


def _is_from_here(headers: list[tuple[bytes, bytes]], host: str) -> bool:
    """Whether no page of another origin sends this: programs say nothing of where they come from."""
    if any(value.decode("latin-1") not in _OF_OUR_PAGES for value in _all(headers, b"sec-fetch-site")):
        return False
    return all(
        value.decode("latin-1").lower() in {f"http://{host}", f"https://{host}"} for value in _all(headers, b"origin")
    )
