"""How fast the receiver is: spans a second until they are committed, beside a bare loop that does the least possible.

Run:  python tests/benchmarks/receiver.py [--short] [--rounds N] [--phoenix COMMAND]

One client sends protobuf batches of 512 spans (a shop's: traces of eight, six attributes, one span in ten with an
event, one in twenty failed) over one connection to `otel-perfmon serve`, each after the answer to the one before. The
bare loop runs in the same process as a receiver would: it parses the same requests with opentelemetry-proto, reads
every field of every span into a row, and inserts the rows, one transaction a request, into a table without indexes: no
HTTP, no rollups, no second look at what came before. Rounds of both alternate; the figure is the median of their
ratios.

With `--phoenix venv/bin/phoenix` (pip install arize-phoenix, in an environment of its own) the same requests also go to
Phoenix, until its database has all of the spans: it answers before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SPANS = 512
SPANS_PER_TRACE = 8
COLUMNS = 22


def _pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    kinds = {str: "string_value", int: "int_value", float: "double_value"}
    return [KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value})) for key, value in attributes.items()]


def make_request(rng: random.Random) -> bytes:
    """A request as a shop's exporter sends it."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _pairs(
            {
                "service.name": "shop",
                "service.version": "1.0",
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.45.1",
                "service.instance.id": "3b3d3a1c-6a39-4fb1-9dc9-0b0f0c8e9d11",
            }
        )
    )
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "shop.orders", "1.0"
    now = time.time_ns()
    for number in range(SPANS):
        if number % SPANS_PER_TRACE == 0:
            trace_id, root_id = rng.randbytes(16), rng.randbytes(8)
        is_root = number % SPANS_PER_TRACE == SPANS_PER_TRACE - 1
        span = scope.spans.add(trace_id=trace_id, span_id=root_id if is_root else rng.randbytes(8), flags=0x101)
        if not is_root:
            span.parent_span_id = root_id
        span.name = f"operation {number % 20}"
        span.kind = rng.choice((1, 2, 3))
        span.start_time_unix_nano, span.end_time_unix_nano = now - rng.randrange(10**7), now + number
        span.attributes.extend(
            _pairs(
                {
                    "http.request.method": "GET",
                    "url.path": f"/cart/{rng.randrange(1000)}",
                    "http.response.status_code": 200,
                    "server.address": "shop.example.com",
                    "user.id": rng.randrange(10**6),
                    "cart.total": round(rng.random() * 100, 2),
                }
            )
        )
        if number % 10 == 0:
            span.events.add(name="cache.miss", time_unix_nano=now).attributes.extend(_pairs({"key": "cart"}))
        if number % 20 == 0:
            span.status.code, span.status.message = 2, "bank did not answer"
    return request.SerializeToString()


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return None if kind is None else getattr(value, kind)


def _json(pairs: Sequence[KeyValue]) -> str:
    return json.dumps({pair.key: _value(pair.value) for pair in pairs})


