"""The pages as routes: each is made on a thread of its own and for a bounded time, with a strict policy for scripts."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from otel_perfmon.account import Health, StoreSummary
from otel_perfmon.errors import PerfmonError
from otel_perfmon.query import Window
from otel_perfmon.storage.base import Store
from otel_perfmon.web.api.parameters import Parameter, read_parameters
from otel_perfmon.web.headers import OURS_ALONE
from otel_perfmon.web.pages import errors, find, operation, operations, running, spans, sql, stores, traces
from otel_perfmon.web.pages.address import Address, window_text
from otel_perfmon.web.pages.filters import FILTERS
from otel_perfmon.web.pages.page import (
    LIVE,
    RANGE,
    SERVICE,
    WINDOW_DEFAULT,
    WINDOWS,
    Asked,
    Download,
    Page,
    SeeOtherError,
    TimeRange,
)
from otel_perfmon.web.statuses import status_of

PAGES: Final = (
    *operations.PAGES,
    *operation.PAGES,
    *traces.PAGES,
    *errors.PAGES,
    *spans.PAGES,
    *running.PAGES,
    *stores.PAGES,
    *sql.PAGES,
    *find.PAGES,
)
"""All of them, in the order of the navigation."""
DOWNLOADS: Final = (*sql.DOWNLOADS,)
"""What can be saved from them."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types perfmon"
)
"""The Content-Security-Policy of every page: nothing but our own files, and no script or style within a page."""
_THREADS: Final = 4
"""For each page."""
_CELL_SECONDS: Final = 10
"""The narrowest in which calls are counted."""
_ERRORS: Final = "backslashreplace"
"""Half a surrogate pair, which no encoding has."""
_HEADERS: Final = {
    **OURS_ALONE,
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What pages know beside the store: its path, the thresholds, and where spans come in, if anywhere."""

    path: str
    slow_threshold_ms: float
    error_rate_threshold: float
    receives_at: str = ""


class Site:
    """The pages of one store. The store should end its questions after some seconds."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._templates = Environment(
            loader=PackageLoader("otel_perfmon.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(windows=WINDOWS, pages=[page for page in PAGES if page.heading])

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        pages = [Route(page.path, self._endpoint(page), methods=["GET"]) for page in PAGES]
        downloads = [Route(each.path, self._saving(each), methods=["GET"]) for each in DOWNLOADS]
        return [*downloads, *pages]

    def refuse(self, status: int, message: str) -> Response:
        """A page that says why there is none."""
        body = self._templates.get_template("refused.html").render(status=status, message=message)
        return Response(body, status, _HEADERS, media_type="text/html")

    def _endpoint(self, page: Page) -> _Endpoint:
        threads = ThreadPoolExecutor(_THREADS, f"otel-perfmon{page.path}")

        async def receive(request: Request) -> Response:
            given = request.query_params.multi_items()
            try:
                loop = asyncio.get_running_loop()
                status, body = await loop.run_in_executor(threads, self._render, page, request.path_params, given)
                return Response(body, status, _HEADERS, media_type="text/html")
            except SeeOtherError as other:
                return RedirectResponse(other.address, 303, _HEADERS)
            except PerfmonError as error:
                return self.refuse(status_of(error), str(error))

        return receive

    def _saving(self, download: Download) -> _Endpoint:
        threads = ThreadPoolExecutor(_THREADS, f"otel-perfmon{download.path}")

        async def receive(request: Request) -> Response:
            given = request.query_params.multi_items()
            try:
                asked = self._asked(download.parameters, given)
                loop = asyncio.get_running_loop()
                name, media_type, body = await loop.run_in_executor(threads, download.answer, asked)
            except PerfmonError as error:
                return self.refuse(status_of(error), str(error))
            headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
            return Response(body, 200, headers, media_type=media_type)

        return receive

    def _asked(self, parameters: Sequence[Parameter], given: Sequence[tuple[str, str]]) -> Asked:
        given = [pair for pair in given if pair[1]]  # a form sends its empty fields too
        values = read_parameters((RANGE, LIVE, SERVICE, *parameters), given)
        return Asked(self._store, values.pop("window", None) or TimeRange.parse(WINDOW_DEFAULT), values)

    def _render(self, page: Page, path: Mapping[str, str], given: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        """The status and the HTML; the former is 200 unless the page's answer has another ``status``."""
        asked = self._asked(page.parameters, [*path.items(), *given])
        if not os.path.exists(self._settings.path):
            body = self._templates.get_template("empty.html").render(path=self._settings.path)
            return 200, body.encode(errors=_ERRORS)
        health, summary = self._store.get_health(), self._store.summarize_store()
        asked = asked._replace(range=asked.range.begun(_since_unix_nano(health, summary)))
        address = Address(page.path.format(**path), given, asked.range.told or asked.range.text)
        context = page.answer(asked)
        body = self._templates.get_template(page.template).render(
            {
                "page": page,
                "asked": asked,
                "range": asked.range,
                "frozen": _frozen(asked.range, summary),
                "address": address,
                "here": address.here,
                "to": address.to,
                "api": address.api,
                "foot": foot(health, summary),
                "summary": summary,
                "file_name": os.path.basename(summary.path),
                "box_text": dict(given).get("box", ""),
                "settings": self._settings_of(summary),
                **context,
            }
        )
        return context.get("status", 200), body.encode(errors=_ERRORS)

    def _settings_of(self, summary: StoreSummary) -> Settings:
        """The settings, with the threshold of who records: that of who shows may be another one."""
        threshold_ms = summary.slow_threshold_ms
        return self._settings if threshold_ms is None else replace(self._settings, slow_threshold_ms=threshold_ms)


def _since_unix_nano(health: Health, summary: StoreSummary) -> int:
    """When the first call ended, as far as the spans tell; 0 where they do not, since some are no longer there."""
    if summary.first_end is None or health.pruned or health.sampled_out:
        return 0
    return int(summary.first_end) // _CELL_SECONDS * _CELL_SECONDS * 10**9


def _frozen(time_range: TimeRange, summary: StoreSummary) -> str:
    """The same time range as it is now, for good."""
    window = time_range.window
    if window is None:
        window = Window(round((summary.first_end or 0) * 1e9), time.time_ns())
    return window_text(window)


def foot(health: Health, summary: StoreSummary) -> dict[str, Any]:
    """What the foot line tells, as JSON has it."""
    return {
        "stored": summary.span_count,
        "lost": sum(health.dropped.values()),
        "file_bytes": summary.file_bytes,
        "size_max_bytes": summary.size_max_bytes,
        "retention_seconds": summary.retention_seconds,
    }


def static_files() -> Mount:
    """What pages are made of, for every browser."""
    return Mount("/static", _StaticFiles(directory=str(files("otel_perfmon.web") / "static")))


class _StaticFiles(StaticFiles):
    """Our own scripts and styles; a browser asks each time whether they are still the same."""

    def file_response(self, *arguments: Any, **keywords: Any) -> Response:
        response = super().file_response(*arguments, **keywords)
        response.headers.update({**_HEADERS, "Cache-Control": "no-cache"})
        return response
