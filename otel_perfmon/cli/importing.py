"""``otel-perfmon import``: spans into the store, from files of OpenTelemetry's pipelines and of other tools."""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from otel_perfmon.cli import options
from otel_perfmon.cli.checks import FINDINGS
from otel_perfmon.cli.escaping import escape
from otel_perfmon.cli.inputs import Input, is_store, open_input, path_of
from otel_perfmon.cli.other_signals import OtherIntake, add_signal_option
from otel_perfmon.cli.progress import show_progress
from otel_perfmon.config import Config, resolve_config
from otel_perfmon.errors import DecodeError, OtlpError, QueryError, StoreError
from otel_perfmon.formats.reading import read_spans
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import Piece
from otel_perfmon.otlp.signal_files import SignalDecoder
from otel_perfmon.quantities import counted
from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.arrivals import as_they_ended
from otel_perfmon.storage.paging import find_pages
from otel_perfmon.storage.registry import release_recorder
from otel_perfmon.storage.row_maker import RowMaker
from otel_perfmon.storage.rows import ROW_BYTES, SpanRow, key_of
from otel_perfmon.storage.sqlite.path_status import size_bytes
from otel_perfmon.storage.url import open_configured_recorder, open_copy, open_store

_AT_ONCE: Final = 4_096
_TOLD_MAX: Final = 100
"""So many places that could not be read are named."""
_EPILOG: Final = """\
examples:
  otel-perfmon import spans.jsonl
  otel-perfmon import --db other.db collector.json spans.pb.gz
  otel-perfmon import yesterday.db
  otel-perfmon import jaeger.json zipkin.json.zst

Reads spans in OTLP's JSON (documents, be it one a line, as the OpenTelemetry
Collector's file exporter writes them) and protobuf, in Jaeger's JSON, in
Zipkin's JSON of version 2, and those of another store (a copy of it is read);
gzip and zstd are unpacked. Which it is, the file tells, but for metrics and log
records in protobuf: say --signal. Those of them that come twice are stored
twice. OTLP and zstd take pip install 'otel-perfmon[otlp]'. What cannot be read
is named, be it a line or a file, and the rest goes on; so is a file in which
there is nothing.

Spans that the store has, by trace, id and start, are passed over; those that
retention has removed count again. Retention goes by when a span arrived here.
Slow is what says so itself, else what took longer than the threshold
($OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS).

exit status: 0 all was read, 1 something was not, a file or a place in one, 2 wrong
usage, 3 the store could not take it"""


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    parser.epilog = _EPILOG
    parser.add_argument("files", metavar="FILE", nargs="+", help="what to read; - is standard input")
    add_signal_option(parser, "what protobuf holds: its messages do not say")
    options.add_db_option(parser)
    parser.set_defaults(run=_run_import)


def _run_import(arguments: argparse.Namespace) -> int:
    config = resolve_config({"path": arguments.db})
    for name in arguments.files:
        _check_is_other(name, config.path)
    bad_count = 0
    with _Intake(config) as intake:
        other = intake.other
        threshold_nano = round(config.slow_threshold_ms * 1e6)
        decoder = SignalDecoder(threshold_nano, other.add_points, other.add_logs, arguments.signal)
        for name in arguments.files:
            is_empty, others_before = True, other.point_count + other.log_count + decoder.refused_count
            for piece in _pieces(name, decoder, threshold_nano):
                if piece.error is not None:
                    bad_count += 1
                    _tell(name, piece, bad_count)
                is_empty = is_empty and piece.error is None and not piece.rows
                intake.add(piece.rows)
            if is_empty and others_before == other.point_count + other.log_count + decoder.refused_count:
                print(f"{escape(name)}: There is nothing in it: no span, data point or log record.", file=sys.stderr)
        intake.write()
    if bad_count > _TOLD_MAX:
        print(f"{bad_count - _TOLD_MAX:,} more places could not be read.", file=sys.stderr)
    _tell_counts(intake, decoder, config.path)
    return FINDINGS if bad_count or decoder.refused_count or intake.lost_count else 0


def _tell(name: str, piece: Piece, number: int) -> None:
    if number <= _TOLD_MAX:
        where = escape(name) + (f", {piece.place}" if piece.place else "")
        print(f"{where}: {escape(str(piece.error))}", file=sys.stderr)


def _tell_counts(intake: _Intake, decoder: SpanDecoder, path: str) -> None:
    print(f"{counted(intake.stored_count, 'span')} stored in {escape(path)}.")
    for count, what in ((intake.other.point_count, "data point"), (intake.other.log_count, "log record")):
        if count:
            print(f"{counted(count, what)} stored.")
    for count, what in (
        (intake.known_count, "had been there, or came twice"),
        (decoder.refused_count, "had no ids of 16 and 8 bytes, and were left out"),
        (intake.lost_count, "could not be kept; 'otel-perfmon doctor' tells why"),
    ):
        if count:
            print(f"{counted(count, 'span')} {what}.")


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
        taken = [self._recorder.record(self, row) for row in as_they_ended(rows.values())]
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


def _pieces(name: str, decoder: SpanDecoder, slow_threshold_nano: int) -> Iterator[Piece]:
    """What a file holds, as far as it can be read; then why not, and from where on."""
    place, last_error = "", None
    try:
        with open_input(name) as file:
            pieces = _read_store(name, file) if is_store(file) else read_spans(file, decoder, slow_threshold_nano)
            for piece in pieces:
                if last_error is not None:
                    yield last_error
                place, last_error = piece.place or place, None
                if piece.error is None:
                    yield piece
                else:
                    last_error = piece
            if file.error is not None:  # which is why the last place was cut
                where = f"from {place} on" if last_error else f"behind {place}" if place else ""
                last_error = Piece(where, [], _unreadable(file.error))
    except (OSError, EOFError, zlib.error) as error:
        last_error = Piece("", [], _unreadable(error))
    except OtlpError as error:  # a package is missing, or the standard input
        last_error = Piece("", [], DecodeError(str(error)))
    if last_error is not None:
        yield last_error


def _unreadable(error: Exception) -> DecodeError:
    return DecodeError(f"It cannot be read: {getattr(error, 'strerror', None) or error}.")


def _check_is_other(name: str, store_path: str) -> None:
    """Raise `QueryError` for the store itself: to close another descriptor of it would drop SQLite's locks."""
    if name == "-":
        return
    are_there = os.path.exists(name) and os.path.exists(store_path)
    if os.path.samefile(name, store_path) if are_there else os.path.realpath(name) == os.path.realpath(store_path):
        message = f"{name} is the store into which spans are imported; name another one with --db."
        raise QueryError(message)


def _read_store(name: str, file: Input) -> Iterator[Piece]:
    """The spans of another store, with their flags, in the order in which they arrived there."""
    rows = RowMaker()
    query = SpanQuery(order="arrival", limit=_AT_ONCE)
    place, count = "", 0
    with path_of(name, file) as path:
        try:
            with open_copy(path) as store, show_progress("spans", store.summarize_store().span_count) as progress:
                for page in find_pages(store, query, sys.maxsize, progress.advance):
                    count += len(page)
                    place = f"behind {counted(count, 'span')}"
                    yield Piece("", [rows.row_of(span) for span in page])
        except StoreError as error:
            yield Piece(place, [], DecodeError(str(error)))
