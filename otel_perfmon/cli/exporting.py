"""``otel-perfmon export``: spans out of the store, for OpenTelemetry's pipelines and for other tools."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from tempfile import mkstemp
from typing import BinaryIO, Final

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import open_store_of
from otel_perfmon.cli.filters import add_filters, query_of
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.other_signals import add_signal_option, check_signal, encode_signal
from otel_perfmon.cli.progress import show_progress
from otel_perfmon.config import resolve_setting
from otel_perfmon.errors import QueryError
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.paging import PAGE_SPANS, find_pages
from otel_perfmon.storage.sqlite.examination import COMPANIONS

Encode = Callable[[Iterable[Sequence[SpanRecord]]], Iterator[bytes]]

FORMATS: Final = {
    "otlp-json": ("otlp.files", "encode_json_lines"),
    "otlp-proto": ("otlp.files", "encode_protobuf_messages"),
    "csv": ("formats.csv_table", "encode_csv"),
    "parquet": ("formats.parquet", "encode_parquet"),
    "chrome-trace": ("formats.chrome_trace", "encode_chrome_trace"),
    "jaeger-json": ("formats.jaeger_encoding", "encode_jaeger_json"),
}
"""For each format its module and the function that encodes pages of spans."""
_BINARY: Final = ("otlp-proto", "parquet")
_EPILOG: Final = """\
examples:
  otel-perfmon export > spans.jsonl
  otel-perfmon export --error --window 1h --format csv -o errors.csv
  otel-perfmon export --format chrome-trace --window 5m -o trace.json
  otel-perfmon export --format parquet -o spans.parquet
  otel-perfmon export --signal logs --window 1h -o logs.jsonl
  otel-perfmon export | gzip > spans.jsonl.gz

otlp-json is what the OpenTelemetry Collector's file exporter writes and its
otlpjsonfile receiver reads: a TracesData a line. otlp-proto is the same in
protobuf, each behind its size in four bytes. Parquet takes
pip install 'otel-perfmon[parquet]'. A chrome-trace opens in Perfetto
(ui.perfetto.dev); it is held in memory. jaeger-json opens in Jaeger's UI
("Upload", JSON file), its times in microseconds. Spans come as they arrived,
some hundreds at a time, in OTLP by resource and scope, in jaeger-json by trace."""


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    parser.epilog = _EPILOG
    add_filters(parser)
    options.add_window_option(parser)
    add_signal_option(parser, "spans, data points with the statistics, or log records")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        choices=FORMATS,
        default="otlp-json",
        help=f"{', '.join(FORMATS)} (default: the first)",
    )
    parser.add_argument(
        "--limit", metavar="N", type=options.count_at_least_1, help="the first N to arrive (default: all)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="(default: -, standard output)")
    options.add_db_option(parser)
    parser.set_defaults(run=_run_export)


def _run_export(arguments: argparse.Namespace) -> int:
    if arguments.signal != "traces":
        return _export_other(arguments)
    query = query_of(arguments, window=arguments.window, order="arrival", limit=PAGE_SPANS)
    module, function = FORMATS[arguments.format]
    encode: Encode = getattr(import_module(f"otel_perfmon.{module}"), function)
    if arguments.output == "-" and arguments.format in _BINARY and sys.stdout.isatty():
        message = f"{arguments.format} is not for a terminal: name a file with -o, or send it on with |."
        raise QueryError(message)
    with open_store_of(arguments) as store:
        _check_is_other(arguments.output, resolve_setting("path", arguments.db))
        check_names(store, operation=query.operation, service=query.service)
        total_count = store.summarize_store().span_count
        with _opened(arguments.output) as file, show_progress("spans", arguments.limit or total_count) as progress:
            for piece in encode(find_pages(store, query, arguments.limit or sys.maxsize, progress.advance)):
                file.write(piece)
    return 0


def _export_other(arguments: argparse.Namespace) -> int:
    check_signal(arguments)
    if arguments.output == "-" and arguments.format == "otlp-proto" and sys.stdout.isatty():
        raise QueryError("Protobuf is not for a terminal: name a file with -o, or send it on with |.")
    with open_store_of(arguments) as store:
        _check_is_other(arguments.output, resolve_setting("path", arguments.db))
        check_names(store, operation=None, service=arguments.service)
        with _opened(arguments.output) as file:
            file.writelines(encode_signal(store, arguments))
    return 0


@contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    """Standard output, a device or a pipe, or a file that is there, or another than before, only once it is whole."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = os.path.realpath(output)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    descriptor, unfinished = mkstemp(prefix=f".{os.path.basename(path)[:40]}.", dir=os.path.dirname(path))  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            yield file
        if os.path.exists(path):
            os.chmod(unfinished, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _check_is_other(output: str, store: str) -> None:
    """Raise `QueryError` for an output that is the store, or a file beside it that is part of it."""
    path = os.path.realpath(output)
    if output != "-" and path in {os.path.realpath(store) + ending for ending in COMPANIONS}:
        message = f"{output} belongs to the store that is exported; name another file."
        raise QueryError(message)
