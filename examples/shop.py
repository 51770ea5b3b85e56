# A shop that takes eighty orders, some of them slow, some of them failing: a store to try the command line on.
import random
import time
from contextlib import suppress

import otel_perfmon

monitor = otel_perfmon.configure("shop.db", service_name="shop", slow_threshold_ms=40)
rng = random.Random(7)


@monitor.monitor("query_stock")
def query_stock() -> None:
    time.sleep(rng.uniform(0.001, 0.003))


@monitor.monitor("load_cart")
def load_cart(items: int) -> None:
    for _ in range(items):
        query_stock()


@monitor.monitor("charge_card", slow_threshold_ms=25)
def charge_card(order: int) -> None:
    time.sleep(rng.uniform(0.005, 0.012) if order % 16 else order**2 / 40_000)
    if order % 7 == 0:
        raise TimeoutError(f"bank did not answer order {order} within 10 ms")


@monitor.monitor("send_mail")
def send_mail() -> None:
    time.sleep(0.001)


for order in range(1, 81):
    items = rng.randint(1, 4)
    attributes = {"order.id": order, "cart.items": items, "customer": rng.choice(["ada", "grace", "linus"])}
    with suppress(TimeoutError), monitor.monitor("checkout", attributes=attributes):
        load_cart(items)
        charge_card(order)
        send_mail()

monitor.shutdown()
print("shop.db has eighty orders. Where did the time go?  otel-perfmon stats --db shop.db")
