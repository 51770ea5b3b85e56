// Sends spans with everything that a span can have: node node_spans.mjs ENDPOINT proto|json
import { context, SpanKind, SpanStatusCode, trace, TraceFlags, createTraceState } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [endpoint, encoding] = process.argv.slice(2);
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${encoding === "json" ? "http" : "proto"}`);
const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, compression: process.env.COMPRESSION ?? "none" });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node shop", "service.version": "2.0" }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("shop.orders", "1.5", { schemaUrl: "https://opentelemetry.io/schemas/1.30.0" });
const ids = [];
for (let number = 0; number < 600; number++) {
  const start = [1764000000 + number, 5];
  const root = tracer.startSpan(`order ${number % 3}`, {
    kind: SpanKind.SERVER,
    startTime: start,
    attributes: { text: "ü", truth: true, whole: 7, minus: -1, fraction: 1.5, texts: ["a", "b"], wholes: [1, 2], number },
  });
  const other = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", traceFlags: TraceFlags.SAMPLED, traceState: createTraceState("a=1") };
  const child = tracer.startSpan("bank", { kind: SpanKind.CLIENT, startTime: start, links: [{ context: other, attributes: { why: "retry" } }] }, trace.setSpan(context.active(), root));
  child.addEvent("asked", { bank: "north" }, [1764000000 + number, 7]);
  child.recordException(new TypeError("no answer"), [1764000000 + number, 8]);
  child.setStatus({ code: SpanStatusCode.ERROR, message: "no answer" });
  child.end([1764000000 + number, 9]);
  root.end([1764000002 + number, 11]);
  ids.push([root.spanContext().traceId, root.spanContext().spanId, child.spanContext().spanId]);
  if (number % 200 === 199) await provider.forceFlush();
}
await provider.shutdown();
console.log(JSON.stringify(ids));
