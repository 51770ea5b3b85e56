"""Metrics and log records in ``otel-perfmon export`` and ``import``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from otel_perfmon.cli.progress import Progress, show_progress
from otel_perfmon.errors import QueryError
from otel_perfmon.formats import csv_signals
from otel_perfmon.otlp import signal_files
from otel_perfmon.query import Window
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.recorder import Recorder

_PAGE: Final = 512
_AT_ONCE: Final = 4_096
_FORMATS: Final[dict[str, Callable[[str, Iterable[Sequence[Any]]], Iterator[bytes]]]] = {
    "otlp-json": signal_files.encode_json_lines,
    "otlp-proto": signal_files.encode_protobuf_messages,
    "csv": csv_signals.encode_csv,
}
_OF_SPANS: Final = (
    *("is_error", "is_slow", "min", "max", "error_type", "attribute", "trace"),
    *("operation", "operation_option"),
)


def add_signal_option(parser: argparse.ArgumentParser, text: str) -> None:
    """``--signal``: ``arguments.signal`` is one of OpenTelemetry's three."""
    parser.add_argument("--signal", choices=signal_files.SIGNALS, default="traces", help=f"{text} (default: traces)")


def check_signal(arguments: argparse.Namespace) -> None:
    """Raise `QueryError` for what only goes with spans."""
    if arguments.format not in _FORMATS:
        message = f"{arguments.format} is a format of spans; of {arguments.signal} there are {', '.join(_FORMATS)}."
        raise QueryError(message)
    for name in _OF_SPANS:
        if getattr(arguments, name, None) not in (None, []):
            message = f"{arguments.signal} are chosen by --window and --service alone."
            raise QueryError(message)


def encode_signal(store: Store, arguments: argparse.Namespace) -> Iterator[bytes]:
    """The points or log records that match, encoded, in the order in which they arrived; with a progress bar.

    Behind the points stand the rollups of the operations.
    """
    kept = store.summarize_store()
    total_count = kept.log_count if arguments.signal == "logs" else kept.point_count
    with show_progress(arguments.signal, total_count) as progress:
        find: Callable[..., Any] = store.find_arrived_logs if arguments.signal == "logs" else store.find_arrived_points
        pages = _pages(find, 0, arguments, progress)
        if arguments.signal == "metrics":
            pages = _both(pages, _pages(store.find_rollup_points, (0, 0), arguments, progress))
        yield from _FORMATS[arguments.format](arguments.signal, _limited(pages, arguments.limit or sys.maxsize))


def _both(*parts: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for part in parts:
        yield from part


def _pages(
    find: Callable[..., Any], after: Any, arguments: argparse.Namespace, progress: Progress
) -> Iterator[Sequence[Any]]:
    while True:
        page = find(after, limit=_PAGE)
        if page.last is None:
            return
        after = page.last
        progress.advance(len(page.items))
        items = [item for item in page.items if _matches(item, arguments.window, arguments.service)]
        if items:
            yield items


def _matches(item: Any, window: Window | None, service: str | None) -> bool:
    moment: int = getattr(item, "moment_unix_nano", item.time_unix_nano)
    if window is not None and not window.start_unix_nano <= moment < window.end_unix_nano:
        return False
    own: str = item.resource.attributes.get("service.name", "")
    return service is None or own == service


def _limited(pages: Iterator[Sequence[Any]], limit: int) -> Iterator[Sequence[Any]]:
    for page in pages:
        yield page[:limit]
        limit -= len(page)
        if limit <= 0:
            return


class OtherIntake:
    """Takes data points and log records into a store, a transaction at a time."""

    def __init__(self, recorder: Recorder) -> None:
        self.point_count = self.log_count = 0
        self._recorder = recorder

    def add_points(self, points: Iterable[Any]) -> None:
        """Store data points. Raises `StoreError`, and `DecodeError` for what is none."""
        self.point_count += _write(points, self._recorder.write_points)

    def add_logs(self, logs: Iterable[Any]) -> None:
        """Store log records. Raises as `add_points`."""
        self.log_count += _write(logs, self._recorder.write_logs)


def _write(items: Iterable[Any], write: Callable[[Sequence[Any]], int]) -> int:
    count, rest = 0, iter(items)
    while part := list(islice(rest, _AT_ONCE)):
        while part:
            written = write(part)
            count, part = count + written, part[written:]
    return count
