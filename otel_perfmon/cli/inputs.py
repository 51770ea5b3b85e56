"""Files that are read from outside: unpacked, from standard input too, with a bar that tells how far they are read."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

from otel_perfmon.cli.progress import Progress, show_progress
from otel_perfmon.errors import OtlpError
from otel_perfmon.formats.reading import LOOK_BYTES
from otel_perfmon.otlp.zstd import MAGIC as ZSTD
from otel_perfmon.otlp.zstd import ZstdReader

_GZIP: Final = b"\x1f\x8b"
_SQLITE: Final = b"SQLite format 3\0"


class Input(io.BufferedReader):
    """Bytes that end where they cannot be read on; ``error`` then says why: what was read before is worth having."""

    def __init__(self, raw: Any, below: Input | None = None) -> None:
        self._parts = _Parts(raw)
        self._below = below
        super().__init__(self._parts, LOOK_BYTES)

    @property
    def error(self) -> Exception | None:
        """Why they ended before their end: that of the packed ones, if they did."""
        return (self._below and self._below.error) or self._parts.error


@contextmanager
def open_input(name: str) -> Iterator[Input]:
    """The bytes of a file or of standard input (``-``), unpacked."""
    if name == "-" and sys.stdin is None:
        raise OtlpError("There is no standard input to read.")
    with open(name, "rb") if name != "-" else open(sys.stdin.fileno(), "rb", closefd=False) as raw:
        size = os.fstat(raw.fileno()).st_size
        with show_progress(name, size) as progress, Input(_Watched(raw, progress)) as watched:
            start = watched.peek(len(ZSTD))
            if start.startswith(_GZIP):
                with gzip.open(watched) as unpacked, Input(unpacked, watched) as buffered:
                    yield buffered
            elif start.startswith(ZSTD):
                with Input(ZstdReader(watched), watched) as buffered:
                    yield buffered
            else:
                yield watched


def is_store(file: io.BufferedReader) -> bool:
    """Whether it is an SQLite database."""
    return file.peek(len(_SQLITE)).startswith(_SQLITE)


@contextmanager
def path_of(name: str, file: Input) -> Iterator[str]:
    """Where the bytes of an input are found: at its own path, or at that of a copy that goes again.

    Raises what kept the copy from being whole: half a store is none.
    """
    if name != "-" and os.path.isfile(name) and _begins_as_store(name):
        yield name
        return
    with TemporaryDirectory(prefix="otel-perfmon-") as folder:
        path = os.path.join(folder, "unpacked.db")
        with open(path, "wb") as unpacked:
            shutil.copyfileobj(file, unpacked)
        if file.error is not None:
            raise file.error
        yield path


def _begins_as_store(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


class _Parts(io.RawIOBase):
    """What can be had of a file, as it comes: who waits for a whole buffer loses it when the rest cannot be read."""

    def __init__(self, file: Any) -> None:
        self.error: Exception | None = None
        self._read: Any = getattr(file, "read1", file.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.error is not None:
            return 0
        try:
            part = self._read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            self.error = error
            return 0
        buffer[: len(part)] = part
        return len(part)


class _Watched(io.RawIOBase):
    """A file that tells of each read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self._progress.advance(len(piece))
        return len(piece)
