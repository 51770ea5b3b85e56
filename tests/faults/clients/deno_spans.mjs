// Spans of Deno's own telemetry, which is OpenTelemetry's Rust SDK.
import { SpanStatusCode, trace } from "@opentelemetry/api";

const tracer = trace.getTracer("shop.orders", "1.5");
for (let number = 0; number < 300; number++) {
  tracer.startActiveSpan(`order ${number % 3}`, { attributes: { text: "日本", truth: true, whole: 7, fraction: 1.5 , number} }, (root) => {
    tracer.startActiveSpan("bank", (child) => {
      child.addEvent("asked", { bank: "north" });
      child.setStatus({ code: SpanStatusCode.ERROR, message: "no answer" });
      child.end();
    });
    root.end();
  });
}
