"""HTTP connections that wait for nobody for ever: what uvicorn has no limits for.

uvicorn waits without end for the first line of a request, and for bodies that were answered before they had come. Here
either may take ten seconds; and of more than `CONNECTIONS_MAX` connections the one that has waited longest for its
request is closed, so that idle ones cannot keep others out.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
CONNECTIONS_MAX: Final = 400
"""Below the 1,024 file descriptors that a process may have, as a rule."""


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A connection was opened."""
        super().connection_made(transport)
        self._expect_more()
        if len(self.connections) > CONNECTIONS_MAX:
            waiting = [each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_waiting]
            if waiting:
                min(waiting, key=lambda each: each._idle_since).close()  # noqa: SLF001 - of its own class

    def data_received(self, data: bytes) -> None:
        """A piece of a request came."""
        super().data_received(data)
        if not self.is_waiting:
            self._stop_waiting()
        elif self._deadline is None and not self.transport.is_closing():
            self._expect_more()

    def on_response_complete(self) -> None:
        """A request was answered; its body may not have come wholly."""
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY:
            self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is done here: the head of a request, or the rest of one that is answered, is to come."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def close(self) -> None:
        """Close it, whatever was to come."""
        self.transport.close()

    def _expect_more(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
