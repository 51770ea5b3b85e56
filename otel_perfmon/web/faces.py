"""What is looked at over HTTP: pages and the JSON API, by who has the token, and the files that pages are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from otel_perfmon.storage.base import Store
from otel_perfmon.web.admission import Admission
from otel_perfmon.web.api.routes import api_routes, refuse, refuse_http
from otel_perfmon.web.guard import App, Receive, Scope, Send
from otel_perfmon.web.live import Pulse
from otel_perfmon.web.pages.export import export_routes
from otel_perfmon.web.pages.site import Settings, Site, foot, static_files

_API = "/api/"
_STATIC = "/static/"


def _look(store: Store) -> dict[str, Any]:
    """What the foot line tells, and what else changes on pages when nothing was stored."""
    health = store.get_health()
    more = {"queued": health.queued, "forwarded": health.forwarded, "open": store.get_open_token()}
    return foot(health, store.summarize_store()) | more


class Faces:
    """An ASGI application over one store, for those who know ``token``; for all if it is empty."""

    def __init__(self, store: Store, settings: Settings, token: str) -> None:
        self._site = Site(store, settings)
        self._pulse = Pulse(partial(_look, store))
        routes = [
            *api_routes(store),
            *export_routes(store, self._site.refuse),
            *self._site.routes(),
            *self._pulse.routes(),
        ]
        inside = Starlette(routes=routes, exception_handlers={HTTPException: self._refuse_http})
        inside.router.redirect_slashes = False  # which would send whoever asks to a whole address, by the Host told
        self._inside = Admission(inside, self._refuse, token)
        self._static = Starlette(routes=[static_files()])

    def stop(self) -> None:
        """End what would never end by itself, for the server to stop."""
        self._pulse.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # What pages are made of is for everybody, also for who must still say who they are.
        is_static = scope["path"].startswith(_STATIC)
        await (self._static if is_static else self._inside)(scope, receive, send)

    def _refuse(self, status: int, message: str, _content_type: str) -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            is_program = scope["path"].startswith(_API)
            response = refuse(status, message) if is_program else self._site.refuse(status, message)
            await response(scope, receive, send)

        return app

    async def _refuse_http(self, request: Request, error: Exception) -> Response:
        """The same for what Starlette refuses: paths and methods that are not there."""
        if request.url.path.startswith(_API):
            return await refuse_http(request, error)
        assert isinstance(error, HTTPException)
        return self._site.refuse(error.status_code, "There is no page at this address, or it cannot be asked so.")
