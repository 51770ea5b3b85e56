"""Routes for the questions: each has threads of its own, and a bounded time, so that none holds up another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_perfmon.errors import PerfmonError
from otel_perfmon.json_form import as_json
from otel_perfmon.storage.base import Store
from otel_perfmon.web.api.openapi import describe
from otel_perfmon.web.api.parameters import read_parameters
from otel_perfmon.web.api.questions import QUESTIONS, Question
from otel_perfmon.web.headers import OURS_ALONE
from otel_perfmon.web.statuses import status_of

SECONDS_MAX: Final = 5.0
"""How long a question may take."""
_THREADS: Final = 4
"""For each question: many that take their time, such as those in SQL, leave the others theirs."""
_NOT_FOUND: Final = 404
_HEADERS: Final = {**OURS_ALONE, "Content-Security-Policy": "default-src 'none'"}
_Endpoint = Callable[[Request], Awaitable[Response]]


def refuse(status: int, message: str, _content_type: str = "", *, error: str = "Refused") -> Response:
    """The answer to a request that is not answered; as OpenAPI's document has it."""
    return _answer(_encode({"error": error, "message": message}), status)


async def refuse_http(_: Request, error: Exception) -> Response:
    """The same for what Starlette refuses: paths and methods that are not there."""
    assert isinstance(error, HTTPException)
    message = "There is nothing at this address." if error.status_code == _NOT_FOUND else "GET asks; nothing else does."
    return refuse(error.status_code, message)


def api_routes(store: Store) -> list[Route]:
    """The routes, for any application. The store should end its questions after `SECONDS_MAX`."""
    routes = [Route(each.path, _endpoint(each, store), methods=["GET"]) for each in QUESTIONS]
    document = _encode(describe(QUESTIONS))

    async def tell(_: Request) -> Response:
        return _answer(document)

    return [Route("/api/openapi.json", tell, methods=["GET"]), *routes]


def _endpoint(question: Question, store: Store) -> _Endpoint:
    threads = ThreadPoolExecutor(_THREADS, f"otel-perfmon{question.path}")

    def ask(given: list[tuple[str, str]]) -> bytes:
        answer = question.ask(store, **read_parameters(question.parameters, given))
        return _encode({"items": as_json(answer)} if isinstance(answer, list) else as_json(answer))

    async def receive(request: Request) -> Response:
        given = [*request.path_params.items(), *request.query_params.multi_items()]
        try:
            return _answer(await asyncio.get_running_loop().run_in_executor(threads, ask, given))
        except PerfmonError as error:
            return refuse(status_of(error), str(error), error=type(error).__name__)

    return receive


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status, _HEADERS, media_type="application/json")


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
