# The basics: measure a block and a function, nested; then ask what was slow and what failed.
import random
import time

import otel_perfmon

LIMIT = 90.0
monitor = otel_perfmon.configure("basics.db", service_name="shop", slow_threshold_ms=15)


@monitor.monitor("charge_card")
def charge_card(amount: float) -> None:
    time.sleep(random.uniform(0.001, 0.02))
    if amount > LIMIT:
        raise ValueError(f"The card was declined for {amount:.2f}.")


def check_out(amount: float) -> None:
    with monitor.monitor("check_out", attributes={"cart.total": amount}) as span:
        with monitor.monitor("reserve_stock"):
            time.sleep(0.002)
        try:
            charge_card(amount)
        except ValueError as error:
            print("caught, as without a monitor:", error)
        span.set_attribute("order.id", random.randrange(10_000))


for amount in (12.5, 99.0, 48.0, 7.25, 95.5, 60.0, 31.0, 18.75):
    check_out(amount)

print()
for stats in monitor.storage.get_stats():
    print(
        f"{stats.operation:14} {stats.count} calls, {stats.error_count} failed, {stats.slow_count} slow;"
        f" {stats.total_ms:.0f} ms in all, {stats.self_ms:.0f} ms of it its own"
    )
print()
for metric in monitor.storage.get_metrics_in_window("check_out", 60, filter_slow=True):
    print(f"slow: a check-out of {metric['context']['cart.total']} took {metric['duration']:.1f} ms")
monitor.shutdown()
