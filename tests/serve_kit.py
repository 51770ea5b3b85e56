"""A receiver in a process of its own, and a client that says exactly what it is told to."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass
class Served:
    """Where it listens, what it stores into, and its process."""

    port: int
    grpc_port: int
    path: str
    process: subprocess.Popen[str]
    token: str = ""
    """With which it is asked; empty where it was told to ask for none, or was given one."""

    @property
    def url(self) -> str:
        """Where its pages begin, as a browser names it, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def post(self, body: bytes, path: str = "/v1/traces", *, media_type: str = JSON, **headers: str) -> Answer:
        """Send a request as an exporter does, and read the answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", path, body, {"Content-Type": media_type, **names})
            return Answer.of(connection.getresponse())

    def get(self, path: str, **headers: str) -> Answer:
        """Ask, with the token unless another is given; for nothing that a browser would add."""
        given = {"Authorization": f"Bearer {self.token}", **headers}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers={name: value for name, value in given.items() if value})
            return Answer.of(connection.getresponse())

    def say(self, data: bytes, timeout: float = 30) -> bytes:
        """Send bytes as they are; all that comes back until the other side closes, or the time is over."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=timeout)) as connection:
            connection.sendall(data)
            heard = b""
            try:
                while part := connection.recv(65_536):
                    heard += part
            except (TimeoutError, ConnectionResetError):
                pass
            return heard


@dataclass
class Answer:
    status: int
    media_type: str
    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, response: HTTPResponse) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return cls(response.status, headers.get("content-type", ""), response.read(), headers)

    def json(self):
        return json.loads(self.body)


@contextmanager
def serving(path: str, *arguments: str, **environment: str) -> Iterator[Served]:
    """Run `otel-perfmon serve` on any free ports for a block; it is stopped in order."""
    if "--no-grpc" not in arguments:
        arguments += ("--grpc-port", "0")
    with _running(["serve", "--db", path, "--port", "0", *arguments], path, environment) as process:
        told = "".join(process.stdout.readline() for _ in range(5))
        ports = [int(port) for port in re.findall(r":(\d+) \(", told)]
        assert ports, process.stderr.read()
        yield Served(ports[0], ports[1] if len(ports) > 1 else 0, path, process, _token_in(told))


@contextmanager
def showing(path: str, *arguments: str, port: int = 0, **environment: str) -> Iterator[Served]:
    """The same of `otel-perfmon ui`, which receives nothing."""
    with _running(["ui", "--db", path, "--port", str(port), *arguments], path, environment) as process:
        told = "".join(process.stdout.readline() for _ in range(2))
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert found, process.stderr.read()
        yield Served(int(found[1]), 0, path, process, _token_in(told))


@contextmanager
def _running(words: list[str], path: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "otel_perfmon", *words]
    with subprocess.Popen(command, **pipes, env=variables, cwd=os.path.dirname(path)) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _token_in(told: str) -> str:
    return told.partition("?token=")[2].strip()


def span_json(number: int, name: str = "op", **fields: object) -> dict[str, object]:
    """A span of its own trace, in OTLP's JSON."""
    ids = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}"}
    times = {"startTimeUnixNano": str(1_764_000_000_000_000_000 + number), "endTimeUnixNano": "1764000000001000000"}
    return {**ids, "name": name, **times, **fields}


def traces_json(*spans: dict[str, object], service: str = "shop") -> bytes:
    """A request with those spans."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scopes = [{"scope": {"name": "kit"}, "spans": list(spans)}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}).encode()
