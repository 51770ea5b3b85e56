"""``otel-perfmon import``: spans into the store, from files of OpenTelemetry's pipelines."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from typing import Any, BinaryIO, Final

from otel_perfmon.cli import options
from otel_perfmon.cli.checks import FINDINGS
from otel_perfmon.cli.escaping import escape
from otel_perfmon.cli.other_signals import OtherIntake, add_signal_option
from otel_perfmon.cli.progress import Progress, show_progress
from otel_perfmon.cli.report import counted
from otel_perfmon.config import Config, resolve_config
from otel_perfmon.errors import OtlpError
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import Piece, decode_file
from otel_perfmon.otlp.signal_files import SignalDecoder
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.rows import ROW_BYTES, SpanRow, key_of
from otel_perfmon.storage.sqlite.path_status import size_bytes
from otel_perfmon.storage.url import open_configured_recorder, open_store

_AT_ONCE: Final = 4_096
_GZIP: Final = b"\x1f\x8b"
_EPILOG: Final = """\
examples:
  otel-perfmon import spans.jsonl
  otel-perfmon import --db other.db collector.json spans.pb.gz

Reads spans in OTLP's JSON (a document, or one a line, as the OpenTelemetry
Collector's file exporter writes them) and protobuf, gzipped or not; which it
is, the file tells, but for metrics and log records in protobuf: say --signal.
Those of them that come twice are stored twice. Reading takes
pip install 'otel-perfmon[otlp]'. What is not OTLP is named, and the rest goes on.

Spans that the store has, by trace, id and start, are passed over; those that
retention has removed count again. Retention goes by when a span arrived here.
Slow is what says so itself, else what took longer than the threshold
($OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS).

exit status: 0 all was read, 1 something in it was not, 2 wrong usage, 3 a file
could not be read, or the store could not take it"""


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    parser.epilog = _EPILOG
    parser.add_argument("files", metavar="FILE", nargs="+", help="what to read; - is standard input")
    add_signal_option(parser, "what protobuf holds: its messages do not say")
    options.add_db_option(parser)
    parser.set_defaults(run=_run_import)


def _run_import(arguments: argparse.Namespace) -> int:
    config = resolve_config({"path": arguments.db})
    bad_count = 0
    with _Intake(config) as intake:
        other = intake.other
        threshold_nano = round(config.slow_threshold_ms * 1e6)
        decoder = SignalDecoder(threshold_nano, other.add_points, other.add_logs, arguments.signal)
        for name in arguments.files:
            for piece in _pieces(name, decoder):
                if piece.error is not None:
                    bad_count += 1
                    print(f"{escape(name)}, {piece.place}: {escape(str(piece.error))}", file=sys.stderr)
                intake.add(piece.rows)
        intake.write()
    print(f"{counted(intake.stored_count, 'span')} stored in {escape(config.path)}.")
    for count, what in ((other.point_count, "data point"), (other.log_count, "log record")):
        if count:
            print(f"{counted(count, what)} stored.")
    for count, what in (
        (intake.known_count, "had been there, or came twice"),
        (decoder.refused_count, "had no ids of 16 and 8 bytes, and were left out"),
        (intake.lost_count, "could not be kept; 'otel-perfmon doctor' tells why"),
    ):
        if count:
            print(f"{counted(count, 'span')} {what}.")
    return FINDINGS if bad_count or decoder.refused_count or intake.lost_count else 0


class _Intake:
    """Takes spans into a store that has them not yet."""

    def __init__(self, config: Config) -> None:
        self.stored_count = self.known_count = self.lost_count = 0
        self._path = config.path
        self._store = open_store(config.path)
        if self._is_there():  # what it keeps is for those to say who record into it
            kept = self._store.summarize_store()
            names = ("retention_seconds", "keep_seconds", "size_max_bytes")
            config = replace(config, **{name: getattr(kept, name) for name in names})
        config = replace(config, sample_rate=1.0, sample_rates={})
        self._recorder = open_configured_recorder(config, {"sample_rate": 1.0, "sample_rates": {}})
        self.other = OtherIntake(self._recorder)
        self._rows: list[SpanRow] = []

    def __enter__(self) -> _Intake:
        return self

    def __exit__(self, *exception: object) -> None:
        release_recorder(self._recorder)
        self._store.close()

    def add(self, rows: list[SpanRow]) -> None:
        """Have them stored, in time."""
        self._rows += rows
        if len(self._rows) >= _AT_ONCE:
            self.write()

    def write(self) -> None:
        """Store what was added. Raises `StoreError` when that cannot be."""
        all_rows, self._rows = self._rows, []
        if not all_rows:
            return
        rows = {key_of(row): row for row in all_rows}
        for key in self._store.find_known_spans(rows) if self._is_there() else ():
            del rows[key]
        # A span's own time is known when what it called has come before it.
        taken = [self._recorder.record(self, row) for row in _as_they_ended(rows.values())]
        self._recorder.flush_or_raise()
        self.stored_count += sum(taken)
        self.lost_count += len(rows) - sum(taken)
        self.known_count += len(all_rows) - len(rows)

    def _is_there(self) -> bool:
        return size_bytes(self._path) > 0

    def encode(self, payload: SpanRow, slow_threshold_nano: int) -> SpanRow:
        """The row itself: this is the door through which it comes."""
        return payload

    def weigh(self, payload: SpanRow) -> int:
        """About how many bytes of memory a row holds."""
        return ROW_BYTES + payload.text_size


def _as_they_ended(rows: Iterable[SpanRow]) -> list[SpanRow]:
    """What OTLP keeps apart by resource and scope, put together by end.

    Those of one scope stay in their order, which tells more than ends by a clock that was set meanwhile.
    """
    latest: dict[tuple[int, int], int] = {}
    placed: list[tuple[int, int, SpanRow]] = []
    for number, row in enumerate(rows):
        group = (id(row.resource), id(row.scope))
        latest[group] = max(latest.get(group, 0), row.end_unix_nano)
        placed.append((latest[group], number, row))
    return [row for _, _, row in sorted(placed, key=itemgetter(0, 1))]


def _pieces(name: str, decoder: SpanDecoder) -> Iterator[Piece]:
    """What a file holds. Raises `OtlpError` when it cannot be read."""
    try:
        with _opened(name) as file:
            yield from decode_file(file, decoder)
    except (OSError, EOFError, zlib.error) as error:
        message = f"{name} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise OtlpError(message) from error


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file or of standard input, unpacked, with a bar that tells how far they are read."""
    if name == "-" and sys.stdin is None:
        raise OtlpError("There is no standard input to read.")
    with open(name, "rb") if name != "-" else open(sys.stdin.fileno(), "rb", closefd=False) as raw:
        size = os.fstat(raw.fileno()).st_size
        with show_progress(name, size) as progress, io.BufferedReader(_Watched(raw, progress)) as watched:
            if watched.peek(2)[:2] != _GZIP:
                yield watched
                return
            with gzip.open(watched) as unpacked, io.BufferedReader(unpacked) as buffered:
                yield buffered


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
