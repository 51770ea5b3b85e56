"""Bodies of requests: read as they come and unpacked piece by piece, so that no request takes more than its share."""

from __future__ import annotations

import asyncio
import io
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from otel_perfmon.errors import OtlpError
from otel_perfmon.otlp.receiver.answers import RefusedError
from otel_perfmon.otlp.zstd import ZstdReader

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""What one request may hold, unpacked: the limit that OTLP recommends."""
ROOM_BYTES: Final = 192 * 1024 * 1024
"""What the bodies of all requests that are not answered yet may take."""
BODY_SECONDS: Final = 30.0
"""How long a body may take to come."""
_PIECE_BYTES: Final = 1024 * 1024
_SLICE_BYTES: Final = 64 * 1024
_MEMBERS_MAX: Final = 1_000
"""Members of one gzip body, or frames of zstd: an empty one has 20 bytes, so that 64 MiB of them would take seconds."""
_WINDOW_BYTES_MAX: Final = 64 * 1024 * 1024
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""As zlib calls what stands around the packed bytes."""
_ZLIB_METHOD, _ZLIB_CHECK = 0x0F, 31


class Room:
    """The bytes that all requests may hold together. Any number of threads."""

    def __init__(self, bytes_max: int = ROOM_BYTES) -> None:
        self._free_bytes = bytes_max
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> None:
        """Have so many bytes, or raise `RefusedError`: the sender is to come again."""
        with self._lock:
            if size_bytes > self._free_bytes:
                raise RefusedError(503, "Too much is being received at once; send it again.")
            self._free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """They are free again."""
        with self._lock:
            self._free_bytes += size_bytes


class Body:
    """The body of one request, whose bytes are taken from ``room`` until it is closed."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken_bytes = 0
        self._parts: list[bytes] = []
        self._unpacking: Iterator[bytes] | None = None
        self._pieces: list[bytes] = []
        self._unpacked_bytes = 0

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        return self._taken_bytes

    async def read(self, parts: AsyncIterator[bytes]) -> None:
        """Read it as it comes; `RefusedError` when it is too large, or takes too long."""
        try:
            await asyncio.wait_for(self._read(parts), BODY_SECONDS)
        except asyncio.TimeoutError:
            raise RefusedError(408, f"The request was not whole after {BODY_SECONDS:g} s.") from None

    def add(self, part: bytes) -> None:
        """Take in a part of it."""
        if self._taken_bytes + len(part) > BODY_BYTES_MAX:
            raise too_large()
        self._take(len(part))
        self._parts.append(part)

    def whole(self) -> bytes:
        """All of it, as it came."""
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole

    def unpack(self, coding: str, pause_bytes: int = BODY_BYTES_MAX) -> bytes | None:
        """All of it, without its content coding; `RefusedError` when it is too large or broken.

        None when it has more than ``pause_bytes``: the next call goes on from there.
        """
        if self._unpacking is None:
            self._unpacking = _CODINGS[coding](self.whole())
        try:
            for piece in self._unpacking:
                self._unpacked_bytes += len(piece)
                if self._unpacked_bytes > BODY_BYTES_MAX:
                    raise too_large()
                self._take(len(piece))
                self._pieces.append(piece)
                if self._unpacked_bytes > pause_bytes:
                    return None
        except (zlib.error, EOFError, OSError, ValueError) as error:
            raise RefusedError(400, f"The body is no {coding}: {error!s:.200}.") from error
        return b"".join(self._pieces)

    def close(self) -> None:
        """Give back what it took."""
        self._parts.clear()
        self._pieces.clear()
        self._unpacking = None
        self._room.give_back(self._taken_bytes)
        self._taken_bytes = 0

    async def _read(self, parts: AsyncIterator[bytes]) -> None:
        async for part in parts:
            self.add(part)

    def _take(self, size_bytes: int) -> None:
        self._room.take(size_bytes)
        self._taken_bytes += size_bytes


def is_known_coding(coding: str) -> bool:
    """Whether a content coding can be unpacked here."""
    return coding == "identity" or coding in _CODINGS


def too_large() -> RefusedError:
    """Why a request that is too large is refused."""
    return RefusedError(413, f"A request may have {BODY_BYTES_MAX // 1024**2} MiB, unpacked; send fewer spans at once.")


class _Packed:
    """Packed bytes, given out in slices: a decompressor copies what it leaves, which must not be all the rest."""

    def __init__(self, packed: bytes) -> None:
        self._rest = memoryview(packed)

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return not self._rest

    def feed(self, unpacker: zlib._Decompress) -> bytes:
        """What the next slice makes, or as much of that as is a piece; what is not used of it stays here."""
        part = self._rest[:_SLICE_BYTES]
        piece = unpacker.decompress(part, _PIECE_BYTES)
        left = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        self._rest = self._rest[len(part) - len(left) :]
        return piece


def _unpack_gzip(packed: bytes) -> Iterator[bytes]:
    rest = _Packed(packed)
    for _ in range(_MEMBERS_MAX):
        yield from _pieces(zlib.decompressobj(_GZIP), rest)
        if rest.is_at_end:
            return
    message = f"it has more than {_MEMBERS_MAX:,} members"
    raise ValueError(message)


def _unpack_deflate(packed: bytes) -> Iterator[bytes]:
    """RFC 9110 says zlib's form; some send the bare one."""
    has_head = len(packed) > 1 and packed[0] & _ZLIB_METHOD == zlib.DEFLATED
    is_zlib = has_head and int.from_bytes(packed[:2], "big") % _ZLIB_CHECK == 0
    rest = _Packed(packed)
    yield from _pieces(zlib.decompressobj(_ZLIB if is_zlib else _RAW), rest)
    if not rest.is_at_end:
        message = "something stands behind its end"
        raise ValueError(message)


def _pieces(unpacker: zlib._Decompress, packed: _Packed) -> Iterator[bytes]:
    """Unpacked, a piece at a time."""
    while not unpacker.eof:
        is_last = packed.is_at_end
        piece = packed.feed(unpacker)
        if not piece and is_last and not unpacker.eof:
            message = "it ends within"
            raise EOFError(message)
        yield piece


def _unpack_zstd(packed: bytes) -> Iterator[bytes]:
    try:
        reader = ZstdReader(io.BytesIO(packed), window_bytes_max=_WINDOW_BYTES_MAX, frames_max=_MEMBERS_MAX)
    except OtlpError as error:
        raise RefusedError(415, "zstd takes one package more here: pip install zstandard.") from error
    while piece := reader.read(_PIECE_BYTES):
        yield piece


_CODINGS: Final = {"gzip": _unpack_gzip, "deflate": _unpack_deflate, "zstd": _unpack_zstd}
