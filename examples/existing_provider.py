# A program that has OpenTelemetry already: one more span processor, and its spans are in a local file as well.
import time

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from otel_perfmon import SpanQuery, SQLiteSpanExporter, open_store

provider = TracerProvider(resource=Resource.create({"service.name": "warehouse"}))
provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter("warehouse.db", slow_threshold_ms=5)))
tracer = provider.get_tracer("warehouse.http")

for bin_number in range(6):
    with tracer.start_as_current_span("GET /bins/{id}", kind=SpanKind.SERVER) as span:
        span.set_attribute("bin.number", bin_number)
        with tracer.start_as_current_span("SELECT bins", kind=SpanKind.CLIENT):
            time.sleep(0.001 * bin_number)
        span.add_event("counted", {"items": 10 - bin_number})

provider.shutdown()  # BatchSpanProcessor hands over what it still holds

with open_store("warehouse.db") as store:
    print("services:", ", ".join(store.list_services()))
    for stats in store.summarize_operations():
        print(f"{stats.operation:15} {stats.count} calls, {stats.slow_count} slow, 95% within {stats.p95_ms:.1f} ms")
    for span in store.find_spans(SpanQuery(limit=4)):
        kind, scope, events = span.kind_name, span.scope.name, [event.name for event in span.events]
        print(f"  {span.name:15} {kind:7} {span.duration_ms:6.2f} ms  scope {scope}  events {events}")
