"""A destination of OTLP/HTTP that answers as it is told: a real server on loopback, and the spans that it took."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

IDS = ("traceId", "spanId", "parentSpanId")


def in_base64(value: Any) -> Any:
    """JSON of OTLP as protobuf's own has it: with ids in base64."""
    if isinstance(value, list):
        return [in_base64(each) for each in value]
    if not isinstance(value, dict):
        return value
    ids = {name: base64.b64encode(bytes.fromhex(value[name])).decode() for name in IDS if name in value}
    return {name: in_base64(each) for name, each in value.items()} | ids


@dataclass
class Request:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    message: Any
    names: list[str]
    span_ids: list[bytes]


Answer = Callable[["Answering", Request], None]


def ok(answering: Answering, request: Request) -> None:
    answering.reply(200)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda answering, _: answering.reply(code, body, **headers)


class Answering(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        encoding = self.headers.get("Content-Encoding")
        body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body) if encoding == "deflate" else body
        message = ExportTraceServiceRequest()
        if self.headers["Content-Type"] == "application/json":
            Parse(json.dumps(in_base64(json.loads(body))), message)
        else:
            message.ParseFromString(body)
        spans = [s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans]
        names, ids = [span.name for span in spans], [span.span_id for span in spans]
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, message, names, ids)
        self.server.destination.answer(self, request)

    def do_GET(self) -> None:
        self.server.destination.followed_count += 1
        self.reply(200)

    def reply(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        if code < 300:
            self.send_header("Content-Type", "application/x-protobuf")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing on standard error."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *arguments: object) -> None:
        """A client that goes away is none."""


@dataclass
class ScriptedDestination:
    """Answers the requests by ``script``, one after the other, and with success when it is used up."""

    url: str
    script: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    taken: Counter[bytes] = field(default_factory=Counter)
    rule: Answer | None = None
    followed_count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self, answering: Answering, request: Request) -> None:
        with self.lock:
            self.requests.append(request)
            answer = self.script.pop(0) if self.script else self.rule or ok
        with suppress(OSError):
            answer(answering, request)

    def take(self, request: Request) -> None:
        """Count the spans as received."""
        with self.lock:
            self.taken.update(request.span_ids)

    def names(self) -> list[str]:
        return [name for request in self.requests for name in request.names]


@contextmanager
def scripted_destination(*script: Answer, rule: Answer | None = None) -> Iterator[ScriptedDestination]:
    with _Server(("127.0.0.1", 0), Answering) as server:
        server.destination = ScriptedDestination(f"http://127.0.0.1:{server.server_port}", list(script), rule=rule)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.destination
        finally:
            server.destination.ended.set()
            server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
