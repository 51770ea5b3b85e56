"""Spans put together by trace, in bounded memory, for formats that tell a trace in one place."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Final
from zlib import crc32

_HELD_BYTES_MAX: Final = 64 * 1024 * 1024
_FILES: Final = 64
"""So much of them is in memory at a time: a million spans are 10 to 20 MB of each file."""
_SIZES: Final = struct.Struct(">HI")


class TraceSpool:
    """Takes pieces, each of one trace, and gives them back trace by trace, in the order in which each trace began.

    What is more than memory should hold goes into files: then the traces are in no order. A context manager.
    """

    def __init__(self, held_bytes_max: int = _HELD_BYTES_MAX) -> None:
        self._held: dict[str, list[bytes]] = {}
        self._room = held_bytes_max
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> TraceSpool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def add(self, trace_id: str, piece: bytes) -> None:
        """Take one piece."""
        if self._files:
            self._write(trace_id, piece)
            return
        self._held.setdefault(trace_id, []).append(piece)
        self._room -= len(piece)
        if self._room < 0:
            for _ in range(_FILES):
                self._files.append(self._stack.enter_context(TemporaryFile()))  # noqa: SIM115 - the stack closes it
            for each, pieces in self._held.items():
                for held in pieces:
                    self._write(each, held)
            self._held.clear()

    def traces(self) -> Iterator[tuple[str, list[bytes]]]:
        """Each trace with its pieces, in their order."""
        yield from self._held.items()
        for file in self._files:
            traces: dict[str, list[bytes]] = {}
            file.seek(0)
            while sizes := file.read(_SIZES.size):
                id_size, size = _SIZES.unpack(sizes)
                traces.setdefault(file.read(id_size).decode(), []).append(file.read(size))
            yield from traces.items()

    def _write(self, trace_id: str, piece: bytes) -> None:
        name = trace_id.encode()
        self._files[crc32(name) % _FILES].write(_SIZES.pack(len(name), len(piece)) + name + piece)
