"""The program of the README's first page, end to end."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from opentelemetry import trace

import otel_perfmon


@pytest.mark.usefixtures("fresh_process")
def test_the_story_of_a_checkout_is_told_by_the_file():
    monitor = otel_perfmon.configure("metrics.db", service_name="checkout", slow_threshold_ms=500)
    assert monitor is otel_perfmon.get_monitor()
    reached: list[str] = []

    with monitor.monitor("load_cart", attributes={"cart.items": 3}) as span:
        span.set_attribute("cart.total", 41.5)

    @monitor.monitor("charge_card", slow_threshold_ms=200)
    async def charge_card(order: str) -> str:
        await asyncio.sleep(0.21)
        reached.append(order)
        if order == "refused":
            raise ValueError("card refused")
        return f"paid {order}"

    async def check_out() -> str:
        async with monitor.monitor("reserve_stock"):
            return await charge_card("order 1")

    assert asyncio.run(check_out()) == "paid order 1"
    with pytest.raises(ValueError, match="card refused"):
        asyncio.run(charge_card("refused"))
    with trace.get_tracer("third_party").start_as_current_span("GET /cart"):
        pass

    stats = monitor.storage.get_stats("load_cart")
    assert (stats.operation, stats.count, stats.error_count, stats.slow_count) == ("load_cart", 1, 0, 0)
    assert stats.min_ms == stats.max_ms == stats.avg_ms == stats.total_ms
    assert 0 < stats.p50_ms < 500
    (cart,) = monitor.storage.get_metrics("load_cart")
    assert cart["context"] == {"cart.items": 3, "cart.total": 41.5}
    assert cart["error"] is False
    assert abs(cart["timestamp"] - time.time()) < 60

    charges = monitor.storage.get_metrics("charge_card")
    assert [charge["error"] for charge in charges] == [True, False]
    assert all(charge["is_slow"] and charge["duration"] >= 205 for charge in charges)
    assert charges[0]["error_type"] == "ValueError"
    assert charges[0]["error_message"] == "card refused"
    assert "raise ValueError" in charges[0]["stack_trace"]
    assert monitor.storage.get_error_rate("charge_card", 3600) == 0.5
    (reserve,) = monitor.storage.get_metrics("reserve_stock")
    assert charges[1]["parent_span_id"] == reserve["span_id"]
    assert charges[1]["trace_id"] == reserve["trace_id"]
    assert not reserve["is_slow"]
    assert reached == ["order 1", "refused"]

    found = monitor.storage.store.find_spans(otel_perfmon.SpanQuery(service="checkout"))
    assert sorted(span.name for span in found) == [
        *("GET /cart", "charge_card", "charge_card", "load_cart", "reserve_stock")
    ]
    assert {each.operation: each.count for each in monitor.storage.get_stats()} == {
        "GET /cart": 1,
        "charge_card": 2,
        "load_cart": 1,
        "reserve_stock": 1,
    }
    assert monitor.force_flush(5_000) is True
    monitor.shutdown()
    with otel_perfmon.MetricsStorage("metrics.db") as storage:
        assert len(storage.get_metrics()) == 5
    assert os.path.exists("metrics.db")
