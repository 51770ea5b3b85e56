"""Zstandard, as the Collector's file exporter and the command ``zstd`` write it, unpacked in bounded pieces."""

from __future__ import annotations

import io
import math
from typing import Any, BinaryIO, Final

from otel_perfmon.errors import OtlpError

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_READ_BYTES: Final = 512
"""A block of four bytes may hold 128 KiB: so many make 16 MiB at most."""
_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024
"""What the command ``zstd`` unpacks without being told to."""


class ZstdReader(io.RawIOBase):
    """The bytes of one or more frames that follow each other. Raises `OtlpError` when there is no library for it.

    Reading raises `EOFError` for a frame that is cut off, and `OSError` for one that is broken, for one whose window is
    larger than ``window_bytes_max``, and where there are more than ``frames_max``.
    """

    def __init__(
        self, file: BinaryIO, *, window_bytes_max: int = _WINDOW_BYTES_MAX, frames_max: float = math.inf
    ) -> None:
        try:
            import zstandard  # noqa: PLC0415 - an extra
        except ImportError as error:
            message = "Unpacking zstd takes one package more: pip install 'otel-perfmon[otlp]'."
            raise OtlpError(message) from error
        self._file = file
        self._error = zstandard.ZstdError
        self._frames = zstandard.ZstdDecompressor(max_window_size=window_bytes_max)
        self._frames_left = frames_max
        self._frame: Any = None
        self._unread = b""
        self._unpacked = memoryview(b"")
        self._failure: EOFError | OSError | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, but at the end, and before a place that cannot be unpacked: the next call raises."""
        count = 0
        while count < len(buffer) and self._has_unpacked(is_needed=not count):
            part = self._unpacked[: len(buffer) - count]
            buffer[count : count + len(part)] = part
            self._unpacked = self._unpacked[len(part) :]
            count += len(part)
        return count

    def _has_unpacked(self, *, is_needed: bool) -> bool:
        if self._failure is None:
            try:
                return self._unpack_next()
            except (EOFError, OSError) as error:
                self._failure = error
        if is_needed:
            raise self._failure
        return False

    def _unpack_next(self) -> bool:
        while not self._unpacked:
            packed = self._unread or self._file.read(_READ_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("a frame of zstd is cut off")
                return False
            self._unpacked = memoryview(self._unpack(packed))
        return True

    def _unpack(self, packed: bytes) -> bytes:
        if self._frame is None:
            self._frames_left -= 1
            if self._frames_left < 0:
                message = "it has too many frames"
                raise OSError(message)
            self._frame = self._frames.decompressobj()
        try:
            unpacked: bytes = self._frame.decompress(packed)
        except self._error as error:
            message = f"it is no zstd: {error}"
            raise OSError(message) from error
        self._unread = b""
        if self._frame.eof:
            self._unread, self._frame = self._frame.unused_data, None
        return unpacked


def unpack_zstd(packed: bytes, bytes_max: int) -> bytes:
    """What is packed, cut behind ``bytes_max`` and one more. Raises as `ZstdReader`."""
    return io.BufferedReader(ZstdReader(io.BytesIO(packed))).read(bytes_max + 1)
