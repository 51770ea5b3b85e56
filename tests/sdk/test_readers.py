"""Readers that others wrote see every measurement of the histogram: a Prometheus scrape, a real OTLP client's body."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from prometheus_client import REGISTRY, generate_latest

from otel_perfmon import PerformanceMonitor
from otel_perfmon.sdk import histogram as histograms
from otel_perfmon.sdk.histogram import DurationHistogram

COUNTS = {("checkout", ""): 90, ("checkout", "ValueError"): 10, ("load_cart", ""): 100}


def record(monitor: PerformanceMonitor) -> None:
    for number in range(100):
        with monitor.monitor("load_cart"):
            pass
        try:
            with monitor.monitor("checkout"):
                if number % 10 == 0:
                    raise ValueError(number)  # noqa: TRY301 - measured here
        except ValueError:
            pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An endpoint on this machine that accepts everything, and the bodies that came."""
    bodies: list[bytes] = []

    class Accept(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Accept) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/metrics", bodies
        server.shutdown()
        thread.join()


def test_a_prometheus_scrape_counts_every_operation(storage):
    provider = MeterProvider([PrometheusMetricReader()], shutdown_on_exit=False)
    try:
        record(PerformanceMonitor(storage, meter_provider=provider))
        (family,) = (each for each in REGISTRY.collect() if each.name == "perfmon_operation_duration_seconds")
        counted = {
            (sample.labels["perfmon_operation"], sample.labels["error_type"]): sample.value
            for sample in family.samples
            if sample.name.endswith("_count")
        }
        assert counted == COUNTS
        assert b"perfmon_operation_duration_seconds_bucket" in generate_latest()
    finally:
        provider.shutdown()


def test_an_otlp_client_sends_every_operation_with_exemplars_of_stored_spans(storage, collector):
    endpoint, bodies = collector
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint), export_interval_millis=1e7)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    record(PerformanceMonitor(storage, meter_provider=provider))
    provider.shutdown()
    request = ExportMetricsServiceRequest.FromString(bodies[-1])
    (metric,) = (each for each in request.resource_metrics[0].scope_metrics[0].metrics)
    counted, exemplars = {}, set()
    for point in metric.histogram.data_points:
        attributes = {each.key: each.value.string_value for each in point.attributes}
        counted[attributes["perfmon.operation"], attributes.get("error.type", "")] = point.count
        exemplars |= {each.trace_id.hex() for each in point.exemplars}
    assert (metric.name, metric.unit) == ("perfmon.operation.duration", "s")
    assert counted == COUNTS
    assert exemplars
    assert all(storage.store.get_trace(each).spans for each in exemplars)


def test_alike_measurements_share_their_attributes_and_not_without_bound(monkeypatch):
    monkeypatch.setattr(histograms, "_SHARED_MAX", 2)
    histogram = DurationHistogram("h", "s", "", (1.0,), None)
    first = histogram.attributes_of("a", None)
    assert first == {"perfmon.operation": "a"}
    assert histogram.attributes_of("a", None) is first
    assert histogram.attributes_of("a", "ValueError") == {"perfmon.operation": "a", "error.type": "ValueError"}
    assert histogram.attributes_of("b", None) == {"perfmon.operation": "b"}
    assert len(histogram._shared) == 1
