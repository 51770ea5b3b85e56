"""Who may see what the store holds: who has the token of this start.

On loopback every user of the machine could else read over HTTP what the file's mode hides from them. The token comes
with the address that is printed; programs send it as ``Authorization: Bearer``. Browsers have a cookie of it from then
on: a digest, since browsers tell their cookies to the servers at all ports of a host, who could send in its name.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from otel_perfmon.web.guard import App, Receive, Refuse, Scope, Send, bearer_of

_COOKIE: Final = "otel_perfmon"
PARAMETER: Final = "token"
_REFUSAL: Final = "Open the address that was printed at the start, token and all; or send Authorization: Bearer TOKEN."


class Admission:
    """An ASGI application in front of another, which sees only the requests of who knows ``token``; of all if empty."""

    def __init__(self, app: App, refuse: Refuse, token: str) -> None:
        self._app = app
        self._refuse = refuse
        self._token = token
        self._digest = hmac.digest(token.encode(), _COOKIE.encode(), hashlib.sha256).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, turn its token into a cookie, or refuse it."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == PARAMETER]
        if given and self._is_right(given[-1]):
            rest = urlencode([pair for pair in query if pair[0] != PARAMETER])
            path = "/" + quote(scope["path"]).lstrip("/")  # two slashes would be another host
            await _let_in(f"{path}{f'?{rest}' if rest else ''}", self._cookie(scope), send)
        elif not self._token or self._is_right(bearer_of(headers)) or self._has_cookie(scope, headers):
            await self._app(scope, receive, send)
        else:
            await self._refuse(401, _REFUSAL, "")(scope, receive, send)

    def _is_right(self, token: str) -> bool:
        return bool(self._token) and hmac.compare_digest(token.encode(), self._token.encode())

    def _has_cookie(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> bool:
        right = f"{_name(scope)}={self._digest}".encode()
        return any(hmac.compare_digest(cookie, right) for cookie in _cookies_of(headers))

    def _cookie(self, scope: Scope) -> str:
        return f"{_name(scope)}={self._digest}; HttpOnly; SameSite=Strict; Path=/"


def _name(scope: Scope) -> str:
    """Cookies are shared by all ports of a host: one of another server must not take the place of ours."""
    server = scope.get("server")
    return f"{_COOKIE}_{server[1]}" if server else _COOKIE


def _cookies_of(headers: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """All of them, each ``name=value``. Those of other programs at this host may have any form, and any name."""
    for name, value in headers:
        if name == b"cookie":
            yield from map(bytes.strip, value.split(b";"))


async def _let_in(address: str, cookie: str, send: Send) -> None:
    """Have the browser ask again, without the token in the address, where others might see it."""
    headers = [
        (b"location", address.encode()),
        (b"set-cookie", cookie.encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-length", b"0"),
    ]
    start: MutableMapping[str, Any] = {"type": "http.response.start", "status": 303, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b""})
