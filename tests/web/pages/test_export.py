"""What the page of spans shows goes out as files, as the command writes them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import socket
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest
from serve_kit import showing
from starlette.applications import Starlette
from starlette.responses import Response
from storage_kit import SECOND, span_row, trace_bytes, write

from otel_perfmon import MetricsStorage, open_store
from otel_perfmon.cli.main import main
from otel_perfmon.storage.sqlite.store import SqliteStore
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.web.pages import export
from otel_perfmon.web.pages.export import export_routes

HOSTILE = ("=cmd|' /C calc'!A0", "+1", "@SUM(A1)", "\t=1", 'a\r\nb,"c"', "\u202e", "<script>", "\ud83d", "", "\uff1d1")
TRACE = trace_bytes(7_777)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("pages") / "metrics.db")
    now = time.time_ns()
    rows = [span_row(name, end=now - SECOND, attributes=json.dumps({"k": name})) for name in HOSTILE]
    rows += [span_row("many", end=now - number * SECOND, ms=number) for number in range(1_200)]
    rows += [span_row(f"part {number}", end=now - 86_400 * SECOND * number, trace_id=TRACE) for number in range(3)]
    rows += [span_row("fails", end=now, error="no", slow=True, service="bank")]
    writer = SqliteWriter(path)
    for first in range(0, len(rows), 500):
        write(writer, *rows[first : first + 500])
    writer.close()
    return path


@pytest.fixture(scope="module")
def served(path):
    with showing(path, "--no-token") as served:
        yield served


async def ask(app, path: str, query: str, *, leaves_after: int | None = None) -> bytes:
    """What an application answers, without a server; to who leaves after so many pieces, if anybody does."""
    body, has_left = [], asyncio.Event()

    async def send(message):
        body.append(message.get("body", b""))
        if len(body) == leaves_after:
            has_left.set()
        await asyncio.sleep(0.01)

    async def receive():
        await has_left.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    await app(scope, receive, send)
    return b"".join(body)


def get(served, **given):
    return served.get("/spans/export?" + urlencode(given, doseq=True))


def written(tmp_path, path: str, *arguments: str) -> bytes:
    file = tmp_path / "exported"
    assert main(["export", "--db", path, "-o", str(file), *arguments]) == 0
    return file.read_bytes()


@pytest.mark.parametrize("form", ["otlp-json", "csv"])
@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, []),
        ({"operation": "many", "min_duration_ms": "1s"}, ["many", "--min", "1s"]),
        ({"is_error": "true", "service": "bank"}, ["--error", "--service", "bank"]),
        ({"trace_id": TRACE.hex()}, ["--trace", TRACE.hex()]),
        ({"attribute": "k=<script>"}, ["--attribute", "k=<script>"]),
    ],
    ids=str,
)
def test_a_file_is_what_the_command_writes(served, path, tmp_path, form, given, arguments):
    answer = get(served, format=form, **given)
    assert answer.status == 200
    assert answer.body
    assert answer.body == written(tmp_path, path, "--format", form, *arguments)


def test_a_file_has_a_name_and_is_nothing_else_than_a_file(served):
    for form, ending, media_type in (
        ("otlp-json", "jsonl", "application/x-ndjson"),
        ("csv", "csv", "text/csv; charset=utf-8"),
    ):
        answer = get(served, format=form, operation="fails")
        assert answer.media_type == media_type
        name = answer.headers["content-disposition"]
        assert re.fullmatch(rf'attachment; filename="spans-\d{{8}}T\d{{6}}Z\.{ending}"', name)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_a_trace_goes_out_whole(served):
    lines = get(served, format="otlp-json", trace_id=TRACE.hex(), window="15m").body.splitlines()
    spans = [
        span
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert [span["name"] for span in spans] == ["part 0", "part 1", "part 2"]


def test_a_spreadsheet_takes_nothing_for_a_formula(served):
    rows = list(csv.DictReader(io.StringIO(get(served, format="csv").body.decode(), newline="")))
    names = {row["name"] for row in rows}
    assert {"'=cmd|' /C calc'!A0", "'+1", "'@SUM(A1)", "'\t=1", "'\uff1d1"} <= names
    assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for name in names)


def test_what_is_shown_first_is_written_first(served):
    rows = list(csv.DictReader(io.StringIO(get(served, format="csv", operation="many", order="newest").body.decode())))
    ends = [int(row["end_unix_nano"]) for row in rows]
    assert len(ends) == 1_200
    assert ends == sorted(ends, reverse=True)


def test_the_links_of_the_page_ask_for_what_it_shows(served):
    page = served.get("/spans?operation=fails&window=24h&columns=k&page_token=n1.1").body.decode()
    links = re.findall(r'<a class="link" download href="([^"]*)"', page)
    assert links == [
        "/spans/export?operation=fails&amp;format=otlp-json&amp;window=24h&amp;order=newest",
        "/spans/export?operation=fails&amp;format=csv&amp;window=24h&amp;order=newest",
    ]
    assert served.get(links[1].replace("&amp;", "&")).body.count(b"\r\n") == 2


def test_a_file_ends_at_its_limit(path, monkeypatch):
    monkeypatch.setattr(export, "SPANS_MAX", 600)
    with open_store(path) as store:
        client = Starlette(routes=export_routes(store, lambda status, message: Response(message, status)))
        body = asyncio.run(ask(client, "/spans/export", "format=csv&operation=many"))
    assert body.count(b"\r\n") == 601


@pytest.mark.parametrize(
    "given",
    [{}, {"format": "exe"}, {"format": "csv", "min_duration_ms": "x"}, {"format": "csv", "page_token": "n1.1"}],
    ids=str,
)
def test_what_makes_no_sense_is_refused(served, given):
    answer = get(served, **given)
    assert answer.status == 400
    assert "content-disposition" not in answer.headers


def test_nothing_found_is_a_file_with_nothing_in_it(served):
    assert get(served, format="otlp-json", operation="none").body == b""
    assert get(served, format="csv", operation="none").body.count(b"\r\n") == 1


def test_a_store_that_is_not_there_has_no_file(tmp_path):
    with showing(str(tmp_path / "metrics.db"), "--no-token") as served:
        assert get(served, format="csv").status == 503


def test_nothing_is_searched_for_who_has_left(path):
    asked = []

    class Watched(SqliteStore):
        def find_spans(self, query=None):
            asked.append(query)
            return super().find_spans(replace(query, limit=min(query.limit, 10)))

    with Watched(path) as store:
        app = Starlette(routes=export_routes(store, lambda status, message: Response(message, status)))
        asyncio.run(ask(app, "/spans/export", "format=csv&operation=many", leaves_after=2))
    assert len(asked) <= 4


def test_others_are_answered_while_files_are_fetched(served):
    with ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", served.port, timeout=10)))
            connection.request("GET", "/spans/export?format=csv")
        assert get(served, format="csv", operation="fails").status == 200
        assert served.get("/spans").status == 200


def test_what_breaks_off_an_answer_is_told_in_a_sentence_and_the_end_of_the_server_not_at_all(tmp_path):
    path = str(tmp_path / "metrics.db")
    with MetricsStorage(path) as storage:
        for number in range(4_000):
            storage.insert_metric("op", 1.0, context={"text": f"{number} " * 2_000})
    with showing(path, "--no-token") as served:
        asking = b"GET /spans/export?format=csv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with closing(socket.create_connection(("127.0.0.1", served.port))) as connection:
            connection.sendall(asking)
            connection.recv(1_000)
            os.remove(path)
            heard = b""
            while part := connection.recv(65_536):
                heard = part
            assert not heard.endswith(b"0\r\n\r\n")
        served.process.terminate()
        told = served.process.stderr.read()
    assert "An answer ends before its end: There is no store at" in told
    assert "Traceback" not in told
