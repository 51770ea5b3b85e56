# Metrics that were measured elsewhere, here by a web server that wrote them into its log: insert_metric keeps them.
import random
import time

from otel_perfmon import MetricsStorage

SLOW_MS = 100
random.seed(3)
begun = time.time() - 600
LOG = [
    f"{begun + 3 * step:.3f} GET {path} {random.choice('2222222225')}00 {random.lognormvariate(3, 1):.1f}"
    for step in range(200)
    for path in ("/cart", "/search")
]
print("a line of the log:", LOG[0])

with MetricsStorage("access-log.db") as storage:
    for line in LOG:
        ended, method, path, status, milliseconds = line.split()
        storage.insert_metric(
            f"{method} {path}",
            float(milliseconds),
            error=status.startswith("5"),
            is_slow=float(milliseconds) > SLOW_MS,
            timestamp=float(ended),
            error_type=status if status.startswith("5") else None,
            context={"http.response.status_code": int(status)},
        )
    for stats in storage.get_stats():
        print(
            f"{stats.operation:12} {stats.count} requests, half within {stats.p50_ms:.0f} ms,"
            f" 99% within {stats.p99_ms:.0f} ms, {stats.slow_count} slow, {stats.error_rate:.0%} failed"
        )
    for minutes in (10, 5, 1):
        print(
            f"error rate of /cart in the last {minutes:2} min: {storage.get_error_rate('GET /cart', 60 * minutes):.1%}"
        )
    newest = storage.get_metrics("GET /search", limit=1)[0]
    print("the newest search:", {key: newest[key] for key in ("operation", "duration", "error", "context")})
