# Asking the store, from any process: operations, spans, a trace, errors, who called whom, and was anything lost.
import time
from contextlib import suppress

from otel_perfmon import MetricsStorage, PerformanceMonitor, SpanQuery, Window, open_store

storage = MetricsStorage("kitchen.db")
monitor = PerformanceMonitor(storage, slow_threshold_ms=8)


@monitor.monitor("heat")
def heat(order: int) -> None:
    time.sleep(0.0015 * order)
    if order % 4 == 0:
        raise RuntimeError(f"Order {order} burnt after {order * 1.5} ms.")


for order in range(1, 9):
    attributes = {"order": order, "dish": "soup" if order % 2 else "rice"}
    with suppress(RuntimeError), monitor.monitor("cook", attributes=attributes):
        heat(order)
monitor.shutdown()
storage.close()

with open_store("kitchen.db") as store:
    print("Operations")
    for stats in store.summarize_operations(window=Window.last(3600)):
        print(f"  {stats.operation:5} {stats.count} calls, {stats.error_rate:.0%} failed, {stats.slow_count} slow")
    print("Slow soups")
    for span in store.find_spans(SpanQuery(operation="cook", is_slow=True, attributes={"dish": "soup"})):
        print(f"  order {span.attributes['order']}: {span.duration_ms:.1f} ms")
    print("The trace of the last failure")
    failed = store.find_spans(SpanQuery(operation="heat", is_error=True, limit=1))[0]
    for span in store.get_trace(failed.trace_id).spans:
        print(f"  {span.name:5} {span.duration_ms:5.1f} ms  {span.status_name}  {span.status_message}")
    print("  " + failed.exception.attributes["exception.stacktrace"].strip().splitlines()[-1])
    print("Errors, alike ones together")
    for group in store.summarize_errors(operation="heat"):
        print(f"  {group.count} x {group.error_type}: {group.message}")
    print("Calls")
    for call in store.summarize_calls():
        print(f"  {call.caller} called {call.callee} {call.count} times, {call.total_ms:.0f} ms in all")
    health = store.get_health()
    print(f"{health.ended} spans ended, {health.stored} are stored, dropped: {dict(health.dropped) or 'none'}")
