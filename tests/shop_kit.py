"""A small shop on Flask, real programs that serve it, and what is stored of it then."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_perfmon import SpanQuery, SpanRecord, open_store

SHOP = """
import sys, time
from flask import Flask
app = Flask(__name__)
app.config["PROPAGATE_EXCEPTIONS"] = False

@app.get("/cart")
def cart():
    return "a cart"

@app.get("/pay")
def pay():
    time.sleep(0.35)
    return "paid"

@app.get("/fail")
def fail():
    raise LookupError("sold out")

def ask(*paths):
    client = app.test_client()
    for path in paths:
        print(path, client.get(path).status_code)

if __name__ == "__main__":
    ask("/cart", "/pay", "/fail")
"""
PRINTED = ["/cart 200", "/pay 200", "/fail 500"]
SEEN = [("GET /cart", False, False), ("GET /pay", True, False), ("GET /fail", False, True)]
"""Name, slow and failed of each request's span, with a threshold of 300 ms."""
SLOW = {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "300"}
NO_OTHER_SIGNALS = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def bin_path(name: str) -> str:
    """A command of this Python's environment."""
    return str(Path(sys.executable).parent / name)


def run(
    words: list[str], *, cwd: str = ".", timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command, with the commands of this environment on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stored(path: str = "metrics.db") -> list[SpanRecord]:
    """What is stored, in the order of its end."""
    with open_store(path) as store:
        return list(store.find_spans(SpanQuery(order="oldest", limit=1_000)))


def seen(path: str = "metrics.db") -> list[tuple[str, bool, bool]]:
    """Name, slow and failed of each span that is stored."""
    return [(span.name, span.is_slow, span.is_error) for span in stored(path)]


@contextmanager
def collector() -> Iterator[tuple[str, list[str]]]:
    """A server that takes OTLP/HTTP: its address, and the names of the spans that it has been sent."""
    names: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names.extend(span.name for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", names
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
