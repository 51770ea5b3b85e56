"""What the page of spans shows as a file, as ``otel-perfmon export`` writes it: some hundred spans at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from otel_perfmon.errors import PerfmonError
from otel_perfmon.formats.csv_table import encode_csv
from otel_perfmon.otlp.files import encode_json_lines
from otel_perfmon.query import SpanQuery
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.paging import PAGE_SPANS, find_pages
from otel_perfmon.web.api.parameters import Parameter, read_parameters
from otel_perfmon.web.headers import OURS_ALONE
from otel_perfmon.web.pages.page import RANGE, SERVICE
from otel_perfmon.web.pages.span_filters import SPAN_FILTERS, query_of
from otel_perfmon.web.statuses import status_of

SPANS_MAX: Final = 100_000
"""A file ends behind so many spans; the command has no such limit."""
_THREADS: Final = 2
"""However many files are fetched, pages have their turn."""
_HEADERS: Final = {**OURS_ALONE, "Content-Security-Policy": "default-src 'none'; sandbox"}
Refuse = Callable[[int, str], Response]


class Format(NamedTuple):
    """A kind of file: how pages of spans are written, the ending of its name, and its media type."""

    encode: Callable[[Iterable[Sequence[SpanRecord]]], Iterator[bytes]]
    ending: str
    media_type: str


FORMATS: Final = {
    "otlp-json": Format(encode_json_lines, "jsonl", "application/x-ndjson"),
    "csv": Format(encode_csv, "csv", "text/csv"),
}


def _read_format(given: str) -> Format:
    if given not in FORMATS:
        message = f"{' or '.join(FORMATS)} is wanted"
        raise ValueError(message)
    return FORMATS[given]


_PARAMETERS: Final = (
    Parameter("format", "How it is written.", _read_format, is_required=True),
    RANGE,
    SERVICE,
    *(each for each in SPAN_FILTERS if each.name != "page_token"),
)


class _GoneError(Exception):
    """Who asked for the file has left."""


def export_routes(store: Store, refuse: Refuse) -> list[Route]:
    """Where the files are; ``refuse`` makes the page that says why there is none."""
    threads = ThreadPoolExecutor(_THREADS, "otel-perfmon-export")

    async def receive(request: Request) -> Response:
        given = [pair for pair in request.query_params.multi_items() if pair[1]]
        try:
            form, query = _read(given)
            # What cannot be answered is told before anything is sent.
            await asyncio.get_running_loop().run_in_executor(threads, store.find_spans, replace(query, limit=1))
        except PerfmonError as error:
            return refuse(status_of(error), str(error))
        name = f"spans-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.{form.ending}"
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_stream(store, form, query, threads), 200, headers, form.media_type)

    return [Route("/spans/export", receive, methods=["GET"])]


def _read(given: Sequence[tuple[str, str]]) -> tuple[Format, SpanQuery]:
    """What is asked for. Raises `QueryError`."""
    values: dict[str, Any] = read_parameters(_PARAMETERS, given)
    time_range = values.get("window")
    window = time_range.window if time_range else None
    return values["format"], query_of({"order": "arrival", **values}, window, limit=PAGE_SPANS)


async def _stream(store: Store, form: Format, query: SpanQuery, threads: ThreadPoolExecutor) -> AsyncIterator[bytes]:
    """The file, its next piece made on a thread when the one before has gone out; nothing is made for who has left."""
    is_gone = threading.Event()

    def check(_: int) -> None:
        if is_gone.is_set():
            raise _GoneError

    pieces = form.encode(find_pages(store, query, SPANS_MAX, check))
    loop = asyncio.get_running_loop()
    try:
        while (piece := await loop.run_in_executor(threads, next, pieces, None)) is not None:
            yield piece
    finally:
        is_gone.set()
