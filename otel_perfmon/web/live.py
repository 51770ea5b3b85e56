"""The pulse of a store, told to whoever listens as server-sent events: pages look again when it has changed.

One look serves all who listen, once a second, and none is taken while nobody does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_LOOK_SECONDS: Final = 1.0
_SIGN_OF_LIFE_SECONDS: Final = 15.0
"""So often something is said at least, by which a connection that is gone is found out."""
LISTENERS_MAX: Final = 200
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Pulse:
    """Takes ``look`` on a thread, and tells the answer when it is another one than before."""

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look
        self._told = ""
        self._listeners: set[asyncio.Event] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_stopped = False

    def routes(self) -> list[Route]:
        """Where it is listened to."""
        return [Route("/events", self._receive, methods=["GET"])]

    def stop(self) -> None:
        """End what is told to everyone, for the server to stop. From the server's own thread."""
        self._is_stopped = True
        for listener in self._listeners:
            listener.set()

    async def _receive(self, request: Request) -> Response:
        if request.method == "HEAD":  # whether one may listen
            return Response(None, 200, _HEADERS, "text/event-stream")
        if len(self._listeners) >= LISTENERS_MAX:
            return Response("Too many listen.", 503, _HEADERS, "text/plain")
        return StreamingResponse(self._tell(), 200, _HEADERS, "text/event-stream")

    async def _tell(self) -> AsyncIterator[str]:
        listener, told = asyncio.Event(), None
        if len(self._listeners) >= LISTENERS_MAX:  # many came at once, and were let in before one of them listened
            return
        self._listeners.add(listener)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield "retry: 1000\n\n"
            while not self._is_stopped:
                listener.clear()  # first: what is told from here on, while we tell of something else, is not missed
                if self._told and told != self._told:
                    told = self._told
                    yield f"event: pulse\ndata: {told}\n\n"
                    continue
                # No wait_for(): before Python 3.12 it may take a cancellation for an event, and go on for ever.
                timer = asyncio.get_running_loop().call_later(_SIGN_OF_LIFE_SECONDS, listener.set)
                try:
                    await listener.wait()
                finally:
                    timer.cancel()
                if told == self._told and not self._is_stopped:
                    yield ": still here\n\n"
        finally:
            self._listeners.discard(listener)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listeners and not self._is_stopped:
            with suppress(Exception):  # the outer rim: a file that is away now may be there again in a second
                told = json.dumps(await loop.run_in_executor(None, self._look))
                if told != self._told:
                    self._told = told
                    for listener in self._listeners:
                        listener.set()
            await asyncio.sleep(_LOOK_SECONDS)
