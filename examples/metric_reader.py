# The duration histogram is ordinary OpenTelemetry: any metric reader gets it, here one that keeps it in memory.
import random
import time
from contextlib import suppress

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_perfmon

reader = InMemoryMetricReader()  # in production: PeriodicExportingMetricReader(an exporter of yours)
monitor = otel_perfmon.configure("metric-reader.db", service_name="thermostat", metric_readers=[reader])


@monitor.monitor("read_sensor")
def read_sensor() -> None:
    time.sleep(random.expovariate(1 / 0.004))
    if random.randrange(10) == 0:
        raise TimeoutError("The sensor does not answer.")


random.seed(7)
for _ in range(60):
    with suppress(TimeoutError):
        read_sensor()

for resource_metrics in reader.get_metrics_data().resource_metrics:
    print("service:", resource_metrics.resource.attributes["service.name"])
    for metric in (metric for scope in resource_metrics.scope_metrics for metric in scope.metrics):
        print(f"{metric.name} in {metric.unit}")
        for point in metric.data.data_points:
            print(f"\n{dict(point.attributes)}: {point.count} calls, {point.sum * 1000:.0f} ms in all")
            bounds = (*point.explicit_bounds, float("inf"))
            for bound, count in zip(bounds, point.bucket_counts, strict=True):
                if count:
                    print(f"  up to {bound * 1000:7.2f} ms  {'#' * count}")
monitor.shutdown()
