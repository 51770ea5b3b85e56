"""Files that are read from outside: unpacked, from standard input too, with a bar that tells how far they are read."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
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


@contextmanager
def open_input(name: str) -> Iterator[io.BufferedReader]:
    """The bytes of a file or of standard input (``-``), unpacked."""
    if name == "-" and sys.stdin is None:
        raise OtlpError("There is no standard input to read.")
    with open(name, "rb") if name != "-" else open(sys.stdin.fileno(), "rb", closefd=False) as raw:
        size = os.fstat(raw.fileno()).st_size
        with show_progress(name, size) as progress, _buffered(_Watched(raw, progress)) as watched:
            start = watched.peek(len(ZSTD))
            if start.startswith(_GZIP):
                with gzip.open(watched) as unpacked, _buffered(unpacked) as buffered:
                    yield buffered
            elif start.startswith(ZSTD):
                with _buffered(ZstdReader(watched)) as buffered:
                    yield buffered
            else:
                yield watched


def is_store(file: io.BufferedReader) -> bool:
    """Whether it is an SQLite database."""
    return file.peek(len(_SQLITE)).startswith(_SQLITE)


@contextmanager
def path_of(name: str, file: io.BufferedReader) -> Iterator[str]:
    """Where the bytes of an input are found: at its own path, or at that of a copy that goes again."""
    if name != "-" and os.path.isfile(name) and _begins_as_store(name):
        yield name
        return
    with TemporaryDirectory(prefix="otel-perfmon-") as folder:
        path = os.path.join(folder, "unpacked.db")
        with open(path, "wb") as unpacked:
            shutil.copyfileobj(file, unpacked)
        yield path


def _begins_as_store(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _buffered(raw: Any) -> io.BufferedReader:
    return io.BufferedReader(raw, LOOK_BYTES)


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
