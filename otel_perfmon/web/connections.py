"""HTTP connections that wait for nobody for ever: what uvicorn has no limits for.

uvicorn waits without end for the first line of a request, which here may take ten seconds; and of more than
`CONNECTIONS_MAX` connections the one that has waited longest for its request is closed, or one whose other side takes
nothing of its answer, or asks for more and more before, so that none of them keeps others out. Where all are busy, it
is the new one.

A request that is answered before its body has come is the last of its connection: what still comes is thrown away
unread, for ten seconds, since a sender that was reset might not see the answer. And a body may not come in very many
pieces: each takes its time, of one byte as of a thousand, in which nobody else is served.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
CONNECTIONS_MAX: Final = 300
"""Each with a file that is sent there, below the 1,024 file descriptors that a process may have, as a rule."""


_HEAD_BYTES_MAX: Final = 16 * 1024
PIECES_MAX: Final = 1_000
_PIECE_BYTES: Final = 256
"""A body may come in so many pieces, and in more where they have so many bytes on average."""
_CLOSE: Final = (b"connection", b"close")
_END_OF_HEAD: Final = b"\r\n"


class BoundedConnection(h11.Connection):
    """What h11 makes of one connection."""

    def __init__(self, head_bytes_max: int) -> None:
        super().__init__(h11.SERVER, head_bytes_max)
        self._piece_count = self._body_bytes = 0
        self.is_answered_early = False
        """Whether a request was answered before it had come wholly, and its sender told that it is the last one."""
        self.refusal = ""
        """Why what came is no request, where h11 finds nothing wrong with it."""

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """The next thing that came; raises `h11.RemoteProtocolError` when it comes in too many pieces."""
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._piece_count += event.chunk_start
            self._body_bytes += len(event.data)
            if self._piece_count > PIECES_MAX + self._body_bytes // _PIECE_BYTES:
                self.refusal = (
                    f"A body comes in up to {PIECES_MAX:,} chunks, or in chunks of {_PIECE_BYTES} bytes or more."
                )
                raise h11.RemoteProtocolError(self.refusal)
        elif isinstance(event, h11.Request):
            self._piece_count = self._body_bytes = 0
        return event

    def send(self, event: Any) -> Any:
        """The bytes to send. That the connection ends is told to the sender alone: h11 would have it closed at once."""
        data = super().send(event)
        is_early = isinstance(event, h11.Response) and self.their_state is h11.SEND_BODY
        if is_early and _CLOSE not in event.headers:
            self.is_answered_early = True
            return data.removesuffix(_END_OF_HEAD) + b"connection: close" + _END_OF_HEAD + _END_OF_HEAD
        return data


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.conn: BoundedConnection = BoundedConnection(_HEAD_BYTES_MAX)
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since = self.loop.time()
        self._is_over = False  # whatever comes is not read
        self.is_cut = False
        """Whether it gave way to another one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A connection was opened."""
        super().connection_made(transport)
        self._expect_more()
        if len(self.connections) > CONNECTIONS_MAX:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """A piece of a request came."""
        if self._is_over:
            return
        super().data_received(data)
        if not self.is_waiting:
            self._stop_waiting()
        elif self._deadline is None and not self.transport.is_closing():
            self._expect_more()

    def on_response_complete(self) -> None:
        """A request was answered; its body may not have come wholly."""
        self._idle_since = self.loop.time()
        if not self.conn.is_answered_early or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self._end()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and end; only close where something else is being answered already."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever was to answer it has nobody to answer
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.close()
            return
        text = (self.conn.refusal or msg).encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text)), _CLOSE]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self._end()

    def shutdown(self) -> None:
        """The server stops."""
        if self._is_over:
            self.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its request; else one that is greedy; else this."""
        others = [each for each in self.connections if isinstance(each, BoundedProtocol) and not each.is_cut]
        waiting = [each for each in others if each.is_waiting and each is not self]
        greedy = [each for each in others if each.is_greedy]
        min(waiting or greedy or [self], key=lambda each: each._idle_since).cut()  # noqa: SLF001 - of its own class

    def cut(self) -> None:
        """Close it now: what nobody reads would never go out."""
        self.is_cut = True
        self.transport.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is done here: the head of a request, or the rest of one that is answered, is to come."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return self._is_over or (is_answered and self.conn.their_state in {h11.IDLE, h11.SEND_BODY})

    @property
    def is_greedy(self) -> bool:
        """Whether the other side takes nothing of its answer, or has asked for more before that: no browser does."""
        is_whole = self.conn.their_state in {h11.DONE, h11.MUST_CLOSE}
        return self.flow.write_paused or (is_whole and bool(self.conn.trailing_data[0]))

    def close(self) -> None:
        """Close it, whatever was to come."""
        self.transport.close()

    def _end(self) -> None:
        """Nothing more is sent, and nothing read of what still comes."""
        self._is_over = True
        self.flow.resume_reading()
        with suppress(OSError):  # the other side has reset it meanwhile
            self.transport.write_eof()
        self._expect_more()

    def _expect_more(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