def run_bare_loop(requests: Sequence[bytes], path: Path) -> float:
    """Spans a second of the least that can be done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"CREATE TABLE spans ({', '.join(f'c{number}' for number in range(COLUMNS))})")
        insert = f"INSERT INTO spans VALUES ({', '.join('?' * COLUMNS)})"
        began = time.perf_counter()
        for data in requests:
            rows = _rows(ExportTraceServiceRequest.FromString(data))
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        assert connection.execute("SELECT count(*) FROM spans").fetchone()[0] == SPANS * len(requests)
    return SPANS * len(requests) / seconds


def _rows(request: ExportTraceServiceRequest) -> list[tuple[Any, ...]]:
    rows = []
    for resource_spans in request.resource_spans:
        resource = _json(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            for span in scope_spans.spans:
                events = [
                    {
                        "time": event.time_unix_nano,
                        "name": event.name,
                        "attributes": _json(event.attributes),
                        "dropped": event.dropped_attributes_count,
                    }
                    for event in span.events
                ]
                links = [
                    {
                        "trace_id": link.trace_id.hex(),
                        "span_id": link.span_id.hex(),
                        "trace_state": link.trace_state,
                        "attributes": _json(link.attributes),
                        "dropped": link.dropped_attributes_count,
                        "flags": link.flags,
                    }
                    for link in span.links
                ]
                rows.append(
                    (
                        *(resource, resource_spans.schema_url, scope.name, scope.version, scope_spans.schema_url),
                        *(span.trace_id, span.span_id, span.trace_state, span.parent_span_id, span.flags, span.name),
                        *(span.kind, span.start_time_unix_nano, span.end_time_unix_nano, _json(span.attributes)),
                        *(
                            span.dropped_attributes_count,
                            json.dumps(events),
                            span.dropped_events_count,
                            json.dumps(links),
                        ),
                        *(span.dropped_links_count, span.status.message, span.status.code),
                    )
                )
    return rows


@contextmanager
def serving(path: Path):
    """The port of a receiver on a file of its own."""
    command = [sys.executable, "-m", "otel_perfmon", "serve", "--db", str(path), "--port", "0", "--no-grpc"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield int(process.stdout.readline().split()[0].rpartition(":")[2])
        process.terminate()


def send(requests: Sequence[bytes], port: int) -> float:
    """Spans a second of one client."""
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.connect()
        began = time.perf_counter()
        for data in requests:
            connection.request("POST", "/v1/traces", data, {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        seconds = time.perf_counter() - began
    return SPANS * len(requests) / seconds


def run_phoenix(command: str, requests: Sequence[bytes]) -> float:
    """Spans a second until Phoenix has stored them."""
    with tempfile.TemporaryDirectory() as folder:
        ports = {"PHOENIX_PORT": "16006", "PHOENIX_GRPC_PORT": "14317"}
        variables = {**os.environ, **ports, "PHOENIX_WORKING_DIR": folder, "PHOENIX_TELEMETRY_ENABLED": "false"}
        variables.pop("PYTHONPATH", None)
        log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([command, "serve"], env=variables, **log) as process:
            try:
                _wait_for_port(16_006)
                began = time.perf_counter()
                _send_patiently(requests, 16_006)
                _wait_for_spans(Path(folder, "phoenix.db"), SPANS * len(requests))
                return SPANS * len(requests) / (time.perf_counter() - began)
            finally:
                process.terminate()


def _wait_for_port(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"nothing listens at {port}")


def _send_patiently(requests: Sequence[bytes], port: int) -> None:
    for data in requests:
        while True:
            with closing(HTTPConnection("127.0.0.1", port)) as connection:
                connection.request("POST", "/v1/traces", data, {"Content-Type": "application/x-protobuf"})
                status = connection.getresponse().status
            if status == 200:
                break
            assert status in {429, 503}, status
            time.sleep(0.1)


def _wait_for_spans(path: Path, count: int) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        while connection.execute("SELECT count(*) FROM spans").fetchone()[0] < count:
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--phoenix", metavar="COMMAND", help="measure Phoenix too")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.short else 9)
    count = 20 if arguments.short else 60
    rng = random.Random(1)
    bare, ours = [], []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder, "ours.db")) as port:
        send([make_request(rng) for _ in range(5)], port)  # warm
        for number in range(rounds):
            requests = [make_request(rng) for _ in range(count)]
            bare.append(run_bare_loop(requests, Path(folder, f"bare{number}.db")))
            ours.append(send(requests, port))
    ratio = statistics.median(own / least for own, least in zip(ours, bare, strict=True))
    print(f"bare loop  {statistics.median(bare):8,.0f} spans/s")
    print(f"receiver   {statistics.median(ours):8,.0f} spans/s")
    print(f"receiver / bare loop  {ratio:.2f}  (must: 0.5 or more)")
    if arguments.phoenix:
        theirs = run_phoenix(arguments.phoenix, [make_request(rng) for _ in range(4)])
        print(f"Phoenix    {theirs:8,.0f} spans/s")
        print(f"receiver / Phoenix    {statistics.median(ours) / theirs:.0f}  (must: 20 or more)")


if __name__ == "__main__":
    main()
