"""Exporters that we did not write send to the receiver: every span arrives, with every field."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from serve_kit import Served, serving

from otel_perfmon import SpanQuery, SpanRecord, open_store
from otel_perfmon.otlp.encoding import SpanEncoder

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = (
    "@opentelemetry/api@1",
    "@opentelemetry/resources@2",
    "@opentelemetry/sdk-trace-base@2",
    "@opentelemetry/exporter-trace-otlp-http@>=0.200",
    "@opentelemetry/exporter-trace-otlp-proto@>=0.200",
    "deno@2",
)
SPANS = 2_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    with serving(path, OTEL_PYTHON_PERFMON_REDACT="false") as served:
        yield served


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with JavaScript's SDK and Deno in it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node with npm here")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip(f"npm could not install OpenTelemetry: {installed.stderr[-200:] or installed.stdout[-200:]}")
    for program in CLIENTS.iterdir():
        shutil.copy(program, folder)
    return folder


def run(command: list[str], folder: Path, **variables: str) -> str:
    """What a client printed."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Gathering(SpanProcessor):
    """Keeps what ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def send_with_python(exporter, service: str) -> list[ReadableSpan]:
    """Spans with everything that the SDK has, through a `BatchSpanProcessor`."""
    resource = Resource({"service.name": service, "numbers": (1, 2)}, "https://opentelemetry.io/schemas/1.30.0")
    provider = TracerProvider(resource=resource)
    gathering = Gathering()
    provider.add_span_processor(gathering)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10 * SPANS))
    tracer = provider.get_tracer("shop.orders", "1.5", "https://opentelemetry.io/schemas/1.31.0", {"team": "till"})
    other = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "1")]))
    attributes = {"text": "ü", "truth": True, "whole": -7, "fraction": 1.5, "texts": ("a", "b"), "bytes": b"\0\xff"}
    for number in range(SPANS // 2):
        with tracer.start_as_current_span(f"order {number % 5}", kind=SpanKind.SERVER, attributes=attributes) as order:
            order.set_attribute("number", number)
            links = [Link(other, {"why": "retry"})]
            with tracer.start_as_current_span("bank", kind=SpanKind.CLIENT, links=links) as bank:
                bank.add_event("asked", {"bank": "north"})
                if number % 2:
                    bank.record_exception(ValueError(f"no answer {number}"))
                    bank.set_status(Status(StatusCode.ERROR, "no answer"))
    provider.shutdown()
    return gathering.spans


@pytest.mark.parametrize("way", ["http", "http, gzip", "http, deflate", "grpc", "grpc, gzip"])
def test_the_python_exporters_bytes_are_what_is_stored(served, way, figure):
    service = f"python {way}"
    url = f"http://127.0.0.1:{served.port}/v1/traces"
    exporter = {
        "http": lambda: HttpExporter(url),
        "http, gzip": lambda: HttpExporter(url, compression=Compression.Gzip),
        "http, deflate": lambda: HttpExporter(url, compression=Compression.Deflate),
        "grpc": lambda: GrpcExporter(f"http://127.0.0.1:{served.grpc_port}"),
        "grpc, gzip": lambda: GrpcExporter(f"http://127.0.0.1:{served.grpc_port}", compression=grpc.Compression.Gzip),
    }[way]()
    sent = send_with_python(exporter, service)
    with open_store(served.path) as store:
        stored = store.find_spans(SpanQuery(service=service, order="arrival", limit=10 * SPANS))
    figure(f"{service}: spans that arrived", f"{len(stored)} of {len(sent)}", f"{SPANS}")
    assert len(stored) == len(sent) == SPANS
    encoder = SpanEncoder(is_compat=True)
    by_id = {int(span.span_id, 16): span for span in stored}
    different = [
        span.name
        for span in sent
        if encoder.encode_request([by_id[span.context.span_id]]) != encode_spans([span]).SerializeToString()
    ]
    figure(f"{service}: spans with a field that differs", len(different), "0")
    assert different == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_the_node_sdks_spans_arrive_with_every_field(npm, served, encoding, compression, figure):
    command = ["node", "node_spans.mjs", f"http://127.0.0.1:{served.port}", encoding]
    expected = json.loads(run(command, npm, COMPRESSION=compression))
    wrong = 0
    with open_store(served.path) as store:
        for number, (trace_id, root_id, child_id) in enumerate(expected):
            spans = {span.span_id: span for span in store.get_trace(trace_id).spans}
            wrong += set(spans) != {root_id, child_id}
            wrong += not (_is_order(spans[root_id], number) and _is_bank(spans[child_id], root_id, number))
    figure(f"node http/{encoding}, {compression}: traces that differ", f"{wrong} of {len(expected)}", "0 of 600")
    assert (wrong, len(expected)) == (0, 600)


def _nano(number: int, nano: int) -> int:
    return (1_764_000_000 + number) * 10**9 + nano


def _is_order(span: SpanRecord, number: int) -> bool:
    attributes = {"text": "ü", "truth": True, "whole": 7, "minus": -1, "fraction": 1.5, "texts": ("a", "b")}
    return (
        (span.name, span.kind_name, span.parent_span_id, span.is_error)
        == (f"order {number % 3}", "server", None, False)
        and (span.start_unix_nano, span.end_unix_nano) == (_nano(number, 5), _nano(number + 2, 11))
        and span.attributes == attributes | {"wholes": (1, 2), "number": number}
        and span.resource.attributes == {"service.name": "node shop", "service.version": "2.0"}
        and _is_of_shop(span)
        and span.is_slow
    )


def _is_of_shop(span: SpanRecord) -> bool:
    scope = span.scope
    return (scope.name, scope.version, scope.schema_url) == (
        "shop.orders",
        "1.5",
        "https://opentelemetry.io/schemas/1.30.0",
    )


def _is_bank(span: SpanRecord, parent_id: str, number: int) -> bool:
    (asked, failed), (link,) = span.events, span.links
    return (
        (span.name, span.kind_name, span.parent_span_id, span.is_error) == ("bank", "client", parent_id, True)
        and (span.start_unix_nano, span.end_unix_nano) == (_nano(number, 5), _nano(number, 9))
        and (span.status_message, span.error_type) == ("no answer", "TypeError")
        and (asked.name, asked.attributes, asked.time_unix_nano) == ("asked", {"bank": "north"}, _nano(number, 7))
        and (failed.name, failed.time_unix_nano) == ("exception", _nano(number, 8))
        and (failed.attributes["exception.type"], failed.attributes["exception.message"]) == ("TypeError", "no answer")
        and (link.trace_id, link.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        and (link.trace_state, link.attributes) == ("a=1", {"why": "retry"})
        and _is_of_shop(span)
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json", "grpc"])
def test_the_rust_sdks_spans_arrive_by_every_protocol(npm, served, protocol, figure):
    """Deno's own telemetry is that of Rust's SDK; its numbers are JavaScript's, all of them doubles."""
    port = served.grpc_port if protocol == "grpc" else served.port
    service = f"deno {protocol}"
    variables = {
        "OTEL_DENO": "true",
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
    }
    command = [str(npm / "node_modules" / ".bin" / "deno"), "run", "--allow-all", "deno_spans.mjs"]
    run(command, npm, **variables)
    with open_store(served.path) as store:
        spans = store.find_spans(SpanQuery(service=service, limit=1000))
    roots = {span.span_id: span for span in spans if not span.parent_span_id}
    names = Counter(span.name for span in spans)
    figure(f"{service}: spans that arrived", len(spans), "600")
    assert names == {"bank": 300, "order 0": 100, "order 1": 100, "order 2": 100}
    assert sorted(span.attributes["number"] for span in roots.values()) == list(range(300))
    for span in spans:
        assert (span.scope.name, span.scope.version) == ("shop.orders", "1.5")
        if span.name == "bank":
            assert roots[span.parent_span_id].trace_id == span.trace_id
            assert (span.is_error, span.status_message) == (True, "no answer")
            assert [(each.name, each.attributes) for each in span.events] == [("asked", {"bank": "north"})]
        else:
            plain = {"text": "日本", "truth": True, "whole": 7, "fraction": 1.5}
            assert {key: span.attributes[key] for key in plain} == plain
